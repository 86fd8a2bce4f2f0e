"""From a trained tower to a model folder: graph, quantisation, calibration, card, golden frames, parity."""

from __future__ import annotations

import logging
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn import functional

from training.datasets.rendered import CLASS_NAMES, render_data
from training.networks.tlv_core import MOTION_QUANTITIES, TlvCore
from training.objectives.tlv_core import UNKNOWN_LABEL, motion_error
from training.recipe import TlvCoreRecipe, load_recipe, recipe_as_dict
from training.rendered_run import load_trained, tlv_core_shape
from visuotactile_ros.errors import ModelError
from visuotactile_ros.inference.model_card import HeadDescription, ModelCard, OutOfDistribution, TensorDescription
from visuotactile_ros.inference.model_folder import write_model_folder
from visuotactile_ros.inference.out_of_distribution import fit_out_of_distribution
from visuotactile_ros.simulation.simulated_sensor import CAMERA_KIND

OPSET = 20
GOLDEN_FRAMES = 8
LARGEST_CALIBRATION_SET = 1600
STATISTICS_FRAMES = 6000
# With fewer a sensor kind gets no statistics: they would call everything strange.
FEWEST_STATISTICS_FRAMES = 12
# Largest absolute difference of any output against torch that may be. Dynamic int8 rounds activations by the range of
# each call, and other processors sum in another order: the card allows four times what this machine shows, within
# these bounds, so that golden outputs that mean nothing do not pass either.
TOLERANCE = {'float32': {'embedding': (1e-4, 2e-4), 'logit': (2e-3, 5e-3)},
             'int8': {'embedding': (0.005, 0.05), 'logit': (0.1, 1.5)}}
TOLERANCE_MARGIN = 4.0
SMALLEST_COSINE = {'float32': 0.999999, 'int8': 0.99}


class TouchGraph(nn.Module):
    """What the runtime runs of the touch tower: frames and sensor ids to the embedding and the logits of every head."""

    def __init__(self, model: TlvCore):
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, sensor_id: Tensor) -> tuple[Tensor, ...]:
        """Map uint8 [B, 1, H, W, 3] and int64 [B] to float32 [B, D] and logits in the order of the classifiers."""
        embedding = self.model.touch_embedding(self.model.touch_feature(frames), sensor_id)
        return embedding, *self.model.class_logits(embedding).values()


class VisionGraph(nn.Module):
    """What the runtime runs of the vision tower: frames to the embedding. One kind of camera, so no sensor id."""

    def __init__(self, model: TlvCore):
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        """Map uint8 [B, 1, H, W, 3] to float32 [B, D]."""
        return (self.model.vision_embedding(frames),)


def export_checkpoint(checkpoint: Path, output: Path, tower: str, precision: str) -> dict[str, float]:
    """Export a tower of a trained checkpoint with calibration, statistics and provenance.

    Args:
        checkpoint: Folder written by `training.pretrain`.
        output: Model folder to write; its name is the model's name.
        tower: `touch` or `vision`.
        precision: `int8` or `float32`.

    Returns:
        What was measured: parity with torch, size, and for touch the errors of grip motion of torch and of the graph.

    Raises:
        ModelError: The checkpoint is damaged, or the graph differs from torch; nothing is written then.
    """
    trained = load_trained(checkpoint)
    recipe, state, data = trained.recipe, trained.state, render_data(trained.recipe)
    validation = data.triplets('validation', trained.tokenizer, recipe.context_length)
    batch = validation.batch(np.arange(min(len(validation), LARGEST_CALIBRATION_SET)))
    provenance = {
        'simulated': True, 'data': 'rendered by visuotactile_ros.simulation', 'recipe': recipe_as_dict(recipe),
        'steps': state['step'], 'hours': round(state['seconds'] / 3600, 2), 'commit': current_commit(),
        'metrics': {name: round(value, 5) for name, value in state['metrics'].items()}}
    usual = data.triplets('train', trained.tokenizer, recipe.context_length)
    usual = usual.batch(np.arange(min(len(usual), STATISTICS_FRAMES)))
    return _export(trained.model, recipe, output, tower, precision, batch, provenance, usual)


def export_untrained(recipe_path: Path, output: Path, tower: str, precision: str) -> dict[str, float]:
    """Export the weights that a recipe starts from; arguments and errors as in `export_checkpoint`."""
    recipe = load_recipe(recipe_path, TlvCoreRecipe)
    torch.manual_seed(recipe.seed)
    model = TlvCore(tlv_core_shape(recipe, recipe.vocabulary_size))
    generator = torch.Generator().manual_seed(recipe.seed)
    size = recipe.image_size_px
    frames = torch.randint(0, 256, (GOLDEN_FRAMES, 1, size, size, 3), generator=generator, dtype=torch.uint8)
    batch = {'touch': frames, 'view': frames, 'sensor_id': torch.arange(GOLDEN_FRAMES) % len(recipe.sensor_kinds)}
    return _export(model, recipe, output, tower, precision, batch, {
        'simulated': True, 'data': 'none: untrained', 'recipe': recipe_as_dict(recipe), 'steps': 0,
        'commit': current_commit()})


