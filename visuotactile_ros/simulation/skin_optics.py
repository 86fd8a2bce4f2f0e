"""What a camera sees of a pressed surface: an opaque coat under coloured light, or a clear skin with the object behind.

Both classes offer the image without contact (`background`), `noise_std`, and `colour_change(surface, contact)`.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_surface import COARSE, GelSurface, object_coordinates
from visuotactile_ros.simulation.objects import MATERIAL_TRAITS
from visuotactile_ros.simulation.photometry import (
    background_terms,
    image_grid,
    load_optics_table,
    place_terms,
    shadow_share,
    slope_terms,
)
from visuotactile_ros.simulation.sensor_profiles import IMAGE_HEIGHT, IMAGE_WIDTH, SensorProfile
from visuotactile_ros.simulation.textures import COLOUR_OF_TEXTURE, sample_texture


class CoatedGelOptics:
    """An opaque coat lit from the sides in three colours; fitted to real frames.

    Args:
        profile: Kind of sensor.
        unit: Draws the gain of each colour, a drift of the background and dust.
    """

    def __init__(self, profile: SensorProfile, unit: np.random.Generator):
        self._profile = profile
        self._table = load_optics_table(profile.optics_table)
        self.noise_std = self._table.noise_std
        places = place_terms(*image_grid())
        gain = unit.normal(1.0, 0.04, 3)
        drift = unit.normal(0.0, 1.0, (6, 3)) * [[3.0], [2.0], [2.0], [1.0], [1.0], [1.0]]
        background = np.einsum('kc,khw->hwc', self._table.background, background_terms(*image_grid()))
        self.background = (gain * background + np.einsum('pc,phw->hwc', drift, places) + _dust(unit)).astype(np.float32)
        self._gain = gain.astype(np.float32)

    def colour_change(self, surface: GelSurface, contact: ContactState) -> np.ndarray:
        """Image of a pressed gel minus the background: float32 [240, 320, 3], grey levels, RGB."""
        slope_x, slope_y = _slopes(surface.height_mm, self._profile.mm_per_px)
        shadow = shadow_share(surface.skin_mm, self._table.response, COARSE * self._profile.mm_per_px)
        # The fitted response already holds the shadows that a contact casts on itself.
        shadow *= (1.0 - surface.contact_share)[..., None] * self._table.shadow
        change = np.einsum('cshw,shw->hwc', _response_maps(self._profile.optics_table), slope_terms(slope_x, slope_y))
        change *= self._gain
        change -= cv2.resize(shadow, (IMAGE_WIDTH, IMAGE_HEIGHT))
        return change


class ClearSkinOptics:
    """A clear skin under a ring light, a stand-in for sensors whose optics are not published.

    The object behind the skin shows in its own colour, sharp where it touches and fainter and more blurred with its
    distance. The ring light glares on the skin, and its reflection bends where the skin is pressed.

    Args:
        profile: Kind of sensor.
        unit: Draws the colour of the light, the place of the glare and dust.
    """

    RING_MM, RING_WIDTH_MM, GLARE, GLARE_MM_PER_SLOPE = 5.2, 0.55, 95.0, 2.5
    HAZE_MM, VISIBLE_MM = 0.25, 1.5

    def __init__(self, profile: SensorProfile, unit: np.random.Generator):
        self._profile = profile
        self.noise_std = np.full(3, 1.0, np.float32)
        self._light = (unit.normal(1.0, 0.04, 3) * [1.0, 1.02, 1.0]).astype(np.float32)
        x, y = image_grid()
        centre = unit.normal(0.0, 0.3, 2)
        self._x = ((x - 159.5) * profile.mm_per_px - centre[0]).astype(np.float32)
        self._y = ((y - 119.5) * profile.mm_per_px - centre[1]).astype(np.float32)
        distance_mm = np.hypot(self._x, self._y)
        # The light of the ring falls off towards the rim.
        self._lit = (0.35 + 0.65 * np.exp(-(distance_mm / 9.0) ** 2)).astype(np.float32)
        inside = 46.0 * self._lit[..., None] * self._light
        self._flat_glare = self._glare(np.zeros_like(self._x), np.zeros_like(self._x))
        self.background = (inside + self._flat_glare[..., None] * self._light + _dust(unit)).astype(np.float32)

    def colour_change(self, surface: GelSurface, contact: ContactState) -> np.ndarray:
        """Image of a pressed skin minus the background: float32 [240, 320, 3], grey levels, RGB."""
        obj = contact.object
        kind = MATERIAL_TRAITS[obj.material].texture
        texture = sample_texture(kind, obj.texture_anisotropy, obj.texture_seed, obj.texture_wavelength_mm,
                                 *object_coordinates(self._profile, contact), self._profile.mm_per_px)
        slope_x, slope_y = _slopes(surface.height_mm, self._profile.mm_per_px)
        facing = 1.0 / (1.0 + slope_x * slope_x + slope_y * slope_y)
        sharp = (1.0 + np.float32(COLOUR_OF_TEXTURE[kind]) * texture) * facing
        blurred = cv2.GaussianBlur(sharp, (0, 0), 4.0)
        near = np.exp(surface.gap_mm / np.float32(-self.HAZE_MM))
        seen = near * sharp + (1.0 - near) * blurred
        seen *= np.exp(surface.gap_mm / np.float32(-self.VISIBLE_MM)) * self._lit
        change = (np.float32(170.0) * seen)[..., None] * (np.float32(obj.albedo_rgb) * self._light)
        # Wetted by the object, the skin reflects less where it touches.
        glare = (1.0 - 0.5 * near) * self._glare(slope_x, slope_y) - self._flat_glare
        change += glare[..., None] * self._light
        return change

    def _glare(self, slope_x, slope_y):
        bend = np.float32(self.GLARE_MM_PER_SLOPE)
        distance = np.hypot(self._x + bend * slope_x, self._y + bend * slope_y)
        return np.float32(self.GLARE) * np.exp(-((distance - self.RING_MM) / np.float32(self.RING_WIDTH_MM)) ** 2)


@lru_cache(maxsize=8)
def _response_maps(optics_table):
    """Response at every pixel, [RGB, slope term, H, W]: evaluated once, so that a frame costs one weighted sum."""
    return np.einsum('spc,phw->cshw', load_optics_table(optics_table).response,
                     place_terms(*image_grid())).astype(np.float32)


def _slopes(height_mm, mm_per_px):
    return (cv2.Sobel(height_mm, cv2.CV_32F, 1, 0, ksize=1, scale=0.5 / mm_per_px),
            cv2.Sobel(height_mm, cv2.CV_32F, 0, 1, ksize=1, scale=0.5 / mm_per_px))


def _dust(unit):
    """Specks that stay with a unit, about as strong as the fine detail of real backgrounds (0.5 to 0.7 levels)."""
    return cv2.GaussianBlur(unit.normal(0.0, 1.0, (IMAGE_HEIGHT, IMAGE_WIDTH, 3)), (0, 0), 1.5) * 3.0
