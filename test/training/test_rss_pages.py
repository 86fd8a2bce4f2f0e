"""Pages of the tables: every caption says what is simulated, and numbers are those of the JSON."""

import copy
import json
from pathlib import Path

import pytest

from training.base_clip import BaseClipRecipe
from training.evaluation.rss import pages
from training.evaluation.rss.recipe import RssRecipe
from training.objectives.methods import METHODS
from training.recipe import load_recipe, recipe_as_dict
from visuotactile_ros.parameters.definition import build_parameters

VALUES = {'mean': 0.5, 'ci95': [0.4, 0.61], 'per_task': {'material': {'mean': 0.25, 'ci95': [0.2, 0.3]}}}
PAPERS = {'mean': 0.9, 'ci95': [0.85, 0.95]}
OF_CLIP = '50.0 [40.0, 61.0] | 1.1 [-1.0, 3.0] | 25.0 [20.0, 30.0] | 90.0 [85.0, 95.0] | -2.0 [-4.0, 0.0]'
RESULT = {
    'simulated': True, 'complete': False, 'entries_done': 2, 'entries': 4, 'rows': ['tlv_core', 'clip'],
    'groups': ['16', '64'],
    'tasks': {'material': {'stands_for': 'Touch and Go material', 'classes': 10, 'guessing': 0.11}},
    'notes': ['A note.'], 'recipe': {'seeds': 3}, 'pictures': [{'file': 'a.png', 'caption': 'Simulated. Bars.'}],
    'protocols': {
        'honest': {'16': {'methods': {'tlv_core': VALUES, 'clip': VALUES | {
            'tlv_core_minus_this': {'mean': 0.011, 'ci95': [-0.01, 0.03]}}}},
            '64': {'methods': {'tlv_core': VALUES | {'mean': 0.56}}}},
        'papers': {'16': {'methods': {'tlv_core': PAPERS, 'clip': PAPERS | {
            'tlv_core_minus_this': {'mean': -0.02, 'ci95': [-0.04, 0.0]}}}},
            '64': {'methods': {'tlv_core': PAPERS}}}},
    'cost_minutes': {'16': {'tlv_core': [1.0, 3.0], 'clip': [0.5]}, '64': {'tlv_core': [2.0], 'clip': []}},
    'convergence': {'tlv_core': {'0': [{'step': 1, 'gradient_variance': 5.0}, {'step': 2, 'gradient_variance': 1234.5}],
                                 '1': [{'step': 2, 'gradient_variance': 17.0}], '2': []}},
    'last_validation': {'16': {'tlv_core': [{'step': 2, 'retrieval_top1': 0.0213, 'retrieval_top5': 0.06},
                                            {'step': 2, 'retrieval_top1': 0.01, 'retrieval_top5': 0.06}], 'clip': []}},
    'cosine_with_base': {'16': {'tlv_core': [0.7131, 0.9]}},
    'steps': {'16': 40, '64': 10},
    'batch_size_gap': {'clip': {'best_minus_worst': 0.0, 'largest_minus_smallest': {'mean': 0.0, 'ci95': [0.0, 0.0]}},
                       'tlv_core': {'best_minus_worst': 0.06,
                                    'largest_minus_smallest': {'mean': -0.05, 'ci95': [-0.07, 0.01]}}}}


@pytest.mark.parametrize('render', [pages.rss_robustness, pages.rss_synergy, pages.rss_stability, pages.rss_ablation,
                                    pages.rss_base])
def test_every_page_says_what_it_is(render):
    text = '\n'.join(render(RESULT))
    assert '**Simulated**' in text and 'Not complete: 2 of 4 entries' in text and 'material for Touch and Go' in text
    assert '- A note.' in text and '![Simulated. Bars.](a.png)' in text
    assert 'mean of up to 3 seeds' in text
    tables = [lines for lines in text.split('\n\n') if lines.startswith('|')]
    captions = [before for before, after in zip(text.split('\n\n'), text.split('\n\n')[1:]) if after in tables]
    assert captions and all('**Simulated**' in caption for caption in captions), 'every table says so above it'
    published = '\n'.join(render(RESULT | {'simulated': False, 'complete': True}))
    assert 'Simulated**' not in published and 'Not complete' not in published and 'mean of 3 seeds' in published


