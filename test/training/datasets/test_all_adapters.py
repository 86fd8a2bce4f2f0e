"""Every adapter on its miniature archive: complete, reproducible, its splits disjoint or its leakage said."""

import json
import shutil
from collections import defaultdict
from pathlib import Path

import miniature_trees
import numpy as np
import pytest
from miniature_trees import TREES, text

from training import prepare
from training.datasets.prepared import PreparedDataset
from training.datasets.published import DATASETS
from training.datasets.record import UNLISTED, VideoFrame, decode_image
from visuotactile_ros.errors import ConfigurationError


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in TREES}
    for name, folder in folders.items():
        TREES[name](folder)
    return folders


def test_every_adapter_has_its_tree():
    assert set(TREES) == set(DATASETS)


@pytest.mark.parametrize('name', TREES)
def test_the_archive_is_complete_and_its_records_are_as_declared(name, roots):
    adapter, root = DATASETS[name], roots[name]
    verification = adapter.verify(root)
    assert verification.missing == () and verification.tally.records > 0
    classes = adapter.label_classes(root)
    for record in adapter.records(root):
        assert record.sensor in adapter.sensors or (record.touch is None and record.sensor == '')
        assert record.split and record.images and record.labels.keys() <= classes.keys()
        assert all(not classes[label] or 0 <= value < len(classes[label]) for label, value in record.labels.items())
    assert adapter.licence and adapter.source_url


@pytest.mark.parametrize('name', TREES)
def test_the_order_is_that_of_the_published_names_not_of_the_disk(name, roots, tmp_path):
    copy = tmp_path / 'copy'
    for path in sorted(roots[name].rglob('*'), reverse=True):
        if path.is_file():
            target = copy / path.relative_to(roots[name])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    first, second = ([(record.id, record.split, record.labels) for record in DATASETS[name].records(root)]
                     for root in (roots[name], copy))
    assert first == second


@pytest.mark.parametrize('name', TREES)
def test_no_object_is_in_two_splits_unless_the_notes_say_so(name, roots):
    adapter, splits = DATASETS[name], defaultdict(set)
    for record in adapter.records(roots[name]):
        for split in record.split.split():
            if split != UNLISTED and record.object:
                splits[record.object].add(split)
    stages = {name: {split.split('_')[0] for split in found} for name, found in splits.items()}
    leaks = any(len(found & {'train', 'validation', 'test'}) > 1 for found in stages.values())
    assert leaks == any('are also in' in note for note in adapter.verify(roots[name]).notes)
    assert leaks == (name in ('tag', 'tvl_hct')), 'leaks where the publication does, and nowhere else'


@pytest.mark.parametrize('name', TREES)
def test_what_was_prepared_is_what_was_listed(name, roots, tmp_path):
    assert prepare.main([name, str(roots[name]), str(tmp_path / 'out'), '--workers', '1']) == 0
    data, listed = PreparedDataset(tmp_path / 'out', check_sums=True), list(DATASETS[name].records(roots[name]))
    assert len(data) == len(listed) == data.manifest['records']
    for index, expected in enumerate(listed):
        record = data[index]
        assert (record.id, record.labels) == (expected.id, dict(expected.labels)) and data.index_of(record.id) == index
        assert record.images.keys() == expected.images.keys()
        for field, image in expected.images.items():
            if isinstance(image, Path):
                assert record.images[field] == image.read_bytes()
            elif isinstance(image, VideoFrame):
                assert abs(decode_image(record.images[field]).mean() - 10 * image.index) < 4
            else:
                assert (decode_image(record.images[field]) == image()).all()
    notes = data.manifest['protocol_notes']
    assert notes == list(DATASETS[name].verify(roots[name]).notes)


@pytest.mark.parametrize('name', TREES)
def test_an_empty_folder_is_refused_or_named_missing(name, tmp_path):
    try:
        assert DATASETS[name].verify(tmp_path).missing
    except ConfigurationError as error:
        assert 'docs/datasets.md' in str(error)
    with pytest.raises(ConfigurationError, match='has no'):
        DATASETS[name].verify(tmp_path / 'nowhere')


@pytest.mark.parametrize('name', ['tag', 'ssvtp', 'tvl_hct', 'tacquad', 'objectfolder_1', 'objectfolder_2', 'feel',
                                  'visgel', 'cloth', 'vitactip', 'imgnetdogs'])
