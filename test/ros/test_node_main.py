"""How the process of a node ends: a first signal in order, hasty repetitions of it too, a later one at once."""

import signal
import subprocess
import sys
import time

import pytest
from ros_graph import WAIT_S

SLOW_TO_END = """
import sys, time
from visuotactile_ros.ros_interface.managed_node import ManagedNode
from visuotactile_ros.ros_interface.node_main import run_node

class Slow(ManagedNode):
    def __init__(self, **node_arguments):
        super().__init__('slow', (), **node_arguments)
    def configure(self):
        pass
    def activate(self):
        print('active', flush=True)
    def deactivate(self):
        print('retracting', flush=True)
        time.sleep(float(sys.argv[1]))
        print('upright', flush=True)
    def cleanup(self):
        pass

sys.exit(run_node(Slow))
"""


@pytest.fixture
def end_by():
    """Start a node that takes some seconds to end, signal it at some times, and give its exit code and output."""
    started = []

    def run(seconds_to_end, *signals_at_s):
        process = subprocess.Popen([sys.executable, '-c', SLOW_TO_END, str(seconds_to_end)], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(process)
        lines = [process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        lines += [process.stdout.readline()]
        since_s = time.monotonic()
        for number, at_s in signals_at_s:
            time.sleep(max(0.0, since_s + at_s - time.monotonic()))
            process.send_signal(number)
        output, _ = process.communicate(timeout=WAIT_S)
        return process.returncode, [line.strip() for line in lines] + output.splitlines()
    yield run
    for process in started:
        process.kill()


def test_what_a_terminal_and_a_launcher_send_for_one_ctrl_c_is_one_order(end_by):
    assert end_by(1.0, (signal.SIGINT, 0.0), (signal.SIGINT, 0.1)) == (0, ['active', 'retracting', 'upright'])


def test_a_later_signal_ends_at_once_in_one_line(end_by):
    since_s = time.monotonic()
    code, lines = end_by(60.0, (signal.SIGTERM, 1.5))
    assert (code, lines) == (128 + signal.SIGTERM, ['active', 'retracting', 'ended by a second signal'])
    assert time.monotonic() - since_s < WAIT_S


def test_a_node_started_by_nohup_outlives_its_terminal():
    process = subprocess.Popen(['nohup', sys.executable, '-c', SLOW_TO_END, '0'], text=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout.readline().strip() == 'active'
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=WAIT_S)
        assert (process.returncode, output.splitlines()) == (0, ['retracting', 'upright'])
    finally:
        process.kill()
