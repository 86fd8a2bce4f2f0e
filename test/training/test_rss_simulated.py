"""Simulated data of the RSS tables: what is trained on never enters what is tested, and columns are what they say."""

import numpy as np
import pytest
from miniature_rss import KINDS, UNSEEN_KIND, write_recipes, write_yaml

from training.datasets.sampled_contacts import sample_grip, sample_press
from training.evaluation.rss.benchmark import PARTS
from training.evaluation.rss.recipe import RssRecipe
from training.evaluation.rss.simulated import SimulatedBenchmark, rendered_presses, shape_of_caption
from training.tokenizer import Tokenizer
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.simulation.objects import caption_of, is_held_out, sample_object

WORDS = Tokenizer([])


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    return RssRecipe(**write_recipes(tmp_path_factory.mktemp('rss')))


@pytest.fixture(scope='module')
def benchmark(recipe):
    return SimulatedBenchmark(recipe)


def test_grips_are_left_out_because_their_vessels_enter_the_held_out_regions(recipe):
    rng = np.random.default_rng(0)
    assert any(is_held_out(sample_grip(rng).moments[0].object) for _ in range(40))
    assert not any(is_held_out(sample_press(rng, 'train')[0].object) for _ in range(200))
    presses = rendered_presses(recipe.rendered_by, 'train', None, WORDS, 12)
    assert len(presses) == 30, 'a fourth of the forty samples is in a grip'
    assert presses.rows.max() == 29
    assert set(presses.batch(np.arange(30))) == {'touch', 'view', 'tokens', 'lengths', 'sensor_id'}


def test_a_training_set_of_one_kind_has_its_frames_alone_under_the_id_zero(recipe, benchmark):
    everything = benchmark.samples('multi', 'train', WORDS, 12)
    digit = benchmark.samples('digit', 'train', WORDS, 12)
    assert benchmark.sensor_kinds('multi') == KINDS and benchmark.sensor_kinds('digit') == ('digit',)
    whole, part = everything.batch(np.arange(30)), digit.batch(np.arange(len(digit)))
    assert (part['sensor_id'] == 0).all() and len(digit) == 15
    for name in ('touch', 'view', 'tokens'):
        assert (part[name] == whole[name][whole['sensor_id'] == KINDS.index('digit')]).all(), name


def test_parts_of_a_probe_come_from_their_splits_and_from_one_kind(benchmark):
    sizes = {part: len(benchmark.frame_set('digit', part)) for part in PARTS}
    assert sizes == {'fit': 20, 'validation': 8, 'test': 12}
    fit = benchmark.frame_set('digit', 'fit')
    frames = fit.frames(np.arange(20), 'touch')
    assert frames.shape == (20, 1, 16, 16, 3) and (frames[:, 0, :2] == 80 * KINDS.index('digit')).all()
    brightest = fit.frames(np.arange(20), 'view').float().mean(dim=(1, 2, 3)).argmax(dim=1)
    assert (brightest.numpy() == fit.labels['material']).all()
    assert len(set(fit.groups)) == 20
    kinds = (*KINDS, UNSEEN_KIND)
    assert len({benchmark.frame_set(kind, part).fingerprint for kind in kinds for part in PARTS}) == 9


def test_objects_of_seen_regions_are_fitted_on_the_same_presses_and_tested_on_others(recipe, benchmark):
    source, = benchmark.touch_tasks[0].sources
    for part in ('fit', 'validation'):
        assert benchmark.frame_set(source, part).fingerprint == benchmark.frame_set('gelsight_mini', part).fingerprint
    seen, held_out = (benchmark.frame_set(name, 'test') for name in (source, 'gelsight_mini'))
    assert seen.sensor_kind == held_out.sensor_kind == 'gelsight_mini' and len(seen) == 12
    assert seen.fingerprint != held_out.fingerprint
    assert {task.sources for task in (*benchmark.touch_tasks[:3], *benchmark.image_tasks)} == {(source,)}
    assert all('seen_regions' not in source for task in (*benchmark.touch_tasks[3:], benchmark.aside_tasks[0])
               for source in task.sources)


def test_every_task_has_its_sources_and_the_unseen_kind_is_one_of_them(benchmark):
    tasks = {task.name: task for task in benchmark.touch_tasks}
    assert tasks['unseen_gelsight_material'].sources == (UNSEEN_KIND,)
    assert UNSEEN_KIND not in benchmark.sensor_kinds('multi')
    for task in (*benchmark.touch_tasks, *benchmark.image_tasks):
        for source in task.sources:
            labels = benchmark.frame_set(source, 'test').labels[task.label]
            assert labels.max() < len(task.classes)


@pytest.mark.parametrize('region', ['train', 'held_out'])
def test_the_shape_is_read_from_every_caption(region):
    rng = np.random.default_rng(1)
    for _ in range(400):
        pressed = sample_object(rng, region)
        assert shape_of_caption(caption_of(pressed, rng)) == pressed.shape


def test_an_unknown_training_set_is_refused(recipe):
    with pytest.raises(ConfigurationError, match="no training set 'duragel'. Choose from gelsight_mini"):
        SimulatedBenchmark(RssRecipe(rendered_by=recipe.rendered_by, training_sets=('duragel',)))


def test_tasks_without_frames_are_refused(tmp_path):
    rendering = write_yaml(tmp_path / 'r.yaml', sensor_kinds=['digit'], grip_share=0.0)
    with pytest.raises(ConfigurationError, match='has no frames of gelsight_mini'):
        SimulatedBenchmark(RssRecipe(rendered_by=str(rendering)))
