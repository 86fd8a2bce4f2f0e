"""The bridged CLIP does what eqs. 1 and 4 say, on frozen towers, and each deviation of the released code on request."""

import math
import re

import pytest
import torch
from small_clip import IMAGE_DEPTH, RANK, SENSORS, TEMPERATURE, TEXT_DEPTH, bridged_clip, captions, frames, small_clip
from transformers import CLIPConfig, CLIPModel

from training.checkpoint import load_checkpoint, save_checkpoint
from training.clip_recipe import PAPER, RELEASED_CODE
from training.losses.decoupled_learning import decoupled_learning
from training.networks.bridged_clip import BridgedClip, parameter_counts
from visuotactile_ros.errors import ConfigurationError, ModelError

IDS = torch.tensor([0, 2, SENSORS])


def slow_product(matrix, vector):
    return [sum(float(matrix[i][j]) * float(vector[j]) for j in range(len(vector))) for i in range(len(matrix))]


def slow_adapter(tokens, adapter, shared):
    """Eq. 4 of TLV-CoRe, token by token; biases are those of the released code."""
    def linear(layer, vector):
        bias = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
        return [value + offset for value, offset in zip(slow_product(layer.weight, vector), bias, strict=True)]

    rows = [[h + change for h, change in zip(token, linear(adapter.up, linear(shared, linear(adapter.down, token))))]
            for token in tokens.flatten(0, 1).tolist()]
    return torch.tensor(rows).view_as(tokens)


def slow_modulation(feature, sensor, router):
    """Eq. 1 of TLV-CoRe for one feature; a sensor that is unknown takes the mean component."""
    scores = [math.exp(score) for score in slow_product(router, feature)]
    share = scores[sensor] / sum(scores) if sensor < SENSORS else 1 / SENSORS
    return [value + share * value for value in feature]


def slow_unit_length(vector):
    length = math.sqrt(sum(value ** 2 for value in vector))
    return [value / length for value in vector]


def slow_run(model, modality, tokens, blocks, options=None):
    """The layers of a tower one after the other, with the adapter of eq. 4 behind the upper ones."""
    tower, adapters = getattr(model, modality), model.adapters[modality]
    for layer, block in enumerate(blocks):
        tokens = tower.blocks[block](tokens, None, **(options or {}))
        level = layer - (len(blocks) - TEXT_DEPTH)
        if level >= 0:
            per_level = len(model.shared_transforms) == TEXT_DEPTH
            tokens = slow_adapter(tokens, adapters[level], model.shared_transforms[level if per_level else 0])
    return tokens


def paper_and_code():
    return pytest.mark.parametrize(('reading', 'image_blocks', 'text_blocks'), [
        (PAPER, [0, 1, 2, 3, 4], [0, 1, 2]), (RELEASED_CODE, [0, 1, 4, 4, 4], [2, 2, 2])], ids=['paper', 'code'])


@paper_and_code()
@torch.no_grad()
def test_touch_is_equations_1_and_4(reading, image_blocks, text_blocks):
    model = bridged_clip(reading)
    tokens, router = model.touch.tokens(frames(3)), model.modulator.router.weight
    if reading.modulate_tokens:
        tokens = torch.tensor([[slow_modulation(token, sensor, router) for token in row]
                               for row, sensor in zip(tokens.tolist(), IDS.tolist(), strict=True)])
    feature = model.touch.post_norm(slow_run(model, 'touch', tokens, image_blocks)[:, 0])
    expected = []
    for row, sensor in zip(feature.tolist(), IDS.tolist(), strict=True):
        modulated = row if reading.modulate_tokens else slow_modulation(row, sensor, router)
        projected = slow_product(model.touch.projection.weight, modulated)
        bias = [0.0] * len(projected) if model.touch_bias is None else model.touch_bias.tolist()
        expected.append(slow_unit_length([value + offset for value, offset in zip(projected, bias, strict=True)]))
    embedding, read_by_decoupled_learning = model.encode_touch(frames(3), IDS)
    assert torch.allclose(embedding, torch.tensor(expected), atol=1e-5)
    assert torch.allclose(read_by_decoupled_learning, tokens.mean(1) if reading.modulate_tokens else feature, atol=1e-4)


