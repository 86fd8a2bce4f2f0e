"""PouringWorld: one simulated episode: beads in a vessel, held by two fingers of an arm that tilts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from visuotactile_ros.parameters.simulation import SimulationParameters
from visuotactile_ros.simulation.bead_pouring import Avalanches, BeadPouring, Beads
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.grasping import GRAVITY_M_S2, BeadsCentre, Gel, deform_gel, finger_load
from visuotactile_ros.simulation.objects import ObjectParameters

WRIST_JOINT = 4
"""Index of the joint that carries the vessel's torque when the hand points down: the fifth of six."""

# The fifth joint's axis lies 76 mm behind and 341 mm above the grip of an upright vessel: the last link of an xArm 6
# (76 mm and 97 mm) and the vendor's tool offset of a Robotiq 2F-140 (244 mm).
_GRIP_FORWARD_M, _GRIP_DOWN_M = 0.076, 0.341
_FRICTION_TRAVEL_DEG = 0.5
_FORCE_STEP_N = 0.02

_VESSELS = (
    ('plastic', 2500.0, (0.0, 0.02), (0.75, 0.78, 0.80), 0.3),
    ('glass', 70000.0, (0.0, 0.005), (0.80, 0.88, 0.86), 0.9),
    ('metal', 70000.0, (0.0, 0.015), (0.65, 0.66, 0.68), 0.7),
)
_CENTRE = BeadsCentre()


@dataclass(frozen=True)
class WristView:
    """What a camera at the wrist looks down on.

    Attributes:
        tilt_deg: Tilt of the vessel from upright, degrees.
        fill_fraction: Content over the content at the start, 0..1.
        flow_g_s: Flow over the lip, grams per second.
        vessel: The vessel.
        bead_rgb: Colour of the beads, each 0..1.
    """

    tilt_deg: float
    fill_fraction: float
    flow_g_s: float
    vessel: ObjectParameters
    bead_rgb: tuple[float, float, float]


