"""Several parameter dataclasses behind one node: its own settings and those of the parts it runs."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import build_parameters

ParameterGroups = Sequence[tuple[str, type]]


def flatten_names(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Turn the nested mapping of a parameter file into ROS parameter names: {'arm': {'x': 1}} to {'arm.x': 1}."""
    flat = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten_names(value, f'{prefix}{name}.'))
        else:
            flat[f'{prefix}{name}'] = value
    return flat


def setting_names(groups: ParameterGroups) -> dict[str, tuple[type, dataclasses.Field]]:
    """Every ROS parameter name of the groups, with the dataclass and the field that define it.

    Args:
        groups: Pairs of (group name, dataclass); settings of group `arm` are named `arm.<setting>`, those of group ''
            have the setting's own name.
    """
    return {f'{group}.{field.name}' if group else field.name: (kind, field)
            for group, kind in groups for field in dataclasses.fields(kind)}


def build_parameter_groups(groups: ParameterGroups, values: Mapping[str, Any], source: str) -> dict[type, Any]:
    """Build every dataclass of a node from one mapping, strictly.

    Args:
        groups: Pairs of (group name, dataclass).
        values: Nested (as in YAML) or dotted (as in ROS) setting names and values.
        source: Where the values come from, for the error text.

    Returns:
        One instance for each dataclass, by dataclass.

    Raises:
        ConfigurationError: An unknown setting (the nearest known one is named) or a bad value.
    """
    known = setting_names(groups)
    by_kind: dict[type, dict[str, Any]] = {kind: {} for _, kind in groups}
    for name, value in flatten_names(values).items():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f'{source} has the unknown setting {name!r}', f'Did you mean {nearest!r}')
        kind, field = known[name]
        by_kind[kind][field.name] = value
    return {kind: build_parameters(kind, settings, source) for kind, settings in by_kind.items()}
