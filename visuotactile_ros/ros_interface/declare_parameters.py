"""Binds parameter dataclasses to ROS parameters; the dataclass stays the only place of a default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.groups import ParameterGroups, build_parameter_groups, setting_names

_LARGEST_INTEGER = 2 ** 63 - 1


def _is_of_ros(name: str) -> bool:
    return name in ('use_sim_time', 'start_type_description_service') or name.startswith('qos_overrides.')


def _plain(value: Any) -> Any:
    """ROS hands arrays over as array.array or bytes; a setting is a number, a string or a list."""
    return value if isinstance(value, (bool, int, float, str)) else list(value)


def _descriptor(name: str, field: Any) -> ParameterDescriptor:
    definition = field.metadata
    description = definition['description'] + (f' [{definition["unit"]}]' if definition['unit'] else '')
    low, high = definition['minimum'], definition['maximum']
    descriptor = ParameterDescriptor(name=name, description=description,
                                     dynamic_typing=isinstance(field.default, tuple))
    if definition['choices']:
        descriptor.additional_constraints = f'one of: {", ".join(definition["choices"])}'
    if low is None and high is None:
        return descriptor
    if isinstance(field.default, tuple):
        descriptor.additional_constraints = f'each between {low} and {high}'
    elif isinstance(field.default, float):
        descriptor.floating_point_range = [FloatingPointRange(
            from_value=-float('inf') if low is None else float(low),
            to_value=float('inf') if high is None else float(high))]
    else:
        descriptor.integer_range = [IntegerRange(
            from_value=-_LARGEST_INTEGER if low is None else int(low),
            to_value=_LARGEST_INTEGER if high is None else int(high), step=0)]
    return descriptor


def declare_parameters(node: Node, groups: ParameterGroups) -> dict[type, Any]:
    """Declare every setting of the groups, with type, range, unit and description, and build the dataclasses.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`: that is how values from
    parameter files and the command line are seen before anything declares them, unknown names included.

    Args:
        node: The node; its own ROS parameters (`use_sim_time`, …) are left alone.
        groups: Pairs of (group name, dataclass).

    Returns:
        One instance for each dataclass, by dataclass.

    Raises:
        ConfigurationError: An unknown setting (the nearest known one is named) or a bad value.
    """
    given = {name: _plain(parameter.value) for name, parameter in node.get_parameters_by_prefix('').items()
             if not _is_of_ros(name)}
    parameters = build_parameter_groups(groups, given, f'the node {node.get_name()}')
    for name in given:
        node.undeclare_parameter(name)
    for name, (kind, field) in setting_names(groups).items():
        value = getattr(parameters[kind], field.name)
        node.declare_parameter(name, list(value) if isinstance(value, tuple) else value, _descriptor(name, field),
                               ignore_override=True)
    return parameters


def read_parameters(node: Node, groups: ParameterGroups, changed: Iterable[Parameter] = ()) -> dict[type, Any]:
    """Build the dataclasses from the node's parameters as they are now.

    Args:
        node: A node whose parameters `declare_parameters` declared.
        groups: Pairs of (group name, dataclass).
        changed: Values to try instead of the present ones.

    Raises:
        ConfigurationError: A bad value.
    """
    values = {name: _plain(node.get_parameter(name).value) for name in setting_names(groups)}
    values.update({parameter.name: _plain(parameter.value) for parameter in changed if parameter.name in values})
    return build_parameter_groups(groups, values, f'the node {node.get_name()}')


def check_change(node: Node, groups: ParameterGroups, changed: list[Parameter],
                 unconfigured: bool) -> SetParametersResult:
    """Answer a request to set parameters; they are read at configure, so only an unconfigured node takes new ones."""
    if not any(parameter.name in setting_names(groups) for parameter in changed):
        return SetParametersResult(successful=True)
    if not unconfigured:
        return SetParametersResult(successful=False, reason='Settings are read when the node is configured. '
                                                            'Deactivate and clean up the node first.')
    try:
        read_parameters(node, groups, changed)
    except ConfigurationError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)
