"""Recipes are strict, and the one that is shipped can be built into its network."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from training.networks.tlv_core import TlvCore
from training.pretrain import PAPERS, pretrain, recipe_kind
from training.recipe import TlvCoreRecipe, load_recipe, recipe_as_dict
from training.rendered_run import tlv_core_shape
from training.run_checks import only_run_in
from visuotactile_ros.errors import ConfigurationError, ModelError
from visuotactile_ros.inference.model_card import parse_model_card

ROOT = Path(__file__).parents[2]


def test_shipped_model_was_trained_by_the_shipped_recipe():
    recipe = load_recipe(ROOT / 'training/recipes/tlv_core_tiny_motion.yaml', TlvCoreRecipe)
    for tower in ('touch', 'vision'):
        card = parse_model_card((ROOT / f'models/tlv_core_tiny_{tower}/model_card.yaml').read_text())
        assert TlvCoreRecipe(**card.training['recipe']) == recipe
        assert card.training['steps'] == recipe.steps


def test_shipped_recipe_gives_a_network_that_encodes():
    recipe = load_recipe(ROOT / 'training/recipes/tlv_core_tiny.yaml', TlvCoreRecipe)
    model = TlvCore(tlv_core_shape(recipe, 300)).eval()
    frames = torch.zeros(2, 1, recipe.image_size_px, recipe.image_size_px, 3, dtype=torch.uint8)
    with torch.no_grad():
        embedding = model.touch_embedding(model.touch_feature(frames), torch.tensor([0, len(recipe.sensor_kinds)]))
    assert embedding.shape == (2, recipe.embedding_size)


@pytest.mark.parametrize(('text', 'message'), [
    ('learning_rat: 0.1', "Did you mean 'learning_rate'"),
    ('steps: many', 'not a int'),
    ('steps: 0', 'Give a value between 1 and'),
    ('gradient_clip: 0', 'Give a value'),
    ('seed: 4294967296', 'Give a value between 0 and'),
    ('temperature: .nan', 'not finite'),
    ('- steps', 'is not a recipe'),
    ('1: steps', 'is not a recipe'),
    ('precision: fp16', 'Choose one of fp32, bf16'),
    ('device: gpu', 'Choose one of auto, cpu, cuda'),
    ('patch_size_px: 24', 'no multiple of patch_size_px 24'),
    ('patch_size_px: 2', 'Give a multiple of 4'),
    ('heads: 5', 'cannot be divided by 4 and by heads 5'),
    ('text_depth: 9', 'text_depth 9 is more than image_depth 8'),
    ('sensor_kinds: []', 'Name at least one kind'),
    ('sensor_kinds: [digit, digit]', 'each once'),
    ('sensor_kinds: [1]', 'Name at least one kind'),
    ('{image_size_px: 16, patch_dropout: 0.95}', 'leaves no patch'),
    ('steps: [', 'cannot be read'),
    ('steps: 3\nseed: 1\nsteps: 4', "cannot be read: line 3 names 'steps' a second time"),
])
def test_bad_recipe_is_refused(tmp_path, text, message):
    path = tmp_path / 'recipe.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(path, TlvCoreRecipe)


@pytest.mark.parametrize('name', ['tlv_cor', '[tlv_core]', '3'])
def test_unknown_objective_is_refused(tmp_path, name):
    path = tmp_path / 'recipe.yaml'
    path.write_text(f'objective: {name}')
    with pytest.raises(ConfigurationError, match='there is no objective .* Choose one of tlv_core'):
        load_recipe(path, recipe_kind)


def test_recipe_without_objective_is_one_of_small_towers(tmp_path):
    path = tmp_path / 'recipe.yaml'
    path.write_text('steps: 3')
    assert type(load_recipe(path, recipe_kind)) is TlvCoreRecipe


@pytest.mark.parametrize('name', PAPERS)
def test_every_paper_has_a_recipe_of_its_name(name):
    assert recipe_kind(name)().objective == name


@pytest.mark.parametrize(('changes', 'message'), [
    ({'sensor_kinds': ('digit', 'gelsigt')}, "there is no sensor kind 'gelsigt'. Choose from digit"),
    ({'unseen_sensor_kind': 'gelsigt'}, "there is no sensor kind 'gelsigt'"),
    ({'sensor_kinds': ('digit',)}, 'grips are felt by gelsight_mini_markers'),
    ({'batch_size': 101}, '100 samples are fewer than one batch of 101'),
    ({'start_from': 'nowhere'}, 'nowhere holds no checkpoint'),
    ({'start_from': 'linked'}, 'linked holds a run of tlv_link, not of tlv_core. Name another folder'),
    ({'start_from': 'other'}, 'has another network .width'),
    ({'start_from': 'half'}, 'half holds no model.safetensors'),
])
def test_run_that_cannot_succeed_is_refused_before_anything_is_rendered(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    recipe = TlvCoreRecipe(train_samples=100, batch_size=4, data='data', device='cpu')
    for name, earlier in (('other', dataclasses.replace(recipe, width=96)), ('half', recipe),
                          ('linked', recipe_kind('tlv_link')())):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'state.json').write_text(json.dumps(
            {'step': 1, 'recipe': recipe_as_dict(earlier), 'metrics': {}}))
    with pytest.raises((ConfigurationError, ModelError), match=message):
        pretrain(dataclasses.replace(recipe, **changes), tmp_path / 'output')
    assert not (tmp_path / 'data').exists() and not (tmp_path / 'output').exists()


def test_second_run_in_a_folder_is_refused_before_anything_is_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr('training.rendered_run.render_data', lambda recipe: pytest.fail('something was rendered'))
    with only_run_in(tmp_path / 'output'), pytest.raises(ConfigurationError, match='another run is training in'):
        pretrain(TlvCoreRecipe(device='cpu'), tmp_path / 'output')
