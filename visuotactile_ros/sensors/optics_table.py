"""The calibration table of a gel: its colour as a function of slope and place, fitted to real presses.

The simulator renders with it, photometric stereo inverts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np

from visuotactile_ros.errors import ConfigurationError


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
    path = resources.files('visuotactile_ros').joinpath('simulation', 'optics_tables', f'{name}.npz')
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
