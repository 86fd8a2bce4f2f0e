"""The phases of a pour, its budget, and its refusal to act on bad touch."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import PouringObservation, observation_problem
from visuotactile_ros.policy.pouring_policy import ACTIONS, PouringDecision
from visuotactile_ros.policy.pouring_task import PouringTask

PARAMETERS = PouringTaskParameters()
PERIOD_NS = 200_000_000


def observe(number, tilt_deg, value=1.0, age_s=0.05, skew_s=0.0):
    stamp_ns = 10 ** 18 + number * PERIOD_NS
    taken_ns = stamp_ns - round(age_s * 1e9)
    return PouringObservation(
        stamp_ns, {'left': np.full(4, value, np.float32), 'right': np.full(4, -value, np.float32)},
        {'left': taken_ns, 'right': taken_ns - round(skew_s * 1e9)}, tilt_deg)


class ScriptedPolicy:
    def __init__(self, actions):
        self._actions = iter(actions)
        self.reference = None

    def reset(self, reference):
        self.reference = reference

    def decide(self, observation):
        return PouringDecision(next(self._actions), np.array([1.0, 0.0, 0.0], np.float32), math.nan)


def run(task, number_of_periods, first=0, tilt_deg=0.0):
    """Follow every command exactly; returns (phase, command, tilt) of every period."""
    log = []
    for number in range(first, first + number_of_periods):
        command = task.decide(observe(number, tilt_deg, value=1.0 if tilt_deg < 10 else 2.0))
        tilt_deg = {'hold': tilt_deg, 'approach': command.tilt_deg, 'step': tilt_deg + command.step_deg,
                    'retract': 0.0}[command.kind]
        log.append((task.phase, command, tilt_deg))
    return log


def started(actions):
    policy = ScriptedPolicy(actions)
    task = PouringTask(policy, PARAMETERS)
    assert task.decide(observe(0, 0.0)).kind == 'hold'
    task.start()
    return task, policy


def test_a_pour_goes_through_every_phase_in_order():
    task, policy = started(['pour', 'pour', 'wait', 'pour', 'retract', 'retract', 'retract'])
    log = run(task, 25)
    phases = list(dict.fromkeys(phase for phase, _, _ in log))
    assert phases == ['baseline', 'approach', 'pour', 'retract', 'done']
    assert task.outcome == 'completed'
    steps = [command.step_deg for _, command, _ in log if command.kind == 'step']
    assert steps == [0.25, 0.25, 0.25, -0.25, -0.25]
    assert np.array_equal(policy.reference.upright['left'], np.full(4, 1.0))
    assert np.array_equal(policy.reference.tilted['right'], np.full(4, -2.0))
    assert policy.reference.tilted_deg == PARAMETERS.approach_tilt_deg


def test_one_retract_does_not_end_the_pour():
    task, _ = started(['retract', 'retract', 'pour', 'retract', 'retract', 'pour'])
    run(task, 16)
    assert task.phase == 'pour'


def test_tilt_budget_ends_the_pour():
    task, _ = started(['pour'] * 400)
    log = run(task, 300)
    assert task.phase == 'done'
    assert 'tilt reached 115' in task.outcome
    assert max(tilt for _, _, tilt in log) <= PARAMETERS.maximum_tilt_deg


def test_time_budget_ends_the_pour():
    task, _ = started(['wait'] * 1000)
    run(task, 700)
    assert 'longer than 120 s' in task.outcome


@pytest.mark.parametrize('bad', [{'age_s': 0.5}, {'age_s': -0.5}, {'skew_s': 0.25}, {'value': math.nan}])
def test_unusable_touch_holds_once_then_retracts(bad):
    task, _ = started(['pour'] * 10)
    run(task, 14)
    assert task.phase == 'pour'
    assert task.decide(observe(14, 51.0, **bad)).kind == 'hold'
    command = task.decide(observe(15, 51.0, **bad))
    assert (command.kind, task.phase) == ('retract', 'retract')
    assert command.problem and task.outcome == command.problem


def test_missing_finger_and_bad_tilt_are_named():
    observation = observe(0, 0.0)
    lonely = PouringObservation(observation.stamp_ns, {'left': observation.embeddings['left']},
                                observation.embedding_stamps_ns, 0.0)
    assert 'right' in observation_problem(lonely, 0.3, 0.2)
    assert 'tilt' in observation_problem(observe(0, math.nan), 0.3, 0.2)
    assert observation_problem(observation, 0.3, 0.2) == ''


def test_giving_up_retracts_and_keeps_the_first_reason():
    task, _ = started(['pour'] * 10)
    run(task, 14)
    task.give_up('stopped by hand')
    task.give_up('another reason')
    assert task.decide(observe(14, 51.0)).kind == 'retract'
    assert task.decide(observe(15, 0.0)).kind == 'hold'
    assert (task.phase, task.outcome) == ('done', 'stopped by hand')


def test_a_vessel_that_does_not_follow_ends_the_approach_with_a_reason():
    task, _ = started(['pour'])
    for number in range(1000):
        command = task.decide(observe(number, 3.0))
        if command.kind == 'retract':
            break
    assert task.phase == 'retract' and 'stays at 3.0 degrees on its way to the approach tilt' in task.outcome


def test_a_vessel_that_does_not_come_back_is_no_completed_pour():
    task, _ = started(['retract'] * 3)
    run(task, 14)
    for number in range(14, 1000):
        assert task.decide(observe(number, 45.0)).kind in ('step', 'retract')
    assert task.phase == 'retract' and 'stays at 45.0 degrees on its way to upright' in task.outcome


@given(actions=st.lists(st.sampled_from(ACTIONS), min_size=200, max_size=200), ages=st.lists(
    st.sampled_from([0.05, 0.05, 0.05, 0.6]), min_size=200, max_size=200))
@settings(max_examples=25, deadline=None)
def test_no_sequence_of_events_makes_an_unbounded_command(actions, ages):
    task, _ = started(actions)
    tilt_deg = 0.0
    for number, age_s in enumerate(ages):
        command = task.decide(observe(number, tilt_deg, age_s=age_s))
        assert abs(command.step_deg) <= PARAMETERS.step_deg
        assert command.tilt_deg in (0.0, PARAMETERS.approach_tilt_deg)
        tilt_deg = {'hold': tilt_deg, 'approach': command.tilt_deg, 'step': tilt_deg + command.step_deg,
                    'retract': 0.0}[command.kind]
        assert tilt_deg <= PARAMETERS.maximum_tilt_deg


def test_frames_from_before_the_grip_or_the_end_of_the_approach_do_not_enter_the_references():
    policy = ScriptedPolicy(['pour'] * 100)
    task = PouringTask(policy, PARAMETERS)
    task.start()
    number, tilt_deg, arrived = 0, 0.0, {}
    while task.phase != 'pour':
        # One more period passes before what was seen catches up with where the vessel is.
        first_here = arrived.setdefault(tilt_deg, number) == number
        command = task.decide(observe(number, tilt_deg, value=-99.0 if first_here else 1.0 + tilt_deg))
        tilt_deg = command.tilt_deg if command.kind == 'approach' else tilt_deg
        number += 1
    assert np.array_equal(policy.reference.upright['left'], np.full(4, 1.0))
    assert np.array_equal(policy.reference.tilted['left'], np.full(4, 1.0 + PARAMETERS.approach_tilt_deg))
