"""Settings of the simulated pour: beads, vessel, grip and arm torque, each with its range of randomisation."""

from __future__ import annotations

from dataclasses import dataclass

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import check_settings, setting


@dataclass(frozen=True)
class SimulationParameters:
    """What a simulated episode draws from: every `(low, high)` pair is a uniform range unless it says otherwise."""

    # Beads. Nominal values and ranges follow a rigid-body simulation of 4 mm beads in a cup, not a measured pour.
    initial_mass_g: tuple[float, ...] = setting(
        (99.5, 100.5), 'Mass of the beads at the start, low and high', unit='g', minimum=1.0, maximum=1000.0)
    bulk_density_kg_m3: tuple[float, ...] = setting(
        (550.0, 640.0), 'Bulk density of the settled beads, low and high', unit='kg/m3', minimum=100.0, maximum=5000.0)
    repose_angle_deg: tuple[float, ...] = setting(
        (20.0, 35.0), 'Angle of repose of the beads, low and high', unit='deg', minimum=1.0, maximum=60.0)
    flow_lag_s: tuple[float, ...] = setting(
        (0.06, 0.15), 'Time constant of the flow, low and high', unit='s', minimum=0.01, maximum=2.0)
    maximum_flow_g_s: float = setting(
        95.0, 'Flow through the mouth never exceeds this', unit='g/s', minimum=1.0, maximum=1000.0)
    avalanche_spacing_deg: tuple[float, ...] = setting(
        (0.1, 0.6), 'Tilt between two avalanches, low and high', unit='deg', minimum=0.01, maximum=5.0)
    avalanche_share: tuple[float, ...] = setting(
        (0.2, 0.7), 'Share of the flow that comes as avalanches, low and high', minimum=0.0, maximum=1.0)

    # Vessel: one kind of cylinder, with the scatter of its making.
    vessel_radius_mm: tuple[float, ...] = setting(
        (29.5, 30.5), 'Inner radius of the vessel, low and high', unit='mm', minimum=5.0, maximum=200.0)
    vessel_height_mm: tuple[float, ...] = setting(
        (89.0, 91.0), 'Inner height of the vessel, low and high', unit='mm', minimum=10.0, maximum=500.0)
    vessel_mass_g: tuple[float, ...] = setting(
        (38.0, 42.0), 'Mass of the empty vessel, low and high', unit='g', minimum=0.0, maximum=2000.0)

    # Grip.
    grip_height_mm: tuple[float, ...] = setting(
        (28.0, 42.0), 'Height of the grip above the bottom, low and high', unit='mm', minimum=0.0, maximum=500.0)
    grip_force_n: tuple[float, ...] = setting(
        (12.0, 18.0), 'Force of the grip on each finger at the start, low and high', unit='N', minimum=0.1,
        maximum=100.0)
    grip_creep_fraction: tuple[float, ...] = setting(
        (0.0, 0.04), 'Part of the grip force lost in the end, low and high', minimum=0.0, maximum=0.5)
    grip_creep_time_s: float = setting(
        40.0, 'Time constant of the loss of grip force', unit='s', minimum=0.1, maximum=3600.0)
    gel_stiffness_n_mm: tuple[float, ...] = setting(
        (3.0, 6.0), 'Shear stiffness of a gel at 15 N, low and high, drawn log-uniformly', unit='N/mm', minimum=0.1,
        maximum=100.0)
    friction: tuple[float, ...] = setting(
        (0.6, 1.0), 'Friction between gel and vessel, low and high', minimum=0.05, maximum=3.0)
    contact_offset_mm: float = setting(
        1.0, 'Largest distance of the contact from the image centre', unit='mm', minimum=0.0, maximum=5.0)
    contact_rotation_deg: float = setting(
        3.0, 'Largest rotation of the vessel in the grip', unit='deg', minimum=0.0, maximum=45.0)

    # Torque of the wrist as estimated from motor currents.
    torque_noise_nm: float = setting(
        0.05, 'Standard deviation of one torque reading', unit='Nm', minimum=0.0, maximum=10.0)
    torque_drift_nm: float = setting(
        0.03, 'Standard deviation of the slow drift', unit='Nm', minimum=0.0, maximum=10.0)
    torque_friction_nm: float = setting(
        0.06, 'Half width of the friction band that compensation leaves', unit='Nm', minimum=0.0, maximum=10.0)

    def __post_init__(self):
        check_settings(self)
        for name, value in vars(self).items():
            if isinstance(value, tuple) and (len(value) != 2 or value[0] > value[1]):
                raise ConfigurationError(f'SimulationParameters.{name} is {value}', 'Give a low and a high value')
