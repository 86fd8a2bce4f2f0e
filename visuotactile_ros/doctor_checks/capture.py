"""Whether the sensors do what their presets ask for, all at once: mode as read back, rate, light and colours."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.doctor_checks.permissions import may_open
from visuotactile_ros.doctor_checks.sensor_colours import judge_lights, judge_picture
from visuotactile_ros.errors import VisuotactileError
from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.definition import build_parameters, load_parameter_yaml
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.resources import resource_path
from visuotactile_ros.run_record import rate_hz
from visuotactile_ros.sensors.discovery import VideoDevice, describe
from visuotactile_ros.sensors.interface import FrameSource
from visuotactile_ros.sensors.sources import recorded_or_device_source

SUBJECT = 'capture'
CAPTURE_S = 2.0
LEAST_RATE_SHARE = 0.9
PROCESSES = Path('/proc')


def check(request: Request) -> Iterator[Finding]:
    """Open every sensor, let all of them stream together, and look at what comes."""
    sensors = request.sensors()
    if sensors and not request.capture:
        yield Finding(NOTE, SUBJECT, 'no camera was opened, so that modes, rates and colours are not known',
                      'Run it without --no-capture while no sensor node runs')
        return
    free = []
    for kind, camera in sensors:
        if not may_open(camera):
            continue  # the check of the permissions tells
        users = processes_using(camera.path)
        if users:
            yield Finding(NOTE, SUBJECT, f'{describe(camera)} is in use by {users}, so that it was not opened',
                          'Stop that process and run the doctor again')
        else:
            free.append((describe(camera), sensor_parameters(kind, camera)))
    for name, parameters in free:
        if parameters.kind == 'digit':
            yield from _lights(name, parameters)
    if free:
        # All of them stream before the first is read: bandwidth is short only then.
        with ThreadPoolExecutor(len(free)) as pool:
            sources = list(pool.map(open_sensor, [parameters for _, parameters in free]))
            taken = list(pool.map(read_sensor, sources, [CAPTURE_S] * len(free)))
        streaming = sum(bool(one.frames) for one in taken)
        for (name, parameters), one in zip(free, taken):
            yield from _judge(name, parameters, one, streaming)


def sensor_parameters(kind: str, camera: VideoDevice) -> SensorParameters:
    """Build the settings of a sensor from the preset of its kind.

    Raises:
        ConfigurationError: The preset is missing or has a mistake.
    """
    path = resource_path(f'config/{kind}.yaml')
    return build_parameters(SensorParameters, {
        **load_parameter_yaml(path), 'sensor_name': kind, 'kind': kind, 'source': 'device', 'serial': camera.serial,
        'device_path': camera.path}, str(path))


def processes_using(path: str) -> str:
    """Name the processes that have a device open: `python3 (1234)`, …; '' for none.

    Without root only those of this user can be seen.
    """
    users = []
    for process in PROCESSES.glob('[0-9]*'):
        try:
            if any(_target(link) == path for link in (process / 'fd').iterdir()):
                users.append(f'{(process / "comm").read_text().strip()} ({process.name})')
        except OSError:
            continue  # it ended, or belongs to somebody else
    return ', '.join(sorted(users))


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile; others of the same process are still open
        return ''


@dataclass(frozen=True)
class Taken:
    """What a sensor gave.

    Attributes:
        frames: Its frames.
        failed_grabs: Grabs that ended in an error.
        error: The last error, None for none.
    """

    frames: tuple[Frame, ...]
    failed_grabs: int
    error: VisuotactileError | None


def open_sensor(parameters: SensorParameters) -> FrameSource | VisuotactileError:
    """Open a sensor, or return why it cannot be opened."""
    try:
        source = recorded_or_device_source(parameters)
        source.open()
    except VisuotactileError as error:
        return error
    return source


def read_sensor(source: FrameSource | VisuotactileError, duration_s: float) -> Taken:
    """Read what `open_sensor` returned for a while, and close it.

    Args:
        source: An open sensor.
        duration_s: For how long it is read; one grab takes place at least.
    """
    if isinstance(source, VisuotactileError):
        return Taken((), 0, source)
    frames, failed_grabs, last_error = [], 0, None
    end_s = time.monotonic() + duration_s
    try:
        while not frames and failed_grabs == 0 or time.monotonic() < end_s:
            try:
                frames.append(source.grab())
            except VisuotactileError as error:
                failed_grabs, last_error = failed_grabs + 1, error
                if isinstance(error.__cause__, OSError):  # unplugged meanwhile, so that what came before proves nothing
                    return Taken((), failed_grabs, error)
    finally:
        source.close()
    return Taken(tuple(frames), failed_grabs, last_error)


def _judge(name: str, parameters: SensorParameters, taken: Taken, streaming: int) -> Iterator[Finding]:
    if not taken.frames:
        yield Finding(BROKEN, SUBJECT, taken.error.problem, taken.error.remedy)
        return
    wanted_hz = parameters.capture_rate_hz
    actual_hz = rate_hz([frame.stamp_ns for frame in taken.frames])
    mode = f'{parameters.capture_width_px} x {parameters.capture_height_px} {parameters.capture_fourcc}'.strip()
    finding = f'{name} reads back {mode} at {wanted_hz:g} Hz; {actual_hz:.1f} frames/s came, {streaming} streaming'
    if actual_hz >= LEAST_RATE_SHARE * wanted_hz:
        yield Finding(OK, SUBJECT, finding)
    else:
        yield Finding(BROKEN, SUBJECT, finding, 'Give it a port of another USB controller, end what else uses the '
                      'processor, and lock its exposure: see docs/hardware/troubleshooting.md')
    if taken.failed_grabs > 0:
        yield Finding(NOTE, SUBJECT, f'{taken.failed_grabs} of {taken.failed_grabs + len(taken.frames)} grabs failed, '
                      f'the last one because {taken.error.problem}', taken.error.remedy)
    image_hwc = taken.frames[-1].image_hwc
    if image_hwc.mean() < parameters.black_below_level:
        yield Finding(BROKEN, SUBJECT, f'the picture of {name} is black',
                      'Check its light and the exposure of its preset')
    elif parameters.rotate_quarter_turns == 0 and not parameters.mirror:
        yield from judge_picture(name, parameters.kind, image_hwc)


def _lights(name: str, parameters: SensorParameters) -> Iterator[Finding]:
    def picture_under(led_levels: tuple[int, int, int]) -> np.ndarray:
        taken = read_sensor(open_sensor(dataclasses.replace(parameters, led_levels=led_levels)), 0.0)
        if not taken.frames:
            raise taken.error
        return taken.frames[-1].image_hwc
    try:
        yield from judge_lights(name, picture_under)
    except VisuotactileError:
        return  # the check of its mode tells what is wrong
