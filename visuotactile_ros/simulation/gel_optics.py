"""GelRenderer: the image that the camera inside a tactile sensor sees."""

from __future__ import annotations

import cv2
import numpy as np

from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_surface import COARSE, GelSurface, press
from visuotactile_ros.simulation.photometry import image_grid
from visuotactile_ros.simulation.sensor_profiles import IMAGE_HEIGHT, IMAGE_WIDTH, SensorProfile
from visuotactile_ros.simulation.skin_optics import ClearSkinOptics, CoatedGelOptics

NOISE_MARGIN_PX = 64
MARKER_EDGE_PX = 0.8


class GelRenderer:
    """One simulated sensor of a kind.

    Args:
        profile: Kind of sensor.
        seed: Which unit: lighting, background, dust and marker positions vary from unit to unit.
    """

    def __init__(self, profile: SensorProfile, seed: int):
        self.profile = profile
        unit = np.random.default_rng(seed)
        self._optics = (ClearSkinOptics if profile.clear_skin else CoatedGelOptics)(profile, unit)
        noise_size = IMAGE_HEIGHT + NOISE_MARGIN_PX, IMAGE_WIDTH + NOISE_MARGIN_PX, 3
        self._noise = unit.standard_normal(noise_size, dtype=np.float32) * self._optics.noise_std
        self._markers_mm = self._place_markers(unit)
        self._grid_px = np.stack(image_grid(), -1).astype(np.float32)
        self._cached_contact: ContactState | None = None
        self._cached_surface: GelSurface | None = None
        self._cached_change: np.ndarray | None = None

    def render(self, contact: ContactState, rng: np.random.Generator) -> np.ndarray:
        """Take one frame.

        Args:
            contact: What presses on the gel.
            rng: Source of this frame's noise.

        Returns:
            uint8 [240, 320, 3], RGB.
        """
        return self._add_noise(self.render_clean(contact), rng)

    def render_clean(self, contact: ContactState) -> np.ndarray:
        """The same without noise and rounding: float32 [240, 320, 3], grey levels, may exceed 0..255."""
        image = self._optics.background.copy()
        if contact.normal_force_n > 0:
            self._press(contact)
            image += self._moved_change(contact)
        if self._markers_mm is not None:
            self._draw_markers(image, contact)
        return image

    def _press(self, contact: ContactState) -> None:
        """Deform and shade the gel, unless nothing but shear and twist has changed."""
        steady = ContactState(contact.normal_force_n, (0.0, 0.0), 0.0, contact.offset_mm, contact.orientation_deg,
                              contact.object)
        if steady == self._cached_contact:
            return
        self._cached_surface = press(self.profile, steady)
        self._cached_change = self._optics.colour_change(self._cached_surface, steady)
        self._cached_contact = steady

    def _displacement_mm(self, contact: ContactState, sign: float) -> np.ndarray:
        """Motion by shear and twist at every coarse pixel: float32 [60, 80, 2], x and y, millimetres.

        Sign 1 tells where the surface at a place has gone, -1 where the surface at a place has come from.
        """
        surface = self._cached_surface
        height, width = surface.shear_following.shape
        pitch = self.profile.width_mm / width
        x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) * np.float32(pitch) - contact.offset_mm[0]
        y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) * np.float32(pitch) - contact.offset_mm[1]
        angle, shear_x, shear_y = sign * np.array([np.deg2rad(contact.twist_deg), *contact.shear_mm])
        shorten, sine = np.float32(1.0 - np.cos(angle)), np.float32(np.sin(angle))
        moved = np.empty((height, width, 2), np.float32)
        moved[..., 0] = surface.shear_following * np.float32(shear_x) \
            - surface.twist_following * (shorten * x[None, :] + sine * y[:, None])
        moved[..., 1] = surface.shear_following * np.float32(shear_y) \
            + surface.twist_following * (sine * x[None, :] - shorten * y[:, None])
        return moved

    def _moved_change(self, contact: ContactState) -> np.ndarray:
        """Carry the imprint along with the surface, exactly to a fraction of a pixel.

        cv2.remap rounds places to 1/32 px; the rest is added as the first term of a Taylor series, so that the image
        follows the smallest motion smoothly.
        """
        origin_mm = self._displacement_mm(contact, -1.0)
        if not origin_mm.any():
            return self._cached_change
        origin_px = cv2.resize(origin_mm, (IMAGE_WIDTH, IMAGE_HEIGHT)) / np.float32(self.profile.mm_per_px)
        rounded_px = np.rint(origin_px * 32) / 32
        moved = cv2.remap(self._cached_change, self._grid_px + rounded_px, None, cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REPLICATE)
        rest_px = origin_px - rounded_px
        return moved + rest_px[..., :1] * cv2.Sobel(moved, cv2.CV_32F, 1, 0, ksize=1, scale=0.5) \
            + rest_px[..., 1:] * cv2.Sobel(moved, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)

    def _place_markers(self, unit: np.random.Generator) -> np.ndarray | None:
        markers = self.profile.markers
        if markers is None:
            return None
        column = (np.arange(markers.columns) - (markers.columns - 1) / 2) * markers.pitch_mm
        row = (np.arange(markers.rows) - (markers.rows - 1) / 2) * markers.pitch_mm
        places = np.stack(np.meshgrid(column, row), -1).reshape(-1, 2)
        return places + unit.normal(0.0, 0.15, 2) + unit.normal(0.0, 0.03, places.shape)

    def _draw_markers(self, image: np.ndarray, contact: ContactState) -> None:
        markers, mm_per_px = self.profile.markers, self.profile.mm_per_px
        places_px = self._markers_mm / mm_per_px + [159.5, 119.5]
        if contact.normal_force_n > 0:
            motion = self._displacement_mm(contact, 1.0) + self._cached_surface.dilation_mm
            at = ((places_px + 0.5) / COARSE - 0.5).astype(np.float32)
            places_px = places_px + cv2.remap(motion, at[None, :, :], None, cv2.INTER_LINEAR,
                                              borderMode=cv2.BORDER_REPLICATE)[0] / mm_per_px
        radius_px = markers.radius_mm / mm_per_px
        reach = int(np.ceil(radius_px + 4 * MARKER_EDGE_PX)) + 1
        around = np.arange(-reach, reach + 1)
        base = np.rint(places_px).astype(int)
        columns, rows = base[:, :1] + around, base[:, 1:] + around
        distance = np.hypot((columns - places_px[:, :1])[:, None, :], (rows - places_px[:, 1:])[:, :, None])
        cover = 0.5 - 0.5 * np.tanh((distance - radius_px) / MARKER_EDGE_PX)
        inside = (((columns >= 0) & (columns < IMAGE_WIDTH))[:, None, :]
                  & ((rows >= 0) & (rows < IMAGE_HEIGHT))[:, :, None])
        flat = (rows[:, :, None] * IMAGE_WIDTH + columns[:, None, :])[inside]
        cover = (cover[inside] * markers.opacity).astype(np.float32)[:, None]
        pixels = image.reshape(-1, 3)
        pixels[flat] += cover * (np.float32(markers.rgb) - pixels[flat])

    def _add_noise(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top, left = rng.integers(NOISE_MARGIN_PX, size=2)
        image += self._noise[top:top + IMAGE_HEIGHT, left:left + IMAGE_WIDTH]
        image += 0.5
        return np.clip(image, 0.0, 255.0, out=image).astype(np.uint8)
