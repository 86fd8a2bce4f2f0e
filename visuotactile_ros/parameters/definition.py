"""How a setting is defined, checked and built strictly from a mapping; knows no ROS."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from visuotactile_ros.errors import ConfigurationError

Parameters = TypeVar('Parameters')


def setting(default: Any, description: str, *, unit: str = '', minimum: float | None = None,
            maximum: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    """Define one setting of a parameter dataclass.

    Args:
        default: The only default of this setting; its type is the setting's type (bool, int, float, str, tuple).
        description: One line for `ros2 param describe`.
        unit: Unit of the number, '' for none.
        minimum: Smallest value allowed, inclusive.
        maximum: Largest value allowed, inclusive.
        choices: The strings allowed; empty allows any.
    """
    return dataclasses.field(default=default, metadata={
        'description': description, 'unit': unit, 'minimum': minimum, 'maximum': maximum, 'choices': choices})


def check_settings(parameters: Any) -> None:
    """Check every field of a parameter dataclass against its definition; call it in `__post_init__`.

    Raises:
        ConfigurationError: A value has the wrong type, is not finite, or is outside its range or choices.
    """
    for field in dataclasses.fields(parameters):
        value, definition = getattr(parameters, field.name), field.metadata
        name = f'{type(parameters).__name__}.{field.name}'
        expected = type(field.default)
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
            object.__setattr__(parameters, field.name, value)
        if expected is tuple and isinstance(value, list):
            value = tuple(value)
            object.__setattr__(parameters, field.name, value)
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise ConfigurationError(f'{name} is {value!r}, not a {expected.__name__}',
                                     f'Write for example {field.default!r}')
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigurationError(f'{name} is {value!r}, which is not finite', 'Give a finite number')
            if isinstance(number, (bool, str)):
                continue
            low, high = definition['minimum'], definition['maximum']
            if (low is not None and number < low) or (high is not None and number > high):
                raise ConfigurationError(f'{name} is {value!r} {definition["unit"]}'.rstrip(),
                                         f'Give a value between {low} and {high}')
        if definition['choices'] and value not in definition['choices']:
            raise ConfigurationError(f'{name} is {value!r}', f'Choose one of {", ".join(definition["choices"])}')


def build_parameters(kind: type[Parameters], values: Mapping[str, Any], source: str) -> Parameters:
    """Build a parameter dataclass from a mapping, strictly.

    Args:
        kind: The dataclass.
        values: Setting names and values; settings not named keep their default.
        source: Where the values come from, for the error text.

    Raises:
        ConfigurationError: An unknown setting (the nearest known one is named) or a bad value.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f'{source} has the unknown setting {name!r}', f'Did you mean {nearest!r}')
    return kind(**values)


class _OneKeyOnce(yaml.SafeLoader):
    """Refuses a key that is there twice; YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in names[:number]:
                raise yaml.constructor.ConstructorError(
                    problem=f'line {key.start_mark.line + 1} names {key.value!r} a second time')
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file, strictly.

    Raises:
        ConfigurationError: The file cannot be read, is not YAML, or names a key twice.
    """
    try:
        return yaml.load(path.read_text(), _OneKeyOnce)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f'{path} cannot be read: {str(error).splitlines()[0]}',
                                 'Check the path and the YAML') from error


def load_parameter_yaml(path: Path) -> dict[str, Any]:
    """Read a ROS parameter file that has the one key `/**: ros__parameters:`.

    Raises:
        ConfigurationError: As `read_yaml`; or the file has any other key: a node-named key would silently win over the
            command line and over launch arguments.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or list(content) != ['/**'] or not isinstance(content['/**'], dict) \
            or list(content['/**']) != ['ros__parameters'] or not isinstance(content['/**']['ros__parameters'], dict):
        raise ConfigurationError(f'{path} is not a parameter file',
                                 "Start it with the single key '/**: ros__parameters:'")
    return content['/**']['ros__parameters']