@paper_and_code()
@torch.no_grad()
def test_vision_and_text_are_equation_4(reading, image_blocks, text_blocks):
    model, (tokens, lengths) = bridged_clip(reading), captions(3)
    feature = model.vision.post_norm(slow_run(model, 'vision', model.vision.tokens(frames(3)), image_blocks)[:, 0])
    expected = [slow_unit_length(slow_product(model.vision.projection.weight, row)) for row in feature.tolist()]
    assert torch.allclose(model.vision_embedding(frames(3)), torch.tensor(expected), atol=1e-5)
    features = slow_run(model, 'text', model.text.embeddings(tokens), text_blocks, {'is_causal': True})
    features = model.text.final_norm(features[torch.arange(3), lengths - 1])
    expected = [slow_unit_length(slow_product(model.text.projection.weight, row)) for row in features.tolist()]
    assert torch.allclose(model.text_embedding(tokens), torch.tensor(expected), atol=1e-5)


@paper_and_code()
def test_every_adapted_layer_runs_its_own_block_unless_the_code_is_followed(reading, image_blocks, text_blocks):
    model = bridged_clip(reading)
    trace = {'touch': [], 'vision': [], 'text': []}
    for modality, order in trace.items():
        for kind, modules in (('block', getattr(model, modality).blocks), ('adapter', model.adapters[modality])):
            for index, module in enumerate(modules):
                module.register_forward_hook(
                    lambda module, inputs, output, order=order, step=(kind, index): order.append(step))
    model.encode_touch(frames(1), IDS[:1])
    model.vision_embedding(frames(1))
    model.text_embedding(captions(1)[0])

    def expected(blocks):
        lower = len(blocks) - TEXT_DEPTH
        return [step for layer, block in enumerate(blocks) for step in (('block', block), ('adapter', layer - lower))
                if step[0] == 'block' or layer >= lower]

    assert trace == {'touch': expected(image_blocks), 'vision': expected(image_blocks), 'text': expected(text_blocks)}


@torch.no_grad()
def test_fresh_model_is_clip_itself():
    model, clip = bridged_clip(trained=False), small_clip()
    tokens, _ = captions(4)
    image_features = clip.vision_model(
        ((frames(4)[:, 0] - model.vision.pixel_mean) / model.vision.pixel_deviation).permute(0, 3, 1, 2)).pooler_output
    images = torch.nn.functional.normalize(clip.visual_projection(image_features), dim=-1)
    texts = torch.nn.functional.normalize(clip.text_projection(clip.text_model(tokens).pooler_output), dim=-1)
    for embedding, expected in ((model.encode_touch(frames(4), torch.arange(4) % SENSORS)[0], images),
                                (model.vision_embedding(frames(4)), images), (model.text_embedding(tokens), texts)):
        assert torch.allclose(embedding, expected, atol=1e-5)


@torch.no_grad()
def test_without_a_bias_clip_would_undo_equation_1():
    """Wherever behind the last block one number scales the feature: norm, projection and unit length drop it."""
    model = bridged_clip(projection_bias=False)
    with_modulator, feature = model.encode_touch(frames(3), IDS)
    without_modulator, _ = model.encode_touch(frames(3), None)
    assert torch.allclose(with_modulator, without_modulator, atol=1e-6)
    modulated = model.modulator(feature, IDS)
    assert (modulated - feature).norm() > 0.1 * feature.norm(), 'eq. 1 itself did change the feature'
    before_norm = 10 * torch.randn(3, model.touch.width)   # large, so that the epsilon of the norm does not show
    scaled = model.modulator(before_norm, IDS)
    assert (scaled - before_norm).norm() > 0.1 * before_norm.norm()
    assert torch.allclose(model.touch.post_norm(scaled), model.touch.post_norm(before_norm), atol=1e-5)
    in_embedding = torch.nn.functional.normalize(model.touch.projection(feature) * 1.7, dim=-1)
    assert torch.allclose(in_embedding, with_modulator, atol=1e-6)


