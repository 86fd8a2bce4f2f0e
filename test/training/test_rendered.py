"""Rendered triplets: reproducible, labelled by the record that drew them, split by region and sensor kind."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from training.datasets import rendered
from training.datasets.rendered import SPLITS, RenderedData, RenderedTriplets, render_data
from training.datasets.sampled_contacts import (
    FRAMES_PER_GRIP,
    MATERIALS_HELD_OUT_IN_VAIN,
    NOT_A_GRASP,
    contact_values,
    motion_values,
    sample_grip,
    sample_press,
)
from training.recipe import TlvCoreRecipe
from training.tokenizer import Tokenizer
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.objects import MATERIALS, is_held_out
from visuotactile_ros.simulation.world import PouringWorld

RECIPE = TlvCoreRecipe(train_samples=12, validation_samples=6, held_out_samples=16, unseen_sensor_samples=4,
                       image_size_px=32, grip_share=0.5)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return render_data(dataclasses.replace(RECIPE, data=str(tmp_path_factory.mktemp('rendered'))))


def samples(data, split: str) -> RenderedTriplets:
    return data.triplets(split, Tokenizer([]), 12)


def test_batch_has_the_shapes_it_promises(data):
    train = samples(data, 'train')
    batch = train.batch(np.arange(12))
    grips = int(batch['in_grip'].sum())
    assert 0 < grips < 12
    assert batch['touch'].shape == batch['view'].shape == (12, 1, 32, 32, 3)
    assert batch['grip'].shape == (grips, FRAMES_PER_GRIP, 1, 32, 32, 3)
    assert batch['motion'].shape == (grips, FRAMES_PER_GRIP, 3)
    assert batch['contact'].shape == (12, 4)
    assert (batch['grasp_success'][batch['in_grip']] == NOT_A_GRASP).all()
    assert batch['touch'].float().std() > 5, 'a frame shows something'


def test_rows_of_a_batch_belong_together(data):
    train = samples(data, 'train')
    whole, order = train.batch(np.arange(12)), np.array([7, 2, 9])
    part = train.batch(order)
    for name in ('touch', 'view', 'tokens', 'material', 'contact', 'in_grip'):
        assert (part[name] == whole[name][order]).all(), name
    grip_of = {int(row): place for place, row in enumerate(np.flatnonzero(whole['in_grip'].numpy()))}
    expected = [grip_of[int(row)] for row in order if int(row) in grip_of]
    assert (part['grip'] == whole['grip'][expected]).all() and (part['motion'] == whole['motion'][expected]).all()


def test_only_known_kinds_outside_the_split_of_the_unseen_one(data):
    assert set(samples(data, 'held_out').labels['sensor_id'].tolist()) == {0, 1, 2, 3}
    assert set(samples(data, 'unseen_sensor').labels['sensor_id'].tolist()) == {0}
    held_out = samples(data, 'held_out')
    assert not held_out.batch(np.arange(len(held_out)))['in_grip'].any()


def test_held_out_samples_are_of_regions_that_no_grip_enters(data):
    everything, evaluated = RenderedTriplets(data.split('held_out'), Tokenizer([]), 12), samples(data, 'held_out')
    left_out = [MATERIALS.index(material) for material in MATERIALS_HELD_OUT_IN_VAIN]
    kept = np.flatnonzero(~np.isin(everything.labels['material'], left_out))
    assert 0 < len(evaluated) == len(kept) < len(everything) == 16
    batch, expected = evaluated.batch(np.arange(len(kept))), everything.batch(kept)
    for name, values in expected.items():
        assert (batch[name] == values).all(), name
    assert len(samples(data, 'train')) == 12


def test_rendering_again_gives_the_same_bytes(data, tmp_path):
    again = render_data(dataclasses.replace(RECIPE, data=str(tmp_path / 'again')))
    for name in ('touch.npy', 'view.npy', 'grip.npy', 'captions.json'):
        assert (again.split('validation') / name).read_bytes() == (data.split('validation') / name).read_bytes(), name


def test_an_interrupted_rendering_keeps_the_splits_that_are_whole(data, tmp_path, monkeypatch):
    recipe, render_split, begun = dataclasses.replace(RECIPE, data=str(tmp_path)), rendered._render_split, []

    def interrupted(recipe, split, *rest):
        begun.append(split)
        if begun.count('held_out') == 1 and split == 'held_out':
            raise KeyboardInterrupt
        render_split(recipe, split, *rest)

    monkeypatch.setattr(rendered, '_render_split', interrupted)
    with pytest.raises(KeyboardInterrupt):
        render_data(recipe)
    with pytest.raises(ConfigurationError, match='data of another recipe'):
        render_data(dataclasses.replace(recipe, seed=1))
    again = render_data(recipe)
    assert begun == ['train', 'validation', 'held_out', 'held_out', 'unseen_sensor']
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ['settings.json']
    assert all(again.digest(split) == data.digest(split) for split in SPLITS)


def test_a_digest_tells_pictures_and_captions_apart(data, tmp_path):
    digests = {data.digest('validation')}
    for name in ('touch.npy', 'captions.json'):
        folder = tmp_path / name
        shutil.copytree(data.split('validation'), folder / 'validation', ignore=shutil.ignore_patterns('sha256'))
        content = bytearray((folder / 'validation' / name).read_bytes())
        content[-3] ^= 1
        (folder / 'validation' / name).write_bytes(content)
        digests.add(RenderedData(folder).digest('validation'))
    assert len(digests) == 3


def test_data_of_another_recipe_is_refused(data):
    with pytest.raises(ConfigurationError, match='data of another recipe'):
        render_data(dataclasses.replace(RECIPE, data=str(data.folder), train_samples=13))


def test_data_of_another_seed_is_refused_even_if_it_does_not_name_its_own(data, tmp_path):
    with pytest.raises(ConfigurationError, match='data of another recipe'):
        render_data(dataclasses.replace(RECIPE, data=str(data.folder), seed=1))
    settings = json.loads((data.folder / 'settings.json').read_text())
    assert settings.pop('seed') == 0
    (tmp_path / 'settings.json').write_text(json.dumps(settings))
    old = dataclasses.replace(RECIPE, data=str(tmp_path))
    for seed in (0, 3):
        assert render_data(dataclasses.replace(old, seed=seed), unrecorded_seed=seed).folder == tmp_path
    with pytest.raises(ConfigurationError, match='data of another recipe'):
        render_data(dataclasses.replace(old, seed=1))


@pytest.mark.parametrize('region', ['train', 'held_out'])
def test_presses_stay_in_their_region(region):
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        contact, outcome = sample_press(rng, region)
        assert is_held_out(contact.object) == (region == 'held_out')
        outcomes.add(outcome)
    assert outcomes == {NOT_A_GRASP, 0, 1}


def test_no_vessel_in_a_grip_is_of_a_region_that_is_evaluated_as_held_out():
    vessels = [PouringWorld(seed).vessel for seed in range(2000)]
    vessels += [sample_grip(np.random.default_rng(seed)).moments[0].object for seed in range(300)]
    entered = {vessel.material for vessel in vessels if is_held_out(vessel)}
    assert entered == set(MATERIALS_HELD_OUT_IN_VAIN), 'what is left out must be, and nothing else'


def test_moments_of_a_grip_differ_in_load_only():
    grip = sample_grip(np.random.default_rng(3))
    first = grip.moments[0]
    for moment in grip.moments[1:]:
        assert moment.offset_mm == first.offset_mm and moment.object == first.object
        assert moment.shear_mm != first.shear_mm and moment.twist_deg != first.twist_deg


def test_motion_is_that_of_a_rigid_turn_about_the_contact():
    contact = ContactState(5.0, (0.3, -0.1), 90.0, (2.0, 1.0))
    # The image centre lies at (-2, -1) from the contact; a clockwise quarter turn takes it to (1, -2).
    assert motion_values(contact) == pytest.approx((0.3 + 3.0, -0.1 - 1.0, 90.0))
    assert contact_values(contact) == (5.0, 0.3, -0.1, 90.0)