def test_an_image_that_a_list_names_and_is_gone_is_found(name, roots, tmp_path):
    root = tmp_path / 'archive'
    shutil.copytree(roots[name], root)
    image = next(image for record in DATASETS[name].records(root) for image in record.images.values()
                 if isinstance(image, Path))
    image.unlink()
    missing = DATASETS[name].verify(root).missing
    assert len(missing) == 1 and missing[0].startswith(str(image.parent.relative_to(root))), missing


@pytest.mark.parametrize('name, gone', [
    ('octopi', 'dataset/eraser_0.mov'), ('of_real', '7/tactile_data'), ('cloth', 'Data/12'),
    ('ycb_slide', 'real/025_mug/dataset_3/frames'), ('tacquad', 'data_indoor/cup/digit'),
    ('tag', 'dataset/20220601_182052/gelsight.mp4')])
def test_a_folder_or_video_that_is_gone_is_found(name, gone, roots, tmp_path):
    root = tmp_path / 'archive'
    shutil.copytree(roots[name], root)
    shutil.rmtree(root / gone) if (root / gone).is_dir() else (root / gone).unlink()
    missing = DATASETS[name].verify(root).missing
    place = gone.replace('.mp4', '_frame')
    assert [line for line in missing if line.startswith(place)], missing


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize('name, place, damage', [
    ('octopi', 'dataset/rug_1.mov', lambda path: path.write_bytes(path.read_bytes()[:200])),
    ('octopi_processed', 'processed/physiclear_ripe_avocado_0', empty),
    ('cloth', 'Data/12/2', lambda path: (path / 'GelSight_video.mp4').unlink()),
    ('cloth', 'Data/12/2', lambda path: (path / 'GelSight_video.mp4').write_bytes(b'no video')),
    ('cloth', 'Data/11/10', lambda path: empty(path / 'gelsight_frame')),
    ('ycb_slide', 'real/025_mug/dataset_3/frames', empty),
    ('of_real', '7/tactile_data', lambda path: shutil.rmtree(path / '0')),
    ('of_real', '7/tactile_data/0', lambda path: empty(path / '0/gelsight'))])
def test_a_video_or_folder_without_a_frame_is_missing(name, place, damage, tmp_path):
    getattr(miniature_trees, name)(tmp_path)
    damage(tmp_path / place)
    missing = DATASETS[name.removesuffix('_processed')].verify(tmp_path).missing
    assert missing == (f'{place}: not a single frame',)


def listed_trial(root):
    for name, number in (('train', 12), ('test', 13)):
        text(root / f'{name}_data_new.json', json.dumps({'7': {'cloth_index': number, 'trial_index': 4, 'count': 2}}))


def listed_recording(root):
    text(root / 'processed/train_samples.json', json.dumps({'physiclear_rug': ['processed/physiclear_rug_7/']}))


@pytest.mark.parametrize('name, change, missing', [
    ('cloth', listed_trial, ('Data/12/4', 'Data/13/4')),
    ('octopi_processed', listed_recording, ('processed/physiclear_rug_7',))])
def test_a_recording_that_a_list_names_and_is_not_there_is_missing(name, change, missing, tmp_path):
    getattr(miniature_trees, name)(tmp_path)
    change(tmp_path)
    assert DATASETS[name.removesuffix('_processed')].verify(tmp_path).missing == missing


@pytest.mark.parametrize('name, notes', [
    ('octopi', ('2 objects in train, where 60 were published', '1 objects in validation, where 7 were published',
                '1 objects in test, where 7 were published', '6 videos, where 476 were published')),
    ('cloth', ('10 clothes, where 152 were published',)),
    ('feel', ('3 objects, where 106 were published',)),
    ('feel_recordings', ('2 recordings, where 38 were published', '2 objects, where 106 were published',
                         'only the objects that are there are divided: the whole archive is divided otherwise'))])
def test_a_note_says_what_was_published_in_another_number(name, notes, tmp_path):
    getattr(miniature_trees, name)(tmp_path)
    verification = DATASETS[name.removesuffix('_recordings')].verify(tmp_path)
    assert verification.missing == () and set(notes) <= set(verification.notes)


