"""Starts a graph as plain processes, for machines without `launch`; nothing it starts outlives it."""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from visuotactile_ros.bringup import Process, graph_environment
from visuotactile_ros.errors import ConfigurationError

# Ports of DDS: 7400 + 250 * domain. Above domain 101 they would reach into the ports that Linux hands out itself.
HIGHEST_DOMAIN_ID = 101
STOP_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 2.0
LAST_LINES = 20
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def free_domain_id() -> int:
    """Return a ROS domain id that no process of this machine uses, so that two runs cannot hear each other.

    Raises:
        ConfigurationError: Every domain is in use.
    """
    domain_ids = list(range(1, HIGHEST_DOMAIN_ID + 1))
    random.SystemRandom().shuffle(domain_ids)
    for domain_id in domain_ids:
        # The first participant of a domain holds this port for as long as it lives.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', 7400 + 250 * domain_id + 10))
            except OSError:
                continue
            return domain_id
    raise ConfigurationError('every ROS domain of this machine is in use',
                             'End other ROS processes or set ROS_DOMAIN_ID')


def run_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a graph whose packets never leave the machine, unless the user set it otherwise.

    Args:
        environment: Environment to start from; None takes that of this process.
    """
    given = dict(os.environ if environment is None else environment)
    wanted = {**graph_environment(given), 'PYTHONUNBUFFERED': '1', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
              # One line a message, as a person reads it; the nodes' own words carry the rest.
              'RCUTILS_CONSOLE_OUTPUT_FORMAT': '[{severity}] [{name}] {message}',
              'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
    if 'ROS_DOMAIN_ID' not in given:
        wanted['ROS_DOMAIN_ID'] = str(free_domain_id())
    return {**wanted, **given}


def world_address(domain_id: int) -> str:
    """Return a loopback address for the simulated arm of a domain; its ports are fixed, so runs must not share one."""
    return f'127.0.77.{domain_id % 250 + 1}'


def command_line(process: Process) -> list[str]:
    """Return the command that starts one process of a graph."""
    command = [sys.executable, '-m', process.module, *process.arguments]
    if process.arguments:
        return command
    command += ['--ros-args', '-r', f'__node:={process.name}', '-r', f'__ns:={process.namespace}']
    for path in process.parameter_files:
        command += ['--params-file', str(path)]
    for name, value in process.parameters.items():
        command += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']  # JSON is YAML, quoted beyond doubt
    return command


class LocalRunner:
    """Starts the processes of a graph, hands on their lines, and ends all of them.

    Use it as a context manager: leaving it ends every process, whatever happened.

    Args:
        environment: Environment of the processes, see `run_environment`.
        on_line: Called with (process name, line) for every line a process writes; from several threads.
    """

    def __init__(self, environment: Mapping[str, str], on_line: Callable[[str, str], Any]):
        self._environment = dict(environment)
        self._on_line = on_line
        self._running: list[tuple[Process, subprocess.Popen]] = []
        self._readers: list[threading.Thread] = []
        self._last_lines: dict[str, list[str]] = {}

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    @property
    def process_ids(self) -> dict[str, int]:
        """Process id by the name of the process."""
        return {process.full_name: popen.pid for process, popen in self._running}

    def start(self, process: Process) -> None:
        """Start one process; it dies with this one even if this one is killed."""
        popen = subprocess.Popen(command_line(process), env=self._environment, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                                 start_new_session=True, preexec_fn=_end_with_parent)
        self._running.append((process, popen))
        reader = threading.Thread(target=self._read_lines, args=(process.full_name, popen), daemon=True,
                                  name=f'lines of {process.full_name}')
        reader.start()
        self._readers.append(reader)

    def ended(self) -> list[tuple[Process, int]]:
        """Return the processes that have ended by themselves, with their exit codes."""
        return [(process, popen.returncode) for process, popen in self._running if popen.poll() is not None]

    def broken(self) -> str:
        """Return one clause about a required process that has ended, or '' while the graph is whole."""
        for process, code in self.ended():
            if process.required or code != 0:
                time.sleep(0.2)  # its last line may still be in the pipe
                last = next(iter(self._last_lines.get(process.full_name, [])[-1:]), '')
                said = re.sub(r'^\[\w+\] \[[^]]*\] ', '', last).rstrip('.')
                return f'{process.full_name} ended with code {code}{": " + said if said else ""}'
        return ''

    def stop(self) -> None:
        """End every process by SIGINT, in the end by SIGKILL.

        The last one started goes first, for the arm may still have to return to upright; the first one goes last, for
        the others stand on it.
        """
        first, middle, last = self._running[:1], self._running[1:-1], self._running[1:][-1:]
        try:
            for wave in (last, middle, first):
                for _, popen in wave:
                    _signal(popen, signal.SIGINT)
                deadline_s = time.monotonic() + STOP_TIMEOUT_S
                for _, popen in wave:
                    _wait(popen, max(0.0, deadline_s - time.monotonic()))
        finally:
            self._kill()

    def _kill(self) -> None:
        for _, popen in self._running:
            _signal(popen, signal.SIGKILL)
            _wait(popen, KILL_TIMEOUT_S)
        for reader in self._readers:
            reader.join(KILL_TIMEOUT_S)
        self._running.clear()
        self._readers.clear()

    def _read_lines(self, name: str, popen: subprocess.Popen) -> None:
        lines = self._last_lines.setdefault(name, [])
        for line in popen.stdout:
            line = line.rstrip()
            if line:
                lines.append(line)
                del lines[:-LAST_LINES]
                self._on_line(name, line)


def _end_with_parent() -> None:
    """Runs in the child before its program: the kernel interrupts it when the runner dies, however it dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    # A shell ignores SIGINT in what it starts in the background, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _signal(popen: subprocess.Popen, number: int) -> None:
    try:
        os.killpg(popen.pid, number)
    except ProcessLookupError:
        pass


def _wait(popen: subprocess.Popen, timeout_s: float) -> None:
    try:
        popen.wait(timeout_s)
    except subprocess.TimeoutExpired:
        pass
