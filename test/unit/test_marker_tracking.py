"""Markers are found to a tenth of a pixel, lost ones are told, and nothing else is taken for them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors.gel_kinds import GEL_KINDS
from visuotactile_ros.sensors.marker_tracking import MarkerTracker
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.objects import ObjectParameters
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

HEIGHT, WIDTH, PITCH, RADIUS = 180, 240, 30, 5.0
GRID = np.stack(np.meshgrid(np.arange(30.0, WIDTH - 20, PITCH), np.arange(30.0, HEIGHT - 20, PITCH)), -1).reshape(-1, 2)
SAMPLES = 6


def drawing(places, is_dark=True, slope=0.0, seed=0):
    """Discs at places [N, 2], each pixel sampled at 36 points, on a background that rises to the right."""
    cover = np.zeros((HEIGHT, WIDTH))
    points = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    for x, y in places[places[:, 0] < WIDTH + 6]:
        rows, columns = (np.arange(max(int(at) - 7, 0), min(int(at) + 8, size))
                         for at, size in ((y, HEIGHT), (x, WIDTH)))
        distance = np.hypot(*np.meshgrid((columns[:, None] + points - x).ravel(), (rows[:, None] + points - y).ravel()))
        inside = (distance < RADIUS).reshape(len(rows), SAMPLES, len(columns), SAMPLES)
        cover[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1] += inside.mean(axis=(1, 3))
    gel = 110.0 + slope * (np.arange(WIDTH) - WIDTH / 2)
    grey = gel * (1 - cover) + (30.0 if is_dark else 230.0) * cover
    noisy = grey + np.random.default_rng(seed).normal(0.0, 1.0, grey.shape)
    return np.repeat(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


REFERENCES = {is_dark: drawing(GRID, is_dark) for is_dark in (True, False)}


def tracker(is_dark=True):
    return MarkerTracker(REFERENCES[is_dark], RADIUS, is_dark)


@pytest.mark.parametrize('is_dark', [True, False])
def test_every_marker_of_the_reference_is_found_where_it_is(is_dark):
    field = tracker(is_dark).update(drawing(GRID, is_dark, seed=1))
    assert len(field.rest_px) == len(GRID) and field.is_seen.all()
    nearest = np.linalg.norm(field.rest_px[:, None] - GRID[None], axis=2).min(axis=1)
    assert nearest.max() < 0.15 and np.abs(field.moved_px).max() < 0.2


@settings(max_examples=15, deadline=None)
@given(st.floats(-9.0, 9.0), st.floats(-9.0, 9.0), st.booleans(), st.floats(-0.3, 0.3))
def test_a_shift_is_measured_to_a_tenth_of_a_pixel_also_on_sloped_light(x, y, is_dark, slope):
    field = tracker(is_dark).update(drawing(GRID + [x, y], is_dark, slope, seed=2))
    assert field.is_seen.all()
    assert np.abs(field.moved_px - [x, y]).mean() < 0.1 and np.abs(field.moved_px - [x, y]).max() < 0.35


def test_markers_are_followed_beyond_the_places_of_their_neighbours():
    followed = tracker()
    for x in np.arange(0.0, 1.3 * PITCH, 6.0):
        field = followed.update(drawing(GRID + [x, 0.0]))
    inside = GRID[:, 0] + x < WIDTH - 10
    assert field.is_seen[inside].all() and np.allclose(field.moved_px[inside], [x, 0.0], atol=0.3)
    assert not field.is_seen[GRID[:, 0] + x > WIDTH + 5].any()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2 ** 31))
def test_hidden_markers_are_told_and_take_the_motion_of_their_neighbours(seed):
    hidden = np.random.default_rng(seed).random(len(GRID)) < 1 / 3
    field = tracker().update(drawing(GRID[~hidden] + [4.0, -3.0], seed=3))
    order = np.linalg.norm(field.rest_px[:, None] - GRID[None], axis=2).argmin(axis=1)
    assert not field.is_seen[hidden[order]].any()
    assert field.is_seen[~hidden[order]].mean() > 0.9
    assert np.allclose(field.moved_px, [4.0, -3.0], atol=0.3)


def test_a_speck_beside_a_hidden_marker_is_not_taken_for_it():
    middle = int(np.linalg.norm(GRID - [WIDTH / 2, HEIGHT / 2], axis=1).argmin())
    places = GRID.copy()
    places[middle] += [9.0, 0.0]
    field = tracker().update(drawing(places))
    wrong = np.linalg.norm(field.rest_px - GRID[middle], axis=1).argmin()
    assert not field.is_seen[wrong] and field.is_seen.sum() == len(GRID) - 1


def test_nothing_is_seen_on_a_black_frame_and_all_is_seen_after_it():
    followed = tracker()
    assert not followed.update(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).is_seen.any()
    assert followed.update(REFERENCES[True]).is_seen.all()


def test_restart_finds_markers_that_came_back_out_of_reach():
    followed = tracker()
    for x in np.arange(0.0, 25.0, 6.0):
        followed.update(drawing(GRID + [x, 0.0]))
    followed.restart()
    assert np.abs(followed.update(REFERENCES[True]).moved_px).max() < 0.3


@pytest.mark.parametrize('reference', [np.full((HEIGHT, WIDTH, 3), 100, np.uint8), drawing(GRID[:6]),
                                       drawing(GRID, is_dark=False)])
def test_a_reference_without_a_grid_of_such_markers_is_refused(reference):
    with pytest.raises(SensorError, match=r'shows \d markers, at least 12 .* Set kind to'):
        MarkerTracker(reference, RADIUS, True)


@pytest.mark.parametrize('kind', ['gelsight_mini_markers', 'vitactip'])
def test_motion_of_rendered_markers_is_the_true_one(kind):
    profile, gel, rng = SENSOR_PROFILES[kind], GEL_KINDS[kind], np.random.default_rng(0)
    renderer = GelRenderer(profile, 2)
    block = ObjectParameters(material='stone', youngs_modulus_mpa=1e4, texture_amplitude_mm=0.03,
                             texture_wavelength_mm=1.5, texture_seed=4)
    still, moved = ContactState(8.0, object=block), ContactState(8.0, (0.3, -0.2), 3.0, object=block)
    followed = MarkerTracker(renderer.render(ContactState(), rng), gel.markers.radius_mm / profile.mm_per_px,
                             gel.markers.is_dark)
    before = followed.update(renderer.render(still, rng))
    after = followed.update(renderer.render(moved, rng))
    assert len(after.rest_px) > 0.8 * profile.markers.columns * profile.markers.rows
    # Around the middle of a flat contact the gel moves with the object, as one piece.
    lever = (before.rest_px + before.moved_px - [159.5, 119.5]) * profile.mm_per_px
    near = (np.abs(lever) < 3.0).all(axis=1) & after.is_seen & before.is_seen
    turn = np.deg2rad(3.0)
    expected = np.array([0.3, -0.2]) + lever @ np.array([[np.cos(turn), np.sin(turn)],
                                                         [-np.sin(turn), np.cos(turn)]]) - lever
    error = np.linalg.norm(after.moved_px - before.moved_px - expected / profile.mm_per_px, axis=1)[near]
    assert near.sum() >= 6 and np.median(error) < 0.2
