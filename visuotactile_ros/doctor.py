"""`doctor`: looks at everything a sensor, the graph and the arm need, and says of each fault how to mend it."""

from __future__ import annotations

import argparse
import importlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from visuotactile_ros.command_line import command
from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.errors import ConfigurationError, VisuotactileError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.parameters.sensor import SENSOR_KINDS

if TYPE_CHECKING:
    from visuotactile_ros.sensors.discovery import VideoDevice

CHECKS_PACKAGE = 'visuotactile_ros.doctor_checks'
# Modules of doctor_checks, in the order of their run; a further check is one more name.
CHECKS = ('opencv', 'sensors', 'permissions', 'rules', 'usb_bandwidth', 'colour_order', 'capture', 'ros', 'models',
          'arm')
FAILURES = (VisuotactileError, ImportError, OSError)
MISSING_MODULE_REMEDY = 'Run make setup and use .venv/bin/python, or rosdep install --from-paths src --ignore-src'


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this machine; 0 only when nothing is broken."""
    parser = argparse.ArgumentParser(prog='doctor', description='Looks at sensors, permissions, udev rules, USB, '
                                     'colours, ROS, models and arm; each fault comes with its remedy.')
    parser.add_argument('--sensor', action='append', default=[], metavar='KIND[=SERIAL or PATH]',
                        help='A sensor that must be there, as in digit=D20001, or by its path where it has no serial '
                             f'number: vitactip=/dev/v4l/by-path/<name>; kinds are {", ".join(SENSOR_KINDS)}')
    parser.add_argument('--arm', default='', metavar='ADDRESS',
                        help='IPv4 address of the arm; a connection is opened and closed, nothing is sent')
    parser.add_argument('--no-capture', action='store_true', help='Open no camera')
    parser.add_argument('--json', action='store_true', help='Print JSON instead of lines')
    options = parser.parse_args(arguments)
    arm = ArmParameters(address=options.arm) if options.arm else ArmParameters()
    expected = tuple(_expected_sensor(text) for text in options.sensor)
    found = []
    for finding in examine(expected, not options.no_capture, options.arm, arm.control_port):
        found.append(finding)
        if not options.json:
            print(finding.lines(), flush=True)
    marks = Counter(finding.mark for finding in found)
    if options.json:
        print(json.dumps({'broken': marks[BROKEN], 'findings': [asdict(finding) for finding in found]}, indent=1))
    else:
        print(f'\n{marks[BROKEN]} broken, {marks[NOTE]} to note, {marks[OK]} ok')
    return 1 if marks[BROKEN] else 0


def examine(expected: tuple[tuple[str, str], ...], capture: bool, arm_address: str, arm_port: int) -> Iterator[Finding]:
    """Run every check; one that cannot run is a finding, and the others go on.

    Args:
        expected: As in `Request`, and so are the others.
        capture: Whether cameras may be opened.
        arm_address: IPv4 address of the arm, '' for none.
        arm_port: TCP port of its control connection.
    """
    cameras: Sequence[VideoDevice] = ()
    try:
        # Late, so that a missing pyudev is one finding among the others.
        from visuotactile_ros.sensors.discovery import list_video_devices
        cameras = list_video_devices()
    except FAILURES as error:
        yield _failure('sensors', error)
    request = Request(tuple(cameras), expected, capture, arm_address, arm_port)
    for name in CHECKS:
        try:
            yield from importlib.import_module(f'{CHECKS_PACKAGE}.{name}').check(request)
        except FAILURES as error:
            yield _failure(name.replace('_', ' '), error)


def _failure(subject: str, error: Exception) -> Finding:
    if isinstance(error, VisuotactileError):
        return Finding(BROKEN, subject, error.problem, error.remedy)
    remedy = MISSING_MODULE_REMEDY if isinstance(error, ImportError) else 'Check that this user may read it'
    return Finding(BROKEN, subject, ' '.join(str(error).split()), remedy)


def _expected_sensor(text: str) -> tuple[str, str]:
    kind, _, serial_or_path = text.partition('=')
    if kind not in SENSOR_KINDS:
        raise ConfigurationError(f'--sensor has the unknown kind {kind!r}', f'Choose one of {", ".join(SENSOR_KINDS)}')
    return kind, serial_or_path


if __name__ == '__main__':
    raise SystemExit(main())
