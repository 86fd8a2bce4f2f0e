"""What a step, a tilt and a pose may be."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import ArmError, ConfigurationError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.robot.motion_limits import MotionLimits
from visuotactile_ros.robot.vessel_geometry import pose_at_tilt, tilt_from_pose

P = ArmParameters()
LIMITS = MotionLimits(P)
number = st.floats(allow_nan=True, allow_infinity=True)


def pose(tilt_deg):
    return pose_at_tilt(P.upright_pose_mm_deg, P.lip_in_tool_mm, tilt_deg)


@given(st.floats(0, 114), st.floats(-0.25, 0.25))
def test_a_step_inside_the_limits_is_allowed(tilt_deg, step_deg):
    target_deg, target = LIMITS.allow_step(pose(tilt_deg), step_deg, 0.2)
    assert target_deg == pytest.approx(tilt_deg + step_deg, abs=1e-6)
    assert tilt_from_pose(P.upright_pose_mm_deg, target) == pytest.approx(target_deg, abs=1e-6)
    assert LIMITS.step_violations(tilt_deg, step_deg, 0.2) == ()


@given(number, number, number, st.floats(0, 300))
def test_whatever_is_allowed_is_inside_every_limit(tilt_deg, step_deg, seconds, travel_deg):
    """The property that matters: no input at all gets a motion past the limits."""
    if LIMITS.step_violations(tilt_deg, step_deg, seconds, travel_deg) == ():
        assert math.isfinite(tilt_deg) and math.isfinite(step_deg)
        assert abs(step_deg) <= P.step_limit_deg + 1e-5
        assert abs(step_deg) <= P.rate_limit_deg_s * max(seconds, 0.0) + 1e-5
        target_deg = tilt_deg + step_deg
        assert target_deg <= P.maximum_tilt_deg + 1e-5 or step_deg < 0.0
        assert target_deg >= P.minimum_tilt_deg - 1e-5 or step_deg > 0.0
        assert travel_deg + max(step_deg, 0.0) <= P.forward_travel_limit_deg + 1e-5


@pytest.mark.parametrize('step_deg, seconds, travel_deg, text', [
    (0.2501, 1.0, 0.0, 'over the limit of 0.25'), (-0.2501, 1.0, 0.0, 'over the limit of 0.25'),
    (0.25, 0.09, 0.0, 'per second'), (0.25, -1.0, 0.0, 'per second'), (0.25, 1.0, 199.9, 'budget'),
    (math.nan, 1.0, 0.0, 'not finite'), (math.inf, 1.0, 0.0, 'not finite'), (0.1, math.nan, 0.0, 'not finite')])
def test_each_broken_limit_is_named(step_deg, seconds, travel_deg, text):
    violations = LIMITS.step_violations(30.0, step_deg, seconds, travel_deg)
    assert len(violations) == 1 and text in violations[0]


def test_every_broken_limit_is_counted():
    assert len(LIMITS.step_violations(114.9, 1.0, 0.1, 200.0)) == 4


def test_a_tilt_out_of_range_only_comes_back():
    assert LIMITS.step_violations(116.0, -0.25, 1.0) == ()
    assert 'outside' in LIMITS.step_violations(116.0, 0.25, 1.0)[0]
    assert LIMITS.step_violations(-3.0, 0.25, 1.0) == ()
    assert 'outside' in LIMITS.step_violations(-3.0, -0.25, 1.0)[0]


@pytest.mark.parametrize('axis, value', [(0, 299.0), (0, 501.0), (1, -151.0), (1, 151.0), (2, 149.0), (2, 451.0)])
def test_the_box_holds_on_every_side(axis, value):
    outside = pose(10.0)
    outside[axis] = value
    assert f'{"xyz"[axis]} = {value}' in LIMITS.pose_violations(outside)[0]


def test_a_pose_off_the_path_is_refused():
    shifted, turned = pose(10.0), pose(10.0)
    shifted[0] += 15.0
    turned[5] += 10.0
    assert 'the lip is 15.0 mm' in LIMITS.path_violations(shifted)[0]
    assert 'off the tilt axis' in LIMITS.path_violations(turned)[0]
    with pytest.raises(ArmError):
        LIMITS.allow_step(shifted, 0.25, 1.0)


@pytest.mark.parametrize('bad', [[math.nan] * 6, [1.0] * 5, [400, 0, math.inf, 180, 0, 90]])
def test_a_pose_that_is_none_is_refused(bad):
    assert LIMITS.path_violations(bad) == ('the pose of the tool is not finite',)


@pytest.mark.parametrize('bad', [
    {'address': 'robot.local'},
    {'tcp_box_mm': (500.0, 300.0, 0.0, 1.0, 0.0, 1.0)}, {'lip_in_tool_mm': (-30.0, 0.0, 0.0)},
    {'upright_pose_mm_deg': (1.0, 2.0)}, {'approach_limit_deg': 116.0}, {'step_limit_deg': math.nan},
    {'motion_mode': 'servo'}, {'payload_kg': 6.0}, {'retract_rate_deg_s': 11.0},
    {'retract_rate_deg_s': 16.0, 'maximum_tilt_deg': 165.0}, {'tilt_tolerance_deg': 0.5}])
def test_settings_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigurationError, match=next(iter(bad))):
        ArmParameters(**bad)
