"""Touch and Go: lists, classes, videos and leakage as published."""

import numpy as np
import pytest
from miniature_trees import tag, text, tokens

from training.datasets.published import DATASETS
from training.datasets.record import UNLISTED, VideoFrame
from visuotactile_ros.errors import ConfigurationError

TAG = DATASETS['tag']


@pytest.fixture
def root(tmp_path):
    tag(tmp_path)
    return tmp_path


def records(root):
    return {record.id: record for record in TAG.records(root)}


def test_every_contact_frame_once_with_all_of_its_splits(root):
    found = records(root)
    assert {name: record.split for name, record in found.items()} == {
        '20220511_164750/0000000097.jpg': 'test', '20220511_164750/0000000098.jpg': UNLISTED,
        '20220511_164750/0000000099.jpg': 'train train_rough', '20220511_164750/0000000100.jpg': 'train train_rough',
        '20220511_164750/0000000101.jpg': 'train', '20220516_190814/0000000010.jpg': 'test',
        '20220516_190814/0000000013.jpg': 'test_rough', '20220601_182052/0000000002.jpg': 'train test_rough'}
    assert list(found) == sorted(found), 'one order on every machine'


def test_classes_of_all_tasks(root):
    found = records(root)
    assert found['20220511_164750/0000000099.jpg'].labels == {'material': 10, 'hardness': 1, 'roughness': 1}
    assert found['20220511_164750/0000000100.jpg'].labels == {'material': 8, 'hardness': 0, 'roughness': 0}
    assert found['20220516_190814/0000000013.jpg'].labels == {'roughness': 1}, 'its material is not known'
    assert TAG.label_classes(root)['material'][9:11] == ('natural fabric', 'rubber'), 'class 9 keeps its number'
    assert len(TAG.label_classes(root)['material']) == 20


def test_unknown_materials_are_no_records(root):
    assert not {'20220516_190814/0000000011.jpg', '20220516_190814/0000000012.jpg'} & set(records(root))


def test_frames_come_from_the_video_where_none_were_extracted(root):
    record = records(root)['20220601_182052/0000000002.jpg']
    assert record.touch == VideoFrame(root / 'dataset/20220601_182052/gelsight.mp4', 2)
    assert record.view == VideoFrame(root / 'dataset/20220601_182052/video.mp4', 2)
    assert records(root)['20220511_164750/0000000097.jpg'].touch.name == '0000000097.jpg'


def test_leakage_is_counted(root):
    notes = '\n'.join(TAG.verify(root).notes)
    assert '1 of 2 objects of test are also in train' in notes
    assert '1 of 2 records of test_rough are also in train' in notes
    assert '4 records in train, where 91982 were published' in notes


def test_captions_reach_every_frame_but_those_of_the_test(root):
    text(root / 'contact_text_tag_notest.csv', '20220511_164750,0000000099.jpg,7,0\n20220516_190814,0000000010.jpg,7,1')
    tokens(root / 'text/tag_7.pt', [49406, 320, 49407])
    assert records(root)['20220511_164750/0000000099.jpg'].tokens == root / 'text/tag_7.pt'
    assert records(root)['20220516_190814/0000000010.jpg'].tokens is None


def test_published_backgrounds_become_references(root):
    text(root / 'train_bg.txt', '20220511_164750/0000000099.jpg,10,0000000096.jpg')
    found = records(root)
    assert found['20220511_164750/0000000099.jpg'].reference.name == '0000000096.jpg'
    assert found['20220511_164750/0000000101.jpg'].reference is None


@pytest.mark.parametrize(('line', 'message'), [
    ('20220511_164750/0000000099.jpg,ten', "has the class 'ten'"),
    ('0000000099.jpg,1', "has '0000000099.jpg' for a frame"),
    ('20220511_164750/first.jpg,1', "first.jpg' for a frame"),
])
def test_a_damaged_list_is_one_error(root, line, message):
    text(root / 'train.txt', line)
    with pytest.raises(ConfigurationError, match=message):
        TAG.verify(root)
    assert np.load(root / 'dataset/20220511_164750/time1.npy').size == 3
