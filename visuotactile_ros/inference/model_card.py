"""ModelCard: the facts about a model that were frozen when it was trained, and their strict YAML form.

Longer than 300 lines: a setting of the card, its check and how it is read and written are one contract.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from visuotactile_ros.errors import ModelError

OLDEST_FORMAT_VERSION = 1
NEWEST_FORMAT_VERSION = 1
KINDS = ('encoder', 'pouring_policy')
REMEDY = ('Export the model again: '
          'ros2 run visuotactile_ros export_onnx --checkpoint <checkpoint> --output <folder>')


@dataclass(frozen=True)
class TensorDescription:
    """One input or output of the graph.

    Attributes:
        name: Name in the graph.
        dtype: `uint8`, `int64` or `float32`.
        shape: Sizes; a string names a size that may vary, such as `B` for the batch.
        unit: Unit of an output's numbers: `logit`, `unit length`, `g`, …; '' for none.
        tolerance: Largest absolute difference allowed between an output and its golden value.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    unit: str = ''
    tolerance: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, 'shape', _as_tuple(self.shape, f'the shape of {self.name!r}'))
        _require(isinstance(self.name, str) and self.name != '', f'a tensor has the name {self.name!r}')
        _require(self.dtype in ('uint8', 'int64', 'float32'), f'{self.name} has the dtype {self.dtype!r}')
        _require(all(isinstance(size, str) or (_is_integer(size) and size >= 1) for size in self.shape),
                 f'{self.name} has the shape {self.shape}')
        _require(isinstance(self.unit, str), f'{self.name} has the unit {self.unit!r}')
        _require(_is_number(self.tolerance) and self.tolerance >= 0,
                 f'{self.name} has the tolerance {self.tolerance!r}')


@dataclass(frozen=True)
class HeadDescription:
    """One classification head: the graph's output of the same name holds its logits.

    Attributes:
        classes: Class names in the order of the logits.
        temperature: The logits are divided by it before the softmax (temperature scaling, Guo et al. 2017).
    """

    classes: tuple[str, ...]
    temperature: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, 'classes', _as_tuple(self.classes, 'the classes of a head'))
        _require(len(self.classes) >= 2 and all(isinstance(name, str) and name for name in self.classes)
                 and len(set(self.classes)) == len(self.classes), f'a head has the classes {self.classes}')
        _require(_is_number(self.temperature) and self.temperature > 0,
                 f'a head has the temperature {self.temperature!r}')


@dataclass(frozen=True)
class OutOfDistribution:
    """Where the embeddings of one kind of sensor lie; `out_of_distribution.strangeness` uses it.

    Attributes:
        mean: Mean embedding, D numbers.
        axes: Principal axes: K rows of D numbers, unit length and orthogonal, K below D.
        standard_deviation: Standard deviation along each axis, K positive numbers.
        residual_standard_deviation: The same along each direction that is left, positive.
        threshold: Distances above it are out of distribution.
    """

    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]
    standard_deviation: tuple[float, ...]
    residual_standard_deviation: float
    threshold: float

    def __post_init__(self):
        for name in ('mean', 'axes', 'standard_deviation'):
            object.__setattr__(self, name, _as_tuple(getattr(self, name), name))
        object.__setattr__(self, 'axes', tuple(_as_tuple(axis, 'an axis') for axis in self.axes))
        sizes = sorted({len(axis) for axis in self.axes})
        _require(len(self.axes) == len(self.standard_deviation) > 0 and sizes == [len(self.mean)],
                 f'out_of_distribution has {len(self.mean)} means, {len(self.axes)} axes of {sizes} numbers and '
                 f'{len(self.standard_deviation)} deviations')
        _require(all(_is_number(value) for row in (self.mean, *self.axes) for value in row),
                 'out_of_distribution has a mean or an axis that is not finite')
        _require(all(_is_number(value) and value > 0
                     for value in (*self.standard_deviation, self.residual_standard_deviation)),
                 'out_of_distribution has a standard deviation that is not positive')
        _require(_is_number(self.threshold) and self.threshold > 0,
                 f'out_of_distribution has the threshold {self.threshold!r}')


