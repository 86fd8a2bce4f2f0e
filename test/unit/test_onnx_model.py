"""OnnxModel: finite numbers or a ModelError."""

import dataclasses

import numpy as np
import pytest

from visuotactile_ros.errors import ModelError
from visuotactile_ros.inference.model_card import ModelCard, TensorDescription
from visuotactile_ros.inference.onnx_model import OnnxModel


@pytest.fixture
def root():
    """Give a model of √x, which is not a number below zero."""
    from onnx import TensorProto, helper
    graph = helper.make_graph(
        [helper.make_node('Sqrt', ['x'], ['root'])], 'root',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['batch', 2])],
        [helper.make_tensor_value_info('root', TensorProto.FLOAT, ['batch', 2])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)
    card = ModelCard(
        format_version=1, name='root', kind='pouring_policy', sha256='', licence='Apache-2.0',
        training={'simulated': True}, inputs=(TensorDescription('x', 'float32', ('B', 2)),),
        outputs=(TensorDescription('root', 'float32', ('B', 2), tolerance=0.01),))
    return OnnxModel(model.SerializeToString(), card)


def numbers(*rows):
    return np.array(rows, dtype=np.float32)


def test_outputs_come_by_name(root):
    np.testing.assert_array_equal(root.run({'x': numbers([4, 9])})['root'], numbers([2, 3]))


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_is_refused(root, value):
    with pytest.raises(ModelError, match='input x of root holds a number that is not finite'):
        root.run({'x': numbers([1, 2], [3, value])})


def test_an_output_that_is_not_finite_is_no_output(root):
    with pytest.raises(ModelError, match='output root of root holds a number that is not finite'):
        root.run({'x': numbers([1, 2], [3, -1])})


@pytest.mark.parametrize('inputs', [
    {}, {'y': numbers([1, 2])}, {'x': numbers([1, 2, 3])}, {'x': numbers(1, 2)}, {'x': np.ones((1, 2))},
    {'x': np.ones((1, 2), dtype=np.int64)},
])
def test_inputs_that_do_not_fit_say_what_fits(root, inputs):
    with pytest.raises(ModelError, match=r'x float32 \[B, 2\]') as error:
        root.run(inputs)
    assert '\n' not in str(error.value)


def test_golden_values_within_the_tolerance_pass(root):
    differences = root.verify_golden({'x': numbers([4, 9])}, {'root': numbers([2, 3.005])})
    assert differences == {'root': pytest.approx(0.005, abs=1e-6)}


@pytest.mark.parametrize('golden, words', [
    ({'root': numbers([2, 3.02])}, 'differs from its golden value by 0.02, more than 0.01'),
    ({'root': numbers([2, np.nan])}, 'differs from its golden value'), ({}, 'is missing'),
    ({'root': numbers([2, 3], [4, 5])}, r'is float32 \(2, 2\), not float32 \(1, 2\)'),
    ({'root': np.array([[2.0, 3.0]])}, 'is float64'),
])
def test_golden_values_that_do_not_fit_are_refused(root, golden, words):
    with pytest.raises(ModelError, match=words):
        root.verify_golden({'x': numbers([4, 9])}, golden)


def test_a_graph_of_another_element_type_is_refused(root):
    from onnx import TensorProto, helper
    graph = helper.make_graph(
        [helper.make_node('Sqrt', ['x'], ['root'])], 'root',
        [helper.make_tensor_value_info('x', TensorProto.DOUBLE, ['batch', 2])],
        [helper.make_tensor_value_info('root', TensorProto.DOUBLE, ['batch', 2])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)
    with pytest.raises(ModelError, match=r'input x of the graph is tensor\(double\)'):
        OnnxModel(model.SerializeToString(), root.card)


def test_what_is_no_graph_is_refused(root):
    with pytest.raises(ModelError, match='the graph of root cannot be loaded'):
        OnnxModel(b'no graph', root.card)


def test_a_graph_that_lacks_an_output_of_the_card_is_refused(tiny_encoder):
    model_bytes, card, *_ = tiny_encoder()
    more = dataclasses.replace(card, outputs=(*card.outputs, TensorDescription('hardness', 'float32', ('B', 2))))
    with pytest.raises(ModelError, match=r"outputs \['embedding', 'material'\], the card says .*'hardness'"):
        OnnxModel(model_bytes, more)
