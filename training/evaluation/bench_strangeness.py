"""What the out-of-distribution alarm notices: false alarms on usual and real frames, detection of damage and faults."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from training.fit_gel_optics import FRAMES, read_frame
from visuotactile_ros.command_line import command
from visuotactile_ros.files import write_atomically
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.inference.out_of_distribution import StrangenessAlarm
from visuotactile_ros.resources import model_folder
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_damage import DamageSeverity, GelDamage
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.objects import sample_object
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

# Gels that no training has seen.
TEST_UNIT, UNITS = 8000, 8
PARTS = ('scratches', 'bubbles', 'lost_light', 'colour_shift')


def usual_frames(kind: str, first_unit: int, count: int) -> list[np.ndarray]:
    """Contacts and every tenth frame without: uint8 [240, 320, 3] each, RGB."""
    rng, units = np.random.default_rng(first_unit), [GelRenderer(SENSOR_PROFILES[kind], first_unit + unit)
                                                     for unit in range(UNITS)]
    return [units[index % UNITS].render(
        ContactState(0.0 if index % 10 == 0 else rng.uniform(0.5, 8.0), tuple(rng.uniform(-0.5, 0.5, 2)),
                     rng.uniform(-5.0, 5.0), tuple(rng.uniform(-3.0, 3.0, 2)), rng.uniform(0.0, 180.0),
                     sample_object(rng)), rng) for index in range(count)]


def frame_sets(kind: str, folder: Path, count: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Frames of one kind by what is done to them."""
    usual, rng = usual_frames(kind, TEST_UNIT, count), np.random.default_rng(TEST_UNIT)
    yield 'usual', usual
    real = [read_frame(path).astype(np.uint8) for path in sorted(folder.glob(f'{kind}_*.jpg'))
            if kind != 'gelsight' or 'mini' not in path.name]
    if real:
        yield 'real', real
    for part in PARTS:
        damage = [GelDamage(SENSOR_PROFILES[kind], DamageSeverity(**{part: 1.0}), seed) for seed in range(UNITS)]
        yield part, [damage[index % UNITS].apply(image) for index, image in enumerate(usual)]
    yield 'red and blue exchanged', [image[:, :, ::-1] for image in usual]
    yield 'a third of the light', [(image * 0.3).astype(np.uint8) for image in usual]
    yield 'out of focus', [cv2.GaussianBlur(image, (0, 0), 8.0) for image in usual]
    yield 'noise', [rng.integers(0, 256, image.shape, dtype=np.uint8) for image in usual]
    yield 'even', [np.full_like(image, 255 * index // count) for index, image in enumerate(usual)]
    yield 'another kind', usual_frames('vitactip' if kind != 'vitactip' else 'digit', TEST_UNIT, count)


def measure(encoder: TactileEncoder, kind: str, folder: Path, count: int,
            alarm: tuple[int, float, float]) -> list[dict]:
    """One row a test set of one kind: how strange its frames are, and whether the alarm goes on."""
    rows = []
    for name, images in frame_sets(kind, folder, count):
        frames = [Frame(image, 0, SensorIdentity('bench', kind), 0) for image in images]
        strange = np.array([encoder.strangeness(encoder.encode([frame])[0]) for frame in frames])
        watched = StrangenessAlarm(*alarm)
        rows.append({'frames': name, 'count': len(images), 'median_strangeness': float(np.median(strange)),
                     'strange_share': float(np.mean(strange > 1.0)),
                     'alarm': any([watched.update(value) for value in strange])})
    return rows


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', type=Path, help='JSON file to write')
    parser.add_argument('--frames', type=Path, default=FRAMES, help='folder of real frames')
    parser.add_argument('--model', default='tlv_core_tiny_touch', help='name or folder of the encoder')
    parser.add_argument('--kinds', nargs='+', help='sensor kinds; all that the model card knows by default')
    parser.add_argument('--count', type=int, default=40, help='frames of each test set')
    parser.add_argument('--window-frames', type=int, default=30, help='window of the alarm')
    parser.add_argument('--on-share', type=float, default=0.5, help='share of strange frames that begins the alarm')
    parser.add_argument('--off-share', type=float, default=0.2, help='share of strange frames that ends it')
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    encoder = TactileEncoder(model_folder(options.model))
    alarm = options.window_frames, options.on_share, options.off_share
    result = {'simulated': True, 'model': encoder.card.name, 'model_sha256': encoder.card.sha256,
              'alarm': {'window_frames': alarm[0], 'on_share': alarm[1], 'off_share': alarm[2]},
              'kinds': {kind: measure(encoder, kind, options.frames, options.count, alarm)
                        for kind in options.kinds or encoder.card.out_of_distribution}}
    if options.output is not None:
        write_atomically(options.output, json.dumps(result, indent=2) + '\n')
    for kind, rows in result['kinds'].items():
        for row in rows:
            print(f'{kind:22} {row["frames"]:24} {row["count"]:3} strange {row["strange_share"]:.2f} '
                  f'alarm {row["alarm"]}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
