"""The bead model against a rigid-body simulation, geometry and its own promises."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.simulation.bead_pouring import Avalanches, BeadPouring, Beads, retained_volume_mm3

# Tilt at which 95, 75, 50, 25 and 5 % of the beads were left in a rigid-body simulation (MuJoCo 4.0, beads of 4 mm
# radius and 0.24 g, friction 0.5, cup of 32 mm x 120 mm, settled at 566 kg/m3).
FRACTION_LEFT = np.array([0.95, 0.75, 0.50, 0.25, 0.05])
REFERENCE_RUNS = [
    (48.0, 15.0, (96, 101, 106, 109, 113)),
    (72.0, 15.0, (95, 101, 105, 110, 114)),
    (96.0, 15.0, (92, 99, 105, 109, 114)),
    (72.0, 45.0, (101, 109, 115, 121, 127)),
]


def model_curve(mass_g, rate_deg_s):
    """Fraction left at every half degree of an even turn from 0 to 150 deg."""
    model = BeadPouring(Beads(mass_g, 566.0, 27.0, 0.09, 95.0, 32.0, 120.0))
    tilts_deg, fractions = np.arange(0.0, 150.0, 0.5), []
    for tilt_deg in tilts_deg:
        model.advance(0.5 / rate_deg_s, float(tilt_deg))
        fractions.append(model.content_mass_g / mass_g)
    return tilts_deg, np.array(fractions)


def test_model_follows_rigid_body_simulation():
    curve_errors, level_errors = [], []
    for mass_g, rate_deg_s, levels_deg in REFERENCE_RUNS:
        tilts_deg, fractions = model_curve(mass_g, rate_deg_s)
        reference = np.interp(tilts_deg, (levels_deg[0] - 8, *levels_deg, levels_deg[-1] + 6), (1, *FRACTION_LEFT, 0))
        curve_errors.append(fractions - reference)
        level_errors.append(np.interp(levels_deg, tilts_deg, fractions) - FRACTION_LEFT)
    assert np.sqrt(np.mean(np.square(curve_errors))) < 0.05, 'whole curves'
    assert np.sqrt(np.mean(np.square(level_errors[1:]))) < 0.07, 'while it flows, 300 beads and more'
    assert np.sqrt(np.mean(np.square(level_errors[0]))) < 0.21, 'while it flows, 200 beads: a thin layer flows sooner'


@pytest.mark.parametrize(('repose_deg', 'start_deg', 'target_deg'), [(15, 62, 84), (25, 72, 94), (35, 82, 104)])
def test_dose_of_sixty_grams_needs_the_published_tilt(repose_deg, start_deg, target_deg):
    model = BeadPouring(Beads(100.0, 600.0, repose_deg))
    retained = np.array([model.retained_mass_g(tilt) for tilt in range(40, 130)])
    assert 40 + np.argmax(retained < 100.0) == pytest.approx(start_deg, abs=1.5)
    assert 40 + np.argmax(retained < 40.0) == pytest.approx(target_deg, abs=1.5)


@given(radius=st.floats(5, 50), height=st.floats(10, 150), slope=st.floats(1, 89))
@settings(max_examples=30, deadline=None)
def test_volume_matches_numerical_integration(radius, height, slope):
    x = np.linspace(-radius, radius, 4001)
    depth = np.maximum(0.0, height - (radius - x) * math.tan(math.radians(slope)))
    numerical = np.trapezoid(2.0 * np.sqrt(np.maximum(radius ** 2 - x ** 2, 0.0)) * depth, x)
    assert retained_volume_mm3(radius, height, slope) == pytest.approx(numerical, rel=2e-3, abs=2.0)


@given(seed=st.integers(0, 1000), tilts=st.lists(st.floats(0, 170), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_beads_never_return_and_never_go_negative(seed, tilts):
    avalanches = Avalanches.draw(np.random.default_rng(seed), (0.1, 0.6), 0.7)
    model = BeadPouring(Beads(), avalanches)
    poured = [0.0]
    for tilt in tilts:
        model.advance(0.2, tilt)
        poured.append(model.poured_mass_g)
    assert all(later >= earlier for earlier, later in zip(poured[:-1], poured[1:], strict=True))
    assert 0.0 <= model.content_mass_g <= 100.0


@pytest.mark.parametrize('seed', range(5))
def test_timing_hardly_changes_what_is_poured(seed):
    avalanches = Avalanches.draw(np.random.default_rng(seed), (0.1, 0.6), 0.7)
    results = []
    for step_s in (0.2, 0.207):
        model = BeadPouring(Beads(), avalanches)
        for tilt in np.arange(45.0, 92.0, 0.25):
            model.advance(step_s, float(tilt))
        model.advance(2.0, 92.0)
        results.append(model.poured_mass_g)
    assert results[0] == pytest.approx(results[1], abs=0.05)


def test_flow_never_exceeds_the_mouth():
    model = BeadPouring(Beads(maximum_flow_g_s=50.0))
    model.advance(0.5, 170.0)
    assert 0.0 < model.poured_mass_g <= 25.0 + 1e-9
