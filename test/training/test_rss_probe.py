"""Linear probes against a slow oracle, and the two protocols on cases that can be checked by hand."""

import math

import numpy as np
import pytest
import torch

from training.evaluation.rss.benchmark import Task
from training.evaluation.rss.probe import HONEST, PAPERS, Labelled, predict, probe_task
from training.evaluation.rss.recipe import RssRecipe
from visuotactile_ros.errors import ConfigurationError

RECIPE = RssRecipe(probe_epochs=4, probe_batch_size=8)


def task(classes: int = 3) -> Task:
    return Task('material', ('digit',), 'material', tuple('abc'[:classes]), 1e-3, 0.05, '')


def clusters(count: int, seed: int, classes: int = 3, noise: float = 0.3) -> Labelled:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    features = np.eye(classes, 6)[labels] + rng.normal(0.0, noise, (count, 6))
    return Labelled((features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), labels,
                    np.arange(count))


@pytest.mark.parametrize('classes', [2, 3])
def test_a_head_is_what_adamw_and_a_cosine_make_of_it(classes):
    part, asked = clusters(20, 0, classes), torch.from_numpy(clusters(9, 1, classes).features)
    features, targets, decay, rate = torch.from_numpy(part.features), torch.from_numpy(part.labels), 0.05, 0.02
    found = predict(features, part.labels, asked, (rate,), classes, decay, RECIPE, 3)
    generator, outputs = torch.Generator().manual_seed(3), 1 if classes == 2 else classes
    weight = torch.nn.init.trunc_normal_(torch.empty(outputs, 6), std=0.01, generator=generator)
    bias, step, moments = torch.zeros(outputs), 0, {'weight': (0, 0), 'bias': (0, 0)}
    steps = 4 * 3
    for epoch in range(4):
        for rows in torch.randperm(20, generator=generator).split(8):
            scores = features[rows] @ weight.T + bias
            wanted = torch.eye(classes)[targets[rows]] if outputs > 1 else targets[rows, None].float()
            error = (scores.softmax(1) if outputs > 1 else scores.sigmoid()) - wanted
            gradients = {'weight': error.T @ features[rows] / len(rows), 'bias': error.mean(dim=0)}
            now = rate * (1 + math.cos(math.pi * step / steps)) / 2
            step += 1
            weight = weight - now * decay * weight
            updates = {}
            for name, gradient in gradients.items():
                first, second = (0.9 * moments[name][0] + 0.1 * gradient,
                                 0.99 * moments[name][1] + 0.01 * gradient ** 2)
                moments[name] = first, second
                updates[name] = now * (first / (1 - 0.9 ** step)) / ((second / (1 - 0.99 ** step)) ** 0.5 + 1e-8)
            weight, bias = weight - updates['weight'], bias - updates['bias']
        scores = asked @ weight.T + bias
        expected = scores.argmax(1) if outputs > 1 else (scores[:, 0] > 0).long()
        np.testing.assert_array_equal(found[epoch, 0], expected.numpy())


def test_heads_read_the_features_at_the_scale_that_methods_give_them(monkeypatch):
    read = []

    def recorded(features, labels, asked, *settings):
        read.append((features, asked))
        return predict(features, labels, asked, *settings)

    monkeypatch.setattr('training.evaluation.rss.probe.predict', recorded)
    fit, validation, test = (clusters(count, seed) for seed, count in enumerate((20, 10, 9)))
    probe_task(task(), {'fit': fit, 'validation': validation, 'test': test}, RECIPE, 0)
    both = np.concatenate([fit.features, validation.features])
    unseen = np.concatenate([validation.features, test.features])
    for (features, asked), expected in zip(read, ((both, test.features), (fit.features, unseen)), strict=True):
        np.testing.assert_array_equal(features, expected[0])
        np.testing.assert_array_equal(asked, expected[1])


def test_heads_of_several_rates_do_not_disturb_each_other():
    part, asked = clusters(40, 0), torch.from_numpy(clusters(30, 1).features)
    features = torch.from_numpy(part.features)
    both = predict(features, part.labels, asked, (0.0, 0.05), 3, 0.0, RECIPE, 3)
    assert len({tuple(row) for row in both[:, 0]}) == 1, 'a rate of zero learns nothing'
    assert not (both[-1, 0] == both[-1, 1]).all()


def test_protocols_find_what_a_line_separates_and_count_by_object():
    parts = {'fit': clusters(120, 0), 'validation': clusters(60, 1), 'test': clusters(60, 2)}
    parts['test'] = Labelled(parts['test'].features, parts['test'].labels, np.arange(60) // 4)
    found = probe_task(task(), parts, RssRecipe(probe_epochs=20, probe_batch_size=16), 0)
    assert found['count'] == [4] * 15 and found['fit_samples'] == 120
    for protocol in (HONEST, PAPERS):
        assert sum(found['protocols'][protocol]['correct']) > 54
        assert all(0 <= correct <= 4 for correct in found['protocols'][protocol]['correct'])


def test_the_honest_protocol_chooses_its_rate_on_the_validation_samples_alone(monkeypatch):
    predictions = np.zeros((2, 3, 6), int)
    predictions[-1, 1, :3] = 1                       # rate 1 is right about all validation samples,
    predictions[-1, 2, 3:] = 1                       # rate 2 about all tests,
    predictions[0, 0] = 1                            # and the first epoch of rate 0 about everything.
    papers = np.array([[[1, 0, 0]], [[1, 1, 0]]])    # the second epoch is the best on the test
    monkeypatch.setattr('training.evaluation.rss.probe.predict',
                        lambda x, y, asked, rates, *_: papers if len(rates) == 1 else predictions)
    parts = {part: Labelled(np.zeros((3, 2), np.float32), np.ones(3, int), np.arange(3))
             for part in ('fit', 'validation', 'test')}
    found = probe_task(task(2), parts, RssRecipe(), 0)['protocols']
    assert found[HONEST] == {'correct': [0, 0, 0], 'learning_rate': RssRecipe().probe_learning_rates[1],
                             'validation_accuracy': 1.0}
    assert found[PAPERS] == {'correct': [1, 1, 0], 'epoch': 2}


def test_a_part_without_samples_is_named():
    parts = {'fit': clusters(8, 0), 'validation': clusters(0, 0), 'test': clusters(8, 0)}
    with pytest.raises(ConfigurationError, match='material has no samples for validation'):
        probe_task(task(), parts, RECIPE, 0)


def test_own_settings_of_a_method_come_after_the_common_ones():
    recipe = RssRecipe(steps=50, method_settings=('tlv_link.learning_rate=0.5', 'tlv_core.bridging=false'))
    assert recipe.settings_of('tlv_link')['learning_rate'] == 0.5 and recipe.settings_of('tlv_link')['steps'] == 50
    assert recipe.settings_of('tlv_core')['bridging'] is False
    assert 'bridging' not in recipe.settings_of('vit_lens_2')


@pytest.mark.parametrize('settings', [
    {'method_settings': ('tlv_link',)}, {'method_settings': ('tlv_links.steps=3',)}, {'methods': ()},
    {'batch_sizes': (8, 8)}, {'probe_learning_rates': ()}])
def test_a_recipe_that_cannot_be_meant_is_refused(settings):
    with pytest.raises(ConfigurationError, match='Name at least one|Write for example tlv_core'):
        RssRecipe(**settings)
