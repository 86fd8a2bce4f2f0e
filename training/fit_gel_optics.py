"""Fit the optics tables of the simulated sensors to real frames.

Run `python -m training.fit_gel_optics`; it needs only the frames in test/data/real_frames. Every fourth press is held
out of the fit, so that the errors printed (and asserted by the tests) are those of presses never seen.

CMU GelSight: a ball of 4 mm pressed all over the gel, so the slope of every pixel inside the contact is known.
GelSight Mini: the size of the indenter is not stated and the stored centres are loose, so centre and slope profile of
each press are estimated together with the response; all presses lie near one point, so the variation over the gel is
not fitted but assumed to follow the square root of the background.
DIGIT: the response is read off a measured table; only the background is from a frame.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import minimize

from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_surface import COARSE
from visuotactile_ros.simulation.gel_surface import press as simulated_press
from visuotactile_ros.simulation.objects import ObjectParameters
from visuotactile_ros.simulation.photometry import (
    background_terms,
    image_grid,
    place_terms,
    shadow_share,
    slope_terms,
)
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

HELD_OUT_EVERY = 4
MM_PER_PX = SENSOR_PROFILES['gelsight'].mm_per_px
BALL_RADIUS_PX = 2.0 / MM_PER_PX
FRAMES = Path('test/data/real_frames')
TABLES = Path('visuotactile_ros/simulation/optics_tables')
X_PX, Y_PX = image_grid()


@dataclass
class Press:
    """One real press.

    Attributes:
        file: File name of the frame.
        change: float64 [240, 320, 3], frame minus background, grey levels, RGB.
        x_px, y_px: Centre of the contact, pixels.
        radius_px: Radius of the contact, pixels.
    """

    file: str
    change: np.ndarray
    x_px: float
    y_px: float
    radius_px: float


def read_frame(path: Path) -> np.ndarray:
    """Read a frame as float64 [240, 320, 3], RGB."""
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1].astype(np.float64)


def read_presses(folder: Path, sensor: str) -> list[Press]:
    """Read every press of a sensor, in the order of labels.csv."""
    background = read_frame(folder / f'{sensor}_background.jpg')
    with (folder / 'labels.csv').open(newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['sensor'] == sensor]
    return [Press(row['file'], read_frame(folder / row['file']) - background, float(row['x_px']), float(row['y_px']),
                  float(row['contact_radius_px'])) for row in rows]


def split(presses: list[Press]) -> tuple[list[Press], list[Press]]:
    """Presses to fit, presses held out."""
    return ([press for index, press in enumerate(presses) if index % HELD_OUT_EVERY],
            [press for index, press in enumerate(presses) if index % HELD_OUT_EVERY == 0])


def ball_contact(press: Press) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inside of a ball's contact: mask bool [240, 320], slopes x and y of its pixels."""
    x, y = X_PX - press.x_px, Y_PX - press.y_px
    inside = np.hypot(x, y) < 0.95 * min(press.radius_px, 0.98 * BALL_RADIUS_PX)
    depth = np.sqrt(BALL_RADIUS_PX ** 2 - x[inside] ** 2 - y[inside] ** 2)
    return inside, -x[inside] / depth, -y[inside] / depth


def imprint(press: Press) -> np.ndarray:
    """Where a press changes the image clearly (blurred sum over RGB above 30 grey levels): bool [240, 320]."""
    strength = cv2.GaussianBlur(np.abs(press.change).sum(2), (0, 0), 1.0)
    _, regions, statistics, _ = cv2.connectedComponentsWithStats((strength > 30.0).astype(np.uint8))
    return regions == 1 + np.argmax(statistics[1:, cv2.CC_STAT_AREA])


