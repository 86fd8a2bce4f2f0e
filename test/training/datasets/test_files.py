"""Helpers of the adapters: order, splits by object, videos, stored images."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniature_trees import video

from training.datasets.published import videos
from training.datasets.published.files import natural_order, split_by_object
from training.datasets.published.interface import Tally
from training.datasets.published.videos import VideoReader, frame_count
from training.datasets.record import LONGEST_SIDE_PX, decode_image, stored_image
from visuotactile_ros.errors import SensorError

SHARES = {'train': 0.6, 'validation': 0.2, 'test': 0.2}


def test_numbers_are_ordered_as_numbers():
    names = ['10.png', 'frame_2', '9.png', 'frame_10', 'a', '', '2a10', '2a9']
    assert sorted(names, key=natural_order) == ['', '2a9', '2a10', '9.png', '10.png', 'a', 'frame_2', 'frame_10']


@given(st.lists(st.text(min_size=1, max_size=5), max_size=40))
def test_a_split_covers_every_object_once_whatever_its_order(objects):
    splits = split_by_object('set', objects, SHARES)
    assert splits == split_by_object('set', reversed(objects * 2), SHARES) and splits.keys() == set(objects)
    counts = [list(splits.values()).count(split) for split in SHARES]
    assert all(abs(count - share * len(splits)) <= 1 for count, share in zip(counts, SHARES.values()))


def test_the_split_of_an_object_is_fixed_for_ever():
    assert split_by_object('set', 'abcde', SHARES) == {
        'a': 'train', 'c': 'train', 'e': 'train', 'd': 'validation', 'b': 'test'}
    names = [str(number) for number in range(100)]
    assert split_by_object('set', names, SHARES) != split_by_object('other', names, SHARES)


def test_leakage_counts_objects_and_records_but_not_between_lists_of_one_stage():
    tally = Tally()
    for split, name in (('train', 'a'), ('train test_rough', 'b'), ('train_rough', 'a'), ('test', 'c'),
                        ('validation', 'b'), ('unlisted', 'c'), ('test', '')):
        tally.add(split, 'digit', name, {})
    assert tally.leakage() == [
        '1 of 1 objects of validation are also in train', '1 of 1 objects of test_rough are also in train',
        '1 of 1 records of test_rough are also in train', '1 of 1 objects of test_rough are also in validation']


def test_frames_of_videos_by_number_in_any_order(tmp_path):
    for name in 'abcdef':
        video(tmp_path / f'{name}.mp4', 8)
    reader = VideoReader()
    for name, index in [('a', 0), ('b', 5), ('a', 1), ('a', 6), ('b', 2), *((name, 3) for name in 'abcdef'), ('a', 4)]:
        assert abs(reader.read(tmp_path / f'{name}.mp4', index).mean() - 10 * index) < 5
    assert frame_count(tmp_path / 'a.mp4') == 8 and frame_count(tmp_path / 'z.mp4') == 0


def test_a_reference_that_many_frames_share_is_decoded_once(tmp_path, monkeypatch):
    video(tmp_path / 'a.mp4', 16)
    decoded = []

    class Capture:
        def __init__(self, path):
            self._capture = original(path)

        def grab(self):
            decoded.append('grab')
            return self._capture.grab()

        def read(self):
            decoded.append('read')
            return self._capture.read()

    original = cv2.VideoCapture
    monkeypatch.setattr(videos.cv2, 'VideoCapture', Capture)
    reader = VideoReader()
    for index in range(1, 16):
        for frame in (index, 0):
            assert abs(reader.read(tmp_path / 'a.mp4', frame).mean() - 10 * frame) < 5
    assert len(decoded) <= 16 + 2, 'every frame once, and the first two again'


@pytest.mark.parametrize('name', ['a.mp4', 'z.mp4'])
def test_a_frame_that_is_not_there_is_named(tmp_path, name):
    video(tmp_path / 'a.mp4', 3)
    with pytest.raises(SensorError, match=f'{name} has no frame 3'):
        VideoReader().read(tmp_path / name, 3)


@given(st.integers(1, 700), st.integers(1, 700))
def test_stored_images_fit_and_keep_their_shape(width, height):
    stored = decode_image(stored_image(np.full((height, width, 3), (10, 120, 240), np.uint8)))
    longest = max(width, height)
    if longest <= LONGEST_SIDE_PX:
        assert stored.shape == (height, width, 3) and (stored == (10, 120, 240)).all(), 'nothing is lost'
    else:
        assert max(stored.shape) == LONGEST_SIDE_PX
        assert abs(stored.shape[0] - height * LONGEST_SIDE_PX / longest) <= 1 and min(stored.shape) >= 1
        assert np.abs(stored.astype(int) - (10, 120, 240)).max() <= 4


def test_texture_does_not_alias_when_it_shrinks():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode_image(stored_image(stripes)).astype(int) - 127).max() <= 3


@pytest.mark.parametrize('content', [b'', b'no image', stored_image(np.random.default_rng(0).integers(
    0, 255, (64, 64, 3), np.uint8))[:4000]])
def test_damaged_images_are_refused(content):
    for use in (stored_image, decode_image):
        with pytest.raises(SensorError, match='not a readable image'):
            use(content)
