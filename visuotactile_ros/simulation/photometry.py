"""Colour of a gel as a function of its slope and of the place: the small basis that is fitted to real presses."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import cv2
import numpy as np

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.simulation.sensor_profiles import IMAGE_HEIGHT, IMAGE_WIDTH

SLOPE_TERMS = 8
PLACE_TERMS = 6
BACKGROUND_DEGREE = 6
# Light falls in at this slope; a shadow is full where the grazing ray passes this high above the gel.
LIGHT_SLOPE, FULL_SHADOW_MM = 0.15, 0.6
SHADOW_STEPS_MM = np.arange(0.5, 4.1, 0.5)


@dataclass(frozen=True, eq=False)
class OpticsTable:
    """Fitted optics of one sensor.

    Attributes:
        background: float32 [28, 3], polynomial coefficients of the no-contact image, grey levels, RGB.
        response: float32 [8, 6, 3], slope term × place term × RGB, grey levels.
        shadow: float32 [3], darkening in a full cast shadow, grey levels, RGB.
        noise_std: float32 [3], standard deviation of one frame's noise, grey levels, RGB.
    """

    background: np.ndarray
    response: np.ndarray
    shadow: np.ndarray
    noise_std: np.ndarray


def load_optics_table(name: str) -> OpticsTable:
    """Read a table that `training/fit_gel_optics.py` wrote.

    Raises:
        ConfigurationError: There is no such table.
    """
    path = resources.files('visuotactile_ros.simulation').joinpath('optics_tables', f'{name}.npz')
    if not path.is_file():
        raise ConfigurationError(f'There is no optics table {name!r}', 'Run python -m training.fit_gel_optics')
    with path.open('rb') as file, np.load(file, allow_pickle=False) as table:
        return OpticsTable(table['background'], table['response'], table['shadow'], table['noise_std'])


def slope_terms(slope_x: np.ndarray, slope_y: np.ndarray) -> np.ndarray:
    """Functions of the surface normal, all zero on an undisturbed gel.

    Args:
        slope_x: Rise of the gel towards the camera per distance to the right, millimetre per millimetre, any shape.
        slope_y: Likewise downwards.

    Returns:
        float32 [8, ...].
    """
    normal_z = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    normal_x, normal_y, tilt = -slope_x * normal_z, -slope_y * normal_z, 1.0 - normal_z
    return np.stack([normal_x, normal_y, tilt, normal_x * normal_x, normal_x * normal_y, tilt * tilt,
                     normal_x * tilt, normal_y * tilt]).astype(np.float32, copy=False)


def place_terms(x_px: np.ndarray, y_px: np.ndarray) -> np.ndarray:
    """Polynomials of the place in a 320 x 240 image: float64 [6, ...]."""
    x, y = (x_px - 159.5) / 160.0, (y_px - 119.5) / 160.0
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])


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
