"""Objects: regions of the parameter space, labels and captions agree with the one record."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.simulation.objects import (
    HELD_OUT_SHAPE,
    MATERIAL_TRAITS,
    MATERIALS,
    SHAPES,
    ObjectParameters,
    caption_of,
    is_held_out,
    labels_of,
    sample_object,
)
from visuotactile_ros.simulation.textures import TEXTURE_KINDS, sample_texture, texture_tile

SEEDS = st.integers(0, 2 ** 32 - 1)


@given(SEEDS)
def test_training_never_enters_the_held_out_regions(seed):
    assert not is_held_out(sample_object(np.random.default_rng(seed), 'train'))


@given(SEEDS)
def test_held_out_objects_always_lie_in_the_held_out_regions(seed):
    assert is_held_out(sample_object(np.random.default_rng(seed), 'held_out'))


def test_both_regions_reach_every_material_and_both_kinds_of_region():
    rng = np.random.default_rng(0)
    train = [sample_object(rng) for _ in range(600)]
    held_out = [sample_object(rng, 'held_out') for _ in range(600)]
    assert {obj.material for obj in train} == {obj.material for obj in held_out} == set(MATERIALS)
    assert {obj.shape for obj in train} == set(SHAPES)
    by_shape = [obj.shape == HELD_OUT_SHAPE[obj.material] for obj in held_out]
    assert 0.35 < np.mean(by_shape) < 0.65
    assert {labels_of(obj).hardness for obj in train} == {labels_of(obj).roughness for obj in train} == {0, 1}


@given(SEEDS, st.sampled_from(['train', 'held_out']))
def test_an_object_is_plausible_for_its_material(seed, region):
    obj = sample_object(np.random.default_rng(seed), region)
    traits = MATERIAL_TRAITS[obj.material]
    shortest, longest = traits.wavelength_mm
    assert shortest * 0.999 <= obj.texture_wavelength_mm <= longest * 1.001
    stiffnesses = (traits.soft_mpa, traits.hard_mpa)
    assert any(low * 0.999 <= obj.youngs_modulus_mpa <= high * 1.001 for low, high in stiffnesses)
    assert all(0 < part < 1 for part in obj.albedo_rgb)
    assert obj == sample_object(np.random.default_rng(seed), region)


def test_an_unknown_region_is_refused():
    with pytest.raises(ConfigurationError, match='train or held_out'):
        sample_object(np.random.default_rng(0), 'test')


def test_labels_follow_the_parameters():
    rubber = ObjectParameters(material='rubber', youngs_modulus_mpa=0.5, texture_amplitude_mm=0.05)
    assert MATERIALS[labels_of(rubber).material] == 'rubber'
    assert (labels_of(rubber).hardness, labels_of(rubber).roughness) == (0, 1)
    polished = dataclasses.replace(rubber, youngs_modulus_mpa=50.0, texture_amplitude_mm=0.0)
    assert (labels_of(polished).hardness, labels_of(polished).roughness) == (1, 0)


@given(SEEDS)
def test_a_caption_names_what_the_labels_say(seed):
    rng = np.random.default_rng(seed)
    obj = sample_object(rng)
    caption, labels = caption_of(obj, rng).lower(), labels_of(obj)
    words = set(caption.replace(',', ' ').replace('.', ' ').replace(';', ' ').replace(':', ' ').split())
    soft, hard = {'soft', 'yielding', 'compliant'}, {'hard', 'rigid', 'firm'}
    smooth, rough = {'smooth', 'even'}, {'rough', 'uneven'}
    assert obj.material in words
    assert words & (hard if labels.hardness else soft) and not words & (soft if labels.hardness else hard)
    assert words & (rough if labels.roughness else smooth) and not words & (smooth if labels.roughness else rough)


@pytest.mark.parametrize('kind', TEXTURE_KINDS)
def test_a_texture_repeats_without_a_seam_and_stays_in_range(kind):
    tile = texture_tile(kind, 0.5, 1)
    assert tile.dtype == np.float32 and np.abs(tile).max() <= 1.0 and abs(float(tile.mean())) < 0.2
    inside = np.abs(np.diff(tile, axis=0)).mean(), np.abs(np.diff(tile, axis=1)).mean()
    seam = np.abs(tile[0] - tile[-1]).mean(), np.abs(tile[:, 0] - tile[:, -1]).mean()
    assert seam[0] < 3 * inside[0] + 0.02 and seam[1] < 3 * inside[1] + 0.02


def test_anisotropy_makes_lines_along_x():
    tile = texture_tile('brushed', 0.95, 2)
    assert np.abs(np.diff(tile, axis=0)).mean() > 5 * np.abs(np.diff(tile, axis=1)).mean()


def test_detail_finer_than_the_pitch_is_averaged_away():
    x, y = np.meshgrid(np.arange(64, dtype=np.float32), np.arange(64, dtype=np.float32))
    fine = sample_texture('fractal', 0.0, 3, 1.0, 0.05 * x, 0.05 * y, 0.05)
    coarse = sample_texture('fractal', 0.0, 3, 1.0, 2.0 * x, 2.0 * y, 2.0)
    assert coarse.std() < 0.5 * fine.std()
