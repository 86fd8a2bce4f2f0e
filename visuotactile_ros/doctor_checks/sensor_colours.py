"""Whether the picture of a connected sensor has its colours in the right order, as far as that can be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding
from visuotactile_ros.simulation.photometry import background_terms, image_grid, load_optics_table

SUBJECT = 'colour order'
# The lights of a GelSight Mini shine from different sides, and its picture shows which. All 26 real frames of two units
# lie within 5 grey levels of the fitted background, and more than 20 away once red and blue are exchanged.
FITTED_BACKGROUNDS = {'gelsight_mini': 'gelsight_mini', 'gelsight_mini_markers': 'gelsight_mini'}
GRID_COLUMNS, GRID_ROWS = 4, 3
# DIGIT can be lit in one colour at a time: (name, brightness of its red, green and blue light, channel).
ONE_LIGHT = (('red', (15, 0, 0), 0), ('blue', (0, 0, 15), 2))
REMEDY = 'Compare a published image with the gel; if red and blue are exchanged, report sensor, kernel and OpenCV'


def judge_picture(name: str, kind: str, image_hwc: np.ndarray) -> Iterator[Finding]:
    """Compare a picture with the untouched gel of its kind, where that is known.

    Args:
        name: Which sensor, for the text.
        kind: Kind of sensor.
        image_hwc: uint8 [H, W, 3], RGB, neither turned nor mirrored.
    """
    if kind not in FITTED_BACKGROUNDS:
        return
    expected = _colour_layout(fitted_background(FITTED_BACKGROUNDS[kind]))
    seen = _colour_layout(image_hwc)
    as_it_is, exchanged = (float(np.abs(layout - expected).mean()) for layout in (seen, seen[:, :, ::-1]))
    finding = f'the picture of {name} is {as_it_is:.0f} grey levels off that of its kind, and {exchanged:.0f} with ' \
              'red and blue exchanged'
    if as_it_is < exchanged:
        yield Finding(OK, SUBJECT, finding)
    else:
        # Two units are no proof for every gel, so that this breaks nothing.
        yield Finding(NOTE, SUBJECT, finding, REMEDY)


def judge_lights(name: str, picture_under: Callable[[tuple[int, int, int]], np.ndarray]) -> Iterator[Finding]:
    """Light a DIGIT in red, then in blue; the picture must have the colour of the light.

    Args:
        name: Which sensor, for the text.
        picture_under: Takes a picture under the given light: uint8 [H, W, 3], RGB.
    """
    shown = {colour: picture_under(levels).reshape(-1, 3).mean(axis=0) for colour, levels, _ in ONE_LIGHT}
    if all(np.argmax(shown[colour]) == channel for colour, _, channel in ONE_LIGHT):
        yield Finding(OK, SUBJECT, f'{name} is red under its red light and blue under its blue light')
    elif all(np.argmax(shown[colour]) == 2 - channel for colour, _, channel in ONE_LIGHT):
        yield Finding(BROKEN, SUBJECT, f'{name} is blue under its red light and red under its blue light', REMEDY)
    else:
        means = '; '.join(f'{colour} light: RGB {mean.round().astype(int).tolist()}' for colour, mean in shown.items())
        yield Finding(NOTE, SUBJECT, f'the light of {name} does not colour its picture ({means})',
                      'Shade the sensor and try again; if that changes nothing, its light cannot be set')


def fitted_background(table: str) -> np.ndarray:
    """Return the untouched gel of a fitted optics table, at every eighth pixel: float [30, 40, 3], RGB."""
    x_px, y_px = (grid[4::8, 4::8] for grid in image_grid())
    return np.tensordot(background_terms(x_px, y_px), load_optics_table(table).background, axes=(0, 0))


def _colour_layout(image_hwc: np.ndarray) -> np.ndarray:
    """How far each channel lies from grey on a coarse grid: float32 [3, 4, 3], grey levels."""
    coarse = cv2.resize(image_hwc.astype(np.float32), (GRID_COLUMNS, GRID_ROWS), interpolation=cv2.INTER_AREA)
    return coarse - coarse.mean(axis=2, keepdims=True)