@dataclass(frozen=True)
class ModelCard:
    """What a model is, takes and gives; `model_card.yaml` in its folder.

    Attributes:
        format_version: Version of this format.
        name: Name of the model: lower-case letters, digits and underscores.
        kind: One of KINDS.
        sha256: Hash of `model.onnx`, 64 hexadecimal digits; `write_model_folder` fills it in.
        inputs: The graph's inputs. An encoder has `frames` uint8 [B, F, H, W, 3] RGB and, unless it has one sensor
            only, `sensor_id` int64 [B].
        outputs: The graph's outputs. An encoder has `embedding` float32 [B, D], unit length.
        licence: SPDX name of the weights' licence.
        training: Provenance: recipe, data, seed, commit, metrics, and `simulated: true` for rendered data.
        image_height_px: H of an encoder's frames; None for other kinds.
        image_width_px: W of an encoder's frames; None for other kinds.
        frame_count: F, frames of one sensor a sample; None for other kinds.
        sensor_ids: Id of each sensor kind the encoder was trained on.
        unknown_sensor_id: Id for every other kind; None where the graph takes no `sensor_id`.
        heads: Classification heads by the name of the output with their logits.
        constants: Numbers and texts frozen at training that the model's user needs (a policy's control period).
        out_of_distribution: Statistics of the embedding by sensor kind; empty if the exporter had no data.
    """

    format_version: int
    name: str
    kind: str
    sha256: str
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    licence: str
    training: Mapping[str, Any]
    image_height_px: int | None = None
    image_width_px: int | None = None
    frame_count: int | None = None
    sensor_ids: Mapping[str, int] = field(default_factory=dict)
    unknown_sensor_id: int | None = None
    heads: Mapping[str, HeadDescription] = field(default_factory=dict)
    constants: Mapping[str, float | int | str] = field(default_factory=dict)
    out_of_distribution: Mapping[str, OutOfDistribution] = field(default_factory=dict)

    def __post_init__(self):
        for name in ('inputs', 'outputs'):
            object.__setattr__(self, name, _as_tuple(getattr(self, name), name))
        _check_format_version(self.format_version)
        _require(isinstance(self.name, str) and re.fullmatch('[a-z0-9_]+', self.name) is not None,
                 f'name is {self.name!r}, not lower-case letters, digits and underscores')
        _require(self.kind in KINDS, f'kind is {self.kind!r}, not one of {", ".join(KINDS)}')
        _require(isinstance(self.sha256, str) and re.fullmatch('([0-9a-f]{64})?', self.sha256) is not None,
                 f'sha256 is {self.sha256!r}')
        _require(isinstance(self.licence, str) and self.licence != '', f'licence is {self.licence!r}')
        for name in ('training', 'sensor_ids', 'heads', 'constants', 'out_of_distribution'):
            _require(isinstance(getattr(self, name), Mapping), f'{name} is {getattr(self, name)!r}, not a mapping')
        _require(len(self.training) > 0, 'training says nothing about where the weights come from')
        _require(all(isinstance(value, str) or _is_number(value) for value in self.constants.values()),
                 f'constants holds {dict(self.constants)!r}')
        for name, tensors in (('inputs', self.inputs), ('outputs', self.outputs)):
            names = [tensor.name for tensor in tensors]
            _require(len(names) > 0 and len(set(names)) == len(names), f'{name} has the names {names}')
        for name, head in self.heads.items():
            self._check_output(name, (len(head.classes),), f'head {name} has {len(head.classes)} classes')
        if self.kind == 'encoder':
            self._check_encoder()

    def output(self, name: str) -> TensorDescription:
        """Give the description of one output.

        Raises:
            ModelError: The model has no such output.
        """
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor
        raise ModelError(f'the model has no output {name!r} but {[tensor.name for tensor in self.outputs]}', REMEDY)

    def _check_output(self, name: str, sizes: tuple[int, ...], reason: str) -> None:
        tensor = self.output(name)
        _require(tensor.dtype == 'float32' and tensor.shape[1:] == sizes,
                 f'{reason}, but output {name} is {tensor.dtype} {list(tensor.shape)}')

    def _check_encoder(self) -> None:
        sizes = (self.frame_count, self.image_height_px, self.image_width_px)
        _require(all(_is_integer(size) and size >= 1 for size in sizes),
                 f'frame_count, image_height_px and image_width_px are {sizes}')
        inputs = {tensor.name: tensor for tensor in self.inputs}
        frames = inputs.get('frames')
        _require(frames is not None and frames.dtype == 'uint8' and frames.shape[1:] == (*sizes, 3),
                 f'input frames is not uint8 [B, {sizes[0]}, {sizes[1]}, {sizes[2]}, 3]')
        embedding = self.output('embedding')
        _require(embedding.dtype == 'float32' and len(embedding.shape) == 2 and _is_integer(embedding.shape[1]),
                 f'output embedding is {embedding.dtype} {list(embedding.shape)}, not float32 [B, D]')
        for statistics in self.out_of_distribution.values():
            size = len(statistics.mean)
            _require(size == embedding.shape[1], f'out_of_distribution has {size} numbers for D = {embedding.shape[1]}')
        if 'sensor_id' in inputs:
            _require(inputs['sensor_id'].dtype == 'int64' and len(inputs['sensor_id'].shape) == 1,
                     'input sensor_id is not int64 [B]')
            ids = [*self.sensor_ids.values(), self.unknown_sensor_id]
            _require(len(self.sensor_ids) > 0 and all(_is_integer(number) and number >= 0 for number in ids),
                     f'sensor_ids is {dict(self.sensor_ids)} with unknown_sensor_id {self.unknown_sensor_id}')


