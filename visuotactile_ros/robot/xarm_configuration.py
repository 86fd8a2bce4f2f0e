"""What the controller must know before it may move: payload, tool, limits as the second net. Set, then read back."""

from __future__ import annotations

import time

import numpy as np

from visuotactile_ros.errors import ArmError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.robot.xarm_sdk import XArmLink

# Changing these resets the controller, which then says that it is not ready to move; reading back decides.
_NOT_READY_IS_FINE = (0, 2, 9)
_REPORT_WAIT_S = 1.5


def configure(link: XArmLink, parameters: ArmParameters) -> None:
    """Write payload, tool and limits; the arm is left stopped.

    Raises:
        ArmError: The controller refuses a setting.
    """
    p = parameters
    for name, arguments in (
            ('set_tcp_offset', (list(p.tool_offset_mm_deg), False, False)),
            ('set_tcp_load', (p.payload_kg, list(p.payload_centre_mm))),
            ('set_collision_tool_model', (p.collision_tool_model,)),
            ('set_self_collision_detection', (True,)),
            ('set_tcp_maxacc', (p.controller_tcp_acceleration_mm_s2,)),
            ('set_joint_maxacc', (p.controller_joint_acceleration_deg_s2,)),
            ('set_linear_spd_limit_factor', (p.controller_tcp_speed_mm_s / 1000.0,)),
            ('set_reduced_max_tcp_speed', (p.controller_tcp_speed_mm_s,)),
            ('set_reduced_max_joint_speed', (p.controller_joint_speed_deg_s,)),
            ('set_reduced_tcp_boundary', (_boundary_mm(p),)),
            ('set_reduced_mode', (True,)),
            ('set_fence_mode', (True,))):
        link.command(name, *arguments, accept=_NOT_READY_IS_FINE)
    # The library waits for the queue to drain and then runs the arm again, so this one is last, and a stop follows.
    link.command('set_collision_sensitivity', p.collision_sensitivity, accept=_NOT_READY_IS_FINE, deadline_s=8.0)
    link.command('set_state', 4)


def verify_configuration(link: XArmLink, parameters: ArmParameters) -> None:
    """Read payload, tool and limits back from the controller.

    Raises:
        ArmError: The controller has another value; the text names it.
    """
    p = parameters
    reduced, boundary, tcp_speed, joint_speed, _, fence, _ = link.read('get_reduced_states')
    for name, wanted, actual in (
            ('reduced mode', 1, reduced), ('safety boundary', 1, fence), ('boundary in mm', _boundary_mm(p), boundary),
            ('largest tool speed in mm/s', p.controller_tcp_speed_mm_s, tcp_speed),
            ('largest joint speed in deg/s', p.controller_joint_speed_deg_s, joint_speed)):
        if not np.allclose(wanted, actual, atol=0.2):
            raise _not_taken(name, wanted, actual)
    api, deadline_s = link.api, time.monotonic() + _REPORT_WAIT_S
    while (difference := _reported_difference(api, p)) is not None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    if difference is not None:
        raise _not_taken(*difference)


def _reported_difference(api: object, p: ArmParameters) -> tuple[str, object, object] | None:
    """The first setting whose reported value differs: name, wanted, actual."""
    mass_kg, centre_mm = api.tcp_load
    for name, wanted, actual, tolerance in (
            ('payload in kg', p.payload_kg, mass_kg, 0.005),
            ('payload centre in mm', p.payload_centre_mm, centre_mm, 0.1),
            ('tool offset in mm and deg', p.tool_offset_mm_deg, api.tcp_offset, 0.01),
            ('base offset in mm and deg', [0.0] * 6, api.world_offset, 0.01),
            ('collision sensitivity', p.collision_sensitivity, api.collision_sensitivity, 0),
            ('self collision detection', 1, api.self_collision_params[0], 0),
            ('collision model of the tool', p.collision_tool_model, api.self_collision_params[1], 0)):
        if not np.allclose(wanted, actual, atol=tolerance):
            return name, wanted, actual
    return None


def _boundary_mm(p: ArmParameters) -> list[int]:
    """The controller's boundary: largest and smallest x, y, z, whole millimetres outside the box of the driver."""
    low, high = p.tcp_box_mm[::2], p.tcp_box_mm[1::2]
    margin = p.controller_box_margin_mm
    return [number for lower, upper in zip(low, high) for number in (round(upper + margin), round(lower - margin))]


def _not_taken(name: str, wanted: object, actual: object) -> ArmError:
    return ArmError(f'the controller has the {name} {actual}, not {wanted}',
                    'Check its firmware and settings, then arm it again')
