"""Image tables, CIFAR and ImgNetDogs."""

import pickle

import pytest
from miniature_trees import cifar10, cifar100, imgnetdogs, picture, text, vitactip

from training.datasets.published import DATASETS
from visuotactile_ros.errors import ConfigurationError


def records(name, root):
    return {record.id: record for record in DATASETS[name].records(root)}


def test_a_table_of_images_with_classes_and_quantities(tmp_path):
    vitactip(tmp_path)
    found = records('vitactip', tmp_path)
    assert DATASETS['vitactip'].label_classes(tmp_path) == {'force_n': (), 'grating': ('coarse', 'fine')}
    assert found['force/o3/13.png'].labels == {'force_n': 3.25, 'grating': 0}
    assert found['force/o0/0.png'].labels == {'force_n': 0.0}, 'an empty cell is unknown, zero is a value'
    assert found['force/o3/13.png'].sensor == 'vitactip' and found['force/o3/13.png'].frame_index == 13
    splits = {record.object: record.split for record in found.values()}
    assert sorted(splits.values()).count('train') == 7 and len(splits) == 10


def test_every_column_of_a_table_is_read(tmp_path):
    header = 'touch,touch_second,view,reference,id,split,sensor,object,text,clip,frame_index,pair'
    row = 'a/1.png,a/2.png,a/3.png,a/4.png,first,test,digit,ball,"round, soft",c,7,p'
    for number in range(1, 5):
        picture(tmp_path / f'a/{number}.png')
    text(tmp_path / 'labels.csv', f'{header}\n{row}\n,,a/3.png,,,train,,,,,,')
    found = records('vitactip', tmp_path)
    first = found['first']
    assert (first.split, first.sensor, first.object, first.text, first.clip, first.frame_index, first.pair) == (
        'test', 'digit', 'ball', 'round, soft', 'c', 7, 'p')
    assert [image.name for image in first.images.values()] == ['1.png', '2.png', '3.png', '4.png']
    assert found['a/3.png'].sensor == '' and found['a/3.png'].object == 'a'
    assert DATASETS['vitactip'].label_classes(tmp_path) == {}


def test_a_table_may_begin_with_the_mark_of_a_spreadsheet(tmp_path):
    vitactip(tmp_path)
    expected = records('vitactip', tmp_path)
    table = tmp_path / 'labels.csv'
    table.write_bytes(b'\xef\xbb\xbf' + table.read_bytes())
    assert records('vitactip', tmp_path) == expected


@pytest.mark.parametrize('table', ['touch,force_n', 'touch,force_n\na.png', 'touch,force_n\n,1', 'force_n\n1',
                                   'touch,force_n\na.png,1,2', 'touch,frame_index\na.png,first'])
def test_a_table_that_cannot_be_used_says_where(tmp_path, table):
    text(tmp_path / 'labels.csv', table)
    with pytest.raises(ConfigurationError, match='labels.csv (has no row|lacks cells)|line 2 of'):
        DATASETS['vitactip'].verify(tmp_path)


def test_cifar_planes_become_pictures(tmp_path):
    cifar10(tmp_path / '10')
    cifar100(tmp_path / '100')
    ten, hundred = records('cifar10', tmp_path / '10'), records('cifar100', tmp_path / '100')
    assert ten['data_batch_2.bin/1'].view()[5, 7].tolist() == [21, 22, 23] and len(ten) == 11
    assert ten['data_batch_2.bin/1'].labels == {'class': 9} and ten['test_batch.bin/0'].split == 'test'
    assert DATASETS['cifar10'].label_classes(tmp_path / '10')['class'][9] == 'truck'
    assert hundred['train.bin/0'].labels == {'group': 11, 'class': 19}
    assert hundred['train.bin/0'].view()[0, 0].tolist() == [10, 11, 12]


def test_the_python_version_of_cifar_is_not_opened(tmp_path):
    (tmp_path / 'data_batch_1').write_bytes(pickle.dumps({}))
    with pytest.raises(ConfigurationError, match='has no batches.meta.txt.*cifar-10-binary.tar.gz'):
        DATASETS['cifar10'].verify(tmp_path)


def test_a_truncated_batch_is_an_error(tmp_path):
    cifar100(tmp_path)
    (tmp_path / 'train.bin').write_bytes(b'123')
    with pytest.raises(ConfigurationError, match='no whole number of 3074 bytes'):
        DATASETS['cifar100'].verify(tmp_path)


def test_dogs_are_divided_within_every_breed(tmp_path):
    imgnetdogs(tmp_path)
    found = records('imgnetdogs', tmp_path)
    assert DATASETS['imgnetdogs'].label_classes(tmp_path) == {'breed': ('beagle', 'whippet')}
    for breed in (0, 1):
        splits = [record.split for record in found.values() if record.labels['breed'] == breed]
        assert (splits.count('train'), splits.count('test')) == (8, 2)
    assert 'ffff' not in found, 'pictures without a label are no records'
