"""Geometry of the tilting vessel, and that the xArm 6 can follow it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import ArmError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.robot.vessel_geometry import (
    lip_distance_mm,
    lip_position_mm,
    pose_at_tilt,
    rotation_off_axis_deg,
    tilt_from_pose,
)
from visuotactile_ros.robot.xarm_kinematics import (
    inverse_kinematics,
    matrix_from_pose,
    rotation_from_roll_pitch_yaw,
    within_joint_limits,
)
from visuotactile_ros.simulation.xarm_motion import HOME_JOINTS_DEG

PARAMETERS = ArmParameters()
UPRIGHT, LIP = PARAMETERS.upright_pose_mm_deg, PARAMETERS.lip_in_tool_mm

upright_pose = st.tuples(st.floats(200, 500), st.floats(-200, 200), st.floats(100, 500), st.just(180.0), st.just(0.0),
                         st.floats(-180, 180))
lip_in_tool = st.tuples(st.floats(0, 80), st.floats(-20, 20), st.floats(-100, 50))


@settings(max_examples=40)
@given(upright_pose, lip_in_tool, st.floats(-170, 170))
def test_tilt_round_trip_and_the_lip_stays(upright, lip, tilt_deg):
    pose = pose_at_tilt(upright, lip, tilt_deg)
    assert tilt_from_pose(upright, pose) == pytest.approx(tilt_deg, abs=1e-6)
    assert rotation_off_axis_deg(upright, pose) == pytest.approx(0.0, abs=1e-5)
    assert np.allclose(lip_position_mm(pose, lip), lip_position_mm(upright, lip), atol=1e-6)


@settings(max_examples=40)
@given(upright_pose, lip_in_tool, st.floats(1, 170))
def test_pouring_leans_the_vessel_over_its_lip(upright, lip, tilt_deg):
    pose = pose_at_tilt(upright, lip, tilt_deg)
    vessel_up = -rotation_from_roll_pitch_yaw(*np.radians(pose[3:]))[:, 2]
    towards_lip = rotation_from_roll_pitch_yaw(*np.radians(upright[3:]))[:, 0]
    assert vessel_up @ towards_lip == pytest.approx(math.sin(math.radians(tilt_deg)), abs=1e-9)
    assert vessel_up[2] == pytest.approx(math.cos(math.radians(tilt_deg)), abs=1e-9)


def test_a_rotation_off_the_axis_is_seen():
    turned = (*UPRIGHT[:5], UPRIGHT[5] + 5.0)
    assert rotation_off_axis_deg(UPRIGHT, turned) == pytest.approx(5.0)
    assert tilt_from_pose(UPRIGHT, turned) == pytest.approx(0.0, abs=1e-9)


def test_distance_of_the_lip():
    assert lip_distance_mm((30.0, 99.0, -40.0)) == 50.0


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_numbers_that_are_not_finite_are_refused(bad):
    with pytest.raises(ArmError, match='not finite'):
        pose_at_tilt(UPRIGHT, LIP, bad)
    with pytest.raises(ArmError, match='not finite'):
        tilt_from_pose(UPRIGHT, (bad, *UPRIGHT[1:]))


def test_the_default_pour_is_reachable_without_a_jump():
    """From upright to the largest tilt, by steps of one degree, far from every joint limit."""
    flange_from_tool = np.linalg.inv(matrix_from_pose(np.array(
        [*PARAMETERS.tool_offset_mm_deg[:3], *np.radians(PARAMETERS.tool_offset_mm_deg[3:])])))
    joints = np.radians(HOME_JOINTS_DEG)
    for tilt_deg in np.arange(PARAMETERS.minimum_tilt_deg, PARAMETERS.maximum_tilt_deg + 1.0):
        pose = pose_at_tilt(UPRIGHT, LIP, tilt_deg)
        pose[3:] = np.radians(pose[3:])
        found = inverse_kinematics(matrix_from_pose(pose) @ flange_from_tool, joints)
        assert np.max(np.abs(found - joints)) < math.radians(3.0), f'a jump at {tilt_deg} degrees'
        assert within_joint_limits(found, margin_rad=math.radians(40.0)), f'near a joint limit at {tilt_deg} degrees'
        joints = found


def test_the_whole_pour_stays_in_the_box():
    box = np.array(PARAMETERS.tcp_box_mm).reshape(3, 2)
    for tilt_deg in np.arange(PARAMETERS.minimum_tilt_deg, PARAMETERS.maximum_tilt_deg + 1.0):
        position = pose_at_tilt(UPRIGHT, LIP, tilt_deg)[:3]
        assert np.all(position > box[:, 0] + 50.0) and np.all(position < box[:, 1] - 50.0)