def classes_of_octopi(root):
    path = root / 'utils/constants.py'
    text(path, path.read_text().replace("TEXTURE_RANK = {'physiclear_rug': 2}", "TEXTURE_RANK = {'physiclear_rug': 3}"))


@pytest.mark.parametrize('name, change, message', [
    ('tag', lambda root: text(root / 'train.txt', '20220511_164750/0000000099.jpg,23'),
     '20220511_164750/0000000099.jpg of tag has the material 23, which is none of 0 to 19'),
    ('tag', lambda root: text(root / 'train.txt', '20220511_164750/0000000099.jpg,-2'), 'has the material -2'),
    ('tag', lambda root: text(root / 'test_rough.txt', '20220516_190814/0000000013.jpg,-1'), 'has the roughness -1'),
    ('cifar10', lambda root: (root / 'test_batch.bin').write_bytes(miniature_trees.cifar_rows([[3], [77]], 0)),
     'test_batch.bin/1 of cifar10 has the class 77, which is none of 0 to 9'),
    ('octopi', classes_of_octopi, 'physiclear_rug_0/.* of octopi has the texture 3'),
    ('objectfolder_2', lambda root: text(root / 'label.json', '{"101": 7}'), '101/0 of .* has the material 7')])
def test_a_class_without_a_name_is_one_error_that_names_its_record(name, change, message, tmp_path):
    TREES[name](tmp_path)
    change(tmp_path)
    with pytest.raises(ConfigurationError, match=message + '.*download it again'):
        DATASETS[name].verify(tmp_path)


@pytest.mark.parametrize('name', ['ssvtp', 'tacquad'])
def test_it_is_said_how_many_records_have_touch_view_and_text(name, roots, tmp_path, capsys):
    root = tmp_path / 'archive'
    shutil.copytree(roots[name], root)
    for path in root.rglob('tacquad_*.pt'):
        path.unlink()
    assert prepare.main([name, str(root), str(tmp_path / 'out'), '--limit', '4', '--workers', '1']) == 0
    records, text_records = {'ssvtp': (4, 3), 'tacquad': (78, 0)}[name]
    output, manifest = capsys.readouterr().out, PreparedDataset(tmp_path / 'out').manifest
    for modality, count in (('touch', records), ('view', records), ('text', text_records)):
        assert f'{modality:20} {count:9,} of {records} records' in output
    assert manifest['modalities'] == {'touch': 4, 'view': 4, 'text': text_records}


def overlapping_ssvtp(root):
    text(root / 'test.csv', (root / 'train.csv').read_text())
    return '10', 'train test'


def overlapping_hct(root):
    text(root / 'data1/test.csv', (root / 'data1/train.csv').read_text())
    return 'data1/0-1702507215.6/165-5.50.jpg', 'train test'


def overlapping_visgel(root):
    lists = [root / f'data_lst/{name}_vision2touch.txt' for name in ('train', 'eval')]
    text(lists[1], ''.join(path.read_text() for path in lists))
    return 'data_seen/touch/rec1/rec_001/frame0003.jpg', 'train test_seen'


def overlapping_octopi(root):
    path = root / 'utils/constants.py'
    text(path, path.read_text().replace('TEST_OBJECTS = [', "TEST_OBJECTS = ['physiclear_rug',"))
    return 'physiclear_rug_0', 'train test'


def overlapping_feel(root):
    np.save(root / 'split_3.npy', {'train': ['lemon', 'cow'], 'test': ['cow']})
    return 'cow/0/during', 'train test'


def overlapping_cloth(root):
    for name in ('train', 'test'):
        text(root / f'{name}_data_new.json', json.dumps({'7': {'cloth_index': 12, 'trial_index': 2, 'count': 2}}))
    return '12/2/1', 'train test'


@pytest.mark.parametrize('name, overlap', [
    ('ssvtp', overlapping_ssvtp), ('tvl_hct', overlapping_hct), ('visgel', overlapping_visgel),
    ('octopi', overlapping_octopi), ('feel', overlapping_feel), ('cloth', overlapping_cloth)])
def test_a_record_of_overlapping_lists_is_in_all_of_their_splits_and_a_note_says_so(name, overlap, tmp_path):
    TREES[name](tmp_path)
    record_id, splits = overlap(tmp_path)
    verification = DATASETS[name].verify(tmp_path)
    assert {record.split for record in DATASETS[name].records(tmp_path) if record.id.startswith(record_id)} == {splits}
    assert any('records of test' in note and 'are also in train' in note for note in verification.notes)


