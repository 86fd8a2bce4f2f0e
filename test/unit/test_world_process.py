"""simulated_world: contact begins when the gripper has closed, time cannot leap, and bad input is one line."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from visuotactile_ros.parameters.simulation import SimulationParameters
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.world import WristView
from visuotactile_ros.simulation.world_link import WorldLinkClient, record_from_json
from visuotactile_ros.simulation.world_process import LONGEST_STEP_S, RealTimeWorld, main
from visuotactile_ros.simulation.xarm_controller import XArmController

ADDRESS, LINK_PORT, CONTROL_PORT = '127.0.78.1', 9761, 5503


@pytest.fixture
def controller():
    return XArmController(ADDRESS)


@pytest.fixture
def keep_signals(monkeypatch):
    monkeypatch.setattr(signal, 'signal', lambda *_: None)


def through_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


def force_n(world, side):
    return record_from_json(ContactState, through_json(world.readers()[side]())).normal_force_n


def test_fingers_touch_only_after_the_gripper_has_closed(controller):
    world = RealTimeWorld(1, SimulationParameters(), controller)
    world.advance(0.01)
    assert force_n(world, 'left') == force_n(world, 'right') == 0.0
    controller.gripper.position = float(controller.gripper.object_position)
    world.advance(0.01)
    assert force_n(world, 'left') > 1.0 and force_n(world, 'right') > 1.0


def test_without_an_arm_the_fingers_close_by_themselves(controller):
    world = RealTimeWorld(1, SimulationParameters(), controller, grasp_after_s=0.2)
    for _ in range(2):
        assert force_n(world, 'left') == 0.0
        world.advance(LONGEST_STEP_S)
    world.advance(LONGEST_STEP_S)
    assert force_n(world, 'left') > 1.0


def test_a_stall_does_not_make_time_leap(controller):
    world = RealTimeWorld(1, SimulationParameters(), controller, grasp_after_s=1.0)
    world.advance(3600.0)
    world.advance(0.0)
    assert force_n(world, 'left') == 0.0


def test_everything_the_link_answers_is_json(controller):
    readers = RealTimeWorld(1, SimulationParameters(), controller).readers()
    assert set(readers) == {'left', 'right', 'wrist_camera', 'scale'}
    assert through_json(readers['scale']()) == 0.0
    assert record_from_json(WristView, through_json(readers['wrist_camera']())).fill_fraction == 1.0


@pytest.mark.parametrize(('text', 'said'), [
    ('/**:\n  ros__parameters:\n    repose_angle: [20.0, 35.0]\n', "Did you mean 'repose_angle_deg'"),
    ('simulated_world:\n  ros__parameters: {}\n', 'is not a parameter file'),
    ('[', 'cannot be read')])
def test_a_bad_parameter_file_is_one_line(tmp_path, capsys, keep_signals, text, said):
    path = tmp_path / 'simulation.yaml'
    path.write_text(text)
    assert main(['--address', ADDRESS, '--config', str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


def test_an_arm_does_not_vanish_while_somebody_may_have_to_bring_it_back(keep_signals):
    with subprocess.Popen([sys.executable, '-m', 'visuotactile_ros.simulation.world_process', '--address', ADDRESS,
                           '--link-port', str(LINK_PORT), '--control-port', str(CONTROL_PORT)],
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            assert 'SIMULATED' in process.stdout.readline()
            with socket.create_connection((ADDRESS, CONTROL_PORT), 5.0):
                process.send_signal(signal.SIGINT)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1.0)
            assert process.wait(10.0) == 0
        finally:
            process.kill()


def test_it_runs_until_it_is_told_to_end(capsys, keep_signals):
    with subprocess.Popen([sys.executable, '-m', 'visuotactile_ros.simulation.world_process', '--address', ADDRESS,
                           '--link-port', str(LINK_PORT), '--ros-args', '-r', '__node:=simulated_world'],
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            assert 'SIMULATED' in process.stdout.readline()
            client = WorldLinkClient(ADDRESS, LINK_PORT)
            client.wait_for_server(5.0)
            assert client.read('scale') == 0.0
            client.close()
            assert main(['--address', ADDRESS, '--link-port', str(LINK_PORT)]) == 2
            assert 'another' in capsys.readouterr().err
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == 0
