"""OnnxModel: one ONNX graph on the CPU that is what its card says and gives finite numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

from visuotactile_ros.errors import ModelError
from visuotactile_ros.inference.model_card import REMEDY, ModelCard, TensorDescription

_DTYPES = {'tensor(uint8)': 'uint8', 'tensor(int64)': 'int64', 'tensor(float)': 'float32'}


class OnnxModel:
    """A session of ONNX Runtime.

    Args:
        model_bytes: The content of `model.onnx`.
        card: What the graph must be.
        threads: Threads inside one operation. One is best for small encoders: a second thread buys at most 10 % of
            latency for 20 to 55 % more CPU.

    Raises:
        ModelError: ONNX Runtime cannot load the graph, or its inputs and outputs are not those of the card.
    """

    def __init__(self, model_bytes: bytes, card: ModelCard, threads: int = 1):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning thread burns a whole core between two frames.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.add_session_config_entry('session.inter_op.allow_spinning', '0')
        options.log_severity_level = 4   # what goes wrong is raised below, with its remedy
        try:
            self._session = onnxruntime.InferenceSession(model_bytes, options, providers=['CPUExecutionProvider'])
        except Exception as error:   # ONNX Runtime's exceptions share no base class below Exception
            raise ModelError(f'the graph of {card.name} cannot be loaded: {_first_line(error)}', REMEDY) from error
        _check_signature('input', self._session.get_inputs(), card.inputs)
        _check_signature('output', self._session.get_outputs(), card.outputs)
        self.card = card
        self._output_names = [output.name for output in card.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs.

        Args:
            inputs: Every input of the card by name, with its dtype and shape.

        Returns:
            Every output of the card by name.

        Raises:
            ModelError: An input does not fit, or an output holds a number that is not finite.
        """
        for name, values in inputs.items():
            if values.dtype.kind == 'f' and not np.isfinite(values).all():
                raise ModelError(f'input {name} of {self.card.name} holds a number that is not finite',
                                 'Look for the fault in what feeds the model')
        try:
            values = self._session.run(self._output_names, dict(inputs))
        except Exception as error:   # see above
            raise ModelError(f'{self.card.name} cannot run: {_first_line(error)}',
                             f'Give it {[_describe(tensor) for tensor in self.card.inputs]}') from error
        outputs = dict(zip(self._output_names, values, strict=True))
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                raise ModelError(f'output {name} of {self.card.name} holds a number that is not finite', REMEDY)
        return outputs

    def verify_golden(self, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compare the outputs for the golden inputs with the golden outputs.

        Returns:
            Largest absolute difference of each output.

        Raises:
            ModelError: An output is missing, has another shape, or differs by more than the card's tolerance.
        """
        outputs, differences = self.run(inputs), {}
        for tensor in self.card.outputs:
            golden, actual = expected.get(tensor.name), outputs[tensor.name]
            if golden is None or golden.dtype != actual.dtype or golden.shape != actual.shape:
                found = 'missing' if golden is None else f'{golden.dtype} {golden.shape}'
                raise ModelError(f'the golden output {tensor.name} of {self.card.name} is {found}, '
                                 f'not {actual.dtype} {actual.shape}', REMEDY)
            difference = float(np.abs(actual.astype(np.float64) - golden.astype(np.float64)).max(initial=0.0))
            if not difference <= tensor.tolerance:   # also refuses a golden value that is not a number
                raise ModelError(f'output {tensor.name} of {self.card.name} differs from its golden value by '
                                 f'{difference:.2g}, more than {tensor.tolerance:.2g}',
                                 f'Install the ONNX Runtime of the requirements, or: {REMEDY}')
            differences[tensor.name] = difference
        return differences


def _check_signature(kind: str, actual: Sequence[onnxruntime.NodeArg], expected: Sequence[TensorDescription]) -> None:
    found = {tensor.name: tensor for tensor in actual}
    names = [tensor.name for tensor in expected]
    if sorted(found) != sorted(names):
        raise ModelError(f'the graph has the {kind}s {sorted(found)}, the card says {sorted(names)}', REMEDY)
    for tensor in expected:
        graph_tensor = found[tensor.name]
        dtype = _DTYPES.get(graph_tensor.type, graph_tensor.type)
        # A size that varies has a name or none in the graph, and a name in the card.
        shape = tuple(size if isinstance(size, int) else '?' for size in graph_tensor.shape)
        if dtype != tensor.dtype or shape != tuple(size if isinstance(size, int) else '?' for size in tensor.shape):
            raise ModelError(f'{kind} {tensor.name} of the graph is {dtype} {list(graph_tensor.shape)}, '
                             f'the card says {tensor.dtype} {list(tensor.shape)}', REMEDY)


def _describe(tensor: TensorDescription) -> str:
    return f'{tensor.name} {tensor.dtype} [{", ".join(map(str, tensor.shape))}]'


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip('.')
