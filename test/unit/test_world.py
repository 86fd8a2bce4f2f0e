"""The simulated episode: determinism, ranges and what the fingers and the arm feel."""

import math

import numpy as np
import pytest

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.simulation import SimulationParameters
from visuotactile_ros.simulation.world import WRIST_JOINT, PouringWorld


def sweep(seed, last_deg=100.0, step_s=0.2):
    world = PouringWorld(seed, SimulationParameters())
    world.grasp()
    for tilt in np.arange(0.0, last_deg, 0.25):
        world.advance(step_s, float(tilt))
    return world


def test_one_seed_is_one_episode():
    first, second = sweep(7), sweep(7)
    assert first.poured_mass_g == second.poured_mass_g
    assert first.contact('left') == second.contact('left')
    assert np.array_equal(first.joint_torque_nm(), second.joint_torque_nm())
    assert sweep(8).poured_mass_g != first.poured_mass_g


def test_timing_changes_the_poured_mass_by_far_less_than_a_gram():
    for seed in range(5):
        assert sweep(seed, 88.0, 0.2).poured_mass_g == pytest.approx(sweep(seed, 88.0, 0.21).poured_mass_g, abs=0.3)


def test_tilt_alone_does_not_tell_the_mass():
    poured = [sweep(seed, 92.0).poured_mass_g for seed in range(8)]
    assert np.std(poured) > 5.0


def test_nothing_touches_before_the_grasp():
    world = PouringWorld(1, SimulationParameters())
    assert world.contact('left').normal_force_n == 0.0
    world.grasp()
    assert world.contact('left').normal_force_n > 10.0


def test_shear_falls_with_the_content_and_turns_with_tilt():
    world = PouringWorld(3, SimulationParameters())
    world.grasp()
    world.advance(0.1, 0.0)
    upright = world.contact('left').shear_mm
    emptied = sweep(3, 170.0)
    emptied.advance(1.0, 0.0)
    empty = emptied.contact('left').shear_mm
    assert emptied.content_mass_g < 2.0
    assert empty[1] / upright[1] == pytest.approx(40.0 / 140.0, rel=0.1)
    assert abs(upright[0]) < 1e-9 < upright[1] < 0.5
    tilted = sweep(3, 60.0)
    left, right = tilted.contact('left').shear_mm, tilted.contact('right').shear_mm
    assert left[0] > left[1] > 0.0 > right[0]
    assert math.atan2(left[0], left[1]) == pytest.approx(math.radians(59.75), abs=1e-6)


def test_torque_estimate_is_noisy_about_the_true_payload():
    world = sweep(5, 60.0)
    readings = [world.joint_torque_nm()[WRIST_JOINT] for _ in range(200)]
    true_nm = world.payload_lever_m(world.tilt_deg) * 0.14 * 9.81
    assert np.std(readings) == pytest.approx(0.05, rel=0.3)
    assert 0.0 < abs(np.mean(readings) - true_nm) < 0.2


def test_wrist_view_follows_the_episode():
    view = sweep(4, 95.0).wrist_view()
    assert 0.0 <= view.fill_fraction < 1.0
    assert view.tilt_deg == 94.75
    assert view.flow_g_s >= 0.0


def test_bad_range_is_refused():
    with pytest.raises(ConfigurationError, match='low and a high'):
        SimulationParameters(vessel_mass_g=(50.0, 40.0))
