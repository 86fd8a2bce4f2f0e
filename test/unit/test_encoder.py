"""TactileEncoder on tiny true graphs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import ModelError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder, resize_for_model
from visuotactile_ros.inference.model_folder import write_model_folder


@pytest.fixture
def encoder(tiny_encoder, tmp_path):
    write_model_folder(tmp_path / 'tiny', *tiny_encoder())
    return TactileEncoder(tmp_path / 'tiny')


def a_frame(seed, shape=(6, 8, 3), kind='digit', name='left'):
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Frame(image, 1_700_000_000_000_000_000 + seed, SensorIdentity(name, kind), seed)


def test_no_frames_give_no_predictions(encoder):
    assert encoder.encode([]) == []


def test_predictions_carry_the_stamp_and_sensor_of_their_frames_in_order(encoder):
    frames = [a_frame(seed, name=name) for seed, name in enumerate(['left', 'right', 'left'])]
    predictions = encoder.encode(frames)
    assert [(p.stamp_ns, p.sensor) for p in predictions] == [(f.stamp_ns, f.sensor) for f in frames]


def test_embeddings_have_unit_length_and_heads_sum_to_one(encoder):
    for prediction in encoder.encode([a_frame(seed) for seed in range(5)]):
        assert prediction.embedding.dtype == np.float32
        assert np.linalg.norm(prediction.embedding) == pytest.approx(1.0, abs=1e-5)
        assert prediction.heads['material'].dtype == np.float32
        assert prediction.heads['material'].shape == (3,)
        assert prediction.heads['material'].sum() == pytest.approx(1.0, abs=1e-6)


def test_the_graph_sees_pixels_in_row_column_colour_order(tiny_encoder, encoder):
    _, _, golden_inputs, golden_outputs = tiny_encoder()
    kinds = ['digit', 'gelsight_mini', 'never_seen']
    frames = [Frame(image[0], 0, SensorIdentity('left', kind), 0)
              for image, kind in zip(golden_inputs['frames'], kinds, strict=True)]
    actual = np.stack([prediction.embedding for prediction in encoder.encode(frames)])
    np.testing.assert_allclose(actual, golden_outputs['embedding'], atol=1e-4)


def test_an_unknown_kind_gets_the_unknown_id_not_a_known_one(encoder):
    kinds = ['digit', 'gelsight_mini', 'never_seen', 'nor_this']
    digit, mini, unknown, another = (encoder.encode([a_frame(0, kind=kind)])[0].embedding for kind in kinds)
    np.testing.assert_array_equal(unknown, another)
    assert not np.allclose(unknown, digit) and not np.allclose(unknown, mini) and not np.allclose(mini, digit)


def test_a_batch_gives_what_its_frames_give_alone(encoder):
    frames = [a_frame(0, (240, 320, 3), 'digit'), a_frame(1, (6, 8, 3), 'gelsight_mini'), a_frame(2, (3, 5, 3), 'x')]
    for together, frame in zip(encoder.encode(frames), frames, strict=True):
        np.testing.assert_allclose(together.embedding, encoder.encode([frame])[0].embedding, atol=1e-6)


def test_a_camera_encoder_needs_no_sensor_id(tiny_encoder, tmp_path):
    write_model_folder(tmp_path / 'camera', *tiny_encoder(takes_sensor_id=False))
    encoder = TactileEncoder(tmp_path / 'camera')
    assert encoder.encode([a_frame(0, kind='wrist_camera')])[0].embedding.shape == (5,)


def test_strangeness_grows_away_from_the_statistics_of_the_kind(tiny_encoder, tmp_path):
    write_model_folder(tmp_path / 'tiny', *tiny_encoder())
    encoder = TactileEncoder(tmp_path / 'tiny')
    prediction = encoder.encode([a_frame(0)])[0]
    at_mean = dataclasses.replace(prediction, embedding=np.zeros(5, dtype=np.float32))
    assert encoder.strangeness(at_mean) == 0.0
    # One axis and all that is left alike: unit length over a standard deviation of 0.5, over a threshold of 3.
    assert encoder.strangeness(prediction) == pytest.approx(1 / 0.5 / 3, abs=1e-5)


def test_a_kind_without_statistics_has_no_strangeness(tiny_encoder, tmp_path):
    write_model_folder(tmp_path / 'tiny', *tiny_encoder())
    encoder = TactileEncoder(tmp_path / 'tiny')
    assert encoder.strangeness(encoder.encode([a_frame(0, kind='vitactip')])[0]) is None


def test_a_policy_is_not_taken_for_an_encoder(tiny_encoder, tmp_path):
    model, card, *golden = tiny_encoder()
    write_model_folder(tmp_path / 'tiny', model, dataclasses.replace(card, kind='pouring_policy'), *golden)
    with pytest.raises(ModelError, match='holds a pouring_policy, not an encoder'):
        TactileEncoder(tmp_path / 'tiny')


def test_an_embedding_that_is_not_unit_length_is_no_output(encoder, monkeypatch):
    run = encoder._model.run
    monkeypatch.setattr(encoder._model, 'run', lambda inputs: {name: 2 * out for name, out in run(inputs).items()})
    with pytest.raises(ModelError, match='embeddings of length 2 to 2, not 1'):
        encoder.encode([a_frame(0)])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20), st.integers(0, 255))
def test_resizing_keeps_dtype_layout_and_a_plain_colour(height, width, new_height, new_width, level):
    image = np.full((height, width, 3), (level, 255 - level, 7), dtype=np.uint8)
    resized = resize_for_model(image, new_height, new_width)
    assert resized.shape == (new_height, new_width, 3)
    assert resized.dtype == np.uint8 and resized.flags.c_contiguous
    assert (resized == image[0, 0]).all()


def test_shrinking_averages_every_pixel():
    checkerboard = np.indices((240, 320)).sum(axis=0) % 2 * 255
    image = np.repeat(checkerboard[..., None], 3, axis=2).astype(np.uint8)
    resized = resize_for_model(image, 60, 80)
    # A resize that skips pixels would alias the checkerboard into pure black or white.
    assert np.abs(resized.astype(int) - 127).max() <= 1