def _export(model: TlvCore, recipe: TlvCoreRecipe, output: Path, tower: str, precision: str,
            batch: Mapping[str, Tensor], provenance: dict,
            usual: Mapping[str, Tensor] | None = None) -> dict[str, float]:
    model.eval()
    if tower == 'touch':
        graph: nn.Module = TouchGraph(model)
        inputs = {'frames': batch['touch'], 'sensor_id': batch['sensor_id']}
        heads = {name: CLASS_NAMES[name] for name in model.classifiers}
        sensor_ids = {kind: index for index, kind in enumerate(recipe.sensor_kinds)}
    else:
        graph, inputs, heads, sensor_ids = VisionGraph(model), {'frames': batch['view']}, {}, {}
    names = ['embedding', *heads]
    with torch.no_grad():
        parts = [graph(*(values[rows] for values in inputs.values()))
                 for rows in torch.arange(len(inputs['frames'])).split(100)]
    expected = {name: torch.cat([part[index] for part in parts]).numpy() for index, name in enumerate(names)}
    content = onnx_bytes(graph, tuple(values[:1] for values in inputs.values()), list(inputs), names, precision)
    arrays = {name: values.numpy() for name, values in inputs.items()}
    actual = _run(content, arrays, names)
    report = {'megabytes': len(content) / 1e6} | _check_parity(expected, actual, precision)
    trained = usual is not None
    if trained and tower == 'touch' and len(batch['motion']) > 0:
        report |= _motion_errors(model, graph, content, batch)
    temperatures = {name: fit_temperature(actual[name], batch[name].numpy()) if trained else 1.0 for name in heads}
    size, frames = recipe.image_size_px, ('B', 1, recipe.image_size_px, recipe.image_size_px, 3)
    tolerance = {name: float(f'{np.clip(TOLERANCE_MARGIN * report[f"largest_{name}_difference"], *bounds):.2g}')
                 for name in names for bounds in [_tolerance_bounds(name, precision)]}
    descriptions = {'frames': TensorDescription('frames', 'uint8', frames),
                    'sensor_id': TensorDescription('sensor_id', 'int64', ('B',))}
    card = ModelCard(
        format_version=1, name=output.name, kind='encoder', sha256='',
        inputs=tuple(descriptions[name] for name in inputs),
        outputs=(TensorDescription('embedding', 'float32', ('B', recipe.embedding_size), 'unit length',
                                   tolerance['embedding']),
                 *(TensorDescription(name, 'float32', ('B', len(classes)), 'logit', tolerance[name])
                   for name, classes in heads.items())),
        licence='Apache-2.0',
        training={**provenance, 'precision': precision, 'export': {name: float(f'{value:.5g}')
                                                                 for name, value in report.items()}},
        image_height_px=size, image_width_px=size, frame_count=1, sensor_ids=sensor_ids,
        unknown_sensor_id=model.shape.sensors if sensor_ids else None,
        heads={name: HeadDescription(tuple(classes), temperatures[name]) for name, classes in heads.items()},
        out_of_distribution=_statistics(content, sensor_ids, usual, batch, actual['embedding']) if trained else {})
    rows = np.linspace(0, len(arrays['frames']) - 1, GOLDEN_FRAMES).astype(int)
    write_model_folder(output, content, card, {name: values[rows] for name, values in arrays.items()},
                       {name: values[rows] for name, values in expected.items()})
    return report


def _statistics(content: bytes, sensor_ids: Mapping[str, int], usual: Mapping[str, Tensor], batch: Mapping[str, Tensor],
                validation: np.ndarray) -> dict[str, OutOfDistribution]:
    """Statistics by sensor kind, of training frames with thresholds from the embeddings of validation frames."""
    if not sensor_ids:
        embeddings = _run(content, {'frames': usual['view'].numpy()}, ['embedding'])['embedding']
        return {CAMERA_KIND: fit_out_of_distribution(embeddings, validation)}
    inputs = {'frames': usual['touch'].numpy(), 'sensor_id': usual['sensor_id'].numpy()}
    embeddings = _run(content, inputs, ['embedding'])['embedding']
    of_kind = {kind: (embeddings[inputs['sensor_id'] == index], validation[batch['sensor_id'].numpy() == index])
               for kind, index in sensor_ids.items()}
    return {kind: fit_out_of_distribution(*both) for kind, both in of_kind.items()
            if len(both[0]) >= FEWEST_STATISTICS_FRAMES and len(both[1]) > 0}


