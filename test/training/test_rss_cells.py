"""Cells: what makes one, that nothing is computed twice, that an interruption costs nothing, and tables over them."""

import dataclasses
import json
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from miniature_rss import KINDS, UNSEEN_KIND, write_recipes, write_yaml
from safetensors import safe_open

from training.base_clip import BaseClipRecipe, train_base_clip
from training.evaluation.rss import cell as cell_module
from training.evaluation.rss import tables
from training.evaluation.rss.__main__ import main
from training.evaluation.rss.cell import Laboratory
from training.evaluation.rss.convergence import GRADIENT_BATCHES, Observed, sensor_information
from training.evaluation.rss.recipe import RssRecipe
from training.evaluation.rss.simulated import SimulatedBenchmark
from training.evaluation.rss.tables import ABLATIONS
from training.interface import LossTerm
from training.objectives.methods import METHODS
from training.recipe import load_recipe, recipe_as_dict


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp('cells')
    settings = write_recipes(root) | {'methods': ['tlv_core', 'clip'], 'seeds': 1, 'training_sets': ['multi']}
    train_base_clip(load_recipe(root / 'base.yaml', BaseClipRecipe), root / 'base')
    write_yaml(root / 'rss.yaml', **settings)
    return load_recipe(root / 'rss.yaml', RssRecipe)


@pytest.fixture
def laboratory(recipe, tmp_path):
    return Laboratory(dataclasses.replace(recipe, output=str(tmp_path)), SimulatedBenchmark(recipe))


def test_a_cell_is_another_one_when_anything_that_matters_differs(laboratory, tmp_path):
    def folder(method='tlv_core', training_set='multi', seed=0, changed=laboratory, **changes):
        return changed.cell(method, training_set, seed, **changes).folder

    def with_recipe(**settings):
        return Laboratory(dataclasses.replace(laboratory.recipe, **settings), laboratory.benchmark)

    different = [folder(), folder(training_set='digit'), folder(seed=1), folder(learning_rate=0.5),
                 folder(batch_size=4), folder(bridging=False), folder('clip')]
    assert len(set(different)) == len(different)
    assert folder(changed=with_recipe(threads=2, log_every_steps=3, checkpoint_every_steps=1)) == folder()
    seeds = {laboratory.cell('tlv_core', 'multi', seed).series for seed in range(3)}
    assert len(seeds) == 1 and laboratory.cell('tlv_core', 'multi', 0, batch_size=4).series not in seeds
    assert folder('clip', 'digit', 1, batch_size=4) == folder('clip'), 'nothing of that is in a frozen CLIP'
    other = shutil.copytree(laboratory.base, tmp_path / 'base')
    assert folder(changed=with_recipe(base=str(other))) == folder(), 'only its name is another'
    (other / 'tokenizer.json').write_text((other / 'tokenizer.json').read_text() + ' ')
    assert folder(changed=with_recipe(base=str(other))) != folder(), 'captions may be read otherwise'
    assert folder(changed=with_recipe(method_settings=('tlv_core.learning_rate=0.5',))) == folder(learning_rate=0.5)


def test_what_is_there_is_never_computed_again(laboratory, monkeypatch):
    task = laboratory.benchmark.touch_tasks[0]
    first = laboratory.cell('tlv_core', 'multi', 0)
    assert first.result(task, 'touch') is None and not first.is_trained
    found = first.probe(task, 'touch')
    assert first.is_trained and sum(found['count']) == 12
    description = first.description()
    assert 0 < description['trained_parameters'] < description['parameters']
    monkeypatch.setitem(METHODS, 'tlv_core', dataclasses.replace(METHODS['tlv_core'], build=None))
    again = laboratory.cell('tlv_core', 'multi', 0)
    assert again.probe(task, 'touch') == found
    # Another label of the same frames needs no network either, and these frames were encoded once.
    other = laboratory.benchmark.touch_tasks[1]
    assert again.probe(other, 'touch')['task'] == 'gelsight_mini_roughness'
    questions = (task, 'touch'), (other, 'touch')
    costs = [again.minutes(asked) for asked in (questions[:1], questions[1:], questions)]
    assert 0 < max(costs[:2]) < costs[2] < sum(costs[:2])
    with pytest.raises(TypeError, match='not callable'):
        again.probe(task, 'vision')


