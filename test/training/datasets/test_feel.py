"""The Feeling of Success: extracted images or recordings, split by object."""

import h5py
import numpy as np
import pytest
from miniature_trees import feel, feel_recordings

from training.datasets.prepared import PreparedDataset
from training.datasets.published import DATASETS
from training.datasets.published.interface import PUBLISHED_LISTS
from training.datasets.record import decode_image
from training.prepare import main
from visuotactile_ros.errors import ConfigurationError

FEEL = DATASETS['feel']


def records(root):
    return {record.id: record for record in FEEL.records(root)}


def test_three_moments_a_grasp_with_both_fingers_and_the_published_split(tmp_path):
    feel(tmp_path)
    found = records(tmp_path)
    assert list(found)[:3] == ['3d_printed_cup/0/before', '3d_printed_cup/0/during', '3d_printed_cup/0/after']
    during = found['lemon/1/during']
    assert during.touch == tmp_path / 'lemon/touch_during/1_A.png'
    assert during.touch_second == tmp_path / 'lemon/touch_during/1_B.png'
    assert during.view == tmp_path / 'lemon/vision_during/1.png'
    assert during.reference == tmp_path / 'lemon/touch_before/1_A.png'
    assert found['lemon/1/before'].reference is None
    assert during.labels == {'grasp_success': 0, 'moment': 1} and found['lemon/0/after'].labels['grasp_success'] == 1
    assert {record.object: record.split for record in found.values()} == {
        'lemon': 'train', '3d_printed_cup': 'train', 'cow': 'test'}
    assert FEEL.split_rule(tmp_path) == PUBLISHED_LISTS


def test_without_the_published_split_objects_are_divided(tmp_path):
    feel(tmp_path)
    (tmp_path / 'split_3.npy').unlink()
    FEEL.verify(tmp_path)
    assert 'by object' in FEEL.split_rule(tmp_path)
    assert {record.split for record in records(tmp_path).values()} == {'train', 'test'}


def test_of_several_splits_none_is_taken(tmp_path):
    feel(tmp_path)
    np.save(tmp_path / 'split_1.npy', {'train': ['cow'], 'test': ['lemon']})
    with pytest.raises(ConfigurationError, match='has the splits split_1.npy, split_3.npy. Leave there the one'):
        FEEL.verify(tmp_path)


def test_recordings_are_read_as_deepdish_wrote_them(tmp_path):
    feel_recordings(tmp_path / 'source')
    assert main(['feel', str(tmp_path / 'source'), str(tmp_path / 'out')]) == 0
    data = PreparedDataset(tmp_path / 'out')
    assert sorted(set(data.names('clip'))) == ['cow/0', 'lemon/0', 'lemon/1'], 'grasps are counted over all files'
    cow = data[data.index_of('cow/0/during')]
    assert decode_image(cow.touch)[0, 0].tolist() == [51, 51, 51] and cow.labels['grasp_success'] == 0
    after = data[data.index_of('lemon/0/after')]
    assert after.touch_second == after.touch, 'a link to an equal array'
    assert decode_image(after.reference).max() == 0
    assert [data[i].clip for i in data.select(moment=1)] == ['cow/0', 'lemon/0', 'lemon/1']


def test_a_damaged_recording_is_one_error(tmp_path):
    (tmp_path / 'calandra_corl2017_000.h5').write_bytes(b'no recording')
    with pytest.raises(ConfigurationError, match='000.h5 is no recording of grasps'):
        FEEL.verify(tmp_path)


def test_a_missing_array_is_named(tmp_path, capsys):
    feel_recordings(tmp_path / 'source')
    with h5py.File(tmp_path / 'source/calandra_corl2017_000.h5', 'a') as file:
        del file['data/i1/kinectA_rgb_after']
    assert main(['feel', str(tmp_path / 'source'), str(tmp_path / 'out')]) == 1
    assert 'has no image data/i1/kinectA_rgb_after' in capsys.readouterr().err
    assert main(['feel', str(tmp_path / 'source'), str(tmp_path / 'other'), '--skip-unreadable']) == 0
    data = PreparedDataset(tmp_path / 'other')
    assert data.manifest['left_out'] == ['cow/0/after'] and len(data) == 8
    assert np.array_equal(np.unique(data.label('moment')), [0, 1, 2])
