"""The networks do what the paper's equations say."""

import numpy as np
import pytest
import torch

from training.networks.bridging_adapter import BridgingAdapter
from training.networks.sensor_aware_modulator import SensorAwareModulator
from training.networks.tlv_core import TlvCore, TlvCoreShape
from training.networks.vision_transformer import PIXEL_MEAN, PIXEL_SCALE

SHAPE = TlvCoreShape(image_size_px=32, patch_size_px=8, width=12, heads=2, image_depth=5, text_depth=3, adapter_rank=4,
                     embedding_size=6, vocabulary_size=300, context_length=8, sensors=3,
                     classes={'material': 4, 'grasp_success': 2})


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = TlvCore(SHAPE)
    for tower in (network.touch, network.vision, network.text):
        for adapter in tower.adapters:   # a trained adapter, not the zero it starts from
            torch.nn.init.normal_(adapter.up.weight, std=0.2)
    return network


def frames(count: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 1, 32, 32, 3), dtype=np.uint8))


def test_adapter_is_equation_4():
    torch.manual_seed(0)
    adapter, shared = BridgingAdapter(6, 2), torch.nn.Linear(2, 2, bias=False)
    feature = torch.randn(6)
    assert torch.equal(adapter(feature, shared), feature)
    torch.nn.init.normal_(adapter.up.weight)
    expected = feature + adapter.up.weight @ (shared.weight @ (adapter.down.weight @ feature))
    assert torch.allclose(adapter(feature, shared), expected, atol=1e-6)


def test_modulator_is_equation_1():
    torch.manual_seed(0)
    modulator, feature = SensorAwareModulator(5, 3), torch.randn(4, 5)
    modulated = modulator(feature, torch.tensor([0, 2, 1, 3]))
    for row, sensor in enumerate([0, 2, 1]):
        scores = [torch.exp(modulator.router.weight[s] @ feature[row]).item() for s in range(3)]
        assert torch.allclose(modulated[row], feature[row] * (1 + scores[sensor] / sum(scores)), atol=1e-6)
    assert torch.allclose(modulated[3], feature[3] * (1 + 1 / 3)), 'an unknown sensor takes the mean component'


def test_modulation_survives_the_unit_length(model):
    torch.nn.init.normal_(model.projections['touch'].bias)
    feature = model.touch_feature(frames(1)).expand(2, -1)
    embedding = model.touch_embedding(feature, torch.tensor([0, 3]))
    assert not torch.allclose(embedding[0], embedding[1], atol=1e-5)


def test_shared_transform_reaches_all_three_modalities(model):
    tokens, lengths = torch.tensor([[5, 6, 1]]), torch.tensor([3])

    def embeddings():
        return (model.touch_embedding(model.touch_feature(frames(1)), torch.tensor([0])),
                model.vision_embedding(frames(1)), model.text_embedding(tokens, lengths))

    with torch.no_grad():
        for level in range(SHAPE.text_depth):
            before = embeddings()
            model.shared_transforms[level].weight.add_(1.0)
            for old, new in zip(before, embeddings(), strict=True):
                assert not torch.allclose(old, new, atol=1e-5)
    assert len(list(model.shared_transforms)) == len(model.touch.adapters) == len(model.text.adapters) == 3


def test_every_layer_runs_its_own_block_and_the_upper_ones_their_own_adapter(model):
    """The published code runs the last block in place of every adapted one; a trace of this tower must not."""
    order = []
    for name, module in model.touch.named_modules():
        if name.split('.')[0] in ('layers', 'adapters') and name.count('.') == 1:
            module.register_forward_hook(lambda module, inputs, output, name=name: order.append(name))
    model.touch_feature(frames())
    assert order == ['layers.0', 'layers.1', 'layers.2', 'adapters.0', 'layers.3', 'adapters.1', 'layers.4',
                     'adapters.2']


def test_pixel_scaling_folded_into_the_stem_equals_scaling_the_pixels(model):
    stem = model.vision.stem
    pixels = (frames().float().squeeze(1).permute(0, 3, 1, 2) - PIXEL_MEAN) / PIXEL_SCALE
    features = torch.nn.functional.gelu(stem.middle(torch.nn.functional.gelu(stem.pixels(pixels))))
    expected = stem.patches(features).flatten(2).transpose(1, 2)
    assert torch.allclose(stem(frames()), expected, atol=1e-4)


def test_patch_dropout_keeps_the_asked_share_and_different_patches(model):
    seen = []
    model.vision.layers[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.vision_embedding(frames(1).expand(4, -1, -1, -1, -1), patch_dropout=0.5)
    assert seen[0].shape == (4, 8, SHAPE.width)
    assert not torch.allclose(seen[0][0], seen[0][1])


def test_text_ignores_what_is_behind_its_end(model):
    lengths = torch.tensor([3])
    first = model.text_embedding(torch.tensor([[7, 8, 1, 0, 0]]), lengths)
    assert torch.allclose(first, model.text_embedding(torch.tensor([[7, 8, 1, 9, 9]]), lengths), atol=1e-6)
    assert not torch.allclose(first, model.text_embedding(torch.tensor([[8, 7, 1, 0, 0]]), lengths), atol=1e-6)


def test_embeddings_are_unit_length(model):
    for embedding in (model.touch_embedding(model.touch_feature(frames(3)), torch.tensor([0, 1, 3])),
                      model.vision_embedding(frames(3))):
        assert embedding.shape[1] == SHAPE.embedding_size
        assert torch.allclose(embedding.norm(dim=1), torch.ones(3), atol=1e-6)


def test_only_the_encoder_gets_the_reversed_gradient(model):
    from training.losses.decoupled_learning import decoupled_learning, sensor_log_probabilities
    sensor_id = torch.tensor([0, 1, 2, 0])
    feature = model.touch_feature(frames(4))
    plain = -sensor_log_probabilities(feature, model.sensor_centroids, 0.05)[torch.arange(4), sensor_id].mean()
    weights = [model.sensor_centroids, model.touch.layers[0].query_key_value.weight]
    centroid, encoder = torch.autograd.grad(plain, weights, retain_graph=True)
    reversed_loss = decoupled_learning(feature, sensor_id, model.sensor_centroids, 0.05)
    centroid_reversed, encoder_reversed = torch.autograd.grad(reversed_loss, weights)
    assert torch.allclose(centroid_reversed, centroid, atol=1e-6)
    assert torch.allclose(encoder_reversed, -encoder, atol=1e-6)
