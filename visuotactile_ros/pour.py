"""`make pour`: start the whole graph in simulation, pour once, leave a report, and say by the exit code how it went."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from visuotactile_ros.bringup import GRAPHS, graph_processes, read_arguments
from visuotactile_ros.errors import ConfigurationError, SensorError, VisuotactileError
from visuotactile_ros.local_runner import LocalRunner, run_environment, world_address
from visuotactile_ros.nodes.run_monitor import RunMonitor
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.progress import Progress
from visuotactile_ros.report import new_run_folder, write_report, write_report_json
from visuotactile_ros.run_record import RunRecord
from visuotactile_ros.run_verdict import Outcome, broken_safety_rules, judge
from visuotactile_ros.simulation.world_link import WorldLinkClient

POLL_PERIOD_S = 0.05
RUN_TIMEOUT_S = 240.0
SHOWN_LEVELS = ('[WARN]', '[ERROR]', '[FATAL]')
# After a fault the arm is still on its way back to upright.
SETTLE_S = {'done': 1.5, 'fault': 8.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Pour once; 0 only if the pour was completed and no safety rule was broken, 130 after an interrupt."""
    parser = argparse.ArgumentParser(prog='pour', description='Pour 60 g of beads out of 100 g, in simulation.')
    parser.add_argument('--output-folder', type=Path, default=Path('runs'), help='where the folder of the run goes')
    parser.add_argument('arguments', nargs='*', metavar='name:=value',
                        help=f'as ros2 launch takes them: {", ".join(GRAPHS["pour"])}')
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    outcome = Outcome()
    try:
        graph_arguments = read_arguments('pour', options.arguments)
        if not graph_arguments.get('simulated', True):
            raise ConfigurationError('this command pours in simulation only', 'For a true arm run ros2 launch '
                                     'visuotactile_ros pour.launch.py simulated:=false arm_address:=<dotted address>')
        record = RunRecord(simulated=True, target_g=PouringTaskParameters().target_mass_g,
                           seed=graph_arguments.setdefault('seed', GRAPHS['pour']['seed'].default))
        folder = new_run_folder(options.output_folder)
        write_report_json(folder, record, vars(outcome))
        try:
            with (folder / 'nodes.log').open('w') as log:
                run_pour(record, outcome, graph_arguments, log)
        except KeyboardInterrupt:
            outcome.state, outcome.reason = 'interrupted', 'the run was interrupted'
        except VisuotactileError as error:
            outcome.state, outcome.reason = 'failed', str(error).rstrip('.')
        # The report takes a second; whoever is impatient still gets a whole one.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        page = write_report(folder, record, vars(outcome))
    except (VisuotactileError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    poured = '' if record.poured_g is None else f'{record.poured_g:.1f} g of {record.target_g:g} g poured (simulated). '
    with contextlib.suppress(OSError):
        print(f'{outcome.state}: {outcome.reason}. {poured}Report: {page}')
        for rule in outcome.safety_rules_broken:
            print(f'safety rule broken: {rule}')
    if outcome.state == 'interrupted':
        return 130
    return 0 if outcome.state == 'completed' and not outcome.safety_rules_broken else 1


@contextlib.contextmanager
def running_graph(record: RunRecord, graph_arguments: Mapping[str, Any],
                  say: Callable[[str], Any]) -> Iterator[tuple[LocalRunner, RunMonitor]]:
    """Start the whole graph in simulation, watched; leaving ends all of it.

    Args:
        record: Filled while it runs.
        graph_arguments: Arguments of the graph `pour`; the address of the world is chosen here.
        say: Takes every line of the graph that a person should see.

    Raises:
        ConfigurationError: The graph cannot be started.
    """
    environment = run_environment()
    os.environ.update(environment)
    domain_id = int(environment['ROS_DOMAIN_ID'])
    address = world_address(domain_id)
    processes = graph_processes('pour', **{**graph_arguments, 'world_address': address})
    with LocalRunner(environment, lambda name, line: say(f'{name}: {line}')) as runner, \
            RunMonitor(record, domain_id, _Scale(address).read_g) as monitor:
        for process in processes:
            runner.start(process)
        yield runner, monitor


def run_pour(record: RunRecord, outcome: Outcome, graph_arguments: Mapping[str, Any], log: TextIO) -> None:
    """Start the graph, pour once, and end the graph.

    Args:
        record: Filled while it runs.
        outcome: Filled when it ends.
        graph_arguments: Arguments of the graph `pour`.
        log: Takes every line of every process; warnings and errors are shown too.

    Raises:
        ConfigurationError: The graph cannot be started.
    """
    progress = Progress(record, sys.stdout)
    broken = ''

    def take_line(line: str) -> None:
        log.write(f'{line}\n')
        if any(level in line for level in SHOWN_LEVELS):
            progress.say(line)

    with running_graph(record, graph_arguments, take_line) as (runner, monitor):
        deadline_s = time.monotonic() + RUN_TIMEOUT_S
        settled_s = float('inf')
        # The last beads are still falling, and the last diagnostics still on their way, when the task is done.
        while time.monotonic() < settled_s:
            progress.update()
            time.sleep(POLL_PERIOD_S)
            broken = runner.broken()
            if broken or time.monotonic() > deadline_s:
                break
            if monitor.phase in ('done', 'fault') and settled_s == float('inf'):
                settled_s = time.monotonic() + SETTLE_S[monitor.phase]
        progress.finish()
    outcome.safety_rules_broken = broken_safety_rules(record, ArmParameters())
    outcome.state, outcome.reason = judge(record, monitor.phase, broken)


class _Scale:
    """The simulated scale under the lip; no node of the graph can read it."""

    def __init__(self, address: str):
        self._client = WorldLinkClient(address, SensorParameters().world_link_port)

    def read_g(self) -> float | None:
        """Poured mass, grams; None while the world does not answer."""
        try:
            return float(self._client.read('scale'))
        except SensorError:
            return None


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(main())