def test_training_is_no_part_of_what_features_cost(laboratory, monkeypatch):
    run = cell_module.Trainer.run

    def slow_run(trainer):
        time.sleep(1.0)
        return run(trainer)

    monkeypatch.setattr(cell_module.Trainer, 'run', slow_run)
    cell = laboratory.cell('tlv_core', 'multi', 0)
    cell.probe(laboratory.benchmark.touch_tasks[0], 'touch')
    for path in cell.folder.glob('features/*.safetensors'):
        with safe_open(path, 'numpy') as file:
            assert float(file.metadata()['seconds']) < 1.0


def test_an_interrupted_training_ends_with_the_same_features(laboratory, tmp_path, monkeypatch):
    recipe = dataclasses.replace(laboratory.recipe, checkpoint_every_steps=1, validate_every_steps=1)
    cells = [Laboratory(dataclasses.replace(recipe, output=str(tmp_path / name)), laboratory.benchmark).cell(
        'tlv_core', 'multi', 0) for name in ('once', 'twice')]
    expected = cells[0].features('digit', 'test', 'touch', 'touch')

    class Interrupted(Observed):
        def loss_terms(self, encoded, batch):
            if int(batch['step'][0]) == 1:
                raise KeyboardInterrupt
            return super().loss_terms(encoded, batch)

    with monkeypatch.context() as patch:
        patch.setattr(cell_module, 'Observed', Interrupted)
        with pytest.raises(KeyboardInterrupt):
            cells[1].features('digit', 'test', 'touch', 'touch')
    assert not cells[1].is_trained and not list(cells[1].folder.glob('features/*'))
    # What changes no more than the time it takes may change.
    later = dataclasses.replace(recipe, output=str(tmp_path / 'twice'), log_every_steps=7, validate_every_steps=2)
    cells[1] = Laboratory(later, laboratory.benchmark).cell('tlv_core', 'multi', 0)
    np.testing.assert_array_equal(cells[1].features('digit', 'test', 'touch', 'touch'), expected)


def test_a_kind_that_was_not_trained_on_and_a_picture_have_the_unknown_id(laboratory):
    asked = []

    class Recorded:
        model = torch.nn.Linear(1, 1)

        def touch_features(self, frames, sensor_id):
            asked.append(set(sensor_id.tolist()))
            return torch.zeros(len(frames), 2)

    cell = laboratory.cell('tlv_core', 'digit', 0)
    cell.__dict__['_objective'] = Recorded()
    for source, picture in (('digit', 'touch'), (UNSEEN_KIND, 'touch'), ('gelsight_mini', 'touch'), ('digit', 'view')):
        cell.features(source, 'validation', picture, 'touch')
    cell.features('digit', 'validation', 'touch', 'touch', names_sensor=False)
    assert asked == [{0}, {1}, {1}, {1}, {1}]
    tasks = laboratory.benchmark.touch_tasks + laboratory.benchmark.aside_tasks
    assert [task.name for task in tasks if not task.names_sensor] == ['sensor_identity'], 'which would be the answer'
    assert laboratory.cell('tlv_core', 'multi', 0).recipe.sensor_kinds == KINDS


def test_a_base_that_is_missing_and_a_method_that_is_none_are_refused(recipe, capsys, tmp_path):
    settings = {'rendered_by': recipe.rendered_by, 'base': str(tmp_path / 'none'), 'methods': ['tlv_core']}
    command = ['base', '--recipe', str(tmp_path / 'r.yaml'), '--output', str(tmp_path / 'o.json')]
    write_yaml(tmp_path / 'r.yaml', **settings)
    assert main(command) == 1 and 'holds no checkpoint' in capsys.readouterr().err
    write_yaml(tmp_path / 'r.yaml', **settings | {'base': recipe.base, 'methods': ['tlv_cor']})
    assert main(command) == 1 and "no method 'tlv_cor'. Choose from clip" in capsys.readouterr().err


