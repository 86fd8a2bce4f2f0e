"""AnyTouch, second stage: sensor tokens, alignment of what is there, matching across sensors, masked images."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_samples import (
    SENSOR_KINDS,
    RandomSamples,
    loss_of,
    random_embeddings,
    slow_info_nce,
    trained_names,
    vit_l_14,
)
from small_clip import SENSORS, frames, small_clip

from training.losses.cross_sensor_matching import cross_sensor_matching, matching_anchors
from training.networks.bridged_clip import parameter_counts
from training.networks.touch_decoder import grid_waves
from training.objectives.anytouch_stage_2 import PAPER, RELEASED_CODE, AnyTouchObjective, AnyTouchRecipe
from training.recipe import load_recipe
from visuotactile_ros.errors import ConfigurationError

RECIPE = AnyTouchRecipe(sensor_kinds=SENSOR_KINDS, steps=100, batch_size=4, lora_rank=2, lora_alpha=2,
                        tokens_per_sensor=2, decoder_width=8, decoder_depth=1, decoder_heads=2, rotation_deg=0.0,
                        mirror_share=0.0)
IDS = torch.arange(SENSORS + 1)


def objective(samples=None, **changes) -> AnyTouchObjective:
    recipe = dataclasses.replace(RECIPE, **changes)
    torch.manual_seed(0)
    return AnyTouchObjective(AnyTouchObjective.make_model(small_clip(), recipe), recipe, samples or RandomSamples())


def test_touch_is_trained_as_a_whole_vision_by_low_rank_updates_text_not_at_all():
    model = objective().model
    assert all(tensor.requires_grad for tensor in model.touch.parameters())
    assert not any(tensor.requires_grad for tensor in model.text.parameters())
    in_blocks = {name for name in trained_names(model) if name.startswith('vision.blocks.')}
    assert in_blocks and all('.lora_' in name for name in in_blocks)
    lora_touch = {name for name in trained_names(objective(touch_tuning='lora').model) if 'touch.blocks' in name}
    assert lora_touch == {name.replace('vision.', 'touch.') for name in in_blocks}


@torch.no_grad()
def test_tower_sees_class_token_then_the_tokens_of_the_sensor_then_patches():
    model, seen = objective().model, []
    model.touch.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.touch_embedding(frames(4), IDS)
    plain = model.touch.tokens(frames(4))
    assert torch.equal(seen[0][:, 0], plain[:, 0]) and torch.equal(seen[0][:, 3:], plain[:, 1:])
    assert torch.equal(seen[0][:, 1:3], model.touch.pre_norm(model.sensor_tokens.table))


@torch.no_grad()
def test_hidden_and_unknown_sensors_get_the_universal_tokens():
    tokens = objective().model.sensor_tokens
    hidden = torch.tensor([False, True, False, False])
    expected = [tokens.table[row] for row in (0, SENSORS, 2, SENSORS)]
    assert torch.equal(tokens(IDS, hidden), torch.stack(expected)), 'eq. 7'
    assert len({tuple(row.flatten().tolist()) for row in tokens(IDS)}) == SENSORS + 1


@pytest.mark.parametrize(('step', 'share'), [(0, 0.0), (50, 0.375), (100, 0.75)])
@torch.no_grad()
def test_share_of_hidden_sensors_grows_from_0_to_0_75(step, share, monkeypatch):
    trained, asked = objective(RandomSamples(400)), []
    monkeypatch.setattr(trained.model, 'touch_embedding', lambda frames, ids, dropout, hidden: asked.append(hidden))
    monkeypatch.setattr(trained.model, 'vision_embedding', lambda frames, dropout: None)
    monkeypatch.setattr(trained.model, 'text_embedding', lambda tokens: None)
    trained.encode(trained.validation.training_batch(step))
    assert asked[0].float().mean().item() == pytest.approx(share, abs=0.08) and (step > 0 or not asked[0].any())


def slow_matching(touch, pair, sensors, weight, bias):
    """Eqs. 5 and 6 of AnyTouch, averaged over all draws of a partner and a stranger."""
    def score(a, b):
        return sum(w * x * y for w, x, y in zip(weight, a, b, strict=True)) + bias

    total, anchors = 0.0, 0
    for i in range(len(touch)):
        partners = [j for j in range(len(touch)) if pair[i] >= 0 and pair[j] == pair[i] and sensors[j] != sensors[i]]
        strangers = [j for j in range(len(touch)) if j != i and (pair[i] < 0 or pair[j] != pair[i])]
        if partners and strangers:
            m_plus = [1 / (1 + math.exp(-score(touch[i], touch[j]))) for j in partners]
            m_minus = [1 / (1 + math.exp(-score(touch[i], touch[j]))) for j in strangers]
            total -= sum(map(math.log, m_plus)) / len(m_plus)
            total -= sum(math.log(1 - m) for m in m_minus) / len(m_minus)
            anchors += 1
    return total / anchors if anchors else 0.0, anchors


CONTACTS = st.lists(st.tuples(st.integers(-1, 2), st.integers(0, SENSORS), st.booleans()), min_size=2, max_size=8)


@settings(max_examples=40, deadline=None)
@given(rows=CONTACTS, seed=st.integers(0, 1000))
def test_matching_is_equations_5_and_6(rows, seed):
    pair, sensors, has_touch = (torch.tensor(column) for column in zip(*rows))
    touch = random_embeddings(len(rows), seed)['touch'].requires_grad_()
    torch.manual_seed(seed)
    head = torch.nn.Linear(6, 1)
    felt = has_touch.nonzero().flatten().tolist()
    expected, anchors = slow_matching(touch[felt].tolist(), pair[felt].tolist(), sensors[felt].tolist(),
                                      head.weight[0].tolist(), head.bias.item())
    loss = cross_sensor_matching(touch, pair, sensors, head, has_touch)
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert matching_anchors(pair, sensors, has_touch).sum() == anchors
    loss.backward()
    assert torch.isfinite(touch.grad).all() and not touch.grad[~has_touch].any()


def test_matching_needs_batches_that_tell_contacts():
    trained = objective()
    batch = RandomSamples(4).training_batch()
    encoded = trained.encode(batch)
    assert 'matching' not in trained.loss_terms(encoded, batch)
    alone = trained.loss_terms(encoded, batch | {'pair': torch.full((4,), -1)})['matching']
    assert (alone.value.item(), alone.weight) == (0.0, 0.1)
    paired = trained.loss_terms(encoded, batch | {'pair': torch.tensor([0, 0, -1, -1])})['matching'].value
    paired.backward()
    assert paired.item() > 0 and trained.model.matching_head.weight.grad.any()


@pytest.mark.parametrize(('released_code', 'weights'), [(False, (1.0, 1.0, 0.2)), (True, (1.0, 2.0, 0.2))])
def test_alignment_is_equation_4_over_what_each_sample_has(released_code, weights):
    trained, encoded = objective(released_code=released_code), random_embeddings(5)
    present = {'has_view': torch.tensor([True, True, False, True, True]),
               'has_text': torch.tensor([False, True, True, True, True]), 'sensor_id': torch.zeros(5, dtype=torch.long)}
    terms = trained.loss_terms(encoded, present)
    rows = {'touch_vision': [0, 1, 3, 4], 'touch_text': [1, 2, 3, 4], 'vision_text': [1, 3, 4]}
    assert set(terms) == set(rows), 'no view is made up'
    for (name, chosen), weight in zip(rows.items(), weights, strict=True):
        first, second = (encoded[modality][chosen].tolist() for modality in name.split('_'))
        assert terms[name].value.item() == pytest.approx(slow_info_nce(first, second, 0.07), rel=1e-4)
        assert terms[name].weight == weight


def test_temperature_has_no_limit():
    towers = objective().model
    with torch.no_grad():
        towers.log_scale.fill_(10.0)
    assert towers.temperature().item() == pytest.approx(math.exp(-10))


@torch.no_grad()
def test_reconstruction_is_the_error_of_the_normalised_pixels_of_hidden_patches(monkeypatch):
    """Equation 1 pixel by pixel: 3 x 3 patches of 4 x 4 pixels, of which the last 7 of the order are hidden."""
    model, order = objective(released_code=True).model, torch.stack([torch.randperm(9) for _ in range(2)])
    predicted = torch.randn(2, 9, 48)
    asked = []
    monkeypatch.setattr(model.decoder, 'forward', lambda *inputs: asked.append(inputs) or predicted)
    images = frames(2)
    error = model.reconstruction_error(images, IDS[:2], order, 0.75)
    for image in range(2):
        squares = []
        for patch in order[image, 2:].tolist():
            for value in range(48):
                channel, down, right = value // 16, value // 4 % 4, value % 4
                pixel = images[image, 0, 4 * (patch // 3) + down, 4 * (patch % 3) + right, channel].item()
                normalised = (pixel - model.touch.pixel_mean[channel]) / model.touch.pixel_deviation[channel]
                squares.append((predicted[image, patch, value] - normalised) ** 2)
        assert error[image].item() == pytest.approx(float(sum(squares) / len(squares)), rel=1e-4)
    others, patches, places = asked[0]
    assert others.shape == (2, 3, 6) and patches.shape == (2, 2, 6) and torch.equal(places, order[:, :2])


@torch.no_grad()
def test_hidden_patches_do_not_reach_the_encoder(monkeypatch):
    model, order = objective(released_code=True).model, torch.arange(9)[None]
    encoded = []
    monkeypatch.setattr(model.decoder, 'forward',
                        lambda others, patches, places: encoded.append(patches) or torch.zeros(1, 9, 48))
    image = frames(1)
    changed = image.clone()
    changed[:, :, 4:] = 255 - changed[:, :, 4:]   # patches 3 to 8
    for picture in (image, changed):
        model.reconstruction_error(picture, IDS[:1], order, 0.67)
    assert torch.equal(*encoded)


@torch.no_grad()
def test_decoder_puts_seen_patches_in_their_places():
    decoder = objective(released_code=True).model.decoder
    others, patches = torch.randn(1, 3, 6), torch.randn(1, 2, 6)
    places = torch.tensor([[7, 2]])
    assert torch.allclose(decoder(others, patches, places), decoder(others, patches.flip(1), places.flip(1)), atol=1e-6)
    assert not torch.allclose(decoder(others, patches, places), decoder(others, patches, places.flip(1)), atol=1e-4)
    assert len({tuple(row) for row in grid_waves(3, 8).tolist()}) == 9, 'every place has its own wave'


def test_released_code_goes_on_reconstructing_and_the_paper_does_not():
    batch = RandomSamples(4, has_touch=[True, True, True, False]).training_batch()
    paper, code = objective(), objective(released_code=True)
    assert paper.model.decoder is None and 'reconstruction' not in paper.encode(batch)
    encoded = code.encode(batch)
    term = code.loss_terms(encoded, batch)['reconstruction']
    assert term.value.item() == pytest.approx(encoded['reconstruction'][:3].mean().item()) and term.weight == 1.0
    loss_of(code, batch).backward()
    assert all(tensor.grad.any() for tensor in code.model.decoder.parameters())
    assert [name for name, value in vars(PAPER).items() if value == getattr(RELEASED_CODE, name)] == []


@pytest.mark.parametrize(('touch_tuning', 'share'), [
    # Every weight of the touch tower, low-rank updates and outer layers of vision, 30 sensor tokens.
    ('full', 42.03),
    # Both image towers as vision: the 1.31 % that table 1 of TLV-CoRe prints.
    ('lora', 1.31)])
def test_share_of_vit_l_14_that_is_trained(touch_tuning, share):
    clip = vit_l_14()
    with torch.device('meta'):
        model = AnyTouchObjective.make_model(clip, AnyTouchRecipe(touch_tuning=touch_tuning))
    trained, total = parameter_counts(model)
    outside = 3 * 14 * 14 * 1024 + 1024 + 257 * 1024 + 4 * 1024 + 1024 * 768
    tuned = 24 * 4 * 2 * 1024 * 16 + outside
    touch = 303_179_776 + 1024 * 768 if touch_tuning == 'full' else tuned
    assert trained == touch + tuned + 6 * 5 * 1024 + 769 + 1
    assert round(100 * trained / total, 2) == share


def test_decoder_whose_heads_do_not_fit_is_refused():
    with pytest.raises(ConfigurationError, match='decoder_width 510 cannot be divided by 4 and by decoder_heads 16'):
        AnyTouchRecipe(decoder_width=510)


def test_shipped_recipe_is_that_of_the_paper():
    recipe = load_recipe(Path(__file__).parents[2] / 'training/recipes/anytouch_stage_2_vit_l14.yaml', AnyTouchRecipe)
    assert recipe.reading == PAPER and recipe.touch_tuning == 'full'
    assert (recipe.touch_vision_weight, recipe.touch_text_weight, recipe.vision_text_weight, recipe.matching_weight,
            recipe.tokens_per_sensor, recipe.universal_share, recipe.batch_size) == (1.0, 1.0, 0.2, 0.1, 5, 0.75, 128)
