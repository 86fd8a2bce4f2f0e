"""Camera images of the same objects that are touched: a close-up of the surface, and the view of a wrist camera."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from visuotactile_ros.simulation.gel_surface import shape_gap_mm
from visuotactile_ros.simulation.objects import MATERIAL_TRAITS, ObjectParameters
from visuotactile_ros.simulation.textures import COLOUR_OF_TEXTURE, sample_texture

REPOSE_DEG = 27.0


def render_object_view(obj: ObjectParameters, rng: np.random.Generator, size_px: int = 128) -> np.ndarray:
    """Close-up of an object under random light, pose and background.

    Args:
        obj: The object.
        rng: Draws light, pose, background and noise.
        size_px: Side of the square image, pixels.

    Returns:
        uint8 [size_px, size_px, 3], RGB.
    """
    view_mm = 2.6 * obj.radius_mm if obj.shape in ('sphere', 'cylinder') else 16.0
    view_mm = float(np.clip(view_mm, 9.0, 22.0) * rng.uniform(0.85, 1.15))
    pitch_mm = view_mm / size_px
    axis = (np.arange(size_px, dtype=np.float32) - np.float32((size_px - 1) / 2)) * np.float32(pitch_mm)
    angle, shift = rng.uniform(0.0, 2 * np.pi), rng.normal(0.0, 0.06 * view_mm, 2).astype(np.float32)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = axis[None, :] - shift[0], axis[:, None] - shift[1]
    x, y = cosine * x + sine * y, cosine * y - sine * x
    gap = shape_gap_mm(obj.shape, obj.radius_mm, x, y)
    texture = sample_texture(MATERIAL_TRAITS[obj.material].texture, obj.texture_anisotropy, obj.texture_seed,
                             obj.texture_wavelength_mm, x, y, pitch_mm)
    # A close-up is lit from low angles, which shows relief about three times stronger than straight light does.
    height = 3.0 * np.float32(obj.texture_amplitude_mm) * texture - gap
    colour = np.float32(obj.albedo_rgb) * (1.0 + np.float32(COLOUR_OF_TEXTURE[MATERIAL_TRAITS[obj.material].texture])
                                           * texture[..., None])
    image = _shade(height, pitch_mm, colour, obj.gloss, rng)
    if obj.shape in ('sphere', 'cylinder'):
        across = np.abs(y) if obj.shape == 'cylinder' else np.hypot(x, y)
        cover = np.clip((0.96 * obj.radius_mm - across) / pitch_mm, 0.0, 1.0)[..., None]
        image = cover * image + (1.0 - cover) * _backdrop(size_px, rng)
    image = 255.0 * image * rng.normal(1.0, 0.03, 3).astype(np.float32)
    image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(2.0)
    return np.clip(image + 0.5, 0.0, 255.0).astype(np.uint8)


def render_wrist_view(vessel: ObjectParameters, tilt_deg: float, content_fraction: float,
                      rng: np.random.Generator) -> np.ndarray:
    """View of a camera that is fixed to the gripper and looks across the vessel.

    The camera turns with the vessel, so the vessel keeps its place in the image while the bench and the level of the
    beads turn against it.

    Args:
        vessel: The vessel; its colour, gloss and texture show.
        tilt_deg: Tilt of the vessel from upright, degrees.
        content_fraction: Volume of beads still inside, 0..1 of a full vessel.
        rng: Draws the noise of this frame.

    Returns:
        uint8 [240, 320, 3], RGB.
    """
    angle = np.deg2rad(tilt_deg)
    # Up in the world, seen in the image (x right, y down); the vessel pours to the right, so the world turns left.
    up = np.float32([-np.sin(angle), -np.cos(angle)])
    elevation = _GRID[..., 0] * up[0] + _GRID[..., 1] * up[1]
    bench = np.clip((-75.0 - elevation) / 6.0 + 0.5, 0.0, 1.0)
    room = np.float32(0.15) * elevation
    image = np.empty((240, 320, 3), np.float32)
    for channel, (room_level, bench_level) in enumerate(((168, 104), (172, 92), (176, 80))):
        image[..., channel] = (1.0 - bench) * (room_level + room) + bench * bench_level
    image[_VESSEL] = _vessel_pixels(vessel)
    if content_fraction > 0:
        # The beads lie at their angle of repose against the pour, and fill the opening from its lowest corner.
        slope = np.deg2rad(tilt_deg - np.clip(tilt_deg, -REPOSE_DEG, REPOSE_DEG))
        level = _OPENING_PLACES @ np.float32([-np.sin(slope), -np.cos(slope)])
        count = int(np.clip(round(content_fraction * level.size), 1, level.size))
        filled = _OPENING_INDEX[level <= np.partition(level, count - 1)[count - 1]]
        image.reshape(-1, 3)[filled] = _BEADS.reshape(-1, 3)[filled]
    image[_FINGERS] = 48.0
    image += rng.standard_normal((60, 320, 3), dtype=np.float32).repeat(4, axis=0)
    return np.clip(image + 0.5, 0.0, 255.0).astype(np.uint8)


def _shade(height, pitch_mm, colour, gloss, rng):
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=1, scale=0.5 / pitch_mm)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=1, scale=0.5 / pitch_mm)
    normal = np.dstack([-slope_x, -slope_y, np.ones_like(height)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    azimuth, zenith = rng.uniform(0.0, 2 * np.pi), rng.uniform(0.4, 1.0)
    light = np.float32([np.cos(azimuth) * np.sin(zenith), np.sin(azimuth) * np.sin(zenith), np.cos(zenith)])
    halfway = light + np.float32([0.0, 0.0, 1.0])
    halfway /= np.linalg.norm(halfway)
    ambient = np.float32(rng.uniform(0.25, 0.45))
    diffuse = np.maximum(normal @ light, 0.0)[..., None]
    sharpness = np.float32(4.0 + 60.0 * gloss)
    highlight = np.maximum(normal @ halfway, 0.0)[..., None] ** sharpness
    strength = np.float32(rng.uniform(0.9, 1.2))
    diffuse *= np.float32(1.0 - 0.35 * gloss) * strength
    return colour * (ambient + diffuse) + np.float32(0.7 * gloss) * highlight


def _backdrop(size_px, rng):
    corners = rng.uniform(0.1, 0.8) + rng.normal(0.0, 0.06, (2, 2, 3))
    return cv2.resize(np.clip(corners, 0.0, 1.0).astype(np.float32), (size_px, size_px))


@lru_cache(maxsize=8)
def _vessel_pixels(vessel):
    """Colours of the vessel's pixels in the wrist view: float32 [N, 3], grey levels."""
    x, y = _GRID[..., 0], _GRID[..., 1]
    texture = sample_texture(MATERIAL_TRAITS[vessel.material].texture, vessel.texture_anisotropy, vessel.texture_seed,
                             vessel.texture_wavelength_mm, 0.25 * x, 0.25 * y, 0.25)
    shading = 0.55 + 0.45 * np.sqrt(np.maximum(1.0 - (x / 62.0) ** 2, 0.0))
    highlight = 90.0 * vessel.gloss * np.exp(-((x + 28.0) / 7.0) ** 2)
    colour = 255.0 * np.array(vessel.albedo_rgb) * (shading * (1.0 + 0.25 * texture))[..., None]
    return (colour + highlight[..., None])[_VESSEL].astype(np.float32)


