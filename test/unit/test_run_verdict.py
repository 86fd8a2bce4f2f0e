"""The verdict on a run: completed only if everything agrees, and safety rules checked from the measured tilt alone."""

import pytest

from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.run_record import PourSample, RunRecord
from visuotactile_ros.run_verdict import COMPLETED_WITHIN_G, broken_safety_rules, judge

LIMITS = ArmParameters()


def record_of(tilts_deg, phase='pour', poured_g=60.0):
    record = RunRecord(simulated=True, target_g=60.0)
    record.samples = [PourSample(record.started_ns + index * 200_000_000, phase, '', tilt_deg, poured_g)
                      for index, tilt_deg in enumerate(tilts_deg)]
    return record


def test_a_good_run_is_completed():
    record = record_of([50.0, 50.25, 50.5])
    assert judge(record, 'done', '')[0] == 'completed' and broken_safety_rules(record, LIMITS) == []


@pytest.mark.parametrize(('phase', 'broken', 'fault', 'poured_g', 'said'), [
    ('done', '/pouring ended with code 3', '', 60.0, 'code 3'),
    ('fault', '', 'the arm is lost', 60.0, 'the arm is lost'),
    ('pour', '', '', 60.0, 'its last phase was pour'),
    ('', '', '', None, 'its last phase was none'),
    ('done', '', '', None, 'from the target'),
    ('done', '', '', 60.1 + COMPLETED_WITHIN_G, 'from the target'),
    ('done', '', '', 0.0, 'from the target'),
])
def test_anything_else_has_failed(phase, broken, fault, poured_g, said):
    record = record_of([0.0], poured_g=poured_g)
    record.faults = [fault] if fault else []
    state, reason = judge(record, phase, broken)
    assert state == 'failed' and said in reason


@pytest.mark.parametrize(('phase', 'tilts_deg', 'said'), [
    ('pour', [LIMITS.maximum_tilt_deg, LIMITS.maximum_tilt_deg + 1.0], 'the tilt reached'),
    ('idle', [0.0, LIMITS.minimum_tilt_deg - 1.0], 'the tilt reached'),
    ('pour', [50.0, 52.0], 'in the phase pour'),
    ('approach', [0.0, 5.0], 'in the phase approach'),
    ('retract', [50.0, 40.0], 'in the phase retract'),
])
def test_a_tilt_beyond_its_limits_is_seen(phase, tilts_deg, said):
    broken, = broken_safety_rules(record_of(tilts_deg, phase), LIMITS)
    assert said in broken


def test_the_rate_of_every_phase_is_allowed():
    for phase, rate_deg_s in (('pour', LIMITS.rate_limit_deg_s), ('approach', LIMITS.approach_rate_deg_s),
                              ('retract', LIMITS.retract_rate_deg_s)):
        assert broken_safety_rules(record_of([20.0, 20.0 + 0.2 * rate_deg_s, 20.0], phase), LIMITS) == []


def test_faults_and_violations_are_safety_rules_too():
    record = record_of([0.0])
    record.faults, record.limit_violations = ['the watchdog'], 2
    assert len(broken_safety_rules(record, LIMITS)) == 2


def test_a_run_that_saw_nothing_broke_nothing():
    assert broken_safety_rules(RunRecord(simulated=True, target_g=60.0), LIMITS) == []