@torch.no_grad()
def test_with_a_bias_the_modulator_changes_the_embedding():
    model, same = bridged_clip(), frames(1).expand(3, -1, -1, -1, -1)
    first, second, unknown = model.encode_touch(same, IDS)[0]
    assert not torch.allclose(first, second, atol=1e-3) and not torch.allclose(first, unknown, atol=1e-3)
    assert torch.equal(model.touch_embedding(same, IDS), model.encode_touch(same, IDS)[0])


def test_bias_of_a_fresh_model_gets_a_gradient_and_then_so_does_the_router():
    model = bridged_clip(trained=False)
    target = torch.randn(3, 6)
    for trained in (model.touch_bias, model.modulator.router.weight):
        (model.encode_touch(frames(3), IDS)[0] * target).sum().backward()
        assert trained.grad.abs().max() > 0
        with torch.no_grad():
            model.touch_bias -= 0.1 * model.touch_bias.grad


@torch.no_grad()
def test_code_probes_without_the_modulator_it_trained_with():
    model = bridged_clip(RELEASED_CODE)
    probed = model.touch_embedding(frames(3), IDS)
    assert torch.equal(probed, model.encode_touch(frames(3), None)[0])
    assert not torch.allclose(probed, model.encode_touch(frames(3), IDS)[0], atol=1e-4)


@pytest.mark.parametrize(('per_level', 'matrices'), [(False, 1), (True, TEXT_DEPTH)])
@torch.no_grad()
def test_shared_transform_belongs_to_all_three_modalities(per_level, matrices):
    model, (tokens, _) = bridged_clip(shared_transform_per_level=per_level), captions(2)

    def embeddings():
        return (model.encode_touch(frames(2), IDS[:2])[0], model.vision_embedding(frames(2)),
                model.text_embedding(tokens))

    assert len(model.shared_transforms) == matrices
    for transform in model.shared_transforms:
        before = embeddings()
        transform.weight.add_(1.0)
        for old, new in zip(before, embeddings(), strict=True):
            assert not torch.allclose(old, new, atol=1e-4)


def test_decoupled_learning_reaches_the_adapters_reversed_but_in_the_code_only_router_and_centroids():
    for reading, reached in ((PAPER, {'adapters.touch', 'shared_transforms', 'sensor_centroids'}),
                             (RELEASED_CODE, {'modulator.router', 'sensor_centroids'})):
        model = bridged_clip(reading)
        gradients = {}
        for reverse in (False, True):
            feature = model.encode_touch(frames(3), IDS)[1]
            loss = decoupled_learning(feature, IDS % SENSORS, model.sensor_centroids, 0.05, reverse=reverse)
            trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
            values = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
            gradients[reverse] = {name: value for name, value in zip(trained, values, strict=True) if value is not None}
        assert {re.sub(r'\.(weight|bias|\d.*)$', '', name) for name in gradients[True]} == reached
        for name, value in gradients[False].items():
            sign = 1 if name == 'sensor_centroids' else -1
            assert torch.allclose(gradients[True][name], sign * value, atol=1e-5), name


def test_temperature_is_constant_or_learned_from_0_07_and_never_below_0_01():
    assert bridged_clip().temperature() == TEMPERATURE
    model = bridged_clip(RELEASED_CODE)
    assert model.temperature().item() == pytest.approx(0.07)
    with torch.no_grad():
        model.log_scale.fill_(10.0)
    assert model.temperature().item() == pytest.approx(0.01)
    model.temperature().backward()
    assert model.log_scale.grad.item() != 0, 'it can come back from the limit'