def _scene():
    """The parts of the wrist view that never move: pixel places, vessel, its opening, fingers and a field of beads."""
    grid = np.stack(np.meshgrid(np.arange(320, dtype=np.float32) - 160, np.arange(240, dtype=np.float32) - 125), -1)
    x, y = grid[..., 0], grid[..., 1]
    vessel = (np.abs(x) < 60 + 0.06 * -y) & (np.abs(y) < 95)
    opening = vessel & (np.abs(x) < 52 + 0.06 * -y) & (y < 87)
    fingers = (np.abs(x) > 63) & (np.abs(x) < 90) & (np.abs(y - 10) < 26)
    fingers |= (np.abs(x) >= 84) & (np.abs(y - 10) < 18)
    beads = np.full((240, 320, 3), 120, np.uint8)
    rng = np.random.default_rng(0)
    for row in range(-1, 25):
        for column in range(-1, 33):
            centre = (int(10 * column + 5 * (row % 2) + rng.integers(-1, 2)), int(10 * row + rng.integers(-1, 2)))
            shade = int(rng.integers(190, 240))
            cv2.circle(beads, centre, 5, (shade, int(0.82 * shade), int(0.45 * shade)), -1, cv2.LINE_AA)
            cv2.circle(beads, (centre[0] - 1, centre[1] - 2), 1, (250, 245, 225), -1, cv2.LINE_AA)
    return grid, vessel, opening, fingers, beads.astype(np.float32)


_GRID, _VESSEL, _OPENING, _FINGERS, _BEADS = _scene()
_OPENING_INDEX, _OPENING_PLACES = np.flatnonzero(_OPENING), _GRID[_OPENING]
