"""PhysiCLeAR: videos or extracted frames, labels from a Python file that is never run."""

import cv2
import numpy as np
import pytest
from miniature_trees import octopi, octopi_processed, text, tokens

from training.datasets.published import DATASETS
from training.datasets.published.octopi import _most_changing
from training.datasets.record import UNLISTED, VideoFrame
from visuotactile_ros.errors import ConfigurationError

OCTOPI = DATASETS['octopi']


def by_clip(root):
    clips = {}
    for record in OCTOPI.records(root):
        clips.setdefault(record.clip, []).append(record)
    return clips


def test_splits_labels_and_captions_from_the_tables(tmp_path):
    octopi(tmp_path)
    clips = by_clip(tmp_path)
    assert {name: records[0].split for name, records in clips.items()} == {
        'physiclear_eraser_0': 'test', 'physiclear_lemon_0': 'validation', 'physiclear_pen_base_0': 'train',
        'physiclear_ripe_avocado_0': UNLISTED, 'physiclear_rug_0': 'train'}
    rug = clips['physiclear_rug_0'][0]
    assert rug.labels == {'hardness': 1, 'roughness': 2, 'texture': 2} and rug.object == 'rug'
    assert rug.text == 'The surface feels rough.'
    assert clips['physiclear_pen_base_0'][0].labels == {'hardness': 2}, 'a rank that is not there is no 0'
    assert clips['physiclear_ripe_avocado_0'][0].labels == {}
    assert OCTOPI.label_classes(tmp_path)['texture'] == ('no bumps', 'small bumps', 'big bumps')
    assert any('1 objects have no label: ripe_avocado' in note for note in OCTOPI.notes(tmp_path))


def test_a_video_with_too_few_frames_is_left_out(tmp_path):
    octopi(tmp_path)
    clips = by_clip(tmp_path)
    assert 'physiclear_rug_1' not in clips, '30 % of 10 frames are 3, fewer than 5'
    assert [len(records) for records in clips.values()] == [6] * 5
    assert isinstance(clips['physiclear_rug_0'][0].touch, VideoFrame)


def test_frames_that_change_most_are_kept(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / 'a.avi'), cv2.VideoWriter_fourcc(*'FFV1'), 30, (32, 24))
    image = np.zeros((24, 32, 3), np.uint8)
    moving = (3, 4, 9, 11, 12, 17)
    for index in range(20):
        if index in moving:
            image[index % 24, :index] = 255 - image[index % 24, :index]
        writer.write(image)
    writer.release()
    assert _most_changing(tmp_path / 'a.avi') == moving


def test_extracted_frames_with_gaps_and_the_lists_beside_them(tmp_path):
    octopi_processed(tmp_path)
    clips = by_clip(tmp_path)
    assert [record.frame_index for record in clips['physiclear_rug_0']] == [7, 8, 9, 10, 31]
    assert {name: records[0].split for name, records in clips.items()} == {
        'physiclear_eraser_0': 'test', 'physiclear_lemon_0': 'validation', 'physiclear_pen_base_0': 'train',
        'physiclear_ripe_avocado_0': UNLISTED, 'physiclear_rug_0': 'train'}
    assert OCTOPI.verify(tmp_path).missing == ()


def test_captions_published_apart(tmp_path):
    octopi_processed(tmp_path)
    text(tmp_path / 'contact_text_octopi.csv', 'processed/physiclear_rug_0/0000000008.jpg,3')
    tokens(tmp_path / 'text/octopi_3.pt', [49406, 5, 49407])
    found = {record.id: record.tokens for record in OCTOPI.records(tmp_path)}
    assert found['physiclear_rug_0/0000000008'].name == 'octopi_3.pt'
    assert found['physiclear_rug_0/0000000007'] is None


@pytest.mark.parametrize('content', ['TRAIN_OBJECTS = [', 'TRAIN_OBJECTS = []'])
def test_a_damaged_table_is_one_error(tmp_path, content):
    text(tmp_path / 'utils/constants.py', content)
    with pytest.raises(ConfigurationError, match='lacks the lists and labels'):
        OCTOPI.verify(tmp_path)