class PouringWorld:
    """A vessel of beads between two gels.

    Everything random is drawn here from the seed; `advance` is deterministic. Until `grasp` is called nothing touches
    the gels, so that a no-contact reference can be taken.

    Args:
        seed: Seed of the episode.
        parameters: Ranges to draw from.

    Attributes:
        vessel: The vessel as touch and camera know it.
        time_s: Simulated seconds since the start.
        tilt_deg: Tilt of the vessel, degrees.
    """

    def __init__(self, seed: int, parameters: SimulationParameters | None = None):
        self._parameters = parameters or SimulationParameters()
        p, generator = self._parameters, np.random.default_rng([seed, 0])
        radius_mm, height_mm = generator.uniform(*p.vessel_radius_mm), generator.uniform(*p.vessel_height_mm)
        beads = Beads(generator.uniform(*p.initial_mass_g), generator.uniform(*p.bulk_density_kg_m3),
                      generator.uniform(*p.repose_angle_deg), generator.uniform(*p.flow_lag_s), p.maximum_flow_g_s,
                      radius_mm, height_mm)
        avalanches = Avalanches.draw(generator, p.avalanche_spacing_deg, generator.uniform(*p.avalanche_share))
        self._pouring = BeadPouring(beads, avalanches)
        self._vessel_mass_g = generator.uniform(*p.vessel_mass_g)
        self._vessel_centre_mm = height_mm * generator.uniform(0.42, 0.48)
        self._grip_height_mm = generator.uniform(*p.grip_height_mm)
        self._grip_force_n = generator.uniform(*p.grip_force_n)
        self._grip_creep = generator.uniform(*p.grip_creep_fraction)
        stiffness = math.exp(generator.uniform(*np.log(p.gel_stiffness_n_mm)))
        friction = generator.uniform(*p.friction)
        self._gels = {side: Gel(stiffness * generator.uniform(0.95, 1.05), friction) for side in ('left', 'right')}
        self._offset_mm = {side: tuple(generator.uniform(-p.contact_offset_mm, p.contact_offset_mm, 2).tolist())
                           for side in ('left', 'right')}
        self._rotation_deg = generator.uniform(-p.contact_rotation_deg, p.contact_rotation_deg)
        material, modulus_mpa, amplitude_mm, albedo, gloss = _VESSELS[generator.integers(len(_VESSELS))]
        self.vessel = ObjectParameters(
            material, 'cylinder', radius_mm + 1.5, modulus_mpa, generator.uniform(*amplitude_mm),
            generator.uniform(0.6, 2.0), generator.uniform(0.0, 1.0), int(generator.integers(2 ** 31)), albedo, gloss)
        self._bead_rgb = tuple(generator.uniform(0.2, 0.9, 3).tolist())
        self._drift_phase = generator.uniform(0.0, 2.0 * math.pi, 3)
        self._torque_noise = np.random.default_rng([seed, 1])
        self._friction_state = float(generator.uniform(-1.0, 1.0))
        self._surface_slope_deg = 0.0
        self._flow_g_s = 0.0
        self._grasped_at_s: float | None = None
        self.time_s = 0.0
        self.tilt_deg = 0.0

    @property
    def poured_mass_g(self) -> float:
        """Mass on the scale under the lip, grams."""
        return self._pouring.poured_mass_g

    @property
    def content_mass_g(self) -> float:
        """Mass still in the vessel, grams."""
        return self._pouring.content_mass_g

    def grasp(self) -> None:
        """Close the fingers on the vessel and lift it; a second call does nothing."""
        if self._grasped_at_s is None:
            self._grasped_at_s = self.time_s

    def advance(self, dt_s: float, tilt_deg: float) -> None:
        """Let `dt_s` seconds pass while the hand turns evenly to `tilt_deg`."""
        if dt_s <= 0.0:
            return
        before_g = self._pouring.content_mass_g
        self._pouring.advance(dt_s, tilt_deg)
        self._flow_g_s = (before_g - self._pouring.content_mass_g) / dt_s
        repose_deg = self._pouring.beads.repose_angle_deg
        self._surface_slope_deg = min(max(self._surface_slope_deg, tilt_deg - repose_deg, 0.0),
                                      max(tilt_deg + repose_deg, 0.0))
        travel = (tilt_deg - self.tilt_deg) / _FRICTION_TRAVEL_DEG
        self._friction_state = min(max(self._friction_state + travel, -1.0), 1.0)
        self.time_s += dt_s
        self.tilt_deg = tilt_deg

    def grip_torque_nmm(self) -> float:
        """Torque of vessel and content about the line between the fingers, newton millimetres, towards pouring."""
        beads = self._pouring.beads
        x_mm, z_mm = _CENTRE.locate_mm(self.content_mass_g / beads.bulk_density_kg_m3 * 1e6, self._surface_slope_deg,
                                       beads.vessel_radius_mm)
        sine, cosine = math.sin(math.radians(self.tilt_deg)), math.cos(math.radians(self.tilt_deg))
        content_lever_mm = x_mm * cosine + (z_mm - self._grip_height_mm) * sine
        vessel_lever_mm = (self._vessel_centre_mm - self._grip_height_mm) * sine
        return (self.content_mass_g * content_lever_mm + self._vessel_mass_g * vessel_lever_mm) * 1e-3 * GRAVITY_M_S2

    def contact(self, side: str) -> ContactState:
        """What presses on the gel of the `left` or `right` finger now."""
        if self._grasped_at_s is None:
            return ContactState(object=self.vessel)
        held_s = self.time_s - self._grasped_at_s
        creep = self._grip_creep * -math.expm1(-held_s / self._parameters.grip_creep_time_s)
        normal_force_n = self._grip_force_n * (1.0 - creep)
        mirrored = side == 'right'
        force_n, torque_nmm = finger_load(self._vessel_mass_g + self.content_mass_g, self.grip_torque_nmm(),
                                          self.tilt_deg, mirrored)
        answer = deform_gel(self._gels[side], normal_force_n, force_n, torque_nmm)
        # A renderer can keep the imprint while the pressing force stays the same; creep is slow, so it moves in steps.
        rounded_force_n = round(normal_force_n / _FORCE_STEP_N) * _FORCE_STEP_N
        # The axis of an upright vessel points down the image.
        orientation_deg = 90.0 + (-self._rotation_deg if mirrored else self._rotation_deg)
        return ContactState(rounded_force_n, answer.shear_mm, answer.twist_deg, self._offset_mm[side], orientation_deg,
                            self.vessel)

    def payload_lever_m(self, tilt_deg: float) -> float:
        """Horizontal distance of the vessel from the axis of the wrist joint, metres."""
        tilt = math.radians(tilt_deg)
        return _GRIP_FORWARD_M * math.cos(tilt) + _GRIP_DOWN_M * math.sin(tilt)

    def joint_torque_nm(self) -> np.ndarray:
        """Joint torques that the payload causes, as estimated from motor currents.

        The arm's own weight and the gripper are taken as perfectly compensated, and only the wrist joint is modelled.
        Assumption: noise of 0.05 Nm, drift of 0.03 Nm and a friction band of 0.06 Nm, which at this lever is 0.15 to
        0.3 N at the vessel. Current-based estimates in the literature are worse: 1 to 2 N, dominated by friction near
        standstill (Linderoth et al., Robotic Force Estimation Using Motor Torques and Modeling of Low Velocity
        Friction Disturbances, 2013), and pouring on true joint-torque sensors came within 10 ml (Piacenza et al.,
        Pouring by Feel, arXiv 2310.18473).

        Returns:
            float64 [7], newton metres; positive where the vessel's weight pulls the wrist down.
        """
        p = self._parameters
        torque_nm = np.zeros(7)
        if self._grasped_at_s is not None:
            weight_n = (self._vessel_mass_g + self.content_mass_g) * 1e-3 * GRAVITY_M_S2
            torque_nm[WRIST_JOINT] = weight_n * self.payload_lever_m(self.tilt_deg)
        # Slow waves whose sum has the given standard deviation: drift that two readings at one time agree on.
        waves = np.sin(2.0 * math.pi * self.time_s / np.array([47.0, 113.0, 251.0]) + self._drift_phase)
        torque_nm[WRIST_JOINT] += p.torque_drift_nm * math.sqrt(2.0 / 3.0) * float(np.sum(waves))
        torque_nm[WRIST_JOINT] += p.torque_friction_nm * self._friction_state
        return torque_nm + self._torque_noise.normal(0.0, p.torque_noise_nm, 7)

    def wrist_view(self) -> WristView:
        """What the wrist camera looks at now."""
        return WristView(self.tilt_deg, self.content_mass_g / self._pouring.beads.mass_g, self._flow_g_s, self.vessel,
                         self._bead_rgb)