@pytest.mark.parametrize('name, folder', [('cloth', 'Data/11/10/gelsight_frame'), ('cloth', 'Data/11/2/gelsight_frame'),
                                          ('octopi_processed', 'processed/physiclear_rug_0'),
                                          ('of_real', '7/tactile_data/0/0/gelsight')])
@pytest.mark.parametrize('stray', ['Thumbs.db', 'preview.png', 'zz (1).jpg'])
def test_files_that_are_no_frames_are_none(name, folder, stray, tmp_path):
    adapter = DATASETS[name.removesuffix('_processed')]
    getattr(miniature_trees, name)(tmp_path)
    listed = list(adapter.records(tmp_path))
    text(tmp_path / folder / stray, 'no frame')
    assert adapter.verify(tmp_path).missing == ()
    assert list(adapter.records(tmp_path)) == listed


@pytest.mark.parametrize('name, file, content, message', [
    ('visgel', 'contact_visgel.csv', 'path,contact', "a row of .*contact_visgel.csv names 'path'"),
    ('visgel', 'data_lst/train_vision2touch.txt', 'a b c d.png e f g h', "line 1 of .*train_v.* names 'd.png'"),
    ('ssvtp', 'train.csv', 'url\nimages_rgb/image_2_rgb.jpg\n3', "row 3 of .*train.csv names '3'"),
    ('ssvtp', 'test.csv', 'images_rgb/image_2_rgb.jpg,"soft\nimages_rgb/image_10_rgb.jpg,hard', '.*test.csv is no CSV'),
    ('of_real', 'objectfolder_real_metadata.csv', 'I,N,M\n1,"Cup,Iron\n2,"Can",Steel', '.*metadata.csv is no CSV'),
    ('vitactip', 'labels.csv', 'touch,text\na.png,"soft', '.*labels.csv is no CSV'),
    ('tag', 'category_reference.txt', 'concrete', ".*category_reference.txt has no line like 'Concrete': 0"),
    ('feel', 'feel.csv', 'object,number,success', "row 1 of .*feel.csv has 'number'"),
    ('feel', 'feel.csv', 'lemon,0,1\nlemon,1,2', "row 2 of .*feel.csv has '1' .* '2'"),
    ('tvl_hct', 'data1/train.csv', 'v,t,b,c\nv,tactile/2-0.jpg,b,c', "entry 1 of .*train.csv names 'tactile/2-0.jpg'"),
    ('tvl_hct', 'data2/contact.json', '{"tactile": ["0-1/tactile/last.jpg"], "background": [""]}',
     "entry 1 of .*contact.json names '0-1/tactile/last.jpg'"),
    ('tvl_hct', 'data1/contact.json', '{"tactile": []}', ".*data1/contact.json is not as published .*'background'"),
    ('tvl_hct', 'data1/not_contact.json', '{"tactile": ["a"], "background": []}', '.*not_contact.json is not as publ'),
    ('cloth', 'cloth_metadata.json', '{"11": [1, 2]}', '.*metadata.json is not as published .*cloth 11 has not 11'),
    ('cloth', 'cloth_metadata.json', '[]', '.*cloth_metadata.json is not as published'),
    ('octopi_processed', 'processed/train_samples.json', '{"rug": 3}', '.*train_samples.json is not as published'),
    ('objectfolder_1', 'split.json', '{"train": [["1"]]}', '.*split.json is not as published'),
    ('objectfolder_2', 'label.json', '{"101": "wood"}', ".*label.json is not as published .*'wood'"),
    ('objectfolder_2', 'label.json', '{', '.*label.json cannot be read')])
def test_a_list_with_a_wrong_row_is_one_error_that_names_it(name, file, content, message, tmp_path):
    getattr(miniature_trees, name)(tmp_path)
    text(tmp_path / file, content)
    with pytest.raises(ConfigurationError, match=message + '.*ownload it again'):
        DATASETS[name.removesuffix('_processed')].verify(tmp_path)


def test_the_terminal_says_what_leaks(roots, capsys):
    assert prepare.main(['tag', str(roots['tag']), '--verify-only']) == 0
    assert 'note: 1 of 2 objects of test are also in train' in capsys.readouterr().out
