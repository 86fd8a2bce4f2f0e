"""Recipes are strict, and the one that is shipped can be built into its network."""

from pathlib import Path

import pytest
import torch

from training.networks.tlv_core import TlvCore
from training.pretrain import tlv_core_shape
from training.recipe import TlvCoreRecipe, load_recipe
from visuotactile_ros.errors import ConfigurationError
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
    ('temperature: .nan', 'not finite'),
    ('- steps', 'is not a recipe'),
    ('steps: [', 'cannot be read'),
])
def test_bad_recipe_is_refused(tmp_path, text, message):
    path = tmp_path / 'recipe.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(path, TlvCoreRecipe)
