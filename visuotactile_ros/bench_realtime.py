"""`make bench-realtime`: rates, latency and CPU of the full graph, simulation included, while it pours."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from visuotactile_ros.bringup import GRAPHS, read_arguments
from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.local_runner import LocalRunner
from visuotactile_ros.nodes.run_monitor import RunMonitor
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.pour import running_graph
from visuotactile_ros.run_record import RunRecord, summarise

START_TIMEOUT_S = 60.0
POLL_PERIOD_S = 0.1
PERIOD_OF_DIAGNOSTICS_S = 1.0


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 0 when there was something to measure for the whole time."""
    parser = argparse.ArgumentParser(prog='bench_realtime', description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=60.0, help='how long to measure')
    parser.add_argument('--output', type=Path, help='JSON file')
    parser.add_argument('arguments', nargs='*', metavar='name:=value', help='arguments of the graph, as for pour')
    options = parser.parse_args(arguments)
    result = measure(options.seconds, read_arguments('pour', options.arguments))
    text = json.dumps(result, indent=1, allow_nan=False) + '\n'
    if options.output is not None:
        write_atomically(options.output, text)
    print(text, end='')
    return 0


def measure(seconds: float, graph_arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the graph and measure it from the beginning of a pour on.

    Args:
        seconds: How long.
        graph_arguments: Arguments of the graph `pour`.

    Returns:
        JSON-ready: what `summarise` returns, `cpu_percent` of one core by process, and the machine.

    Raises:
        ConfigurationError: The graph did not start, or broke.
    """
    seed = graph_arguments.setdefault('seed', GRAPHS['pour']['seed'].default)
    target_g = PouringTaskParameters().target_mass_g
    with running_graph(RunRecord(True, target_g, seed), graph_arguments, print) as (runner, monitor):
        _wait_for_pour(runner, monitor)
        processes = {name: psutil.Process(process_id) for name, process_id in runner.process_ids.items()}
        processes['run_monitor'] = psutil.Process(os.getpid())
        missed_before = monitor.record.missed_deadlines
        cpu_before_s = {name: _cpu_s(process) for name, process in processes.items()}
        record = monitor.record = RunRecord(True, target_g, seed)
        started_s = time.monotonic()
        while time.monotonic() < started_s + seconds:
            _refuse_broken(runner)
            time.sleep(POLL_PERIOD_S)
        measured_s = time.monotonic() - started_s
        cpu_percent = {name.strip('/'): round(100.0 * (_cpu_s(process) - cpu_before_s[name]) / measured_s, 2)
                       for name, process in processes.items()}
        time.sleep(PERIOD_OF_DIAGNOSTICS_S)
        record.missed_deadlines -= missed_before
        figures = summarise(record)
    return {'simulated': True, 'measured_s': round(measured_s, 3),
            **{name: figures[name] for name in ('streams_hz', 'embeddings_hz', 'policy_hz', 'missed_deadlines',
                                                'stamp_to_published_ms')},
            'cpu_percent': cpu_percent, 'cpu_percent_of_machine': round(sum(cpu_percent.values()) / os.cpu_count(), 2),
            'machine': {'cores': os.cpu_count(), 'processor': _processor_name(), 'python': platform.python_version(),
                        'load_1_min': round(os.getloadavg()[0], 2)}}


def _wait_for_pour(runner: LocalRunner, monitor: RunMonitor) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while monitor.phase in ('', 'idle'):
        _refuse_broken(runner)
        if time.monotonic() > deadline_s:
            raise ConfigurationError(f'no pour began in {START_TIMEOUT_S:g} s', 'Look at the lines above')
        time.sleep(POLL_PERIOD_S)


def _refuse_broken(runner: LocalRunner) -> None:
    if runner.broken():
        raise ConfigurationError(runner.broken(), 'Mend what it says')


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _processor_name() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor()


if __name__ == '__main__':
    sys.exit(main())
