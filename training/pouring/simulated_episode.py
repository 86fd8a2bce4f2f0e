"""One pour in simulated time: the same task, limits and world as the real-time graph, without messages between them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.parameters.simulation import SimulationParameters
from visuotactile_ros.policy.observation import SENSORS, PouringObservation
from visuotactile_ros.policy.pouring_policy import Policy
from visuotactile_ros.policy.pouring_task import PouringTask, TaskCommand
from visuotactile_ros.robot.motion_limits import MotionLimits
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES
from visuotactile_ros.simulation.world import PouringWorld

SENSOR_KIND = 'gelsight_mini_markers'
FRAME_AGE_S = 0.025
"""Age of the newest frame at a decision: half a sensor period and the encoder."""

_PHYSICS_STEP_S = 0.02
_SETTLE_S = 1.0
_LONGEST_EPISODE_S = 300.0

Encode = Callable[[Sequence[Frame]], list[np.ndarray]]
"""Frames in, one float32 [D] embedding a frame out."""


def one_frame_a_call(encoder: TactileEncoder) -> Encode:
    """Encode frame by frame, as the newest frames of two sensors that are out of phase come at run time.

    Several frames a call would differ: dynamic quantisation scales activations by the largest of the whole call.
    """
    return lambda frames: [encoder.encode([frame])[0].embedding for frame in frames]


class Touch(Protocol):
    """Turns the present contact of both fingers into embeddings."""

    def __call__(self, world: PouringWorld, stamp_ns: int) -> Mapping[str, np.ndarray]:
        """Embeddings float32 [D] by sensor."""


class RenderedTouch:
    """Renders both gels and encodes them, as the sensors and the perception node do.

    Args:
        seed: Seed of the episode; every seed has its own pair of sensors.
        encode: The encoder.
        kind: Sensor kind, a name of SENSOR_PROFILES.
        noise_draw: Which draw of the pixel noise; the sensors stay the same units.
    """

    def __init__(self, seed: int, encode: Encode, kind: str = SENSOR_KIND, noise_draw: int = 0):
        self._encode, self._sequence = encode, -1
        self._identities = {sensor: SensorIdentity(sensor, kind) for sensor in SENSORS}
        # The same units as in the real-time graph, whose sensors derive their seed in the same way.
        seeds = {sensor: seed + zlib.crc32(sensor.encode()) for sensor in SENSORS}
        self._renderers = {sensor: GelRenderer(SENSOR_PROFILES[kind], seeds[sensor]) for sensor in SENSORS}
        self._noise = {sensor: np.random.default_rng(seeds[sensor] + noise_draw) for sensor in SENSORS}

    def __call__(self, world: PouringWorld, stamp_ns: int) -> Mapping[str, np.ndarray]:
        """Embeddings float32 [D] by sensor."""
        self._sequence += 1
        frames = [Frame(self._renderers[sensor].render(world.contact(sensor), self._noise[sensor]), stamp_ns,
                        self._identities[sensor], self._sequence) for sensor in SENSORS]
        return dict(zip(SENSORS, self._encode(frames), strict=True))


@dataclass
class PourTrace:
    """What happened in one simulated pour, one entry a decision.

    Attributes:
        seed: Seed of the episode.
        time_s: Simulated seconds since the start.
        tilt_deg: Measured tilt, degrees.
        poured_mass_g: Scale reading, grams.
        estimated_mass_g: The policy's own estimate, grams; not a number outside the pour.
        phase: Phase of the task.
        action: What the policy chose; '' outside the pour.
        limit_violations: Every command that broke a motion limit, as text; it was not carried out.
        outcome: Outcome of the task.
        final_mass_g: Scale reading after the vessel was upright again, grams.
    """

    seed: int
    time_s: list[float] = field(default_factory=list)
    tilt_deg: list[float] = field(default_factory=list)
    poured_mass_g: list[float] = field(default_factory=list)
    estimated_mass_g: list[float] = field(default_factory=list)
    phase: list[str] = field(default_factory=list)
    action: list[str] = field(default_factory=list)
    limit_violations: list[str] = field(default_factory=list)
    outcome: str = ''
    final_mass_g: float = math.nan


class TiltActuator:
    """The arm as an actuator of limited rate, behind the same motion limits as the true driver.

    Args:
        parameters: Settings of the arm.
    """

    def __init__(self, parameters: ArmParameters):
        self._parameters, self._limits = parameters, MotionLimits(parameters)
        self.tilt_deg = 0.0
        self._goal_deg, self._rate_deg_s = 0.0, parameters.rate_limit_deg_s
        self._last_step_s, self._forward_deg = -math.inf, 0.0

    def command(self, command: TaskCommand, time_s: float) -> tuple[str, ...]:
        """Take a command, or refuse it and return the limits that it breaks."""
        p, violations = self._parameters, ()
        if command.kind == 'approach':
            violations = self._limits.tilt_violations(command.tilt_deg)
            if command.tilt_deg > p.approach_limit_deg:
                violations += (f'the approach to {command.tilt_deg} degrees is over {p.approach_limit_deg} degrees',)
            if not violations:
                self._goal_deg, self._rate_deg_s = command.tilt_deg, p.approach_rate_deg_s
        elif command.kind == 'retract':
            self._goal_deg, self._rate_deg_s = 0.0, p.retract_rate_deg_s
        elif command.kind == 'step':
            violations = self._limits.step_violations(self.tilt_deg, command.step_deg, time_s - self._last_step_s,
                                                      self._forward_deg)
            if not violations:
                self._goal_deg, self._rate_deg_s = self.tilt_deg + command.step_deg, p.rate_limit_deg_s
                self._last_step_s = time_s
                self._forward_deg += max(command.step_deg, 0.0)
        return violations

    def advance(self, dt_s: float) -> None:
        """Move towards the goal for `dt_s` seconds."""
        reach_deg = self._rate_deg_s * dt_s
        self.tilt_deg += min(max(self._goal_deg - self.tilt_deg, -reach_deg), reach_deg)


def simulate_pour(seed: int, make_policy: Callable[[PouringWorld], Policy], touch: Touch, *,
                  task_parameters: PouringTaskParameters | None = None,
                  simulation_parameters: SimulationParameters | None = None,
                  arm_parameters: ArmParameters | None = None) -> PourTrace:
    """Pour once, from the grip to the upright vessel.

    Args:
        seed: Seed of everything random about the world.
        make_policy: Makes what decides; a scripted operator or a torque controller reads its instrument from the
            world, the learned policy ignores it.
        touch: Embeddings of the fingers.
        task_parameters: Settings of the task.
        simulation_parameters: Ranges of the world.
        arm_parameters: Limits of the arm.
    """
    task_parameters = task_parameters or PouringTaskParameters()
    world = PouringWorld(seed, simulation_parameters or SimulationParameters())
    actuator = TiltActuator(arm_parameters or ArmParameters())
    task, trace = PouringTask(make_policy(world), task_parameters), PourTrace(seed)
    period_s = 1.0 / task_parameters.policy_rate_hz

    def wait(duration_s: float) -> None:
        steps = max(1, round(duration_s / _PHYSICS_STEP_S))
        for _ in range(steps):
            actuator.advance(duration_s / steps)
            world.advance(duration_s / steps, actuator.tilt_deg)

    world.grasp()
    task.start()
    while task.phase != 'done' and world.time_s < _LONGEST_EPISODE_S:
        wait(period_s - FRAME_AGE_S)
        stamp_ns = round(world.time_s * 1e9)
        embeddings = {} if task.phase == 'retract' else touch(world, stamp_ns)
        wait(FRAME_AGE_S)
        observation = PouringObservation(round(world.time_s * 1e9), embeddings, dict.fromkeys(embeddings, stamp_ns),
                                         actuator.tilt_deg)
        command = task.decide(observation)
        trace.limit_violations.extend(actuator.command(command, world.time_s))
        decision = command.decision
        trace.time_s.append(world.time_s)
        trace.tilt_deg.append(actuator.tilt_deg)
        trace.poured_mass_g.append(world.poured_mass_g)
        trace.estimated_mass_g.append(decision.poured_mass_g if decision else math.nan)
        trace.phase.append(task.phase)
        trace.action.append(decision.action if decision else '')
    wait(_SETTLE_S)
    trace.outcome, trace.final_mass_g = task.outcome, world.poured_mass_g
    return trace