def onnx_bytes(graph: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str],
               precision: str) -> bytes:
    """Turn a module into the content of an ONNX file with the weights inside and a batch of any size.

    Args:
        graph: The module.
        example: One sample of every input.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        precision: `float32`, or `int8` for MatMul and Gemm with weights rounded per channel.
    """
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)   # it tells of packages that nothing here needs
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            graph, example, dynamo=True, opset_version=OPSET, input_names=inputs, output_names=outputs, verbose=False,
            dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs), external_data=False)
    model = program.model_proto
    # Shapes noted for single values contradict what quantisation makes of them; the notes on nodes hold local paths.
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ''
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    if precision == 'int8':
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / 'float32.onnx', Path(folder) / 'int8.onnx'
            onnx.save(model, source)
            logging.getLogger().setLevel(logging.ERROR)   # it advises a preprocessing that breaks on this graph
            quantize_dynamic(source, target, op_types_to_quantize=['MatMul', 'Gemm'], per_channel=True,
                             weight_type=QuantType.QInt8)
            return target.read_bytes()
    return model.SerializeToString()


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fit the temperature that makes probabilities mean what they say.

    Args:
        logits: float32 [N, classes].
        labels: int64 [N]; UNKNOWN_LABEL is left out.

    Returns:
        The temperature of least negative log-likelihood on a logarithmic grid from 0.1 to 10; 1 without any label.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, §4.2.
    """
    known = labels != UNKNOWN_LABEL
    if not known.any():
        return 1.0
    logits_known, labels_known = torch.from_numpy(logits[known]), torch.from_numpy(labels[known])
    grid = np.geomspace(0.1, 10.0, 201)
    losses = [functional.cross_entropy(logits_known / temperature, labels_known).item() for temperature in grid]
    return float(f'{grid[int(np.argmin(losses))]:.4g}')


def _run(content: bytes, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    # One frame a call, as the runtime does it: dynamic int8 scales activations by the range of the whole call.
    parts = [session.run(outputs, {name: values[row:row + 1] for name, values in inputs.items()})
             for row in range(len(inputs['frames']))]
    return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(outputs)}


def _check_parity(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray],
                  precision: str) -> dict[str, float]:
    cosine = (expected['embedding'] * actual['embedding']).sum(axis=1)
    report = {'smallest_cosine_to_torch': float(cosine.min()), 'mean_cosine_to_torch': float(cosine.mean())}
    for name in expected:
        report[f'largest_{name}_difference'] = float(np.abs(expected[name] - actual[name]).max())
    if not report['smallest_cosine_to_torch'] >= SMALLEST_COSINE[precision]:
        raise ModelError(f'the {precision} graph turns an embedding away from that of torch to a cosine of '
                         f'{report["smallest_cosine_to_torch"]:.5f}, below {SMALLEST_COSINE[precision]}',
                         'Export with --precision float32')
    for name in expected:
        largest, difference = _tolerance_bounds(name, precision)[1], report[f'largest_{name}_difference']
        if not difference <= largest:
            raise ModelError(f'the {precision} graph gives {name} up to {difference:.3g} away from torch, above '
                             f'{largest:g}', 'Export with --precision float32')
    return report


def _tolerance_bounds(name: str, precision: str) -> tuple[float, float]:
    return TOLERANCE[precision]['embedding' if name == 'embedding' else 'logit']


def _motion_errors(model: TlvCore, graph: nn.Module, content: bytes, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """Compare the motion between the moments of a grip that torch and the graph read: mean absolute errors.

    Small motions are what rounding to int8 would hide first, and what pouring needs.
    """
    moments = batch['motion'].shape[1]
    frames = batch['grip'].flatten(0, 1)
    sensor_id = batch['sensor_id'][batch['in_grip']].repeat_interleave(moments)
    report = {}
    with torch.no_grad():
        expected = torch.cat([graph(frames[rows], sensor_id[rows])[0] for rows in torch.arange(len(frames)).split(100)])
        actual = _run(content, {'frames': frames.numpy(), 'sensor_id': sensor_id.numpy()}, ['embedding'])['embedding']
        for source, embedding in (('torch', expected), ('onnx', torch.from_numpy(actual))):
            error = motion_error(model, embedding, batch['motion']).abs().mean(dim=(0, 1))
            report |= {f'motion_{name}_error_{source}': value
                       for name, value in zip(MOTION_QUANTITIES, error.tolist(), strict=True)}
    return report


def current_commit() -> str:
    """Short hash of the checked-out commit, 'unknown' outside a repository; provenance for a card."""
    try:
        return subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, check=True,
                              cwd=Path(__file__).parent, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