def parse_model_card(text: str) -> ModelCard:
    """Build a card from its YAML text, strictly.

    Raises:
        ModelError: The text is not YAML, has an unknown or a missing key, or a value that cannot be.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ModelError(f'is not YAML: {str(error).splitlines()[0]}', REMEDY) from error
    if isinstance(values, dict) and 'format_version' in values:
        _check_format_version(values['format_version'])   # before the keys: another version may have other keys
    values = _check_keys(ModelCard, values, 'the card')
    for name in ('inputs', 'outputs'):
        values[name] = tuple(_build(TensorDescription, tensor, name) for tensor in _as_tuple(values[name], name))
    for name, kind in (('heads', HeadDescription), ('out_of_distribution', OutOfDistribution)):
        parts = values.get(name, {})
        _require(isinstance(parts, Mapping), f'{name} is {parts!r}, not a mapping')
        values[name] = {key: _build(kind, part, f'{name} {key}') for key, part in parts.items()}
    return ModelCard(**values)


def model_card_yaml(card: ModelCard) -> str:
    """Write a card as YAML; `parse_model_card` gives the same card back."""
    return yaml.dump(_plain(dataclasses.asdict(card)), Dumper=_CardDumper, sort_keys=False, allow_unicode=True,
                     width=110)


class _CardDumper(yaml.SafeDumper):
    """Writes lists of plain values on one line: 192 means are not 192 lines."""

    def represent_text(self, text: str) -> yaml.Node:
        # Written plainly, PyYAML reads these line breaks back as a space.
        style = '"' if set(text) & set('\x85\u2028\u2029') else None
        return self.represent_scalar('tag:yaml.org,2002:str', text, style=style)

    def represent_list(self, values: list) -> yaml.Node:
        flat = not any(isinstance(value, (dict, list)) for value in values)
        return self.represent_sequence('tag:yaml.org,2002:seq', values, flow_style=flat)


_CardDumper.add_representer(list, _CardDumper.represent_list)
_CardDumper.add_representer(str, _CardDumper.represent_text)


def _check_format_version(version: Any) -> None:
    _require(_is_integer(version), f'format_version is {version!r}, not a whole number')
    if version < OLDEST_FORMAT_VERSION:
        raise ModelError(f'format_version {version} is too old, this package reads {OLDEST_FORMAT_VERSION} to '
                         f'{NEWEST_FORMAT_VERSION}', REMEDY)
    if version > NEWEST_FORMAT_VERSION:
        raise ModelError(f'format_version {version} is too new, this package reads {OLDEST_FORMAT_VERSION} to '
                         f'{NEWEST_FORMAT_VERSION}', f'Update visuotactile_ros, or: {REMEDY}')


def _check_keys(kind: type, values: Any, where: str) -> dict[str, Any]:
    _require(isinstance(values, dict) and all(isinstance(name, str) for name in values), f'{where} is not a mapping')
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            nearest = difflib.get_close_matches(name, list(fields), n=1, cutoff=0.0)[0]
            raise ModelError(f'{where} has the unknown key {name!r}', f'Did you mean {nearest!r}')
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        _require(name in values or not required, f'{where} has no {name}')
    return dict(values)


def _build(kind: type, values: Any, where: str) -> Any:
    return kind(**_check_keys(kind, values, where))


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ModelError(problem, REMEDY)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _as_tuple(value: Any, name: str) -> tuple:
    _require(isinstance(value, Sequence) and not isinstance(value, str), f'{name} is {value!r}, not a list')
    return tuple(value)


def _plain(value: Any) -> Any:
    """Leave out what is None and turn tuples into lists, which YAML can write."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
