"""PouringTask: the phases of one pour, from the closed grip back to upright. The node and the benchmark run this.

idle -> baseline (upright) -> approach (fast tilt, then a pause) -> pour (the policy decides) -> retract -> done
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import SENSORS, PouringObservation, observation_problem
from visuotactile_ros.policy.pouring_policy import GripReference, Policy, PouringDecision

PHASES = ('idle', 'baseline', 'approach', 'pour', 'retract', 'done')
_ARRIVED_DEG = 0.5
# An arm that returns at once is told to go on as often as the way takes: 6 s, 30 times, at the default rates.
_MOST_COMMANDS_ONE_WAY = 150


@dataclass(frozen=True)
class TaskCommand:
    """What the arm is to do now.

    Attributes:
        kind: `hold` (nothing), `approach` (tilt to `tilt_deg` at the approach speed), `step` (turn by `step_deg` from
            the measured tilt) or `retract` (return to upright).
        step_deg: Degrees of a step, otherwise 0.
        tilt_deg: Goal of an approach, degrees, otherwise 0.
        decision: What the policy decided; None in phases without decisions.
        problem: Why the observation was not used, '' when it was.
    """

    kind: str
    step_deg: float = 0.0
    tilt_deg: float = 0.0
    decision: PouringDecision | None = None
    problem: str = ''


class PouringTask:
    """A state machine that knows no clock and no arm; call `decide` once a period.

    Args:
        policy: What decides in the pour.
        parameters: Settings of the task.

    Attributes:
        phase: One of PHASES.
        outcome: '' until the pour ended, then `completed`, or one clause that says why it was given up.
    """

    def __init__(self, policy: Policy, parameters: PouringTaskParameters):
        self._policy, self._parameters = policy, parameters
        self.phase = 'idle'
        self.outcome = ''

    def start(self) -> None:
        """Begin an episode: the vessel is gripped, upright and full."""
        self.phase, self.outcome = 'baseline', ''
        self._collected: list[Mapping[str, np.ndarray]] = []
        self._settled_ns: int | None = None
        self._upright: Mapping[str, np.ndarray] = {}
        self._unusable = self._retracts = self._approach_commands = self._retract_commands = 0
        self._pour_started_ns = 0

    def give_up(self, reason: str) -> None:
        """End the episode from outside; the next command retracts."""
        if self.phase not in ('idle', 'done'):
            self.phase, self.outcome = 'retract', self.outcome or reason

    def decide(self, observation: PouringObservation) -> TaskCommand:
        """Take the next step of the episode.

        Args:
            observation: What is known now.
        """
        if self.phase in ('idle', 'done'):
            return TaskCommand('hold')
        if self.phase == 'retract':
            return self._retract(observation)
        problem = observation_problem(observation, self._parameters.maximum_embedding_age_s,
                                      self._parameters.maximum_embedding_skew_s)
        if problem:
            return self._hold_without_touch(problem)
        self._unusable = 0
        if self.phase == 'pour':
            return self._pour(observation)
        return self._prepare(observation)

    def _prepare(self, observation: PouringObservation) -> TaskCommand:
        parameters = self._parameters
        if self.phase == 'approach' and observation.tilt_deg < parameters.approach_tilt_deg - _ARRIVED_DEG:
            self._approach_commands += 1
            if self._approach_commands > _MOST_COMMANDS_ONE_WAY:
                self.give_up(f'the vessel stays at {observation.tilt_deg:.1f} degrees on its way to the approach tilt')
                return TaskCommand('retract')
            return TaskCommand('approach', tilt_deg=parameters.approach_tilt_deg)
        if self._settled_ns is None:
            self._settled_ns = observation.stamp_ns
        # The newest frame may still show the open fingers, or the vessel on its way: one such frame spoils the mean.
        if min(observation.embedding_stamps_ns.values()) < self._settled_ns:
            return TaskCommand('hold')
        self._collected.append(observation.embeddings)
        if len(self._collected) < parameters.baseline_decisions:
            return TaskCommand('hold')
        mean = {sensor: np.mean([each[sensor] for each in self._collected], axis=0, dtype=np.float32)
                for sensor in SENSORS}
        self._collected, self._settled_ns = [], None
        if self.phase == 'baseline':
            self._upright, self.phase = mean, 'approach'
            return TaskCommand('approach', tilt_deg=parameters.approach_tilt_deg)
        self._policy.reset(GripReference(self._upright, mean, observation.tilt_deg))
        self.phase, self._pour_started_ns = 'pour', observation.stamp_ns
        return TaskCommand('hold')

    def _pour(self, observation: PouringObservation) -> TaskCommand:
        parameters = self._parameters
        decision = self._policy.decide(observation)
        self._retracts = self._retracts + 1 if decision.action == 'retract' else 0
        duration_s = (observation.stamp_ns - self._pour_started_ns) * 1e-9
        if self._retracts >= parameters.retract_decisions:
            self.phase, self.outcome = 'retract', 'completed'
        elif duration_s > parameters.maximum_duration_s:
            self.give_up(f'the pour took longer than {parameters.maximum_duration_s:.0f} s')
        elif decision.action == 'pour' and observation.tilt_deg + parameters.step_deg > parameters.maximum_tilt_deg:
            self.give_up(f'the tilt reached {parameters.maximum_tilt_deg:.0f} degrees')
        if self.phase == 'retract':
            return TaskCommand('retract', decision=decision)
        if decision.action == 'wait':
            return TaskCommand('hold', decision=decision)
        sign = 1.0 if decision.action == 'pour' else -1.0
        return TaskCommand('step', step_deg=sign * parameters.step_deg, decision=decision)

    def _hold_without_touch(self, problem: str) -> TaskCommand:
        # A tilted vessel keeps pouring while it is held, so that holding is no answer for long.
        self._unusable += 1
        if self.phase == 'pour' and self._unusable >= self._parameters.maximum_unusable_decisions:
            self.give_up(problem)
            return TaskCommand('retract', problem=problem)
        return TaskCommand('hold', problem=problem)

    def _retract(self, observation: PouringObservation) -> TaskCommand:
        if abs(observation.tilt_deg) < _ARRIVED_DEG:
            self.phase = 'done'
            return TaskCommand('hold')
        self._retract_commands += 1
        if self._retract_commands > _MOST_COMMANDS_ONE_WAY and self.outcome == 'completed':
            self.outcome = f'the vessel stays at {observation.tilt_deg:.1f} degrees on its way to upright'
        return TaskCommand('retract')
