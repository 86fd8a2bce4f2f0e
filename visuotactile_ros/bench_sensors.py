"""`make bench-sensors`: what reading a GelSight Mini costs, and 3 and 6 of them at once; no device is needed.

Pictures as the camera sends them are handed out where cv2.VideoCapture stands; the driver, its preset and the grabber
are those of a sensor node. A frame counts as published when its message is filled: what ROS does with the message is
not in it.
"""

from __future__ import annotations

import argparse
import array
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np

from visuotactile_ros.bench_camera import (
    BORDER_FRACTION,
    HEIGHT_PX,
    WIDTH_PX,
    EndlessCamera,
    PacedCamera,
    picture_of_camera,
    real_frames,
)
from visuotactile_ros.command_line import command
from visuotactile_ros.files import write_atomically
from visuotactile_ros.parameters.definition import build_parameters, load_parameter_yaml
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.resources import resource_path
from visuotactile_ros.ros_interface.image_codec import encode_image
from visuotactile_ros.sensors.frame_grabber import FrameGrabber
from visuotactile_ros.sensors.interface import FrameSource
from visuotactile_ros.sensors.sources import recorded_or_device_source

PUBLISHED_SIZE_PX = (320, 240)
PICTURES = 6
ROUNDS = 10
SENSOR_COUNTS = (1, 3, 6)
START_TIMEOUT_S = 60.0
LONGEST_WAIT_S = 0.1


@contextmanager
def standing_in(camera: Callable[..., EndlessCamera]) -> Iterator[None]:
    """Let cv2.VideoCapture make such cameras, which get the arguments of its call after their own."""
    with mock.patch.object(cv2, 'VideoCapture', camera):
        yield


def gelsight_mini_source(full_decode: bool) -> tuple[FrameSource, SensorParameters]:
    """Build the source of a sensor node with the shipped preset; its device is whatever stands in for OpenCV's."""
    path = resource_path('config/gelsight_mini.yaml')
    values = {**load_parameter_yaml(path), 'source': 'device', 'device_path': 'stand-in', 'warm_up_frames': 0,
              'full_decode': full_decode}
    parameters = build_parameters(SensorParameters, values, str(path))
    return recorded_or_device_source(parameters), parameters


def resize_whole(picture_bgr: np.ndarray) -> np.ndarray:
    """Bring a picture that was decoded whole to the published form, as GelSight's own software does."""
    picture = cv2.cvtColor(picture_bgr, cv2.COLOR_BGR2RGB)
    columns, rows = int(BORDER_FRACTION * WIDTH_PX), int(BORDER_FRACTION * HEIGHT_PX)
    return cv2.resize(picture[rows:HEIGHT_PX - rows, columns:WIDTH_PX - columns], PUBLISHED_SIZE_PX)


def measure_decoding(frames_bgr: Sequence[np.ndarray], jpegs: Sequence[bytes], rounds: int) -> dict[str, Any]:
    """Compare the driver with decode-then-resize, turn and turn about, on one core.

    Args:
        frames_bgr: The frames that the pictures were made from.
        jpegs: Pictures of the camera.
        rounds: How often each of them is decoded in each way.

    Returns:
        For both ways, medians: `hz`, how many pictures a second of one core's time is enough for, which other
        programs on the machine do not change, `wall_hz`, which they do, and `cpu_ms` a picture. In grey levels: the
        difference between the two ways, and of each from the frames without noise.
    """
    with standing_in(partial(EndlessCamera, jpegs)):
        (ours, _), (whole, _) = gelsight_mini_source(False), gelsight_mini_source(True)
        ours.open()
        whole.open()
        plain = cv2.VideoCapture('stand-in', cv2.CAP_V4L2)

    def decode_then_resize() -> np.ndarray:
        plain.grab()
        return resize_whole(plain.retrieve()[1])
    ways = {'ours': lambda: ours.grab().image_hwc, 'decode_then_resize': decode_then_resize}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    errors: dict[str, list[float]] = {name: [] for name in ways}
    differences, is_exact = [], True
    with one_core():
        for turn in range(rounds * len(jpegs)):
            images = {}
            for name in sorted(ways, reverse=turn % 2 == 1):
                wall_s, cpu_s = time.perf_counter(), time.process_time()
                images[name] = ways[name]()
                seconds[name].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
            if turn < len(jpegs):
                differences.append(cv2.absdiff(images['ours'], images['decode_then_resize']).mean())
                is_exact = is_exact and np.array_equal(whole.grab().image_hwc, images['decode_then_resize'])
                for name, image in images.items():
                    errors[name].append(cv2.absdiff(image, frames_bgr[turn][:, :, ::-1].copy()).mean())
    result: dict[str, Any] = {}
    for name, taken in seconds.items():
        wall_s, cpu_s = np.median(taken, axis=0)
        result |= {f'{name}_hz': round(1.0 / cpu_s, 2), f'{name}_wall_hz': round(1.0 / wall_s, 2),
                   f'{name}_cpu_ms': round(1e3 * cpu_s, 2),
                   f'{name}_difference_from_noiseless_frame': round(float(np.mean(errors[name])), 3)}
    return result | {'mean_abs_pixel_difference': round(float(np.mean(differences)), 3),
                     'full_decode_equals_decode_then_resize': is_exact, 'pictures': len(jpegs), 'rounds': rounds,
                     'bytes_a_picture': round(sum(map(len, jpegs)) / len(jpegs))}


