"""`make replay`: recorded frames as a sensor, through perception; every embedding and prediction as JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from visuotactile_ros.bringup import GRAPHS, graph_processes
from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.local_runner import LocalRunner, run_environment
from visuotactile_ros.report import new_run_folder
from visuotactile_ros.sensors.recorded_images import count_pictures

START_TIMEOUT_S = 60.0
LAST_FRAME_TIMEOUT_S = 5.0
POLL_PERIOD_S = 0.02
# Both ends of a new connection have heard of each other this long after the first has.
DISCOVERY_S = 0.5
# Who has a recording encoded wants every picture of it, whatever a sensor would think of it, and no controller waits.
WITHHOLD_NOTHING = {'frozen_after_frames': 10_000, 'black_below_level': 0.0, 'max_frame_age_ms': 10_000.0}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a recording once; 0 only if every frame in it has its embedding and predictions."""
    defaults = GRAPHS['replay']
    parser = argparse.ArgumentParser(prog='replay_frames', description='Embeddings and predictions of recorded frames.')
    parser.add_argument('path', type=Path, help=defaults['path'].description)
    parser.add_argument('--sensor-kind', default=defaults['sensor_kind'].default,
                        help=defaults['sensor_kind'].description)
    parser.add_argument('--model', default=defaults['model'].default, help=defaults['model'].description)
    parser.add_argument('--rate-hz', type=float, help='Frames a second of the timing steady, which it asks for')
    parser.add_argument('--topic', default=defaults['topic'].default, help=defaults['topic'].description)
    parser.add_argument('--timing', help=f'{defaults["timing"].description}; default: lockstep, which skips no frame')
    parser.add_argument('--output', type=Path, help='JSON file; by default replay.json in a new folder under runs/')
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    pacing: dict[str, Any] = {'timing': options.timing or ('lockstep' if options.rate_hz is None else 'steady')}
    if options.rate_hz is not None:
        pacing['rate_hz'] = options.rate_hz
    result = replay(options.path, print, sensor_kind=options.sensor_kind, model=options.model, topic=options.topic,
                    **pacing)
    output = options.output or new_run_folder(Path('runs')) / 'replay.json'
    write_atomically(output, json.dumps(result, indent=1, allow_nan=False) + '\n')
    print(f'{len(result["embeddings"])} of {result["frames_recorded"]} frames encoded: {output}')
    if result['complete']:
        return 0
    print(result['problem'], file=sys.stderr)
    return 1


def replay(path: Path, say: Callable[[str], Any], **graph_arguments: Any) -> dict[str, Any]:
    """Replay a recording through sensor and perception node, once.

    Args:
        path: Image folder, video file or bag.
        say: Takes every line for the user.
        graph_arguments: Further arguments of the graph `replay`.

    Returns:
        JSON-ready: path, sensor_kind, models, frames_recorded (those of the recording that can be read),
        frames_published, complete (whether the recording is whole and every frame of it encoded), problem ('' where it
        is complete) and embeddings[].{stamp_ns, sensor, embedding, predictions}.

    Raises:
        VisuotactileError: There is nothing to replay, or the graph cannot be started, or broke.
    """
    from visuotactile_ros.nodes.replay_monitor import ReplayMonitor, describe_predictions
    recorded, problem = count_pictures(path.expanduser(), graph_arguments.get('topic', ''))
    environment = run_environment()
    os.environ.update(environment)
    sensor, perception = graph_processes('replay', path=str(path), loop=False, **graph_arguments)
    # A waiting sensor loses no frame to a perception that is still loading its model.
    sensor = replace(sensor, parameters={**sensor.parameters, **WITHHOLD_NOTHING, 'autostart': False})
    with LocalRunner(environment, lambda name, line: say(f'{name}: {line}')) as runner, \
            ReplayMonitor(int(environment['ROS_DOMAIN_ID'])) as monitor:
        runner.start(perception)
        runner.start(sensor)
        _wait(runner, lambda: bool(monitor.model_info), START_TIMEOUT_S, 'perception did not get ready')
        monitor.change_state(sensor.full_name, 'configure', START_TIMEOUT_S)
        _wait(runner, lambda: monitor.listeners_of_images() >= 2, START_TIMEOUT_S, 'nobody listens to the frames')
        time.sleep(DISCOVERY_S)
        monitor.change_state(sensor.full_name, 'activate', START_TIMEOUT_S)
        shown = 0
        deadline_s = None
        while deadline_s is None or (time.monotonic() < deadline_s and not monitor.complete(recorded)):
            if runner.broken():
                raise SensorError(runner.broken(), 'Mend what it says')
            if deadline_s is None and sensor in [process for process, _ in runner.ended()]:
                deadline_s = time.monotonic() + LAST_FRAME_TIMEOUT_S
            shown = _show(monitor, shown, say, describe_predictions)
            time.sleep(POLL_PERIOD_S)
        _show(monitor, shown, say, describe_predictions)
        if problem == '' and not monitor.complete(recorded):
            problem = str(SensorError(
                f'of {recorded} recorded frames {monitor.images} were published and {len(monitor.embeddings)} encoded',
                'Look at the lines of the sensor above, or use --timing lockstep, which skips none'))
        return {'path': str(path), 'sensor_kind': sensor.parameters['kind'], 'models': monitor.model_info['models'],
                'frames_recorded': recorded, 'frames_published': monitor.images, 'complete': problem == '',
                'problem': problem, 'embeddings': list(monitor.embeddings)}


def _show(monitor: Any, shown: int, say: Callable[[str], Any], describe: Callable[[dict], str]) -> int:
    heads = {head for model in monitor.model_info['models'] for head in model['heads']}
    for entry in monitor.embeddings[shown:]:
        if set(entry['predictions']) != heads:
            return shown
        shown += 1
        say(f'frame {shown:4d}  {describe(entry["predictions"])}')
    return shown


def _wait(runner: LocalRunner, condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if runner.broken():
            raise ConfigurationError(runner.broken(), 'Mend what it says')
        if time.monotonic() > deadline_s:
            raise ConfigurationError(f'{problem} in {timeout_s:g} s', 'Look at the lines above')
        time.sleep(POLL_PERIOD_S)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(main())