def tip_slope(distance_px: np.ndarray, radius_px: float, rim_slope: float, falloff_px: float) -> np.ndarray:
    """Slope around a small tip: a ball's up to the rim of the contact, then an exponential falloff."""
    share = np.minimum(distance_px / radius_px, 1.0)
    inner = rim_slope * share / np.sqrt(1.0 + rim_slope ** 2 * (1.0 - share ** 2))
    return np.where(distance_px < radius_px, inner, rim_slope * np.exp(-(distance_px - radius_px) / falloff_px))


def tip_slopes(geometry: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes x and y around a small tip.

    Args:
        geometry: x_px, y_px, radius_px, rim_slope, falloff_px.
        mask: Which pixels.
    """
    x, y = X_PX[mask] - geometry[0], Y_PX[mask] - geometry[1]
    distance = np.maximum(np.hypot(x, y), 1e-6)
    slope = tip_slope(distance, *geometry[2:])
    return -slope * x / distance, -slope * y / distance


def features(slope_x: np.ndarray, slope_y: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Basis of the response, [pixels, 8] without place, [pixels, 48] with the place of a mask's pixels."""
    slopes = slope_terms(slope_x, slope_y)
    if mask is None:
        return slopes.T
    return np.einsum('sn,pn->nsp', slopes, place_terms(X_PX[mask], Y_PX[mask])).reshape(slopes.shape[1], -1)


def ridge(inputs: np.ndarray, outputs: np.ndarray, strength: float) -> np.ndarray:
    """Least squares with a small penalty on large coefficients."""
    return np.linalg.solve(inputs.T @ inputs + strength * len(inputs) * np.eye(inputs.shape[1]), inputs.T @ outputs)


def fit_ball_response(presses: list[Press]) -> np.ndarray:
    """Response of the CMU GelSight: float64 [8, 6, 3]."""
    contacts = [ball_contact(press) for press in presses]
    inputs = np.vstack([features(slope_x, slope_y, inside) for inside, slope_x, slope_y in contacts])
    outputs = np.vstack([press.change[inside] for press, (inside, _, _) in zip(presses, contacts, strict=True)])
    return ridge(inputs, outputs, 1e-4).reshape(8, 6, 3)


def rough_tip_geometry(press: Press, mask: np.ndarray) -> np.ndarray:
    """Start of `register_tip`: the middle of the strongest colour change, and a typical slope profile."""
    strength = np.where(mask, np.abs(press.change).sum(2), 0.0)
    strength[strength < 0.5 * strength.max()] = 0.0
    strength /= strength.sum()
    return np.array([(strength * X_PX).sum(), (strength * Y_PX).sum(), 5.0, 1.3, 11.0])


def register_tip(press: Press, response: np.ndarray, mask: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Geometry of a small-tip press that explains its frame best under a response [8, 3]; see `tip_slopes`."""
    def error(geometry):
        _, _, radius_px, rim_slope, falloff_px = geometry
        if not (1.0 < radius_px < 15.0 and 0.2 < rim_slope < 2.5 and 2.0 < falloff_px < 40.0):
            return 1e9
        return np.square(features(*tip_slopes(geometry, mask), None) @ response - press.change[mask]).mean()
    return minimize(error, start, method='Nelder-Mead', options={'maxiter': 150, 'xatol': 0.03, 'fatol': 0.05}).x


def fit_tip_response(presses: list[Press], rounds: int = 5) -> tuple[np.ndarray, list[np.ndarray]]:
    """Response of the GelSight Mini near its centre, float64 [8, 3], and the geometry of each press."""
    masks = [imprint(press) for press in presses]
    geometries = [rough_tip_geometry(press, mask) for press, mask in zip(presses, masks, strict=True)]
    for _ in range(rounds):
        inputs = np.vstack([features(*tip_slopes(geometry, mask), None)
                            for geometry, mask in zip(geometries, masks, strict=True)])
        outputs = np.vstack([press.change[mask] for press, mask in zip(presses, masks, strict=True)])
        response = ridge(inputs, outputs, 3e-4)
        geometries = [register_tip(press, response, mask, geometry)
                      for press, mask, geometry in zip(presses, masks, geometries, strict=True)]
    return response, geometries


def fit_digit_response(change_table: np.ndarray) -> np.ndarray:
    """Response [8, 6, 3] from a table [32, 32, 6, 3].

    The axes of the table: slope angle 0..90 degrees, direction of rise -180..180 degrees, place polynomial, RGB.
    """
    angles = np.linspace(0.0, np.pi / 2, 125)[::4]
    directions = np.linspace(-np.pi, np.pi, 125)[::4]
    wanted = (angles > np.deg2rad(3)) & (angles < np.deg2rad(55))
    angle, direction, x, y = (grid.ravel() for grid in np.meshgrid(
        angles[wanted], directions, np.linspace(40, 280, 7), np.linspace(30, 210, 6), indexing='ij'))
    # The table counts its places in pixels of a 640 x 480 image.
    places = np.stack([4 * x * x, 4 * y * y, 4 * x * y, 2 * x, 2 * y, np.ones_like(x)], -1)
    entries = change_table[np.searchsorted(angles, angle), np.searchsorted(directions, direction)]
    change = np.einsum('np,npc->nc', places, entries)
    plausible = np.abs(change).max(axis=1) < 140.0
    slopes = slope_terms(np.tan(angle) * np.cos(direction), np.tan(angle) * np.sin(direction))
    inputs = np.einsum('sn,pn->nsp', slopes, place_terms(x, y)).reshape(len(x), -1)
    return ridge(inputs[plausible], change[plausible], 3e-3).reshape(8, 6, 3)


def fit_shadow(presses: list[Press], response: np.ndarray, heights_mm: list[np.ndarray],
               slopes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Darkening [3] in a full shadow, from what the response [8, 6, 3] leaves unexplained around the contacts."""
    shares, unexplained = [], []
    for press, height, (slope_x, slope_y) in zip(presses, heights_mm, slopes, strict=True):
        distance = np.hypot(X_PX - press.x_px, Y_PX - press.y_px)
        around = (distance > 1.2 * press.radius_px) & (distance < 90.0)
        coarse = cv2.resize(height.astype(np.float32), (80, 60), interpolation=cv2.INTER_AREA)
        share = cv2.resize(shadow_share(coarse, response, COARSE * MM_PER_PX), (320, 240))
        shares.append(share[around])
        explained = features(slope_x[around], slope_y[around], around) @ response.reshape(48, 3)
        unexplained.append(explained - press.change[around])
    share, darker = np.vstack(shares), np.vstack(unexplained)
    return np.maximum((share * darker).sum(0) / np.square(share).sum(0), 0.0)


def ball_surface(press: Press) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Simulated height and slopes of a deep press of the 4 mm ball: labels do not tell the gel around the contact."""
    ball = ObjectParameters(shape='sphere', radius_mm=BALL_RADIUS_PX * MM_PER_PX, youngs_modulus_mpa=1e5)
    offset_mm = ((press.x_px - 159.5) * MM_PER_PX, (press.y_px - 119.5) * MM_PER_PX)
    height = simulated_press(SENSOR_PROFILES['gelsight'], ContactState(3.0, offset_mm=offset_mm, object=ball)).height_mm
    rise_y, rise_x = np.gradient(height.astype(np.float64), MM_PER_PX)
    return height, (rise_x, rise_y)


def tip_surface(geometry: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Height and slopes of a registered small-tip press; the height is the slope summed up from far outside."""
    slope_x, slope_y = (slope.reshape(X_PX.shape) for slope in tip_slopes(geometry, np.ones(X_PX.shape, bool)))
    distance_px = np.arange(400.0)
    height_mm = np.cumsum(tip_slope(distance_px, *geometry[2:])[::-1])[::-1] * MM_PER_PX
    return np.interp(np.hypot(X_PX - geometry[0], Y_PX - geometry[1]), distance_px, height_mm), (slope_x, slope_y)


def fit_background(frame: np.ndarray) -> np.ndarray:
    """Polynomial coefficients [28, 3] of a no-contact frame."""
    return np.linalg.lstsq(background_terms(X_PX, Y_PX).reshape(28, -1).T, frame.reshape(-1, 3), rcond=None)[0]


def measure_noise(presses: list[Press]) -> np.ndarray:
    """Standard deviation [3] of one frame's noise: fine differences between presses, in a corner without contact."""
    frames = [press.change[-60:, -80:] for press in presses[::3]]
    differences = [after - before for before, after in zip(frames[:-1], frames[1:], strict=True)]
    fine = np.stack([difference - cv2.GaussianBlur(difference, (0, 0), 3.0) for difference in differences])
    return 1.4826 / np.sqrt(2.0) * np.median(np.abs(fine), axis=(0, 1, 2))


def write_table(path: Path, background: np.ndarray, response: np.ndarray, shadow: np.ndarray,
                noise_std: np.ndarray) -> None:
    """Write one table for `photometry.load_optics_table`."""
    np.savez(path, background=background.astype(np.float32), response=response.astype(np.float32),
             shadow=shadow.astype(np.float32), noise_std=noise_std.astype(np.float32))


def spread_over_gel(response: np.ndarray, background: np.ndarray, x_px: float, y_px: float) -> np.ndarray:
    """Response [8, 6, 3] from one [8, 3] known at one place: assumed to follow the square root of the background."""
    light = np.sqrt(cv2.GaussianBlur(background, (0, 0), 5.0))
    place = np.linalg.lstsq(place_terms(X_PX, Y_PX).reshape(6, -1).T, light.reshape(-1, 3), rcond=None)[0]
    place /= np.einsum('pc,p->c', place, place_terms(np.array(x_px), np.array(y_px)))
    return response[:, None, :] * place[None]


def main() -> None:
    """Fit every table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--frames', type=Path, default=FRAMES, help='folder of real frames')
    parser.add_argument('--output', type=Path, default=TABLES, help='folder of tables to write')
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    presses = read_presses(arguments.frames, 'gelsight')
    fitted = split(presses)[0]
    response = fit_ball_response(fitted)
    heights, slopes = zip(*(ball_surface(press) for press in fitted), strict=True)
    shadow = fit_shadow(fitted, response, heights, slopes)
    background = read_frame(arguments.frames / 'gelsight_background.jpg')
    write_table(arguments.output / 'gelsight.npz', fit_background(background), response, shadow, measure_noise(presses))
    shadow_share_of_light = np.mean(shadow / np.linalg.norm(response[:2, 0], axis=0))

    presses = read_presses(arguments.frames, 'gelsight_mini')
    fitted = split(presses)[0]
    background = read_frame(arguments.frames / 'gelsight_mini_background.jpg')
    near_centre, geometries = fit_tip_response(fitted)
    response = spread_over_gel(near_centre, background, *np.mean(geometries, axis=0)[:2])
    heights, slopes = zip(*(tip_surface(geometry) for geometry in geometries), strict=True)
    write_table(arguments.output / 'gelsight_mini.npz', fit_background(background), response,
                fit_shadow(fitted, response, heights, slopes), measure_noise(presses))

    with np.load(arguments.frames / 'digit_table.npz', allow_pickle=False) as table:
        response = fit_digit_response(table['change'].astype(np.float64))
    # Shadows and noise of a DIGIT cannot be measured on one frame: those of the other sensors stand in.
    write_table(arguments.output / 'digit.npz', fit_background(read_frame(arguments.frames / 'digit_background.jpg')),
                response, shadow_share_of_light * np.linalg.norm(response[:2, 0], axis=0), measure_noise(presses))
    print(f'wrote gelsight, gelsight_mini and digit to {arguments.output}')


if __name__ == '__main__':
    main()