def written(recipe, folder, **changes):
    """Write a recipe whose cells lie in a folder of their own; give its part of the command line."""
    settings = recipe_as_dict(dataclasses.replace(recipe, output=str(folder / 'cells'), **changes))
    return ['--recipe', str(write_yaml(folder / 'r.yaml', **settings))]


def test_a_table_without_ours_compares_with_nothing_and_has_its_map(recipe, tmp_path):
    output = tmp_path / 'rss_robustness.json'
    assert main(['robustness', *written(recipe, tmp_path, methods=('clip',), seeds=2), '--output', str(output)]) == 0
    result = json.loads(output.read_text())
    assert set(result['methods']) == {'clip'} and 'tlv_core_minus_this' not in result['methods']['clip']
    assert result['protocols']['honest']['multi']['methods']['clip']['seeds'] == [0, 1]
    assert [picture['file'] for picture in result['pictures']] == ['rss_robustness.png', 'rss_robustness_tsne.png']
    assert len(list((tmp_path / 'cells').iterdir())) == 1, 'seeds of a frozen CLIP differ in their probes alone'


def test_a_table_is_filled_piecemeal_and_says_what_is_missing(recipe, tmp_path, capsys):
    output = tmp_path / 'results' / 'rss_ablation.json'
    command = ['ablation', *written(recipe, tmp_path), '--output', str(output)]
    assert main([*command, '--max-minutes', '1e-5']) == 0
    assert 'The time is over' in capsys.readouterr().out and not output.exists()
    assert main([*command, '--only-method', 'tlv_core', '--only-method', 'without_bridging']) == 0
    assert 'not complete' in capsys.readouterr().out
    result = json.loads(output.read_text())
    assert result['simulated'] is True and not result['complete'] and result['entries_done'] == 2
    assert list(result['methods']) == ['tlv_core', 'without_bridging']
    assert main(command) == 0 and 'complete' in capsys.readouterr().out
    result = json.loads(output.read_text())
    assert result['complete'] and list(result['methods']) == list(ABLATIONS)
    for row, values in result['methods'].items():
        assert set(values) - {'tlv_core_minus_this'} == {'mean', 'ci95', 'per_task'} and len(values['per_task']) == 6
        assert ('tlv_core_minus_this' in values) == (row != 'tlv_core')
        for protocol in ('honest', 'papers'):
            assert result['protocols'][protocol]['multi']['methods'][row]['seeds'] == [0]
        assert result['cost_minutes']['multi'][row][0] > 0
        assert set(result['asides']['multi'][row]) == {'sensor_identity', 'gelsight_mini_shape'}
        assert result['convergence'][row]['0'][-1]['step'] == recipe.steps
    assert result['aside_tasks']['sensor_identity']['guessing'] == 1 / len(KINDS)
    assert 'shared_transform_condition' not in result['convergence']['without_bridging']['0'][-1]
    for folder in (tmp_path / 'cells').iterdir():   # what was learned of them stays
        shutil.rmtree(folder / 'features')
        shutil.rmtree(folder / 'run')
    table = [*written(recipe, tmp_path), '--output', str(tmp_path / 'again.json')]
    assert main(['ablation', *table]) == 0
    again = json.loads((tmp_path / 'again.json').read_text())
    assert again['methods'] == result['methods'] and again['convergence']['tlv_core'] == {'0': []}
    assert {picture['file'] for picture in result['pictures']} == {path.name for path in output.parent.glob('*.png')}
    assert all(picture['caption'].startswith('Simulated. ') for picture in result['pictures'])


