"""Errors of the fitted gel optics on real presses that the fit has not seen, and the time a rendered frame takes.

`python -m training.evaluation.bench_optics --output optics.json`
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from training.fit_gel_optics import (
    COARSE,
    FRAMES,
    MM_PER_PX,
    X_PX,
    Y_PX,
    ball_contact,
    ball_surface,
    features,
    imprint,
    read_presses,
    register_tip,
    rough_tip_geometry,
    split,
    tip_slopes,
)
from visuotactile_ros.command_line import command
from visuotactile_ros.files import write_atomically
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.objects import sample_object
from visuotactile_ros.simulation.photometry import load_optics_table, place_terms, shadow_share
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES
from visuotactile_ros.simulation.textures import texture_tile


def ball_press_errors(frames: Path) -> dict[str, float]:
    """CMU GelSight: mean absolute error in grey levels over the held-out presses, inside and around their contacts."""
    table = load_optics_table('gelsight')
    response = table.response.reshape(48, 3).astype(np.float64)
    inside_errors, inside_changes, around_errors, unshaded_errors, around_changes = [], [], [], [], []
    for press in split(read_presses(frames, 'gelsight'))[1]:
        inside, slope_x, slope_y = ball_contact(press)
        inside_errors.append(np.abs(features(slope_x, slope_y, inside) @ response - press.change[inside]).mean())
        inside_changes.append(np.abs(press.change[inside]).mean())
        height, (slope_x, slope_y) = ball_surface(press)
        distance = np.hypot(X_PX - press.x_px, Y_PX - press.y_px)
        around = (distance > 1.2 * press.radius_px) & (distance < 90.0)
        coarse = cv2.resize(height, (80, 60), interpolation=cv2.INTER_AREA)
        shadow = cv2.resize(shadow_share(coarse, table.response, COARSE * MM_PER_PX), (320, 240))[around] * table.shadow
        unshaded = features(slope_x[around], slope_y[around], around) @ response - press.change[around]
        around_errors.append(np.abs(unshaded - shadow).mean())
        unshaded_errors.append(np.abs(unshaded).mean())
        around_changes.append(np.abs(press.change[around]).mean())
    return {'presses': len(inside_errors), 'error_in_contact': float(np.mean(inside_errors)),
            'change_in_contact': float(np.mean(inside_changes)), 'error_around_contact': float(np.mean(around_errors)),
            'error_around_contact_without_shadows': float(np.mean(unshaded_errors)),
            'change_around_contact': float(np.mean(around_changes))}


def tip_press_errors(frames: Path) -> dict[str, float]:
    """GelSight Mini: the same over the imprint of each held-out press, its centre and slope profile estimated anew."""
    table = load_optics_table('gelsight_mini')
    errors, changes = [], []
    for press in split(read_presses(frames, 'gelsight_mini'))[1]:
        mask = imprint(press)
        start = rough_tip_geometry(press, mask)
        here = np.einsum('spc,p->sc', table.response, place_terms(start[0], start[1]))
        geometry = register_tip(press, here, mask, start)
        predicted = features(*tip_slopes(geometry, mask), mask) @ table.response.reshape(48, 3)
        errors.append(np.abs(predicted - press.change[mask]).mean())
        changes.append(np.abs(press.change[mask]).mean())
    return {'presses': len(errors), 'error_in_contact': float(np.mean(errors)),
            'change_in_contact': float(np.mean(changes))}


def milliseconds_a_frame(kind: str, repeats: int) -> dict[str, float]:
    """Median time of one frame: of a steady contact under changing shear, and of a new object each frame."""
    renderer, rng = GelRenderer(SENSOR_PROFILES[kind], 0), np.random.default_rng(0)
    contacts = [ContactState(5.0, object=sample_object(rng)) for _ in range(repeats)]

    def median(next_contact):
        renderer.render(next_contact(0), rng)
        times = []
        for index in range(repeats):
            contact = next_contact(index)
            start = time.thread_time()
            renderer.render(contact, rng)
            times.append(time.thread_time() - start)
        return 1e3 * float(np.median(times))

    texture_tile.cache_clear()
    return {'steady_contact': median(lambda index: ContactState(5.0, (0.001 * index, 0.05), 0.01 * index,
                                                                object=contacts[0].object)),
            'new_object': median(lambda index: contacts[index])}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, help='JSON file to write')
    parser.add_argument('--frames', type=Path, default=FRAMES, help='folder of real frames')
    parser.add_argument('--repeats', type=int, default=60, help='frames to time for each sensor')
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    result = {'unit_of_errors': 'grey levels, mean absolute over RGB, presses held out of the fit',
              'gelsight': ball_press_errors(options.frames), 'gelsight_mini': tip_press_errors(options.frames),
              'milliseconds_a_frame': {kind: milliseconds_a_frame(kind, options.repeats) for kind in SENSOR_PROFILES},
              'time': 'thread CPU time of one core, 320 x 240',
              'machine': f'{platform.machine()} {platform.system()}, Python {platform.python_version()}'}
    if options.output is not None:
        write_atomically(options.output, json.dumps(result, indent=2) + '\n')
    print(json.dumps(result, indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
