"""The export writes a folder the runtime accepts, and refuses to write one that differs from torch."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
import yaml

from training import export_onnx, export_tower
from training.checkpoint import save_checkpoint
from training.export_tower import export_checkpoint, export_untrained, fit_temperature
from training.networks.tlv_core import TlvCore
from training.recipe import TlvCoreRecipe, recipe_as_dict
from training.rendered_run import VOCABULARY_FILE, load_trained, tlv_core_shape
from training.tokenizer import Tokenizer
from visuotactile_ros.errors import ModelError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder

TINY = {'image_size_px': 32, 'patch_size_px': 16, 'width': 16, 'heads': 2, 'image_depth': 2, 'text_depth': 1,
        'adapter_rank': 2, 'embedding_size': 8, 'vocabulary_size': 260, 'context_length': 8}
DATA = {'train_samples': 80, 'validation_samples': 12, 'held_out_samples': 4, 'unseen_sensor_samples': 4}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """An untrained checkpoint beside a handful of rendered samples."""
    return written(tmp_path_factory.mktemp('checkpoint'))


def written(folder, **settings):
    recipe = TlvCoreRecipe(data=str(folder / 'data'), **TINY, **DATA, **settings)
    tokenizer = Tokenizer.train(['a rough ball'], 260)
    tokenizer.save(folder / VOCABULARY_FILE)
    torch.manual_seed(0)
    model = TlvCore(tlv_core_shape(recipe, tokenizer.vocabulary_size))
    save_checkpoint(folder, model, None, {'step': 0, 'recipe': recipe_as_dict(recipe), 'metrics': {}, 'seconds': 0.0})
    return folder


def frame(kind: str, image: np.ndarray) -> Frame:
    return Frame(image, 1, SensorIdentity('left', kind), 0)


def test_exported_touch_tower_gives_what_torch_gives(checkpoint, tmp_path):
    report = export_checkpoint(checkpoint, tmp_path / 'tiny', 'touch', 'float32')
    assert report['smallest_cosine_to_torch'] > 0.99999
    encoder = TactileEncoder(tmp_path / 'tiny')
    assert encoder.card.training['simulated'] is True
    # The grips of the data are all of one kind: the others may have too few frames for statistics.
    assert 'gelsight_mini_markers' in encoder.card.out_of_distribution
    assert encoder.card.unknown_sensor_id == len(encoder.card.sensor_ids) == 4
    model = load_trained(checkpoint).model
    image = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for kind, sensor_id in (('digit', 2), ('never seen', 4)):
        prediction, again = encoder.encode([frame(kind, image), frame(kind, image)])
        with torch.no_grad():
            feature = model.touch_feature(torch.from_numpy(image)[None, None])
            expected = model.touch_embedding(feature, torch.tensor([sensor_id]))
            material = model.class_logits(expected)['material'] / encoder.card.heads['material'].temperature
        np.testing.assert_allclose(prediction.embedding, expected[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(prediction.heads['material'], material.softmax(1)[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(again.embedding, prediction.embedding, atol=1e-6)


def test_a_model_without_grips_is_exported_without_their_motion(tmp_path):
    report = export_checkpoint(written(tmp_path, grip_share=0.0), tmp_path / 'tiny', 'touch', 'float32')
    assert 'smallest_cosine_to_torch' in report and not any(name.startswith('motion_') for name in report)


def test_int8_vision_tower_is_accepted_and_close(checkpoint, tmp_path):
    report = export_checkpoint(checkpoint, tmp_path / 'tiny_vision', 'vision', 'int8')
    assert report['smallest_cosine_to_torch'] > 0.99
    operators = {node.op_type for node in onnx.load(tmp_path / 'tiny_vision/model.onnx').graph.node}
    assert 'MatMulInteger' in operators or 'DynamicQuantizeLinear' in operators
    image = np.zeros((240, 320, 3), np.uint8)
    assert TactileEncoder(tmp_path / 'tiny_vision').encode([frame('wrist_camera', image)])[0].heads == {}
    assert list(TactileEncoder(tmp_path / 'tiny_vision').card.out_of_distribution) == ['wrist_camera']


def test_graph_names_no_local_path(checkpoint, tmp_path):
    export_checkpoint(checkpoint, tmp_path / 'tiny', 'touch', 'float32')
    content = (tmp_path / 'tiny/model.onnx').read_bytes()
    assert b'site-packages' not in content and b'.py' not in content


def test_graph_that_differs_is_not_written(checkpoint, tmp_path, monkeypatch):
    honest = export_tower.onnx_bytes

    def other_weights(graph, *arguments):
        with torch.no_grad():
            for tensor in graph.parameters():
                tensor.add_(0.1 * torch.randn_like(tensor))
        return honest(graph, *arguments)

    monkeypatch.setattr(export_tower, 'onnx_bytes', other_weights)
    with pytest.raises(ModelError, match='turns an embedding away from that of torch'):
        export_checkpoint(checkpoint, tmp_path / 'tiny', 'touch', 'float32')
    assert not (tmp_path / 'tiny').exists()


def test_graph_whose_logits_differ_is_not_written(checkpoint, tmp_path, monkeypatch):
    honest = export_tower.onnx_bytes

    def other_head(graph, *arguments):
        with torch.no_grad():
            graph.model.classifiers['hardness'].bias.add_(0.01)
        return honest(graph, *arguments)

    monkeypatch.setattr(export_tower, 'onnx_bytes', other_head)
    with pytest.raises(ModelError, match='gives hardness up to 0.01 away from torch, above 0.005'):
        export_checkpoint(checkpoint, tmp_path / 'tiny', 'touch', 'float32')
    assert not (tmp_path / 'tiny').exists()


def test_untrained_weights_can_be_exported(tmp_path):
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text(yaml.safe_dump(TINY))
    export_untrained(recipe, tmp_path / 'untrained', 'touch', 'float32')
    assert TactileEncoder(tmp_path / 'untrained').card.training['data'] == 'none: untrained'


def test_temperature_undoes_overconfidence():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 3)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([generator.choice(3, p=row) for row in probabilities])
    labels[::10] = -1
    assert fit_temperature(3 * logits, labels) == pytest.approx(3.0, rel=0.15)
    assert fit_temperature(logits, np.full(4000, -1)) == 1.0, 'nothing tells'


@pytest.mark.parametrize(('arguments', 'text'), [
    ([], 'Give --checkpoint or --untrained'),
    (['--checkpoint', 'nowhere'], 'nowhere holds no checkpoint'),
    (['--untrained', 'nowhere.yaml'], 'nowhere.yaml cannot be read'),
])
def test_command_line_says_in_one_line_what_is_wrong(arguments, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['export_onnx', '--output', str(tmp_path / 'model'), *arguments])
    assert export_onnx.main() == 1
    error = capsys.readouterr().err
    assert text in error and error.count('\n') == 1
    assert not (tmp_path / 'model').exists()


def test_without_torch_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    find_spec = export_onnx.importlib.util.find_spec
    monkeypatch.setattr(export_onnx.importlib.util, 'find_spec',
                        lambda name, *rest: None if name == 'torch' else find_spec(name, *rest))
    monkeypatch.setattr('sys.argv', ['export_onnx', '--output', str(tmp_path), '--checkpoint', str(tmp_path)])
    assert export_onnx.main() == 1
    assert capsys.readouterr().err.startswith('exporting needs torch. Install it: pip install')


def test_recipe_survives_json():
    recipe = TlvCoreRecipe(steps=7, **TINY)
    assert TlvCoreRecipe(**recipe_as_dict(recipe)) == recipe
    assert dataclasses.replace(recipe, steps=8) != recipe
