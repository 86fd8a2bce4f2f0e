"""TLV-Link: one loss between text and a mixture in which touch takes over, on towers tuned by low-rank updates."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_samples import SENSOR_KINDS, RandomSamples, random_embeddings, slow_info_nce, trained_names, vit_l_14
from small_clip import IMAGE_DEPTH, frames, small_clip

from training.networks.bridged_clip import parameter_counts
from training.objectives.tlv_link import TlvLinkObjective, TlvLinkRecipe
from training.recipe import load_recipe
from visuotactile_ros.errors import ConfigurationError

RECIPE = TlvLinkRecipe(sensor_kinds=SENSOR_KINDS, steps=100, batch_size=4, patch_dropout=0.0, lora_rank=2, lora_alpha=6)


def objective(recipe=RECIPE, samples=None) -> TlvLinkObjective:
    return TlvLinkObjective(TlvLinkObjective.make_model(small_clip(), recipe), recipe, samples or RandomSamples())


def test_low_rank_updates_and_what_lies_outside_the_blocks_is_trained_but_no_position_and_no_text():
    layers = [f'blocks.{layer}.self_attn.{part}.lora_{side}.default.weight' for layer in range(IMAGE_DEPTH)
              for part in ('q_proj', 'k_proj', 'v_proj', 'out_proj') for side in 'AB']
    outside = ['embeddings.class_embedding', 'embeddings.patch_embedding.weight', 'projection.weight',
               *(f'{norm}.{kind}' for norm in ('pre_norm', 'post_norm') for kind in ('weight', 'bias'))]
    expected = {f'{tower}.{name}' for tower in ('touch', 'vision') for name in (*layers, *outside)}
    assert trained_names(objective().model) == expected | {'log_scale'}


@torch.no_grad()
def test_update_is_alpha_over_r_times_b_a():
    attention = objective().model.touch.blocks[1].self_attn
    inputs = torch.randn(3, 12)
    for name in ('q_proj', 'out_proj'):
        layer = getattr(attention, name)
        before = layer(inputs)
        down, up = layer.lora_A.default.weight, layer.lora_B.default.weight
        assert torch.allclose(before, layer.base_layer(inputs)), 'a fresh update is zero'
        up.normal_()
        change = torch.tensor([[sum(float(up[i, r]) * sum(float(down[r, j]) * float(row[j]) for j in range(12))
                                    for r in range(2)) * 6 / 2 for i in range(12)] for row in inputs])
        assert torch.allclose(layer(inputs), before + change, atol=1e-4)


@pytest.mark.parametrize(('step', 'vision_share'), [(0, 0.9), (30, 0.6), (45, 0.45), (90, 0.0), (99, 0.0)])
@torch.no_grad()
def test_share_of_vision_falls_from_0_9_to_0_over_90_percent_of_the_steps(step, vision_share):
    torch.manual_seed(0)
    encoded = objective().encode(RandomSamples().training_batch(step))
    expected = (1 - vision_share) * encoded['touch'] + vision_share * encoded['vision']
    assert torch.allclose(encoded['mixture'], expected, atol=1e-6)


def test_training_batch_without_its_step_is_refused():
    with pytest.raises(KeyError, match='step'):
        objective().encode({name: value for name, value in RandomSamples().training_batch().items() if name != 'step'})


SHARED = objective()


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=2, max_size=7),
       seed=st.integers(0, 1000))
def test_loss_is_that_of_mixture_and_text_over_samples_with_touch_and_text(rows, seed):
    encoded = {name: values.requires_grad_() for name, values in random_embeddings(len(rows), seed).items()}
    encoded['mixture'] = 0.3 * encoded['touch'] + 0.7 * encoded['vision']
    columns = dict(zip(('has_touch', 'has_view', 'has_text'), map(torch.tensor, zip(*rows)), strict=True))
    terms = SHARED.loss_terms(encoded, columns | {'sensor_id': torch.zeros(len(rows), dtype=torch.long)})
    chosen = [row for row, (touch, _, text) in enumerate(rows) if touch and text]   # touch stands in for a view
    expected = slow_info_nce(encoded['mixture'][chosen].tolist(), encoded['text'][chosen].tolist(), 0.07) \
        if chosen else 0.0
    assert list(terms) == ['touch_text'] and terms['touch_text'].weight == 1.0
    assert terms['touch_text'].value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@torch.no_grad()
def test_touch_stands_in_for_a_missing_view():
    samples = RandomSamples(4, has_view=[True, False, True, False])
    trained = objective(dataclasses.replace(RECIPE, rotation_deg=0.0, mirror_share=0.0), samples)
    encoded = trained.encode(samples.training_batch())
    assert torch.allclose(encoded['vision'][[1, 3]], encoded['touch'][[1, 3]], atol=1e-6), 'fresh towers are alike'
    assert torch.allclose(encoded['vision'][[0, 2]], trained.model.vision_embedding(samples.values['view'][[0, 2]]),
                          atol=1e-5)


@torch.no_grad()
def test_validation_compares_touch_alone():
    samples = RandomSamples(6)
    trained = objective(dataclasses.replace(RECIPE, batch_size=6), samples)
    touch = trained.model.touch_embedding(samples.values['touch'], samples.values['sensor_id'])
    text = trained.model.text_embedding(samples.values['tokens'])
    metrics = trained.validate()
    assert set(metrics) == {'touch_text_loss', 'retrieval_top1', 'retrieval_top5'}
    assert metrics['touch_text_loss'] == pytest.approx(slow_info_nce(touch.tolist(), text.tolist(), 0.07), rel=1e-3)


@torch.no_grad()
def test_temperature_never_falls_below_0_01():
    towers = objective().model
    assert towers.temperature().item() == pytest.approx(0.07)
    towers.log_scale.fill_(10.0)
    assert towers.temperature().item() == pytest.approx(0.01)


@torch.no_grad()
def test_sensor_says_nothing():
    trained = objective()
    features = [trained.touch_features(frames(2), torch.full((2,), sensor)) for sensor in (0, 3)]
    assert torch.equal(*features)


def test_share_of_vit_l_14_that_is_trained_is_1_23_percent():
    """Two towers of 24 · 4 · 2 · 1024 · 16 and, outside the blocks, patches, class token, norms and projection."""
    clip = vit_l_14()
    with torch.device('meta'):
        trained, total = parameter_counts(TlvLinkObjective.make_model(clip, TlvLinkRecipe()))
    assert trained == 2 * (24 * 4 * 2 * 1024 * 16 + 3 * 14 * 14 * 1024 + 1024 + 4 * 1024 + 1024 * 768) + 1
    assert round(100 * trained / total, 2) == 1.23


def test_shipped_recipe_is_that_of_the_published_code():
    recipe = load_recipe(Path(__file__).parents[2] / 'training/recipes/tlv_link_vit_l14.yaml', TlvLinkRecipe)
    assert (recipe.lora_rank, recipe.lora_alpha, recipe.first_vision_share, recipe.vision_span, recipe.patch_dropout,
            recipe.batch_size) == (16, 16, 0.9, 0.9, 0.5, 128)


@pytest.mark.parametrize('changes', [{'sensor_kinds': ()}, {'sensor_kinds': ('digit', 'digit')}, {'data': (3,)}])
def test_recipe_without_data_or_with_a_sensor_twice_is_refused(changes):
    with pytest.raises(ConfigurationError, match='Name at least one, each once'):
        dataclasses.replace(RECIPE, **changes)
