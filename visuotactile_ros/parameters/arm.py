"""Settings of the arm that pours: where it is, how it holds the vessel, and how far and fast it may move."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import check_settings, setting

# Whoever ends the node waits for the return to upright: the local runner for 15 s, `launch` for 30 s.
LONGEST_RETURN_S = 10.0


@dataclass(frozen=True)
class ArmParameters:
    """Everything the arm driver needs; limits bind the simulated-time benchmark too."""

    # Connection.
    address: str = setting('127.0.0.1', 'IPv4 address of the xArm controller; the loopback address is the simulation')
    control_port: int = setting(502, 'Control port; 502 on a real xArm, a free high port in simulation', minimum=1,
                                maximum=65534)
    command_timeout_s: float = setting(
        0.2, 'Longest wait for the reply to one command', unit='s', minimum=0.05, maximum=2.0)
    call_deadline_s: float = setting(
        1.0, 'Longest time one call into the vendor library may take before the connection counts as hung', unit='s',
        minimum=0.2, maximum=10.0)
    connect_timeout_s: float = setting(
        5.0, 'Longest time to connect and to see the first report', unit='s', minimum=0.5, maximum=60.0)
    report_age_limit_s: float = setting(
        0.5, 'Reports older than this are a fault', unit='s', minimum=0.25, maximum=5.0)
    dry_run: bool = setting(True, 'Validate and log every command, but write nothing that moves the arm or gripper')

    # Motion.
    motion_mode: str = setting(
        'online_planning',
        'online_planning is mode 7: a new pose replaces the last; velocity is mode 5 with a duration',
        choices=('online_planning', 'velocity'))
    velocity_duration_s: float = setting(
        0.4, 'A velocity command ends by itself after this time, that of a step after 0.2 s at most', unit='s',
        minimum=0.1, maximum=1.0)
    upright_pose_mm_deg: tuple[float, ...] = setting(
        (400.0, 0.0, 250.0, 180.0, 0.0, 90.0), 'Tool pose of the upright vessel: x, y, z, roll, pitch, yaw',
        unit='mm, deg')
    lip_in_tool_mm: tuple[float, ...] = setting(
        (30.0, 0.0, -47.5), 'Lip of the vessel in the tool frame; pouring goes towards tool +x', unit='mm')

    # Limits that the driver checks before every command.
    step_limit_deg: float = setting(
        0.25, 'Largest tilt step of one command from the measured tilt', unit='deg', minimum=0.01, maximum=5.0)
    rate_limit_deg_s: float = setting(
        2.5, 'Largest tilt step per second since the last step', unit='deg/s', minimum=0.1, maximum=20.0)
    minimum_tilt_deg: float = setting(
        -2.0, 'Smallest tilt, measured or asked for', unit='deg', minimum=-30.0, maximum=0.0)
    maximum_tilt_deg: float = setting(
        115.0, 'Largest tilt, measured or asked for', unit='deg', minimum=1.0, maximum=170.0)
    forward_travel_limit_deg: float = setting(
        200.0, 'Budget of all forward steps together since the vessel was last returned to upright', unit='deg',
        minimum=1.0, maximum=2000.0)
    tcp_box_mm: tuple[float, ...] = setting(
        (300.0, 500.0, -150.0, 150.0, 150.0, 450.0),
        'Box that the tool never leaves: smallest and largest x, y, z in the base frame', unit='mm')
    off_axis_limit_deg: float = setting(
        3.0, 'Largest rotation of the tool about anything but the tilt axis', unit='deg', minimum=0.1, maximum=30.0)
    lip_drift_limit_mm: float = setting(
        10.0, 'Largest distance of the lip from where it belongs', unit='mm', minimum=0.5, maximum=100.0)
    approach_limit_deg: float = setting(
        45.0, 'Largest tilt of the fast approach', unit='deg', minimum=0.0, maximum=170.0)
    approach_rate_deg_s: float = setting(8.0, 'Rate of the approach', unit='deg/s', minimum=0.1, maximum=30.0)
    retract_rate_deg_s: float = setting(20.0, 'Rate of the return to upright', unit='deg/s', minimum=0.1, maximum=45.0)
    move_rate_mm_s: float = setting(
        50.0, 'Speed of the straight move from the measured pose to upright', unit='mm/s', minimum=1.0, maximum=250.0)
    tilt_tolerance_deg: float = setting(
        0.1, 'A tilt this near its goal has arrived; the task looks for it within 0.5', unit='deg', minimum=0.05,
        maximum=0.4)

    # Watchdog.
    watchdog_timeout_s: float = setting(
        0.5, 'Without a fresh action for this time while pouring, the arm retracts', unit='s', minimum=0.2, maximum=5.0)

    # What the controller itself must know: payload, tool, and limits as the second net.
    tool_offset_mm_deg: tuple[float, ...] = setting(
        (0.0, 0.0, 244.0, 0.0, 0.0, 0.0), 'Tool centre point from the flange: between the fingertips', unit='mm, deg')
    payload_kg: float = setting(
        1.2, 'Mass of gripper, sensors and full vessel; a wrong value gives false collisions', unit='kg', minimum=0.0,
        maximum=5.0)
    payload_centre_mm: tuple[float, ...] = setting(
        (0.0, 0.0, 95.0), 'Centre of mass of the payload from the flange', unit='mm')
    collision_tool_model: int = setting(
        5, "Number of the controller's collision model of the tool; 5 is a Robotiq 2F-140, 0 is none", minimum=0,
        maximum=20)
    collision_sensitivity: int = setting(3, 'Collision sensitivity, 5 the most sensitive', minimum=1, maximum=5)
    controller_box_margin_mm: float = setting(
        20.0, "How far the controller's safety boundary lies outside tcp_box_mm", unit='mm', minimum=0.0, maximum=200.0)
    controller_tcp_speed_mm_s: float = setting(
        150.0, 'Largest tool speed that the controller allows', unit='mm/s', minimum=10.0, maximum=1000.0)
    controller_joint_speed_deg_s: float = setting(
        60.0, 'Largest joint speed that the controller allows', unit='deg/s', minimum=5.0, maximum=180.0)

    controller_tcp_acceleration_mm_s2: float = setting(
        1000.0, 'Largest tool acceleration that the controller allows', unit='mm/s2', minimum=10.0, maximum=50000.0)
    controller_joint_acceleration_deg_s2: float = setting(
        300.0, 'Largest joint acceleration that the controller allows', unit='deg/s2', minimum=10.0, maximum=1100.0)

    # Gripper.
    gripper: str = setting('robotiq', 'Gripper on the tool flange', choices=('robotiq', 'none'))
    grip_closed_position: int = setting(
        255, 'Position asked for when closing: 0 open, 255 closed', minimum=0, maximum=255)
    grip_force: int = setting(40, 'Force asked for when closing: 0 smallest, 255 largest', minimum=0, maximum=255)
    grip_speed: int = setting(80, 'Speed of the fingers: 0 slowest, 255 fastest', minimum=0, maximum=255)
    gripper_timeout_s: float = setting(
        6.0, 'Longest time to activate, open or close the gripper', unit='s', minimum=1.0, maximum=30.0)

    def __post_init__(self):
        check_settings(self)
        for name, length in (('upright_pose_mm_deg', 6), ('lip_in_tool_mm', 3), ('tcp_box_mm', 6),
                             ('tool_offset_mm_deg', 6), ('payload_centre_mm', 3)):
            value = getattr(self, name)
            if len(value) != length or any(isinstance(number, (bool, str)) for number in value):
                raise ConfigurationError(f'ArmParameters.{name} is {value}', f'Give {length} numbers')
        try:
            ipaddress.IPv4Address(self.address)
        except ValueError as error:
            raise ConfigurationError(f'ArmParameters.address is {self.address!r}, not an IPv4 address',
                                     'Resolve the host name and write for example 192.168.1.217') from error
        for axis, low, high in zip('xyz', self.tcp_box_mm[::2], self.tcp_box_mm[1::2]):
            if low >= high:
                raise ConfigurationError(f'ArmParameters.tcp_box_mm has {axis} from {low} to {high}',
                                         'Give the smallest value first')
        if self.lip_in_tool_mm[0] < 0.0:
            raise ConfigurationError(f'ArmParameters.lip_in_tool_mm is {self.lip_in_tool_mm}',
                                     'Pouring goes towards tool +x; turn the upright yaw by 180 degrees instead')
        if self.approach_limit_deg > self.maximum_tilt_deg:
            raise ConfigurationError(f'ArmParameters.approach_limit_deg is {self.approach_limit_deg}',
                                     f'Give at most maximum_tilt_deg, {self.maximum_tilt_deg}')
        slowest_deg_s = self.maximum_tilt_deg / LONGEST_RETURN_S
        if self.retract_rate_deg_s < slowest_deg_s:
            raise ConfigurationError(
                f'ArmParameters.retract_rate_deg_s is {self.retract_rate_deg_s}: the return from '
                f'{self.maximum_tilt_deg} degrees takes over {LONGEST_RETURN_S:.0f} s, and a shutdown waits no longer',
                f'Give at least {slowest_deg_s:.1f}')
