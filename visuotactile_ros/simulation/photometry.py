"""Colour of a gel as a function of its slope and of the place: the small basis that is fitted to real presses."""

from __future__ import annotations

import cv2
import numpy as np

# The calibration table belongs to the sensors, which invert it; this module is where the simulator finds it.
from visuotactile_ros.sensors.optics_table import OpticsTable as OpticsTable
from visuotactile_ros.sensors.optics_table import load_optics_table as load_optics_table
from visuotactile_ros.sensors.optics_table import place_terms as place_terms
from visuotactile_ros.sensors.optics_table import slope_terms as slope_terms
from visuotactile_ros.simulation.sensor_profiles import IMAGE_HEIGHT, IMAGE_WIDTH

BACKGROUND_DEGREE = 6
# Light falls in at this slope; a shadow is full where the grazing ray passes this high above the gel.
LIGHT_SLOPE, FULL_SHADOW_MM = 0.15, 0.6
SHADOW_STEPS_MM = np.arange(0.5, 4.1, 0.5)


def background_terms(x_px: np.ndarray, y_px: np.ndarray) -> np.ndarray:
    """Legendre polynomials up to total degree 6 over a 320 x 240 image: float64 [28, ...]."""
    x, y = (x_px - 159.5) / 160.0, (y_px - 119.5) / 120.0
    along_x = np.polynomial.legendre.legvander(x, BACKGROUND_DEGREE)
    along_y = np.polynomial.legendre.legvander(y, BACKGROUND_DEGREE)
    return np.stack([along_x[..., i] * along_y[..., j] for i in range(BACKGROUND_DEGREE + 1)
                     for j in range(BACKGROUND_DEGREE + 1 - i)])


def image_grid() -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (x, y) of a 320 x 240 image: float64 [240, 320] each."""
    return np.meshgrid(np.arange(IMAGE_WIDTH, dtype=float), np.arange(IMAGE_HEIGHT, dtype=float))


def shadow_share(height_mm: np.ndarray, response: np.ndarray, pitch_mm: float) -> np.ndarray:
    """Where indentations keep the light of each colour from the gel.

    Args:
        height_mm: float32 [H, W], rise of the gel towards the camera, millimetres.
        response: [8, 6, 3], as in `OpticsTable`; a colour's light comes from where slopes facing there are brightest.
        pitch_mm: Side of a pixel of `height_mm`, millimetres.

    Returns:
        float32 [H, W, 3], 0 lit … 1 full shadow, RGB.
    """
    towards_light = response[:2, 0] / np.linalg.norm(response[:2, 0], axis=0)
    size = height_mm.shape[1], height_mm.shape[0]
    shares = []
    for direction in towards_light.T:
        above = np.zeros_like(height_mm)
        for step_mm in SHADOW_STEPS_MM:
            shift = np.float32([[1, 0, step_mm * direction[0] / pitch_mm], [0, 1, step_mm * direction[1] / pitch_mm]])
            towards = cv2.warpAffine(height_mm, shift, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            above = np.maximum(above, towards - height_mm - np.float32(LIGHT_SLOPE * step_mm))
        shares.append(np.minimum(above / np.float32(FULL_SHADOW_MM), 1.0))
    return cv2.GaussianBlur(np.dstack(shares), (0, 0), 0.4 / pitch_mm)
