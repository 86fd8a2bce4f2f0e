"""VisGel, active clothing and YCB-Slide: recordings frame by frame."""

import json

import pytest
from miniature_trees import cloth, picture, text, visgel, ycb_slide

from training.datasets.published import DATASETS
from training.datasets.published.interface import PUBLISHED_LISTS
from training.datasets.record import UNLISTED, VideoFrame
from visuotactile_ros.errors import ConfigurationError


def records(name, root):
    return {record.id: record for record in DATASETS[name].records(root)}


def test_visgel_rows_name_reference_view_and_touch(tmp_path):
    visgel(tmp_path)
    found = records('visgel', tmp_path)
    assert {name: record.split for name, record in found.items()} == {
        'data_seen/touch/rec1/rec_001/frame0003.jpg': 'train', 'data_seen/touch/rec1/rec_001/frame0004.jpg': 'train',
        'data_seen/touch/rec2/rec_004/frame0010.jpg': 'train',
        'data_seen/touch/rec3/rec_009/frame0005.jpg': 'test_seen',
        'data_unseen/touch/rec1/rec_001/frame0002.jpg': 'test_unseen'}
    record = found['data_seen/touch/rec1/rec_001/frame0004.jpg']
    assert record.view == tmp_path / 'data_seen/vision/rec1/rec_001/frame0004.jpg'
    assert record.reference == tmp_path / 'data_seen/touch/rec1/rec_001/frame0000.jpg'
    assert (record.clip, record.frame_index) == ('data_seen/touch/rec1/rec_001', 4)


def test_visgel_images_may_lie_in_one_folder_with_a_list_of_contacts(tmp_path):
    for kind in ('touch', 'vision'):
        for number in (0, 3, 4, 5):
            picture(tmp_path / f'images/{kind}/rec1/rec_001/frame{number:04d}.jpg')
    row = ' '.join(f'/nobackup/visgel/{kind}/rec1/rec_001/frame{number:04d}.jpg' for kind, number in (
        ('vision', 0), ('touch', 0), ('vision', 3), ('touch', 3), *[('vision', 3)] * 4))
    text(tmp_path / 'data_lst/train_vision2touch.txt', row)
    text(tmp_path / 'data_lst/eval_vision2touch.txt', row.replace('frame0003', 'frame0004'))
    text(tmp_path / 'contact_visgel.csv', 'rec1/rec_001/frame0003.jpg\nrec1/rec_001/frame0005.jpg')
    assert DATASETS['visgel'].verify(tmp_path).missing == ()
    assert [(record.frame_index, record.split, record.labels['contact'])
            for record in records('visgel', tmp_path).values()] == [
                (3, 'train', 1), (4, 'test_seen', 0), (5, UNLISTED, 1)]


def test_a_visgel_row_of_another_length_is_an_error(tmp_path):
    visgel(tmp_path)
    text(tmp_path / 'data_lst/eval_vision2touch.txt', 'a b c')
    with pytest.raises(ConfigurationError, match='line 1 of .* has 3 of 8 paths'):
        DATASETS['visgel'].verify(tmp_path)


def test_cloth_frames_count_from_one_in_folders_and_videos(tmp_path):
    cloth(tmp_path)
    found = records('cloth', tmp_path)
    assert found['11/10/4'].touch == tmp_path / 'Data/11/10/gelsight_frame/0004.png'
    assert found['11/2/3'].touch == VideoFrame(tmp_path / 'Data/11/2/GelSight_video.mp4', 2)
    assert found['11/2/3'].reference == VideoFrame(tmp_path / 'Data/11/2/GelSight_video.mp4', 0)
    assert found['11/2/1'].reference is None and '11/2/4' not in found
    assert found['13/2/1'].labels['textile_type'] == 13 and len(found['13/2/1'].labels) == 11
    assert 'by object' in DATASETS['cloth'].split_rule(tmp_path)


def test_cloth_trials_follow_their_lists_where_those_are_there(tmp_path):
    cloth(tmp_path)
    trial = {'status': 1, 'trial_index': 2, 'cloth_index': 12, 'count': 2}
    text(tmp_path / 'train_data_new.json', json.dumps({'2031': trial}))
    text(tmp_path / 'test_data_new.json', json.dumps({'7': {**trial, 'cloth_index': 13, 'status': -1}}))
    text(tmp_path / 'contact_yuan.csv', '12/2/gelsight_frame/0003.png')
    DATASETS['cloth'].verify(tmp_path)
    found = records('cloth', tmp_path)
    assert (found['12/2/1'].split, found['13/2/1'].split, found['14/2/1'].split) == ('train', 'test', UNLISTED)
    assert [found[f'12/2/{number}'].labels['peak'] for number in (1, 2, 3)] == [0, 1, 0]
    assert [found[f'12/2/{number}'].labels['contact'] for number in (1, 2, 3)] == [0, 0, 1]
    assert DATASETS['cloth'].split_rule(tmp_path) == PUBLISHED_LISTS


def test_ycb_slide_real_and_simulated_frames(tmp_path):
    ycb_slide(tmp_path)
    found = records('ycb_slide', tmp_path)
    assert found['real/025_mug/4/0000001'].sensor == 'digit' and found['real/025_mug/4/0000001'].frame_index == 1
    assert [name for name in found if name.startswith('sim')] == [f'sim/025_mug/0/{number}' for number in (0, 2, 10)]
    assert found['sim/025_mug/0/10'].sensor == 'tacto'
    assert found['sim/025_mug/0/10'].split == found['real/025_mug/4/0000001'].split
    assert {split: len(names) for split, names in DATASETS['ycb_slide'].verify(tmp_path).tally.objects.items()} == {
        'train': 8, 'validation': 1, 'test': 1}


def test_repacked_pickles_are_refused_with_the_remedy(tmp_path):
    ycb_slide(tmp_path)
    (tmp_path / 'real/025_mug/dataset_0.pkl').write_bytes(b'')
    with pytest.raises(ConfigurationError, match='pickles of a repacked.*Download the original frames'):
        DATASETS['ycb_slide'].verify(tmp_path)
