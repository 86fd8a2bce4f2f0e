"""simulated_world: the process that stands in for arm, gripper, vessel, beads and scale.

It moves the simulated controller and the beads in real time, and answers the simulated sensors over the world link. It
is no ROS node: a robot has no topic that tells what its world is like, and the graph must not find one here.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from visuotactile_ros.errors import VisuotactileError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.parameters.definition import build_parameters, load_parameter_yaml
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.parameters.simulation import SimulationParameters
from visuotactile_ros.robot.vessel_geometry import tilt_from_pose
from visuotactile_ros.simulation.world import PouringWorld
from visuotactile_ros.simulation.world_link import WorldLinkServer, record_to_json
from visuotactile_ros.simulation.xarm_controller import DEFAULT_CONTROL_PORT, XArmController

UPDATE_PERIOD_S = 0.01
LINGER_S = 20.0
# After a stall of the machine the world goes on from where it stood instead of leaping.
LONGEST_STEP_S = 0.1
# The gripper stops short of the position asked for when it holds something.
CLOSED_WITHIN = 2.0


class RealTimeWorld:
    """One episode that runs in real time beside a simulated arm.

    Args:
        seed: Seed of the episode.
        parameters: Ranges to draw from.
        controller: The simulated arm.
        grasp_after_s: Close the fingers by themselves after this time, seconds; None waits for the gripper.
    """

    def __init__(self, seed: int, parameters: SimulationParameters, controller: XArmController,
                 grasp_after_s: float | None = None):
        self._world = PouringWorld(seed, parameters)
        self._controller = controller
        self._grasp_after_s = grasp_after_s
        self._upright_pose_mm_deg = ArmParameters().upright_pose_mm_deg
        self._lock = threading.Lock()
        controller.set_joint_torque_source(self._joint_torque_nm)

    def advance(self, dt_s: float) -> None:
        """Let `dt_s` seconds pass up to now."""
        tilt_deg = tilt_from_pose(self._upright_pose_mm_deg, self._controller.measured_pose_mm_deg())
        gripper = self._controller.gripper
        with self._lock:
            if self._grasp_after_s is None:
                held = gripper.position >= gripper.object_position - CLOSED_WITHIN
            else:
                held = self._world.time_s >= self._grasp_after_s
            if held:
                self._world.grasp()
            self._world.advance(min(dt_s, LONGEST_STEP_S), tilt_deg)

    def readers(self) -> dict:
        """What the world link answers: the state a sensor sees, by sensor, and the scale in grams."""
        return {'left': lambda: self._read(lambda: record_to_json(self._world.contact('left'))),
                'right': lambda: self._read(lambda: record_to_json(self._world.contact('right'))),
                'wrist_camera': lambda: self._read(lambda: record_to_json(self._world.wrist_view())),
                'scale': lambda: self._read(lambda: self._world.poured_mass_g)}

    def _read(self, what):
        with self._lock:
            return what()

    def _joint_torque_nm(self) -> Sequence[float]:
        with self._lock:
            return self._world.joint_torque_nm()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulated world until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog='simulated_world', description=__doc__.splitlines()[0])
    parser.add_argument('--seed', type=int, default=1, help='seed of everything random about the episode')
    parser.add_argument('--address', default='127.0.0.1', help='loopback address of arm and world link')
    parser.add_argument('--control-port', type=int, default=DEFAULT_CONTROL_PORT, help='control port of the arm')
    parser.add_argument('--link-port', type=int, default=SensorParameters().world_link_port,
                        help='port on which sensors ask what they see')
    parser.add_argument('--config', type=Path, help='parameter file with ranges to draw from')
    parser.add_argument('--grasp-after-s', type=float, help='close the fingers by themselves; without it the arm does')
    options, _ = parser.parse_known_args(arguments)  # launch appends arguments that only ROS nodes understand
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        values = {} if options.config is None else load_parameter_yaml(options.config)
        parameters = build_parameters(SimulationParameters, values, str(options.config))
        with XArmController(options.address, options.control_port) as controller:
            world = RealTimeWorld(options.seed, parameters, controller, options.grasp_after_s)
            link = WorldLinkServer(world.readers(), options.address, options.link_port)
            link.start()
            try:
                print(f'SIMULATED world: arm on {options.address}:{options.control_port}, seed {options.seed}',
                      flush=True)
                run_in_real_time(world, stopped.is_set)
                # A Ctrl-C ends every process of a graph at once, but an arm does not vanish: it may have to return.
                leaving_s = time.monotonic() + LINGER_S
                run_in_real_time(world, lambda: controller.control_clients == 0 or time.monotonic() > leaving_s)
            finally:
                link.close()
    except VisuotactileError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    return 0


def run_in_real_time(world: RealTimeWorld, is_over: Callable[[], bool]) -> None:
    """Advance the world every UPDATE_PERIOD_S until `is_over`."""
    last_s = time.monotonic()
    due_s = last_s + UPDATE_PERIOD_S
    while not is_over():
        time.sleep(max(0.0, due_s - time.monotonic()))
        now_s = time.monotonic()
        world.advance(now_s - last_s)
        last_s = now_s
        due_s = max(due_s + UPDATE_PERIOD_S, now_s)


if __name__ == '__main__':
    sys.exit(main())
