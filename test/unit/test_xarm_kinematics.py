"""Kinematics of the xArm 6."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import ArmError
from visuotactile_ros.robot.xarm_kinematics import (
    JOINT_LIMITS_RAD,
    forward_kinematics,
    inverse_kinematics,
    jacobian,
    link_frames,
    pose_from_matrix,
    roll_pitch_yaw_from_rotation,
    rotation_from_roll_pitch_yaw,
    rotation_from_vector,
    vector_from_rotation,
    within_joint_limits,
)

angle = st.floats(-math.pi, math.pi)
joints_inside = st.tuples(*(st.floats(low * 0.9, high * 0.9) for low, high in JOINT_LIMITS_RAD)).map(np.array)


def test_zero_is_the_vendors_zero_pose():
    pose = pose_from_matrix(forward_kinematics(np.zeros(6)))
    assert pose[:3] == pytest.approx([207.0, 0.0, 112.0], abs=0.01)
    assert abs(math.degrees(pose[3])) == pytest.approx(180.0, abs=1e-3)
    assert pose[4:] == pytest.approx([0.0, 0.0], abs=1e-6)


@settings(max_examples=30)
@given(angle, st.floats(-1.5, 1.5), angle)
def test_roll_pitch_yaw_round_trip(roll, pitch, yaw):
    rotation = rotation_from_roll_pitch_yaw(roll, pitch, yaw)
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.allclose(rotation_from_roll_pitch_yaw(*roll_pitch_yaw_from_rotation(rotation)), rotation, atol=1e-9)


@pytest.mark.parametrize('pitch', [math.pi / 2, -math.pi / 2])
def test_roll_pitch_yaw_at_the_pole(pitch):
    rotation = rotation_from_roll_pitch_yaw(0.3, pitch, 0.7)
    assert np.allclose(rotation_from_roll_pitch_yaw(*roll_pitch_yaw_from_rotation(rotation)), rotation, atol=1e-9)


@settings(max_examples=30)
@given(st.tuples(*[st.floats(-1.8, 1.8)] * 3).map(np.array))
def test_rotation_vector_round_trip(vector):
    assert np.allclose(vector_from_rotation(rotation_from_vector(vector)), vector, atol=1e-7)


@pytest.mark.parametrize('axis', [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0)])
def test_half_a_turn_keeps_its_rotation(axis):
    rotation = rotation_from_vector(np.array(axis) * math.pi)
    assert np.allclose(rotation_from_vector(vector_from_rotation(rotation)), rotation, atol=1e-7)


@settings(max_examples=30)
@given(joints_inside)
def test_jacobian_is_the_derivative(joints):
    columns, step = jacobian(link_frames(joints)), 1e-6
    for index in range(6):
        moved = joints.copy()
        moved[index] += step
        change = forward_kinematics(moved)[:3, 3] - forward_kinematics(joints)[:3, 3]
        assert np.allclose(columns[:3, index], change / step, atol=1e-2)


@settings(max_examples=30)
@given(joints_inside, st.tuples(*[st.floats(-0.05, 0.05)] * 6).map(np.array))
# A straight wrist: two axes coincide.
@example(np.array([0.0, 0.0, 0.0001247372300824945, 0.0, 0.0, 0.0]),
         np.array([-0.0390625, 0.0, 0.0001247372300824945, 0.0, 0.0, 0.015625]))
def test_inverse_kinematics_finds_a_near_pose(joints, change):
    target = forward_kinematics(joints + change)
    found = forward_kinematics(inverse_kinematics(target, joints))
    assert np.allclose(found[:3, 3], target[:3, 3], atol=0.01)
    assert np.allclose(found[:3, :3], target[:3, :3], atol=1e-4)


def test_a_pose_out_of_reach_is_refused():
    target = forward_kinematics(np.zeros(6))
    target[:3, 3] = (2000.0, 0.0, 300.0)
    with pytest.raises(ArmError, match='outside the reach'):
        inverse_kinematics(target, np.zeros(6))


def test_joint_limits():
    assert within_joint_limits(np.zeros(6))
    assert not within_joint_limits(np.radians([0, 0, 11, 0, 0, 0]))
    assert not within_joint_limits(np.radians([0, 0, 5, 0, 0, 0]), margin_rad=math.radians(6))
