"""The local runner: command lines, environment, and that nothing it starts outlives it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from visuotactile_ros import local_runner
from visuotactile_ros.bringup import Process
from visuotactile_ros.local_runner import LocalRunner, command_line, free_domain_id, run_environment, world_address


def program(path, name, text):
    (path / f'{name}.py').write_text(text)
    return Process(name, name, name, arguments=('argument',))


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, 'PYTHONPATH': str(tmp_path), 'PYTHONUNBUFFERED': '1'}


def wait_until(condition, timeout_s=10.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, 'timed out'
        time.sleep(0.01)


def alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_command_line_of_a_node(tmp_path):
    process = Process('sensor', 'visuotactile_ros.nodes.sensor_node', 'sensor', '/tactile/left', (tmp_path / 'a.yaml',),
                      {'name': 'left', 'path': '/tmp/a b', 'loop': False, 'sensors': ['l', 'r'], 'rate_hz': 10.0})
    assert command_line(process)[1:] == [
        '-m', 'visuotactile_ros.nodes.sensor_node', '--ros-args', '-r', '__node:=sensor', '-r', '__ns:=/tactile/left',
        '--params-file', str(tmp_path / 'a.yaml'), '-p', 'name:="left"', '-p', 'path:="/tmp/a b"', '-p', 'loop:=false',
        '-p', 'sensors:=["l", "r"]', '-p', 'rate_hz:=10.0']


def test_packets_stay_on_this_machine_unless_the_user_says_otherwise():
    assert run_environment({})['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert 1 <= int(run_environment({})['ROS_DOMAIN_ID']) <= 101
    own = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET', 'ROS_DOMAIN_ID': '0'}
    assert run_environment(own).items() >= own.items()


def test_a_domain_in_use_is_not_taken(monkeypatch):
    monkeypatch.setattr(local_runner, 'HIGHEST_DOMAIN_ID', 1)
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(('', 7400 + 250 + 10))
        with pytest.raises(Exception, match='ROS_DOMAIN_ID'):
            free_domain_id()


def test_two_domains_have_two_worlds():
    assert len({world_address(domain_id) for domain_id in range(102)}) == 102


def test_lines_arrive_and_an_end_is_told(tmp_path, environment):
    lines = []
    with LocalRunner(environment, lambda name, line: lines.append((name, line))) as runner:
        runner.start(program(tmp_path, 'short', 'print("hello"); print("cannot go on"); raise SystemExit(3)'))
        wait_until(runner.broken)
        assert runner.broken() == '/short ended with code 3: cannot go on'
    assert lines == [('/short', 'hello'), ('/short', 'cannot go on')]


def test_processes_end_in_reverse_order(tmp_path, environment):
    text = 'import time\nprint("up")\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print("down")\n'
    lines = []
    with LocalRunner(environment, lambda *line: lines.append(line)) as runner:
        for name in ('first', 'second'):
            runner.start(program(tmp_path, name, text))
        wait_until(lambda: len(lines) == 2)
    assert lines[2:] == [('/second', 'down'), ('/first', 'down')]


def test_a_stuck_process_is_killed_with_its_children(tmp_path, environment, monkeypatch):
    monkeypatch.setattr(local_runner, 'STOP_TIMEOUT_S', 0.2)
    lines = []
    with LocalRunner(environment, lambda *line: lines.append(line)) as runner:
        runner.start(program(tmp_path, 'stuck', """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)
time.sleep(60)
"""))
        wait_until(lambda: lines)
        stuck, = runner.process_ids.values()
    assert not alive(stuck)
    child = int(lines[0][1])
    wait_until(lambda: not alive(child) or open(f'/proc/{child}/stat').read().split()[2] == 'Z')


def test_processes_end_when_the_runner_is_killed(tmp_path, environment):
    program(tmp_path, 'child', 'import os, time\nprint(os.getpid())\ntime.sleep(60)\n')
    (tmp_path / 'parent.py').write_text("""
import os, time
from visuotactile_ros.bringup import Process
from visuotactile_ros.local_runner import LocalRunner
runner = LocalRunner(os.environ, lambda name, line: print(line, flush=True))
runner.start(Process('child', 'child', 'child', arguments=('argument',)))
time.sleep(60)
""")
    search_path = os.pathsep.join([str(tmp_path), os.getcwd()])
    with subprocess.Popen([sys.executable, '-m', 'parent'], env={**environment, 'PYTHONPATH': search_path},
                          stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not alive(child) or open(f'/proc/{child}/stat').read().split()[2] == 'Z')