def test_a_row_holds_the_numbers_of_the_json_and_no_empty_column():
    lines = pages.rss_robustness(RESULT)
    assert f'| 16 | CLIP | {OF_CLIP} | – | 0.5 |' in lines
    assert '| 16 | TLV-CoRe | 50.0 [40.0, 61.0] | – | 25.0 [20.0, 30.0] | 90.0 [85.0, 95.0] | – | 0.713 to 0.9 | 2 |' \
        in lines
    assert '| – | class most frequent in the fit samples | 11.0 | – | 11.0 | – | – | – | – |' in lines
    assert '| 16 | TLV-CoRe | 1 to 2.13 | 6 |' in lines and not any('| 16 | CLIP | – |' in line for line in lines)
    alone = copy.deepcopy(RESULT)
    del alone['protocols']['honest']['16']['methods']['clip']
    assert not any('TLV-CoRe minus this' in line for line in pages.rss_robustness(alone))


def test_what_is_asked_aside_has_columns_behind_the_mean():
    asked = RESULT | {'aside_tasks': {'sensor_identity': {'guessing': 0.25}},
                      'asides': {group: {row: {'sensor_identity': {'mean': 0.9, 'ci95': [0.88, 0.92]}}
                                         for row in ('tlv_core', 'clip')} for group in ('16', '64')}}
    lines = pages.rss_robustness(asked)
    assert '| training set | method | mean | TLV-CoRe minus this | material | papers: mean ' \
        '| papers: TLV-CoRe minus this | *sensor_identity* | *cosine with CLIP* | minutes a cell |' in lines
    assert f'| 16 | CLIP | {OF_CLIP} | 90.0 [88.0, 92.0] | – | 0.5 |' in lines
    assert '| – | class most frequent in the fit samples | 11.0 | – | 11.0 | – | – | 25.0 | – | – |' in lines


def test_stability_says_how_far_batch_sizes_are_apart_also_where_they_are_not():
    lines = pages.rss_stability(RESULT)
    assert '| TLV-CoRe | 6.0 | -5.0 [-7.0, 1.0] |' in lines and '| CLIP | 0.0 | 0.0 [0.0, 0.0] |' in lines
    assert 'steps: 40 of 16, 10 of 64.' in lines[0]


def test_ablation_ends_with_the_last_records_of_all_seeds():
    assert '| TLV-CoRe | 17 to 1.23e+03 |' in pages.rss_ablation(RESULT)


def test_rates_are_those_of_the_json_and_what_is_missing_is_said():
    by_rate = {'0.001': {'mean': 0.4, 'per_task': {}}, '0.01': {'mean': 0.416, 'per_task': {}}}
    result = {'simulated': True, 'table': 'rates', 'complete': False, 'entries_done': 3, 'entries': 4,
              'groups': ['0.001', '0.01'], 'rows': ['tlv_core', 'anytouch'],
              'methods': {'tlv_core': {'by_rate': by_rate}, 'anytouch': {'by_rate': {'0.01': by_rate['0.01']}}}}
    lines = pages.rss_rates(result)
    assert '**Simulated**' in lines[0] and 'validation samples**' in lines[0] and '3 of 4 entries' in lines[0]
    assert '| TLV-CoRe | 40.0 | 41.6 |' in lines and '| AnyTouch, stage 2 | – | 41.6 |' in lines
    whole = {'tlv_core': {'by_rate': by_rate, 'best': 0.01}}
    lines = pages.rss_rates(result | {'complete': True, 'methods': whole, 'chosen': 0.01,
                                      'mean_of_methods': {'0.001': 0.4, '0.01': 0.416}})
    assert '| TLV-CoRe | 40.0 | 41.6 | 0.01 |' in lines and '| all | 40.0 | 41.6 | 0.01 |' in lines


@pytest.mark.parametrize('name', ['rss_simulated', 'rss_published'])
def test_a_committed_recipe_holds_for_every_method(name):
    recipe = load_recipe(Path(f'training/recipes/{name}.yaml'), RssRecipe)
    for method in recipe.methods:
        build_parameters(METHODS[method].recipe, recipe.settings_of(method), name)
    if recipe.base_recipe:
        load_recipe(Path(recipe.base_recipe), BaseClipRecipe)
    assert name.endswith(recipe.benchmark) and recipe.seeds >= 3


@pytest.mark.parametrize('path', sorted(Path('docs/results').glob('rss_*.json')), ids=lambda path: path.stem)
def test_a_committed_table_is_that_of_the_committed_recipe(path):
    recipe = recipe_as_dict(load_recipe(Path('training/recipes/rss_simulated.yaml'), RssRecipe))
    assert json.loads(path.read_text())['recipe'] == json.loads(json.dumps(recipe))


def test_the_simulated_tables_train_all_methods_at_the_rate_that_validation_samples_chose():
    recipe = load_recipe(Path('training/recipes/rss_simulated.yaml'), RssRecipe)
    rates = json.loads(Path('docs/results/rss_rates.json').read_text())
    assert rates['recipe']['learning_rates'] == list(recipe.learning_rates)
    assert {recipe.settings_of(method)['learning_rate'] for method in rates['methods']} == {rates['chosen']}
