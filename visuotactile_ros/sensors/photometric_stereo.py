"""PhotometricStereo: depth and normals of a pressed gel from the change of its colour.

The calibration table tells what colour change a slope makes at a place. A lookup table that inverts it is built once;
what it says is refined by one Gauss-Newton step with the table itself, and the slopes are integrated to the depth whose
slopes fit them best (Poisson's equation by cosine transforms; source: Simchony, Chellappa and Shao 1990).

A cast shadow is taken for a slope, which makes deep contacts flatter than they are; depth that is the same all over the
image cannot be seen; and where a table gives two slopes nearly the same colour, as that of the DIGIT does a quarter of
the way from the left, one may be taken for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.sensors.gel_kinds import GEL_KINDS
from visuotactile_ros.sensors.optics_table import load_optics_table, place_terms, slope_terms

# The table is inverted for this many places down and across the image, and this many bins of each colour.
CELLS, BINS = (3, 4), 20
STEEPEST_SLOPE, SLOPES_EACH_WAY = 1.6, 33
# Among slopes that explain a colour alike the flattest is taken: squared grey levels for a slope of one.
FLATNESS_LEVEL2 = 20.0
# Keeps the refinement from following noise where colour hardly depends on slope.
DAMPING_LEVEL2 = 200.0
LARGEST_STEP, DIFFERENCE = 0.3, 1e-2
TABLE_WIDTH, TABLE_HEIGHT = 320, 240


@dataclass(frozen=True, eq=False)
class SurfaceMap:
    """Shape of a pressed gel.

    Attributes:
        depth_mm: float32 [H, W], how far the gel is pressed in, millimetres; 0 is the median along the image's border.
        normals: float32 [H, W, 3], unit normals of the gel (x right, y down, z towards the camera).
    """

    depth_mm: np.ndarray
    normals: np.ndarray


class PhotometricStereo:
    """Measures the surface of one sensor.

    Args:
        kind: Device kind: a key of GEL_KINDS with a calibration table and without markers.
        reference_hwc: uint8 [H, W, 3], RGB, the gel without contact; sides are even.

    Raises:
        ConfigurationError: The kind is not such a kind, or a side of the reference is odd.
    """

    def __init__(self, kind: str, reference_hwc: np.ndarray):
        usable = [name for name, gel in GEL_KINDS.items() if gel.optics_table and gel.markers is None]
        if kind not in usable:
            raise ConfigurationError(f'the colours of a {kind} tell no depth', f'Use one of {", ".join(usable)}')
        height, width = reference_hwc.shape[:2]
        if height % 2 or width % 2:
            raise ConfigurationError(f'depth cannot be computed for frames of {width}x{height}', 'Use even sides')
        self._reference = reference_hwc.astype(np.float32)
        self._mm_per_px = GEL_KINDS[kind].width_mm / width
        response = load_optics_table(GEL_KINDS[kind].optics_table).response
        rows, columns = np.mgrid[0:height, 0:width]
        places = place_terms((columns + 0.5) * TABLE_WIDTH / width - 0.5, (rows + 0.5) * TABLE_HEIGHT / height - 0.5)
        self._response = np.einsum('spc,phw->cshw', response, places).astype(np.float32)
        self._inverse = _inverse_of(GEL_KINDS[kind].optics_table)
        cells_down, cells_across = CELLS
        self._cell = (rows * cells_down // height) * cells_across + columns * cells_across // width
        self._eigenvalues = ((2.0 * np.cos(np.pi * np.arange(height) / height) - 2.0)[:, None]
                             + (2.0 * np.cos(np.pi * np.arange(width) / width) - 2.0)[None, :]).astype(np.float32)
        self._eigenvalues[0, 0] = np.inf

    def measure(self, image_hwc: np.ndarray) -> SurfaceMap:
        """Measure the surface that a frame shows.

        Args:
            image_hwc: uint8 [H, W, 3], RGB, of the size of the reference.

        Raises:
            SensorError: The frame has another size.
        """
        if image_hwc.shape != self._reference.shape:
            raise SensorError(f'a frame is {image_hwc.shape}, the reference of its depth {self._reference.shape}',
                              'Take the reference anew')
        change = cv2.GaussianBlur(image_hwc - self._reference, (0, 0), 1.0)
        slope_x, slope_y = self._refined(change, *self._inverse.slopes(change, self._cell))
        normals = np.dstack([-slope_x, -slope_y, np.ones_like(slope_x)])
        normals /= np.linalg.norm(normals, axis=2, keepdims=True)
        return SurfaceMap(self._integrated_mm(slope_x, slope_y), normals)

    def _refined(self, change, slope_x, slope_y):
        """Slopes after one damped Gauss-Newton step."""
        colour = self._colour_change(slope_x, slope_y)
        by_x = (self._colour_change(slope_x + np.float32(DIFFERENCE), slope_y) - colour) / np.float32(DIFFERENCE)
        by_y = (self._colour_change(slope_x, slope_y + np.float32(DIFFERENCE)) - colour) / np.float32(DIFFERENCE)
        error = change.transpose(2, 0, 1) - colour
        xx, yy = np.square(by_x).sum(axis=0) + DAMPING_LEVEL2, np.square(by_y).sum(axis=0) + DAMPING_LEVEL2
        xy, x_error, y_error = (by_x * by_y).sum(axis=0), (by_x * error).sum(axis=0), (by_y * error).sum(axis=0)
        determinant = xx * yy - xy * xy
        step_x, step_y = (yy * x_error - xy * y_error) / determinant, (xx * y_error - xy * x_error) / determinant
        return (slope_x + np.clip(step_x, -LARGEST_STEP, LARGEST_STEP),
                slope_y + np.clip(step_y, -LARGEST_STEP, LARGEST_STEP))

    def _colour_change(self, slope_x, slope_y):
        return np.einsum('cshw,shw->chw', self._response, slope_terms(slope_x, slope_y))

    def _integrated_mm(self, slope_x, slope_y):
        """Depth [H, W] whose differences between neighbours fit the slopes best, nothing flowing over the border."""
        rise_x = 0.5 * (slope_x[:, 1:] + slope_x[:, :-1])
        rise_y = 0.5 * (slope_y[1:] + slope_y[:-1])
        divergence = np.zeros_like(slope_x)
        divergence[:, :-1] += rise_x
        divergence[:, 1:] -= rise_x
        divergence[:-1] += rise_y
        divergence[1:] -= rise_y
        depth_mm = cv2.idct(cv2.dct(divergence) / self._eigenvalues) * np.float32(self._mm_per_px)
        return depth_mm - np.median(np.concatenate([depth_mm[0], depth_mm[-1], depth_mm[:, 0], depth_mm[:, -1]]))


class _InverseTable:
    """Slope by cell of the image and by colour change, for the middle of every bin."""

    def __init__(self, response: np.ndarray):
        along = np.linspace(-STEEPEST_SLOPE, STEEPEST_SLOPE, SLOPES_EACH_WAY)
        slopes = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
        slopes = slopes[np.hypot(*slopes.T) <= STEEPEST_SLOPE].astype(np.float32)
        rows, columns = (np.arange(CELLS[0]) + 0.5) / CELLS[0], (np.arange(CELLS[1]) + 0.5) / CELLS[1]
        x_px, y_px = np.meshgrid(columns * TABLE_WIDTH - 0.5, rows * TABLE_HEIGHT - 0.5)
        places = place_terms(x_px.ravel(), y_px.ravel())
        colours = np.einsum('spc,sn,pk->knc', response, slope_terms(*slopes.T), places).astype(np.float32)
        lowest, highest = colours.min(axis=(0, 1)), colours.max(axis=(0, 1))
        self._bin_size = (highest - lowest) / (BINS - 1)
        # No change of colour lies in the middle of a bin, so that a flat gel is flat.
        self._lowest = (np.floor(lowest / self._bin_size + 0.5) - 0.5) * self._bin_size
        middles = [low + size * (np.arange(BINS) + 0.5) for low, size in zip(self._lowest, self._bin_size)]
        bins = np.stack(np.meshgrid(*middles, indexing='ij'), axis=-1).reshape(-1, 3).astype(np.float32)
        flatness = FLATNESS_LEVEL2 * np.square(slopes).sum(axis=1)
        # The squared distance of colours, without the part that is the same for all slopes.
        nearest = [(np.square(of_cell).sum(axis=1) + flatness - 2.0 * bins @ of_cell.T).argmin(axis=1)
                   for of_cell in colours]
        self._slopes = slopes[np.concatenate(nearest)]

    def slopes(self, change: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slopes x and y, float32 [H, W] each, of colour changes [H, W, 3] in cells [H, W]."""
        places = np.clip(((change - self._lowest) / self._bin_size).astype(np.int32), 0, BINS - 1)
        found = self._slopes[((cell * BINS + places[..., 0]) * BINS + places[..., 1]) * BINS + places[..., 2]]
        return found[..., 0], found[..., 1]


@lru_cache(maxsize=4)
def _inverse_of(optics_table):
    return _InverseTable(load_optics_table(optics_table).response)
