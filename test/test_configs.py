"""Every YAML that is shipped is built strictly by its dataclass, says only what differs, and is in one form."""

import dataclasses
import importlib
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from training.recipe import load_recipe
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import load_parameter_yaml
from visuotactile_ros.parameters.groups import build_parameter_groups, flatten_names, setting_names
from visuotactile_ros.parameters.managed_node import ManagedNodeParameters
from visuotactile_ros.parameters.sensor import SENSOR_KINDS
from visuotactile_ros.parameters.simulation import SimulationParameters

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / 'config').glob('*.yaml'))
RECIPES = sorted((ROOT / 'training' / 'recipes').glob('*.yaml'))
# What a file belongs to; a file that is in no list fails.
NODE_OF = {**dict.fromkeys(SENSOR_KINDS, 'sensor_node'), 'perception': 'perception_node', 'pouring': 'pouring_node',
           'pour_hardware': 'pouring_node'}
RECIPE_OF = {'training.pretrain': ('training.pretrain', 'recipe_kind'),
             'training.pouring.train_policy': ('training.pouring.train_policy', 'PouringRecipe'),
             'training.base_clip': ('training.base_clip', 'BaseClipRecipe'),
             'training.evaluation.rss': ('training.evaluation.rss.recipe', 'RssRecipe')}


def groups_of(path):
    """Give the groups of settings that a parameter file may set."""
    if path.stem == 'simulation':
        return (('', SimulationParameters),)
    module = importlib.import_module(f'visuotactile_ros.nodes.{NODE_OF[path.stem]}')
    return (('', ManagedNodeParameters), *module.PARAMETER_GROUPS)


def recipe_kind(path):
    """Give the dataclass that the command in a recipe's header builds from it."""
    commands = [command for command in RECIPE_OF if re.search(rf'python -m {command} .*--recipe', path.read_text())]
    assert len(commands) == 1, f'the header of {path.name} has no command of {list(RECIPE_OF)}'
    module, name = RECIPE_OF[commands[0]]
    kind = getattr(importlib.import_module(module), name)
    return kind if isinstance(kind, type) else kind(yaml.safe_load(path.read_text()).get('objective'))


def name_of(path):
    return path.name


def test_there_are_files_to_check():
    assert {'gelsight_mini.yaml', 'digit.yaml', 'vitactip.yaml', 'wrist_camera.yaml', 'perception.yaml', 'pouring.yaml',
            'simulation.yaml'} <= {path.name for path in CONFIGS}
    assert RECIPES


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_a_parameter_file_is_built_strictly(path):
    build_parameter_groups(groups_of(path), load_parameter_yaml(path), path.name)


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_a_parameter_file_holds_only_what_differs_from_the_default(path):
    known = setting_names(groups_of(path))
    for name, value in flatten_names(load_parameter_yaml(path)).items():
        default = known[name][1].default
        assert value != (list(default) if isinstance(default, tuple) else default), name


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_a_misspelt_setting_is_refused_and_the_nearest_is_named(path):
    groups = groups_of(path)
    for name in setting_names(groups):
        with pytest.raises(ConfigurationError, match=f"unknown setting '{name}_'. Did you mean '{name}'"):
            build_parameter_groups(groups, {**load_parameter_yaml(path), f'{name}_': 1}, path.name)


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_a_parameter_file_has_one_key_for_every_node(path):
    content = yaml.safe_load(path.read_text())
    assert list(content) == ['/**'] and list(content['/**']) == ['ros__parameters']


@pytest.mark.parametrize('text', [
    '/tactile/left/sensor:\n  ros__parameters: {}', '/**:\n  ros__parameters: {}\n/left:\n  ros__parameters: {}',
    '/**: {}', 'rate_hz: 3', '- 1', '', '/**:\n  ros__parameters: 3', 'a: [',
])
def test_any_other_form_of_a_parameter_file_is_refused(tmp_path, text):
    (tmp_path / 'file.yaml').write_text(text)
    with pytest.raises(ConfigurationError, match='file.yaml'):
        load_parameter_yaml(tmp_path / 'file.yaml')


def test_no_setting_is_named_twice_in_a_node():
    for path in CONFIGS:
        names = [f'{group}.{field.name}' if group else field.name
                 for group, kind in groups_of(path) for field in dataclasses.fields(kind)]
        assert len(names) == len(set(names)), path.name


@pytest.mark.parametrize('path', CONFIGS + RECIPES, ids=name_of)
def test_no_yaml_names_a_key_twice(path):
    # YAML takes the last of two equal keys without a word.
    def check(node):
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            assert len(names) == len(set(names)), names
            for _, value in node.value:
                check(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                check(value)
    check(yaml.compose(path.read_text()))


@pytest.mark.parametrize('path', sorted((ROOT / 'config').glob('*.xml')), ids=name_of)
def test_an_xml_profile_can_be_parsed(path):
    ElementTree.parse(path)


@pytest.mark.parametrize('path', RECIPES, ids=name_of)
def test_a_recipe_is_built_strictly(path, tmp_path):
    kind = recipe_kind(path)
    load_recipe(path, kind)
    for field in dataclasses.fields(kind):
        misspelt = tmp_path / path.name
        misspelt.write_text(f'{path.read_text()}\n{field.name}_: 1\n')
        with pytest.raises(ConfigurationError, match=f"unknown setting '{field.name}_'. Did you mean '{field.name}'"):
            load_recipe(misspelt, kind)


@pytest.mark.parametrize('path', RECIPES, ids=name_of)
def test_a_recipe_says_what_it_claims_and_how_to_run_it(path):
    header = ' '.join(line.lstrip('# ') for line in path.read_text().splitlines() if line.startswith('#')).lower()
    for word in ('paper:', 'claimed', 'ours', 'cost:', 'command:', 'deviations'):
        assert word in header, f'{path.name} does not say {word}'
    assert f'training/recipes/{path.name}' in header
