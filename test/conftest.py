"""What all tests share: no packet leaves the machine, hardware tests say what they need, tiny models to run."""

import os

import numpy as np
import pytest
from hypothesis import settings

# A busy machine is no failure.
settings.register_profile('untimed', deadline=None)
settings.load_profile('untimed')

# The only tests that may be skipped, and how to run them.
NEEDS = {
    'hardware': ('VISUOTACTILE_HARDWARE', 'needs a sensor or an arm: set VISUOTACTILE_HARDWARE=1 where one is'),
    'gpu': ('VISUOTACTILE_GPU', 'needs a GPU: set VISUOTACTILE_GPU=1 where one is'),
}


def pytest_configure(config):
    for marker, (_, reason) in NEEDS.items():
        config.addinivalue_line('markers', f'{marker}: {reason}')
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    # One domain a process, so that parallel workers and other users of the machine do not hear each other.
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    os.environ.setdefault('OMP_NUM_THREADS', '1')


def pytest_collection_modifyitems(items):
    for item in items:
        for marker, (variable, reason) in NEEDS.items():
            if item.get_closest_marker(marker) is not None and os.environ.get(variable) != '1':
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get('skipped', [])
    terminalreporter.section('tests that were not run')
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f'{report.nodeid}: {reason.removeprefix("Skipped: ")}')
    if not skipped:
        terminalreporter.write_line('none')


@pytest.fixture(scope='session')
def tiny_encoder():
    """Give a function that makes a small true encoder: ONNX bytes, card, golden inputs and golden outputs."""
    return make_tiny_encoder


def make_tiny_encoder(height=6, width=8, embedding_size=5, classes=('metal', 'wood', 'rubber'),
                      sensor_ids=None, takes_sensor_id=True, seed=0):
    """Build frames → scaled pixels · weights + sensor row → unit length → logits of `material`.

    Returns:
        ONNX bytes, ModelCard without its hash, golden inputs, golden outputs computed in numpy.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from visuotactile_ros.inference.model_card import HeadDescription, ModelCard, OutOfDistribution, TensorDescription
    sensor_ids = {'digit': 0, 'gelsight_mini': 1} if sensor_ids is None else sensor_ids
    rng = np.random.default_rng(seed)
    pixels = height * width * 3
    weights = rng.normal(size=(pixels, embedding_size)).astype(np.float32)
    table = rng.normal(size=(len(sensor_ids) + 1, embedding_size)).astype(np.float32)
    head = rng.normal(size=(embedding_size, len(classes))).astype(np.float32)
    nodes = [helper.make_node('Cast', ['frames'], ['float_frames'], to=TensorProto.FLOAT),
             helper.make_node('Reshape', ['float_frames', 'flat_shape'], ['flat']),
             helper.make_node('Mul', ['flat', 'scale'], ['scaled']),
             helper.make_node('MatMul', ['scaled', 'weights'], ['features'])]
    inputs = [helper.make_tensor_value_info('frames', TensorProto.UINT8, ['batch', 1, height, width, 3])]
    described = [TensorDescription('frames', 'uint8', ('B', 1, height, width, 3))]
    if takes_sensor_id:
        nodes += [helper.make_node('Gather', ['table', 'sensor_id'], ['row']),
                  helper.make_node('Add', ['features', 'row'], ['raw'])]
        inputs.append(helper.make_tensor_value_info('sensor_id', TensorProto.INT64, ['batch']))
        described.append(TensorDescription('sensor_id', 'int64', ('B',)))
    else:
        nodes.append(helper.make_node('Identity', ['features'], ['raw']))
    nodes += [helper.make_node('LpNormalization', ['raw'], ['embedding'], axis=-1, p=2),
              helper.make_node('MatMul', ['embedding', 'head'], ['material'])]
    outputs = [helper.make_tensor_value_info('embedding', TensorProto.FLOAT, ['batch', embedding_size]),
               helper.make_tensor_value_info('material', TensorProto.FLOAT, ['batch', len(classes)])]
    constants = {'flat_shape': np.array([-1, pixels]), 'scale': np.array(1 / 255, dtype=np.float32),
                 'weights': weights, 'table': table, 'head': head}
    graph = helper.make_graph(nodes, 'tiny', inputs, outputs,
                              [numpy_helper.from_array(values, name) for name, values in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)
    onnx.checker.check_model(model)

    frames = rng.integers(0, 256, (3, 1, height, width, 3), dtype=np.uint8)
    ids = np.arange(3, dtype=np.int64) % (len(sensor_ids) + 1)
    raw = frames.reshape(3, -1).astype(np.float32) / 255 @ weights + (table[ids] if takes_sensor_id else 0)
    embedding = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    card = ModelCard(
        format_version=1, name='tiny', kind='encoder', sha256='', inputs=tuple(described),
        outputs=(TensorDescription('embedding', 'float32', ('B', embedding_size), 'unit length', 1e-4),
                 TensorDescription('material', 'float32', ('B', len(classes)), 'logit', 1e-3)),
        licence='Apache-2.0', training={'recipe': 'none', 'seed': seed, 'simulated': True},
        image_height_px=height, image_width_px=width, frame_count=1,
        sensor_ids=sensor_ids, unknown_sensor_id=len(sensor_ids),
        heads={'material': HeadDescription(classes, 2.0)},
        out_of_distribution={kind: OutOfDistribution((0.0,) * embedding_size, ((1.0, *(0.0,) * (embedding_size - 1)),),
                                                     (0.5,), 0.5, 3.0) for kind in sensor_ids})
    golden_inputs = {'frames': frames} | ({'sensor_id': ids} if takes_sensor_id else {})
    return model.SerializeToString(), card, golden_inputs, {'embedding': embedding, 'material': embedding @ head}