def test_the_rate_of_all_is_the_best_of_their_mean(laboratory, monkeypatch):
    accuracy = {('1', 'a'): 0.5, ('2', 'a'): 0.4, ('1', 'b'): 0.3, ('2', 'b'): 0.42, ('1', 'c'): 0.3, ('2', 'c'): 0.3}

    def entry(rate, row):
        cell = SimpleNamespace(result=lambda task, tower: {'protocols': {'honest': {
            'validation_accuracy': accuracy[rate, row]}}})
        probes = ((SimpleNamespace(name='task'), 'touch'),)
        return SimpleNamespace(group=rate, row=row, cell=cell, is_done=True, probes=probes)

    result = tables.read_rates(laboratory, [entry(*place) for place in accuracy])
    assert result['chosen'] == 2.0 and result['mean_of_methods'] == {'1': 0.3667, '2': 0.3733}
    assert {row: values['best'] for row, values in result['methods'].items()} == {'a': 1.0, 'b': 2.0, 'c': 1.0}


def test_guessing_takes_the_class_of_the_fit_samples_and_not_of_the_test(laboratory, monkeypatch):
    task, benchmark = laboratory.benchmark.touch_tasks[0], laboratory.benchmark
    labels = {'fit': [np.array([3, 3, 1]), np.array([0, -1, -1, -1])], 'test': [np.array([1, 1, 1, 3, -1])]}
    monkeypatch.setattr(tables, 'labels_of', lambda benchmark, task, part: labels[part])
    assert tables._facts_of(task, 'touch', benchmark)['guessing'] == 0.25


def test_the_cosine_with_the_base_is_the_mean_over_tested_images_each_once(laboratory):
    rng, tasks = np.random.default_rng(0), laboratory.benchmark.touch_tasks
    drawn = rng.normal(size=(2, 2, 5, 4))
    drawn /= np.sqrt((drawn ** 2).mean(axis=3, keepdims=True))
    features = {row: dict(zip(('gelsight_mini', 'digit'), values)) for row, values in zip(('clip', 'anytouch'), drawn)}

    def entry(row, asked):
        return SimpleNamespace(row=row, probes=tuple((task, 'touch') for task in asked), cell=SimpleNamespace(
            kept_features=lambda source, part, picture, tower: features[row].get(source)))

    asked = [dataclasses.replace(tasks[0], sources=sources)
             for sources in (('gelsight_mini',), ('gelsight_mini', 'digit'))]
    clip = entry('clip', asked)
    expected = np.mean([(features['clip'][source] * features['anytouch'][source]).sum(axis=1) / 4
                        for source in ('gelsight_mini', 'digit')])
    assert tables._cosine_with_base(entry('anytouch', asked), [clip]) == pytest.approx(expected)
    assert tables._cosine_with_base(clip, [clip]) == pytest.approx(1.0)
    assert tables._cosine_with_base(entry('anytouch', asked), []) is None
    del features['clip']['digit']
    assert tables._cosine_with_base(entry('anytouch', asked), [clip]) is None


def test_stability_sees_as_many_samples_in_every_batch_size_and_says_how_far_they_are_apart(recipe, tmp_path):
    output, sizes = tmp_path / 'rss_stability.json', (8, 4)
    command = ['stability', *written(recipe, tmp_path, batch_sizes=sizes, seeds=2), '--output', str(output)]
    assert main([*command, '--only-method', 'clip']) == 0
    assert list(json.loads(output.read_text())['batch_size_gap']) == ['clip'], 'no gap of sizes that are not there'
    assert main(command) == 0
    result = json.loads(output.read_text())
    assert result['groups'] == ['4', '8'] and result['steps']['4'] == 2 * result['steps']['8']
    gaps, by_size = result['batch_size_gap'], [result['protocols']['honest'][group]['methods'] for group in ('4', '8')]
    difference = by_size[1]['tlv_core']['mean'] - by_size[0]['tlv_core']['mean']
    assert gaps['tlv_core']['largest_minus_smallest']['mean'] == pytest.approx(difference, abs=2e-4)
    assert gaps['tlv_core']['best_minus_worst'] == pytest.approx(abs(difference), abs=2e-4)
    assert gaps['clip'] == {'best_minus_worst': 0.0, 'largest_minus_smallest': {'mean': 0.0, 'ci95': [0.0, 0.0]}}
    assert [picture['file'] for picture in result['pictures']] == ['rss_stability.png']