@contextmanager
def one_core() -> Iterator[None]:
    """Hold this process to one core and OpenCV to one thread."""
    cores, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    os.sched_setaffinity(0, {min(cores)})
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        cv2.setNumThreads(threads)


def frames_of_driver(end_s: float) -> Iterator[tuple[np.ndarray, int]]:
    """Yield image and stamp of every frame as a sensor node takes them from its grabber."""
    source, parameters = gelsight_mini_source(False)
    grabber, sequence = FrameGrabber(source, parameters), -1
    grabber.start()
    try:
        while time.monotonic() < end_s:
            frame = grabber.wait_for_newer(sequence, LONGEST_WAIT_S)
            if frame is not None:
                sequence = frame.sequence
                yield frame.image_hwc, frame.stamp_ns
    finally:
        grabber.stop()


def frames_of_plain_loop(end_s: float) -> Iterator[tuple[np.ndarray, int]]:
    """Yield image and stamp of every frame as most scripts read a camera."""
    capture = cv2.VideoCapture('stand-in', cv2.CAP_V4L2)
    while time.monotonic() < end_s:
        capture.grab()
        stamp_ns = time.time_ns()
        yield resize_whole(capture.retrieve()[1]), stamp_ns


WAYS = {'ours': frames_of_driver, 'plain_loop': frames_of_plain_loop}
_start_together: list[Barrier] = []


def _share(barrier: Barrier) -> None:
    _start_together.append(barrier)


def _run_sensor(way: str, jpegs: Sequence[bytes], phase_fraction: float, seconds: float) -> dict[str, Any]:
    """Publish what one sensor sees, in a process of its own, from the moment on when all of them are ready."""
    cv2.setNumThreads(1)
    period_s = 1.0 / gelsight_mini_source(False)[1].capture_rate_hz
    _start_together[0].wait(START_TIMEOUT_S)
    cpu_s, first_s = time.process_time(), time.monotonic() + phase_fraction * period_s
    camera = PacedCamera(jpegs, period_s, first_s)
    latencies_ms = []
    with standing_in(lambda *_: camera):
        for image_hwc, stamp_ns in WAYS[way](first_s + seconds):
            encode_image(SimpleNamespace(data=array.array('B')), image_hwc)
            latencies_ms.append((time.time_ns() - stamp_ns) / 1e6)
    return {'latencies_ms': latencies_ms, 'ages_ms': camera.ages_when_grabbed_ms,
            'cpu_s': time.process_time() - cpu_s}


def measure_sensors(way: str, count: int, jpegs: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Run sensors at once, each in a process as in a graph of nodes.

    Args:
        way: `ours` or `plain_loop`.
        count: How many sensors.
        jpegs: Pictures of the camera.
        seconds: How long.

    Returns:
        Frames a second of a sensor, mean and slowest; processor time of all in percent of one core; age of the
        pictures when they were stamped, and time from the stamp to the filled message, both percentiles over all.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(count, context, _share, (context.Barrier(count),)) as executor:
        running = [executor.submit(_run_sensor, way, jpegs, index / count, seconds) for index in range(count)]
        results = [one.result() for one in running]
    rates_hz = [len(result['latencies_ms']) / seconds for result in results]
    return {'frames_hz': round(sum(rates_hz) / count, 2), 'slowest_sensor_hz': round(min(rates_hz), 2),
            'cpu_percent': round(100.0 * sum(result['cpu_s'] for result in results) / seconds, 1),
            'capture_to_stamp_ms': percentiles(results, 'ages_ms'),
            'stamp_to_published_ms': percentiles(results, 'latencies_ms')}


def percentiles(results: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    """Return median, 95th and 99th percentile of the numbers of all results together."""
    numbers = np.concatenate([result[name] for result in results])
    return {f'p{part}': round(float(np.percentile(numbers, part)), 2) for part in (50, 95, 99)}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(prog='bench_sensors', description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=20.0, help='how long each number of sensors runs')
    parser.add_argument('--output', type=Path, help='JSON file')
    options = parser.parse_args(arguments)
    frames_bgr = real_frames(resource_path('test/data/real_frames'), PICTURES)
    jpegs = [picture_of_camera(frame_bgr, seed) for seed, frame_bgr in enumerate(frames_bgr)]
    result = {'stand_in': 'pictures made from real frames, handed out in place of a device; without ROS',
              'gelsight_mini_decode': measure_decoding(frames_bgr, jpegs, ROUNDS),
              'seconds': options.seconds,
              'sensors': {str(count): {way: measure_sensors(way, count, jpegs, options.seconds) for way in WAYS}
                          for count in SENSOR_COUNTS},
              'machine': {'cores': os.cpu_count(), 'processor': _processor_name(),
                          'python': platform.python_version(), 'opencv': cv2.__version__,
                          'load_1_min': round(os.getloadavg()[0], 2)}}
    text = json.dumps(result, indent=1, allow_nan=False) + '\n'
    if options.output is not None:
        write_atomically(options.output, text)
    print(text, end='')
    return 0


def _processor_name() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    return next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')),
                platform.processor())


if __name__ == '__main__':
    sys.exit(main())