def test_fresh_adapters_detour_only_in_the_code_whose_w_up_starts_at_random():
    for reading, is_zero in ((PAPER, True), (RELEASED_CODE, False)):
        for adapters in bridged_clip(reading, trained=False).adapters.values():
            assert all((adapter.up.weight == 0).all() == is_zero for adapter in adapters)
            if not is_zero:   # within the bounds of a fresh linear map
                assert all(0 < tensor.abs().max() <= RANK ** -0.5 for adapter in adapters
                           for tensor in (adapter.up.weight, adapter.up.bias))


def test_first_centroids_have_the_asked_spread():
    centroids = {spread: bridged_clip(trained=False, centroid_deviation=spread).sensor_centroids
                 for spread in (PAPER.centroid_deviation, RELEASED_CODE.centroid_deviation)}
    assert list(centroids) == [0.02, 1.0] and torch.allclose(50 * centroids[0.02], centroids[1.0])
    assert 0.6 < centroids[1.0].std() < 1.4


def test_parts_can_be_left_out():
    bare = bridged_clip(bridging=False, modulator=False)
    assert [name for name, tensor in bare.named_parameters() if tensor.requires_grad] == ['sensor_centroids']
    assert torch.equal(bare.encode_touch(frames(3), IDS)[0], bare.vision_embedding(frames(3)))


def test_checkpoint_holds_what_is_trained_and_fits_the_same_clip_only(tmp_path):
    model, fresh = bridged_clip(), bridged_clip(trained=False)
    trained = {name for name, tensor in model.named_parameters() if tensor.requires_grad}
    assert set(model.state_dict()) == trained | {'clip_sums'}
    save_checkpoint(tmp_path, model, None, {'step': 0, 'recipe': {}, 'metrics': {}})
    load_checkpoint(tmp_path, fresh)
    for (name, tensor), expected in zip(fresh.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(tensor, expected), name
    with torch.no_grad():
        other = small_clip()
        other.text_projection.weight[0, 0] += 1.0
    with pytest.raises(ModelError, match='does not fit its recipe'):
        load_checkpoint(tmp_path, BridgedClip(other, SENSORS, RANK, PAPER, TEMPERATURE))
    with pytest.raises(ModelError, match='does not fit its recipe'):
        load_checkpoint(tmp_path, bridged_clip(shared_transform_per_level=True))


def test_text_tower_deeper_than_the_image_towers_is_refused():
    clip = small_clip()
    del clip.vision_model.encoder.layers[:IMAGE_DEPTH - TEXT_DEPTH + 1]
    with pytest.raises(ConfigurationError, match='3 text layers cannot be bridged to 2 image layers'):
        BridgedClip(clip, SENSORS, RANK, PAPER, TEMPERATURE)


@pytest.mark.parametrize(('reading', 'trained'), [
    # Adapters 12 · 32 · 2 · (1024 + 1024 + 768), W_sh 32 · 32, router and centroids 2 · 5 · 1024, bias 768.
    (PAPER, 2_174_720),
    # Adapters with biases 12 · (2 · (2 · 1024 · 32 + 32 + 1024) + 2 · 768 · 32 + 32 + 768), twelve W_sh of
    # 32 · 32 + 32, router and centroids, scale: the 2.22 M of the released code.
    (RELEASED_CODE, 2_220_545),
], ids=['paper', 'code'])
def test_share_of_vit_l_14_that_is_trained_is_0_30_percent(reading, trained):
    with torch.device('meta'):
        clip = CLIPModel(CLIPConfig(
            projection_dim=768,
            vision_config={'hidden_size': 1024, 'intermediate_size': 4096, 'num_hidden_layers': 24,
                           'num_attention_heads': 16, 'image_size': 224, 'patch_size': 14},
            text_config={'hidden_size': 768, 'intermediate_size': 3072, 'num_hidden_layers': 12,
                         'num_attention_heads': 12}))
        counts = parameter_counts(BridgedClip(clip, 5, 32, reading, TEMPERATURE))
    assert counts[0] == trained
    assert counts[1] - trained == 2 * (303_179_776 + 786_432) + 123_060_480 + 589_824, 'three towers, each with its own'
    assert round(100 * counts[0] / counts[1], 2) == 0.30
