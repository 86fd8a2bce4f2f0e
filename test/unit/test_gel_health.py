"""The gel-health score on simulated damage of rendered and of real references, and the damage itself."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.sensors.gel_health import (
    REMEDIES,
    GelChange,
    GelHealth,
    GelHealthLimits,
    drift_over_sessions,
    gel_change,
    gel_health,
    score_change,
)
from visuotactile_ros.sensors.recorded_images import read_image
from visuotactile_ros.sensors.reference_frame import NoContactStatistics
from visuotactile_ros.sensors.reference_store import StoredReference
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_damage import DamageSeverity, GelDamage
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

ROOT = Path(__file__).parents[2]
REAL_FRAMES = ROOT / 'test' / 'data' / 'real_frames'
PARTS = [field.name for field in dataclasses.fields(GelHealth)]
STATISTICS = NoContactStatistics(15, 1.0)


def real_background(kind):
    return np.ascontiguousarray(read_image(REAL_FRAMES / f'{kind}_background.jpg')[:, :, ::-1])


MINI = real_background('gelsight_mini')


def damaged(image, kind='gelsight_mini', seed=3, **severity):
    return GelDamage(SENSOR_PROFILES[kind], DamageSeverity(**severity), seed).apply(image)


@pytest.mark.parametrize('kind', ['gelsight_mini', 'gelsight', 'digit'])
@pytest.mark.parametrize('part', PARTS)
def test_full_damage_of_a_real_gel_is_worn_and_has_its_name(kind, part):
    background = real_background(kind)
    health = gel_health(damaged(background, kind, **{part: 1.0}), background, STATISTICS)
    assert health.score < GelHealthLimits().worn_below_score
    assert max(PARTS, key=lambda name: getattr(health, name)) == part


@pytest.mark.parametrize('kind', SENSOR_PROFILES)
def test_two_frames_of_an_untouched_gel_are_as_new(kind):
    renderer, rng = GelRenderer(SENSOR_PROFILES[kind], 11), np.random.default_rng(11)
    first, later = (renderer.render(ContactState(), rng) for _ in range(2))
    assert gel_health(later, first, STATISTICS).score == 1.0


@pytest.mark.parametrize('part', PARTS)
def test_damage_that_grows_never_raises_the_score(part):
    scores = [gel_health(damaged(MINI, **{part: severity}), MINI, STATISTICS).score
              for severity in (0.0, 0.3, 0.6, 1.0)]
    assert scores[0] == 1.0 and scores == sorted(scores, reverse=True) and scores[-1] < 0.6


def test_damage_is_found_beside_other_damage():
    health = gel_health(damaged(MINI, lost_light=1.0, colour_shift=1.0, scratches=1.0), MINI, STATISTICS)
    assert min(health.lost_light, health.colour_shift, health.scratches) > 0.3 and health.bubbles < 0.3


def test_light_that_is_missing_everywhere_is_lost_light():
    health = gel_health((MINI * 0.7).astype(np.uint8), MINI, STATISTICS)
    assert health.lost_light == 1.0 and health.colour_shift < 0.2 and health.scratches == health.bubbles == 0.0


def test_a_picture_that_moved_by_half_a_pixel_has_no_scratches():
    markers = GelRenderer(SENSOR_PROFILES['gelsight_mini_markers'], 0).render_clean(ContactState())
    moved = np.rint((markers + np.roll(markers, 1, axis=1)) / 2).astype(np.uint8)
    assert gel_health(moved, np.rint(markers).astype(np.uint8), STATISTICS).score == 1.0


def test_noise_raises_what_counts_as_a_change():
    scratched = damaged(MINI, scratches=0.25)
    quiet = gel_change(scratched, MINI, NoContactStatistics(15, 1.0), 6.0)
    noisy = gel_change(scratched, MINI, NoContactStatistics(15, 30.0), 6.0)
    assert quiet.scratches > 0.001 and noisy.scratches == 0.0


def test_the_size_of_the_picture_does_not_matter_much():
    worn = damaged(MINI, bubbles=1.0, scratches=0.5)
    large = [np.repeat(np.repeat(image, 2, axis=0), 2, axis=1) for image in (worn, MINI)]
    assert gel_change(*large, STATISTICS, 6.0) == gel_change(worn, MINI, STATISTICS, 6.0)


def test_references_of_different_sizes_are_refused():
    with pytest.raises(SensorError, match='cannot be compared. Keep the size'):
        gel_health(MINI[:120], MINI, STATISTICS)


@given(st.lists(st.floats(-1.0, 2.0), min_size=4, max_size=4))
def test_the_score_is_between_0_and_1_and_the_worst_part_decides(values):
    health = score_change(GelChange(*values), GelHealthLimits())
    parts = dataclasses.astuple(health)
    assert all(0.0 <= part <= 1.0 for part in parts) and health.score == 1.0 - max(parts)


def test_drift_over_sessions_starts_at_nothing_and_tells_the_day_of_the_damage():
    images = [MINI, np.clip(MINI + 1.0, 0, 255).astype(np.uint8), damaged(MINI, scratches=1.0)]
    sessions = [StoredReference('gelsight_mini', 'A', day, image, STATISTICS) for day, image in enumerate(images)]
    drift = drift_over_sessions(sessions)
    assert [one.captured_ns for one in drift] == [0, 1, 2]
    assert [one.difference_level for one in drift[:2]] == pytest.approx([0.0, 1.0], abs=0.05)
    assert drift[0].health.score == drift[1].health.score == 1.0
    assert drift[2].health.scratches > 0.5
    assert drift_over_sessions([]) == []


@pytest.mark.parametrize('part', PARTS)
def test_the_worst_damage_decides_score_and_remedy(part):
    health = GelHealth(**{**dict.fromkeys(PARTS, 0.2), part: 0.7})
    assert health.score == pytest.approx(0.3) and health.worst_part == part and REMEDIES[part]


def test_the_limits_are_those_that_were_checked():
    """Change a limit only together with docs/results/gel_health.json."""
    checked = json.loads((ROOT / 'docs' / 'results' / 'gel_health.json').read_text())
    assert checked['limits_in_use'] == dataclasses.asdict(GelHealthLimits())
    for group, proposed in checked['proposed_limits'].items():
        in_use = checked['limits_in_use'][group]
        for part, value in proposed.items():
            assert in_use[part] == pytest.approx(value, rel=0.1, abs=0.0011), (group, part)


@settings(max_examples=10)
@given(st.sampled_from(sorted(SENSOR_PROFILES)), st.integers(0, 2 ** 32))
def test_no_damage_leaves_every_frame_as_it_is(kind, seed):
    image = np.random.default_rng(seed).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    np.testing.assert_array_equal(damaged(image, kind, seed), image)


def test_the_damage_of_a_seed_is_the_same_and_grows_in_place():
    weak, strong = (damaged(MINI, seed=5, bubbles=severity) for severity in (0.5, 1.0))
    np.testing.assert_array_equal(weak, damaged(MINI, seed=5, bubbles=0.5))
    changed_weak, changed_strong = ((image != MINI).any(axis=2) for image in (weak, strong))
    assert changed_weak.sum() > 500 and (changed_strong | ~changed_weak).mean() > 0.99
    assert (damaged(MINI, seed=6, bubbles=0.5) != weak).any()


@pytest.mark.parametrize('severity', [-0.1, 1.1, float('nan')])
def test_a_severity_outside_its_range_is_refused(severity):
    with pytest.raises(ConfigurationError, match='severity of bubbles .* from 0 to 1'):
        DamageSeverity(bubbles=severity)
