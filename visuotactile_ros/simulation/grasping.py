"""What a grip does to the gels: load becomes shear and twist, capped by friction.

Each gel is a thin elastic layer under a stiff object. Its shear stiffness is G A / h and its twist stiffness
G A a^2 / 2h for a round patch of area A and radius a. With a Young's modulus of 0.1 to 0.4 MPa and a thickness of 2 to
4 mm that is roughly 1 to 12 N/mm; these figures, the patch size and the friction coefficients below are assumptions,
chosen so that 100 g of content moves the markers by a fraction of a millimetre, as in recordings of a real sensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.objects import ObjectParameters

GRAVITY_M_S2 = 9.81
_REFERENCE_FORCE_N = 15.0
_REFERENCE_PATCH_RADIUS_MM = 6.5
_LARGEST_SHEAR_MM = 1.5
_LARGEST_TWIST_DEG = 15.0

# Friction between silicone gel and material: assumptions, ordered by how well the material grips.
FRICTION = {'metal': 0.5, 'glass': 0.55, 'ceramic': 0.55, 'stone': 0.6, 'wood': 0.65, 'plastic': 0.6, 'paper': 0.6,
            'fabric': 0.7, 'leather': 0.8, 'rubber': 0.95}


@dataclass(frozen=True)
class Gel:
    """How one gel answers a load.

    Attributes:
        stiffness_n_mm: Shear stiffness when pressed with 15 N, newton per millimetre.
        friction: Friction coefficient between the gel and what it holds.
    """

    stiffness_n_mm: float = 4.0
    friction: float = 0.8


@dataclass(frozen=True)
class GelDeformation:
    """Answer of a gel to a load.

    Attributes:
        shear_mm: Displacement of the surface along the load (x, y), millimetres, in the load's frame.
        twist_deg: Rotation of the surface about the normal, degrees, in the sense of the load.
        friction_use: Load over what friction can hold; above 1 the object slides.
    """

    shear_mm: tuple[float, float]
    twist_deg: float
    friction_use: float


def deform_gel(gel: Gel, normal_force_n: float, force_n: tuple[float, float], torque_nmm: float) -> GelDeformation:
    """Deformation of a gel that is pressed with `normal_force_n` and carries a force and a torque in its plane.

    Args:
        gel: The gel.
        normal_force_n: Pressing force, newton, above 0.
        force_n: Load in the plane of the gel (x, y), newton.
        torque_nmm: Torque about the normal, newton millimetres.
    """
    area_growth = math.sqrt(normal_force_n / _REFERENCE_FORCE_N)
    patch_radius_mm = _REFERENCE_PATCH_RADIUS_MM * math.sqrt(area_growth)
    stiffness_n_mm = gel.stiffness_n_mm * area_growth
    twist_stiffness_nmm_rad = stiffness_n_mm * patch_radius_mm ** 2 / 2.0
    grip_n = gel.friction * normal_force_n
    friction_use = math.hypot(math.hypot(*force_n) / grip_n, torque_nmm / (2.0 / 3.0 * grip_n * patch_radius_mm))
    held = 1.0 / max(1.0, friction_use)
    x_mm, y_mm = (component * held / stiffness_n_mm for component in force_n)
    twist_deg = math.degrees(torque_nmm * held / twist_stiffness_nmm_rad)
    # A gel stiffens at large strain; the fourth power leaves small motion untouched.
    hardening = (1.0 + (math.hypot(x_mm, y_mm) / _LARGEST_SHEAR_MM) ** 4) ** -0.25
    twist_deg *= (1.0 + (twist_deg / _LARGEST_TWIST_DEG) ** 4) ** -0.25
    return GelDeformation((x_mm * hardening, y_mm * hardening), twist_deg, friction_use)


def finger_load(mass_g: float, torque_nmm: float, tilt_deg: float, mirrored: bool) -> tuple[tuple[float, float], float]:
    """Half of what two fingers carry, in the image frame of one finger.

    Args:
        mass_g: Mass held by both fingers, grams.
        torque_nmm: Torque of that mass about the line between the fingers, positive towards pouring.
        tilt_deg: Tilt of the hand from upright, degrees; gravity turns against it in the image.
        mirrored: True for the right finger, which sees the scene from the other side.

    Returns:
        Force (x, y) in newton and torque in newton millimetres, positive clockwise in the image.
    """
    side = -1.0 if mirrored else 1.0
    weight_n = mass_g * 1e-3 * GRAVITY_M_S2 / 2.0
    tilt = math.radians(tilt_deg)
    return (side * weight_n * math.sin(tilt), weight_n * math.cos(tilt)), side * torque_nmm / 2.0


class BeadsCentre:
    """Centre of mass of beads in an upright cylinder whose surface is sloped.

    A table over filling and slope, in units of the radius, so that one table serves every vessel.
    """

    _SLOPES_DEG = np.linspace(0.0, 88.0, 45)
    _FILLINGS = np.geomspace(0.02, 40.0, 60)

    def __init__(self):
        x = np.linspace(-1.0, 1.0, 801)
        width = 2.0 * np.sqrt(1.0 - x ** 2) * (x[1] - x[0])
        table = np.zeros((self._SLOPES_DEG.size, self._FILLINGS.size, 2))
        for row, slope_deg in enumerate(self._SLOPES_DEG):
            slope = math.tan(math.radians(slope_deg))
            offsets = np.concatenate([-slope + 2.0 * slope * np.linspace(0.001, 1.0, 200),
                                      slope + np.geomspace(0.001, 20.0, 200)])
            depth = np.maximum(0.0, offsets[:, None] + slope * x)
            volume = np.maximum(depth @ width, 1e-9)
            table[row, :, 0] = np.interp(self._FILLINGS, volume, (depth @ (width * x)) / volume)
            table[row, :, 1] = np.interp(self._FILLINGS, volume, (depth ** 2 @ width) / 2.0 / volume)
        self._table = table

    def locate_mm(self, volume_mm3: float, slope_deg: float, radius_mm: float) -> tuple[float, float]:
        """Centre of mass: (towards the lip, above the bottom), millimetres.

        Args:
            volume_mm3: Volume of the beads, cubic millimetres.
            slope_deg: Slope of their surface against the bottom, degrees, rising towards the lip.
            radius_mm: Inner radius of the vessel, millimetres.
        """
        filling = min(max(volume_mm3 / radius_mm ** 3, self._FILLINGS[0]), self._FILLINGS[-1])
        column = math.log(filling / self._FILLINGS[0]) / math.log(self._FILLINGS[1] / self._FILLINGS[0])
        row = min(max(slope_deg, 0.0), self._SLOPES_DEG[-1]) / self._SLOPES_DEG[1]
        i, j = min(int(row), self._SLOPES_DEG.size - 2), min(int(column), self._FILLINGS.size - 2)
        u, v = row - i, column - j
        corner = self._table
        x, z = ((1 - u) * ((1 - v) * corner[i, j] + v * corner[i, j + 1])
                + u * ((1 - v) * corner[i + 1, j] + v * corner[i + 1, j + 1]))
        return float(x) * radius_mm, float(z) * radius_mm


def sample_grasp(generator: np.random.Generator, grasped: ObjectParameters) -> tuple[ContactState, int]:
    """Draw one finger's view of a lift, and whether friction holds the object.

    The load, as a share of what friction can hold, is drawn on both sides of 1; what the image shows of it is shear and
    twist against the size of the patch. Success is the friction cone, nothing else.

    Args:
        generator: Source of randomness.
        grasped: The object that is lifted.

    Returns:
        The contact and the label: 1 the grip holds, 0 the object slides.
    """
    friction = FRICTION[grasped.material] * generator.uniform(0.9, 1.1)
    gel = Gel(stiffness_n_mm=generator.uniform(3.5, 4.5), friction=friction)
    normal_force_n = float(np.exp(generator.uniform(np.log(2.0), np.log(10.0))))
    success = int(generator.integers(2))
    friction_use = generator.uniform(0.05, 0.85) if success else generator.uniform(1.05, 2.0)
    torque_share = generator.uniform(-0.6, 0.6)
    patch_radius_mm = _REFERENCE_PATCH_RADIUS_MM * (normal_force_n / _REFERENCE_FORCE_N) ** 0.25
    torque_nmm = friction_use * torque_share * 2.0 / 3.0 * friction * normal_force_n * patch_radius_mm
    weight_n = friction_use * math.sqrt(1.0 - torque_share ** 2) * friction * normal_force_n
    direction = math.radians(generator.normal(0.0, 25.0))
    force_n = (weight_n * math.sin(direction), weight_n * math.cos(direction))
    answer = deform_gel(gel, normal_force_n, force_n, torque_nmm)
    x_mm, y_mm = generator.uniform(-2.5, 2.5, 2).tolist()
    contact = ContactState(normal_force_n, answer.shear_mm, answer.twist_deg, (x_mm, y_mm),
                           float(generator.uniform(0.0, 360.0)), grasped)
    return contact, success