def test_rates_are_compared_on_validation_samples_alone(recipe, tmp_path):
    output = tmp_path / 'rss_rates.json'
    command = ['rates', *written(recipe, tmp_path, learning_rates=(0.1, 0.001)), '--output', str(output)]
    assert main(command) == 0
    result = json.loads(output.read_text())
    assert result['complete'] and result['groups'] == ['0.001', '0.1'] and list(result['methods']) == ['tlv_core']
    found = result['methods']['tlv_core']
    means = [found['by_rate'][rate]['mean'] for rate in result['groups']]
    assert found['best'] == result['chosen'] == (0.001 if means[0] >= means[1] else 0.1)
    for path in (tmp_path / 'cells').glob('*/probes/*.json'):
        probe = json.loads(path.read_text())
        path.write_text(json.dumps(probe | {'count': [1], 'protocols': {'honest': probe['protocols']['honest'] | {
            'correct': [0]}}}))
    assert main(command) == 0
    assert json.loads(output.read_text())['methods'] == result['methods'], 'tests make no difference'


def test_a_row_that_is_none_is_refused(recipe, tmp_path, capsys):
    write_yaml(tmp_path / 'r.yaml', base=recipe.base, rendered_by=recipe.rendered_by, methods=['clip'],
               training_sets=['multi'])
    assert main(['base', '--recipe', str(tmp_path / 'r.yaml'), '--output', str(tmp_path / 'o.json'),
                 '--only-method', 'tlv_core']) == 1
    assert "the table has no row 'tlv_core'. Choose from clip" in capsys.readouterr().err
    assert main(['rates', '--recipe', str(tmp_path / 'r.yaml'), '--output', str(tmp_path / 'o.json')]) == 1
    assert 'no method of the recipe has a row in the table rates' in capsys.readouterr().err


def test_the_variance_of_the_gradient_is_that_over_the_batches():
    class Slope:
        """Loss w · mean(x) with a sign of its own: its gradient is the mean of x."""

        def __init__(self):
            self.model = torch.nn.Linear(1, 1, bias=False)
            self.model.sensor_centroids = torch.nn.Parameter(torch.ones(1))

        def encode(self, batch):
            return {'y': self.model(batch['x'])}

        def loss_terms(self, encoded, batch):
            return {'y': LossTerm(encoded['y'].mean() + 1e6 * self.model.sensor_centroids.sum(), 2.0)}

    values, drawn = np.random.default_rng(0).normal(3.0, 1.0, 100).astype(np.float32), []

    class Numbers:
        def __len__(self):
            return 100

        def batch(self, indices):
            drawn.append(values[indices].mean())
            return {'x': torch.from_numpy(values[indices])[:, None]}

    observed = Observed(Slope(), Numbers(), RssRecipe(batch_size=10))
    before = torch.random.get_rng_state()
    first, second = observed._gradient_terms(), observed._gradient_terms()
    assert torch.equal(before, torch.random.get_rng_state()), 'the training that goes on draws what it would have'
    assert first == second and drawn[:GRADIENT_BATCHES] == drawn[GRADIENT_BATCHES:]
    gradients = 2 * np.array(drawn[:GRADIENT_BATCHES], np.float64)
    assert first['gradient_variance'] == pytest.approx(gradients.var(ddof=1), rel=1e-4)
    assert first['gradient_norm_squared'] == pytest.approx(gradients.mean() ** 2 - gradients.var(ddof=1) / 8, rel=1e-4)


def test_the_information_about_the_sensor_is_all_or_none_of_its_entropy():
    rng = np.random.default_rng(0)
    sensors = rng.integers(4, size=2000)
    told = np.eye(4)[sensors] * 12 + rng.normal(0.0, 0.1, (2000, 4))
    assert sensor_information(told, sensors, 0)['sensor_information_bits'] == pytest.approx(2.0, abs=0.05)
    assert sensor_information(rng.normal(size=(2000, 4)), sensors, 0)['sensor_information_bits'] < 0.02
    assert sensor_information(told, np.zeros(2000, int), 0) == {}
