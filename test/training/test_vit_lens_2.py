"""ViT-Lens-2: a part of the touch tower, and on request a Perceiver, learns to meet a CLIP that stays as it is."""

import dataclasses
from pathlib import Path

import pytest
import torch
from method_samples import SENSOR_KINDS, RandomSamples, random_embeddings, slow_info_nce, trained_names, vit_l_14
from small_clip import IMAGE_DEPTH, captions, frames, small_clip

from training.networks.bridged_clip import parameter_counts
from training.objectives.vit_lens_2 import VitLens2Objective, VitLens2Recipe
from training.recipe import load_recipe
from visuotactile_ros.errors import ConfigurationError

RECIPE = VitLens2Recipe(sensor_kinds=SENSOR_KINDS, steps=100, batch_size=4, unlocked_groups=2, latents=7)
IDS = torch.zeros(3, dtype=torch.long)
BEFORE_BLOCKS = {'embeddings.class_embedding', 'embeddings.patch_embedding.weight', 'pre_norm.weight', 'pre_norm.bias',
                 'embeddings.position_embedding.weight'}


def objective(**changes) -> VitLens2Objective:
    recipe = dataclasses.replace(RECIPE, **changes)
    return VitLens2Objective(VitLens2Objective.make_model(small_clip(), recipe), recipe, RandomSamples())


def parts(names):
    """Names of the touch tower: what lies in a block is named by its block alone."""
    touch = {name.removeprefix('touch.') for name in names if name.startswith('touch.')}
    return {'.'.join(name.split('.')[:2]) if name.startswith('blocks.') else name for name in touch}


@pytest.mark.parametrize(('count', 'end', 'expected'), [
    (0, 'image', set()), (0, 'embedding', set()), (1, 'image', BEFORE_BLOCKS),
    (3, 'image', BEFORE_BLOCKS | {'blocks.0', 'blocks.1'}), (1, 'embedding', {'projection.weight'}),
    (3, 'embedding', {'projection.weight', 'post_norm.weight', 'post_norm.bias', 'blocks.4', 'blocks.3'})])
def test_groups_are_unlocked_from_the_asked_end(count, end, expected):
    names = trained_names(objective(unlocked_groups=count, unlocked_end=end).model)
    assert parts(names) == expected
    assert {name for name in names if not name.startswith('touch.')} == {'log_scale'}
    whole_blocks = [name for name in names if name.startswith('touch.blocks.')]
    assert len(whole_blocks) == 16 * len([part for part in expected if part.startswith('blocks')])


def test_all_groups_are_the_whole_tower_and_there_are_no_more():
    model = objective(unlocked_groups=IMAGE_DEPTH + 2).model
    assert all(tensor.requires_grad for tensor in model.touch.parameters())
    with pytest.raises(ConfigurationError, match='touch tower has 7. Give at most 7'):
        objective(unlocked_groups=IMAGE_DEPTH + 3)


@torch.no_grad()
def test_fresh_model_without_a_perceiver_is_clip_itself():
    model = objective().model
    assert torch.equal(model.touch_embedding(frames(3), IDS), model.vision_embedding(frames(3)))


@torch.no_grad()
def test_perceiver_hands_its_latents_to_the_blocks_behind_the_class_token():
    model, seen = objective(lens='perceiver').model, []
    model.touch.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    touch = model.touch_embedding(frames(3), IDS)
    assert seen[0].shape == (3, 1 + 7, 12)
    tokens = model.touch.tokens(frames(3))
    assert torch.equal(seen[0][:, 0], tokens[:, 0])
    assert torch.allclose(seen[0][:, 1:], model.touch.pre_norm(model.lens(tokens[:, 1:])), atol=1e-6)
    assert touch.shape == (3, 6) and torch.allclose(touch.norm(dim=1), torch.ones(3))
    assert not torch.allclose(touch[0], touch[1], atol=1e-6), 'what is touched comes through the lens'


@torch.no_grad()
def test_latents_see_all_patches_in_any_order():
    lens = objective(lens='perceiver').model.lens
    tokens, order = torch.randn(2, 9, 12), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(lens(tokens), lens(tokens[:, order]), atol=1e-5)
    for patch in range(9):
        changed = tokens.clone()
        changed[:, patch] += torch.randn(12)
        assert not torch.allclose(lens(changed), lens(tokens), atol=1e-6)


def test_gradient_reaches_the_lens_through_frozen_blocks():
    model = objective(lens='perceiver', unlocked_groups=0).model
    assert {name.split('.')[0] for name in trained_names(model)} == {'lens', 'log_scale'}
    (model.touch_embedding(frames(3), IDS) * torch.randn(3, 6)).sum().backward()
    for name, tensor in model.lens.named_parameters():
        assert tensor.grad is not None and (tensor.grad.any() or name.endswith('key.bias')), name


def test_touch_is_compared_with_vision_and_with_text_and_these_not_with_each_other():
    trained, encoded = objective(), random_embeddings(5)
    present = {'has_touch': torch.tensor([True] * 5), 'has_view': torch.tensor([True, True, False, True, True]),
               'has_text': torch.tensor([False, True, True, True, True]), 'sensor_id': torch.zeros(5, dtype=torch.long)}
    terms = trained.loss_terms(encoded, present)
    assert set(terms) == {'touch_vision', 'touch_text'}
    for name, rows in (('touch_vision', [0, 1, 2, 3, 4]), ('touch_text', [1, 2, 3, 4])):   # touch stands in for view 2
        first, second = (encoded[modality][rows].tolist() for modality in name.split('_'))
        assert terms[name].value.item() == pytest.approx(slow_info_nce(first, second, 0.07), rel=1e-4)
        assert terms[name].weight == 1.0


@torch.no_grad()
def test_vision_and_text_are_those_of_clip():
    trained, clip, (tokens, _) = objective(), small_clip(), captions(3)
    texts = torch.nn.functional.normalize(clip.text_projection(clip.text_model(tokens).pooler_output), dim=-1)
    assert torch.allclose(trained.model.text_embedding(tokens), texts, atol=1e-5)
    assert not any(tensor.requires_grad for tower in (trained.model.vision, trained.model.text)
                   for tensor in tower.parameters())


def share(**changes) -> float:
    clip = vit_l_14()
    with torch.device('meta'):
        trained, total = parameter_counts(VitLens2Objective.make_model(clip, VitLens2Recipe(**changes)))
    return 100 * trained / total


def test_share_of_vit_l_14_that_is_trained_is_7_percent_without_a_perceiver():
    """7.00 is printed; patches, class token, positions, norm and four blocks of 12,596,224 are 7.006 %."""
    assert share() == pytest.approx(7.00, abs=0.01)
    assert share(unlocked_end='embedding') == pytest.approx(7.00, abs=0.01)
    assert share(lens='perceiver') == pytest.approx(10.13, abs=0.01)
    assert share(lens='perceiver', unlocked_groups=0) == pytest.approx(3.36, abs=0.01)


def test_shipped_recipe_is_that_of_the_published_code():
    recipe = load_recipe(Path(__file__).parents[2] / 'training/recipes/vit_lens_2_vit_l14.yaml', VitLens2Recipe)
    assert (recipe.unlocked_groups, recipe.unlocked_end, recipe.lens, recipe.latents, recipe.patch_dropout,
            recipe.batch_size) == (5, 'image', 'self_attention', 256, 0.0, 128)
