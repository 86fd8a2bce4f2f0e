"""How an object deforms a gel: gap between the two, depth for a force, surface around the contact, surface motion."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.objects import MATERIAL_TRAITS
from visuotactile_ros.simulation.sensor_profiles import IMAGE_HEIGHT, IMAGE_WIDTH, SensorProfile
from visuotactile_ros.simulation.textures import sample_texture

# Widths of the falloffs of marker motion outside a contact. Source: FOTS, lambda 0.00125 / 0.00021 / 0.00038 per px^2.
DILATION_SIGMA_MM, SHEAR_SIGMA_MM, TWIST_SIGMA_MM = 1.0, 2.5, 1.9
# A thin layer bonded to a stiff back is stiffer than a free bar of the same modulus; a typical factor, not measured.
CONFINEMENT = 1.5
OBJECT_THICKNESS_MM = 6.0
# Largest indentation, share of the gel's thickness.
DEEPEST_SHARE = 0.4
# Falloff of the skin outside a contact, share of the gel's thickness: real presses show 0.8 mm on 4 mm gels.
MEMBRANE_SHARE = 0.22
MEMBRANE_STEPS = 24
COAT_SIGMA_MM = 0.07
# Motion of markers by the indentation itself for a slope of one; a typical value, not measured.
DILATION_MM_PER_SLOPE = 0.5
COARSE = 4


@dataclass(frozen=True, eq=False)
class GelSurface:
    """Shape and following of a pressed gel.

    Attributes:
        height_mm: float32 [240, 320], rise of the gel towards the camera, millimetres.
        skin_mm: float32 [60, 80], the same without texture and fine detail.
        gap_mm: float32 [240, 320], distance between the gel and the untextured object, millimetres.
        contact_share: float32 [60, 80], share of a place that touches the object, 0..1.
        shear_following: float32 [60, 80], share of the shear that the surface follows, 0..1.
        twist_following: float32 [60, 80], likewise for the twist.
        dilation_mm: float32 [60, 80, 2], motion (x, y) that the indentation itself causes, millimetres.
        patch_area_mm2: Area in contact, square millimetres.
    """

    height_mm: np.ndarray
    skin_mm: np.ndarray
    gap_mm: np.ndarray
    contact_share: np.ndarray
    shear_following: np.ndarray
    twist_following: np.ndarray
    dilation_mm: np.ndarray
    patch_area_mm2: float


def press(profile: SensorProfile, contact: ContactState) -> GelSurface:
    """Surface of a gel under a contact without shear and twist.

    Gel and object are springs in series over every point of the contact: a soft object takes part of the
    indentation, so its imprint is shallower and wider. The skin of the gel is a membrane over springs that the object
    lifts: it clings to the object's foremost parts, bridges what lies behind them, and falls off outside.
    """
    obj, pitch = contact.object, COARSE * profile.mm_per_px
    x, y = object_coordinates(profile, contact)
    shape_gap = shape_gap_mm(obj.shape, obj.radius_mm, x, y) + _crown_mm(profile)
    texture = _texture_mm(obj, x, y, profile.mm_per_px)
    gel_stiffness = CONFINEMENT * profile.gel_youngs_modulus_mpa / profile.gel_thickness_mm
    object_stiffness = obj.youngs_modulus_mpa / OBJECT_THICKNESS_MM
    gel_share = object_stiffness / (gel_stiffness + object_stiffness)
    gap = shape_gap[::COARSE, ::COARSE] - texture[::COARSE, ::COARSE]
    approach = _approach_mm(gap, contact.normal_force_n, gel_stiffness * gel_share, pitch)
    deepest = DEEPEST_SHARE * profile.gel_thickness_mm / gel_share + float(gap.min())
    obstacle = (min(approach, deepest) - shape_gap) * np.float32(gel_share)
    skin = _membrane_mm(cv2.resize(obstacle, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA),
                        MEMBRANE_SHARE * profile.gel_thickness_mm / pitch)
    fine_skin = cv2.resize(skin, (obstacle.shape[1], obstacle.shape[0]), interpolation=cv2.INTER_CUBIC)
    clinging = np.clip(1.0 + (obstacle - fine_skin) / np.float32(0.04), 0.0, 1.0)
    height = np.maximum(obstacle, fine_skin) + clinging * texture * np.float32(gel_share)
    height = cv2.GaussianBlur(np.maximum(height, 0.0), (0, 0), COAT_SIGMA_MM / profile.mm_per_px)
    share = cv2.resize(clinging, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
    patch = share > 0.5
    shear_following, twist_following = _following(patch, pitch)
    return GelSurface(height, skin, np.maximum(fine_skin - obstacle, 0.0), share, shear_following, twist_following,
                      _dilation_mm(skin, pitch), float(patch.sum()) * pitch ** 2)


def object_coordinates(profile: SensorProfile, contact: ContactState) -> tuple[np.ndarray, np.ndarray]:
    """Place of every pixel in the object's own frame: float32 [240, 320] x and y, millimetres."""
    x, y = _axes_mm(profile)
    x, y = x - np.float32(contact.offset_mm[0]), y - np.float32(contact.offset_mm[1])
    angle = np.deg2rad(contact.orientation_deg)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x[None, :] + sine * y[:, None], cosine * y[:, None] - sine * x[None, :]


