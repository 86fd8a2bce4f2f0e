"""Draws what presses on a rendered gel: objects that are pressed or lifted, and vessels in a grip."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from training.objectives.tlv_core import UNKNOWN_LABEL
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.grasping import sample_grasp
from visuotactile_ros.simulation.objects import sample_object
from visuotactile_ros.simulation.world import PouringWorld

NOT_A_GRASP = UNKNOWN_LABEL
FRAMES_PER_GRIP = 3
_LONGEST_POUR_DEG = 140.0
# The vessel of a grip comes from the world, not from `sample_object`: a cylinder of any texture wavelength. Those of
# plastic, and some of metal, lie in a held-out region of their material; training has seen it, so it tests nothing new.
MATERIALS_HELD_OUT_IN_VAIN = ('metal', 'plastic')


def sample_press(rng: np.random.Generator, region: str) -> tuple[ContactState, int]:
    """Draw an object on a gel: one third lifts, two thirds presses with any shear and twist.

    Args:
        rng: Source of randomness.
        region: Object region, see `sample_object`.

    Returns:
        The contact; 1 or 0 for a lift that holds or not, NOT_A_GRASP for a press.
    """
    pressed = sample_object(rng, region)
    if rng.random() < 1 / 3:
        return sample_grasp(rng, pressed)
    contact = ContactState(
        normal_force_n=float(np.exp(rng.uniform(np.log(2.0), np.log(30.0)))), shear_mm=_point_in_disc(rng, 0.4),
        twist_deg=float(rng.uniform(-15.0, 15.0)), offset_mm=tuple(rng.uniform(-3.0, 3.0, 2).tolist()),
        orientation_deg=float(rng.uniform(0.0, 360.0)), object=pressed)
    return contact, NOT_A_GRASP


@dataclass(frozen=True)
class Grip:
    """A vessel held by a finger at several moments, and what a camera at the wrist sees.

    Attributes:
        moments: The contact at FRAMES_PER_GRIP moments: the load changes, the place of the grip does not.
        tilt_deg: Tilt of the vessel at the first moment, degrees.
        fill_fraction: Content over the content at the start, 0..1.
    """

    moments: tuple[ContactState, ...]
    tilt_deg: float
    fill_fraction: float


def sample_grip(rng: np.random.Generator) -> Grip:
    """Draw a vessel in a grip: half loaded as in a pour, half with a shear and twist that no tilt explains."""
    world = PouringWorld(int(rng.integers(2 ** 31)))
    world.grasp()
    tilt_deg = float(rng.uniform(0.0, _LONGEST_POUR_DEG))
    for share in np.linspace(0.05, 1.0, 20):
        world.advance(0.25, share * tilt_deg)
    first, view = world.contact(('left', 'right')[rng.integers(2)]), world.wrist_view()
    if rng.random() < 0.5:
        first = dataclasses.replace(first, shear_mm=_point_in_disc(rng, 0.4), twist_deg=float(rng.uniform(-12.0, 12.0)))
    moments = [first]
    for _ in range(FRAMES_PER_GRIP - 1):
        change = rng.normal(0.0, 0.06, 2)
        moments.append(dataclasses.replace(
            first, shear_mm=(float(first.shear_mm[0] + change[0]), float(first.shear_mm[1] + change[1])),
            twist_deg=float(first.twist_deg + rng.normal(0.0, 2.5)),
            normal_force_n=float(first.normal_force_n * np.exp(rng.normal(0.0, 0.03)))))
    return Grip(tuple(moments), view.tilt_deg, view.fill_fraction)


def motion_values(contact: ContactState) -> tuple[float, float, float]:
    """Give MOTION_QUANTITIES of a contact whose gel moves as one piece: that of the image centre, and its rotation.

    Shear is the motion at the place of the contact; what the image shows, whatever that place is, is this.
    """
    turn = np.deg2rad(contact.twist_deg)
    x_mm, y_mm = contact.offset_mm
    shorten, sine = 1.0 - np.cos(turn), np.sin(turn)
    return (float(contact.shear_mm[0] + shorten * x_mm + sine * y_mm),
            float(contact.shear_mm[1] - sine * x_mm + shorten * y_mm), contact.twist_deg)


def contact_values(contact: ContactState) -> tuple[float, float, float, float]:
    """Give CONTACT_QUANTITIES of a contact: newton, millimetres (x, y), degrees."""
    return contact.normal_force_n, *contact.shear_mm, contact.twist_deg


def _point_in_disc(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    angle, length = rng.uniform(0.0, 2 * np.pi), radius * np.sqrt(rng.random())
    return float(length * np.cos(angle)), float(length * np.sin(angle))
