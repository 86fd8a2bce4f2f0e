"""Intervals over seeds and tested objects: against exact variances, and alike for all methods."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.rss.recipe import RssRecipe
from training.evaluation.rss.statistics import Accuracies, average, difference

TESTS = {'material': 'digit', 'roughness': 'digit'}


def results(correct: np.ndarray, count: int = 1) -> dict:
    """What was found: correct [seeds, objects] of `count` samples an object, the same for both tasks."""
    found = {'count': [count] * correct.shape[1]}
    return {seed: {task: found | {'protocols': {'honest': {'correct': row.tolist()}}} for task in TESTS}
            for seed, row in enumerate(correct)}


def accuracies(correct: np.ndarray, name: str = 'a', count: int = 1) -> Accuracies:
    return Accuracies(results(correct, count), 'honest', name, TESTS)


def test_mean_and_interval_of_one_seed_are_those_of_its_objects():
    correct = np.arange(400) % 4 < 3
    found = accuracies(correct[None].astype(int))
    summary, deviation = found.summary(), np.sqrt(0.75 * 0.25 / 400)
    assert summary['mean'] == 0.75 and summary['seeds'] == [0]
    assert summary['ci95'] == pytest.approx([0.75 - 1.96 * deviation, 0.75 + 1.96 * deviation], abs=0.008)
    assert summary['per_task']['material'] == {'mean': 0.75, 'ci95': summary['ci95'], 'seeds': [0.75]}


def test_seeds_widen_the_interval_by_the_variance_of_their_mean():
    # Objects are all alike within a seed: only the seeds vary.
    shares = np.array([20, 30, 35, 55])
    found = accuracies(np.repeat(shares[:, None], 50, axis=1), count=100)
    assert found.draws[0].var() == pytest.approx((shares / 100).var(ddof=1) / 4, rel=0.15)
    assert found.summary()['mean'] == 0.35


def test_samples_of_one_object_are_drawn_together():
    alike = accuracies(np.array([[10, 0] * 10]), count=10)
    apart = accuracies((np.arange(200) % 2)[None])
    assert alike.draws.std() > 2 * apart.draws.std()


def test_a_difference_is_one_of_pairs():
    rng = np.random.default_rng(0)
    easy = rng.random(300) < 0.5
    better = (easy | (rng.random(300) < 0.1)).astype(int)
    first, second = accuracies(better[None], 'better'), accuracies(easy[None].astype(int), 'worse')
    found = difference([first], [second])
    assert found['mean'] == pytest.approx(better.mean() - easy.mean(), abs=1e-4)
    assert 0 < found['ci95'][0] < found['mean'] < found['ci95'][1]
    assert first.summary()['ci95'][0] < second.summary()['ci95'][1], 'apart, their intervals overlap'
    assert difference([first], [first]) == {'mean': 0.0, 'ci95': [0.0, 0.0]}


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 2 ** 31))
def test_the_interval_lies_between_nothing_and_everything(seeds, objects, seed):
    correct = np.random.default_rng(seed).integers(0, 2, (seeds, objects))
    summary = accuracies(correct).summary()
    low, high = summary['ci95']
    assert 0 <= low <= high <= 1 and summary['mean'] == pytest.approx(correct.mean(), abs=1e-4)


def test_an_average_counts_groups_alike_and_a_task_where_it_is():
    first = accuracies(np.ones((2, 10), int))
    second = Accuracies({seed: {'shape': found['material']} for seed, found in
                         results(np.zeros((2, 30), int)).items()}, 'honest', 'b', {'shape': 'view'})
    found = average([first, second])
    assert found['mean'] == 0.5 and found['ci95'] == [0.5, 0.5]
    assert {task: values['mean'] for task, values in found['per_task'].items()} == {
        'material': 1.0, 'roughness': 1.0, 'shape': 0.0}


@given(st.sampled_from([16, 32, 64, 128]), st.sampled_from([0.25, 0.5, 1.0]))
def test_every_batch_size_sees_as_many_samples(size, share):
    recipe = RssRecipe(steps=400, batch_size=64, warmup_steps=40)
    changes = recipe.shortened('tlv_core', size, share)
    assert changes['steps'] * size == share * 400 * 64 and changes['warmup_steps'] == changes['steps'] // 10
    assert size != 64 or share != 1 or changes == {'batch_size': 64, 'steps': 400, 'warmup_steps': 40}, 'the same cell'