def shape_gap_mm(shape: str, radius_mm: float, x_mm: np.ndarray, y_mm: np.ndarray) -> np.ndarray:
    """Distance of an untextured object's surface behind its foremost point, millimetres, float32 like x and y."""
    if shape == 'flat':
        return np.zeros_like(x_mm)
    if shape in ('sphere', 'cylinder'):
        squared = y_mm * y_mm if shape == 'cylinder' else x_mm * x_mm + y_mm * y_mm
        beyond = np.maximum(squared - np.float32(radius_mm ** 2), 0.0)  # falls away steeply behind the equator
        return np.float32(radius_mm) - np.sqrt(np.maximum(np.float32(radius_mm ** 2) - squared, 0.0)) + beyond
    if shape in ('edge', 'cone'):
        squared = y_mm * y_mm if shape == 'edge' else x_mm * x_mm + y_mm * y_mm
        return np.sqrt(squared + np.float32(radius_mm ** 2)) - np.float32(radius_mm)
    pitch = np.float32(2.6 * radius_mm)
    x_cell, y_cell = x_mm - pitch * np.rint(x_mm / pitch), y_mm - pitch * np.rint(y_mm / pitch)
    squared = x_cell * x_cell + y_cell * y_cell
    return np.float32(0.8 * radius_mm) - np.maximum(
        np.sqrt(np.maximum(np.float32(radius_mm ** 2) - squared, 0.0)) - np.float32(0.2 * radius_mm), 0.0)


def _axes_mm(profile):
    """Places of the image's columns [320] and rows [240] from its centre, millimetres."""
    return ((np.arange(IMAGE_WIDTH, dtype=np.float32) - (IMAGE_WIDTH - 1) / 2) * np.float32(profile.mm_per_px),
            (np.arange(IMAGE_HEIGHT, dtype=np.float32) - (IMAGE_HEIGHT - 1) / 2) * np.float32(profile.mm_per_px))


def _crown_mm(profile):
    x, y = _axes_mm(profile)
    return (x[None, :] ** 2 + y[:, None] ** 2) * np.float32(0.5 / profile.crown_radius_mm)


def _texture_mm(obj, x, y, pitch_mm):
    if obj.texture_amplitude_mm == 0:
        return np.zeros_like(x)
    return np.float32(obj.texture_amplitude_mm) * sample_texture(
        MATERIAL_TRAITS[obj.material].texture, obj.texture_anisotropy, obj.texture_seed, obj.texture_wavelength_mm,
        x, y, pitch_mm)


def _approach_mm(gap, force_n, stiffness_n_per_mm3, pitch_mm):
    """Approach at which an elastic foundation carries the force; exact for the sampled gap."""
    ordered = np.sort(gap, axis=None).astype(np.float64)
    carried = stiffness_n_per_mm3 * pitch_mm ** 2 * (np.arange(ordered.size) * ordered - (np.cumsum(ordered) - ordered))
    touching = max(int(np.searchsorted(carried, force_n)), 1)
    return float((force_n / (stiffness_n_per_mm3 * pitch_mm ** 2) + ordered[:touching].sum()) / touching)


def _membrane_mm(obstacle, length_px):
    """Lowest membrane over an obstacle that falls off as exp(-distance / length) where it is free."""
    keep = np.float32(1.0 / (1.0 + 1.0 / (2.0 * length_px ** 2)))
    skin = np.maximum(obstacle, 0.0)
    for _ in range(MEMBRANE_STEPS):
        skin = np.maximum(obstacle, keep * cv2.GaussianBlur(skin, (5, 5), 1.0))
    return skin


def _following(patch, pitch_mm):
    """Share of shear and of twist that the surface follows: 1 in the contact, falling off outside."""
    if not patch.any():
        return np.zeros(patch.shape, np.float32), np.zeros(patch.shape, np.float32)
    outside = cv2.distanceTransform((~patch).astype(np.uint8), cv2.DIST_L2, 5) * np.float32(pitch_mm)
    squared = cv2.GaussianBlur(outside, (0, 0), 1.0) ** 2
    return (np.exp(squared * np.float32(-0.5 / SHEAR_SIGMA_MM ** 2)),
            np.exp(squared * np.float32(-0.5 / TWIST_SIGMA_MM ** 2)))


def _dilation_mm(skin, pitch_mm):
    """Motion away from the indentation, down the slope of the spread-out skin."""
    spread = cv2.GaussianBlur(skin, (0, 0), DILATION_SIGMA_MM / pitch_mm)
    slope = np.dstack([cv2.Sobel(spread, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(spread, cv2.CV_32F, 0, 1, ksize=3)])
    return slope * np.float32(-DILATION_MM_PER_SLOPE / 8 / pitch_mm)
