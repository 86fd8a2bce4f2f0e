"""The rendered gel: repeatable, quiet without contact, and true to force, stiffness, shear and twist."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.gel_surface import press
from visuotactile_ros.simulation.objects import ObjectParameters, sample_object
from visuotactile_ros.simulation.photometry import load_optics_table
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

STEEL_BALL = ObjectParameters(material='metal', shape='sphere', radius_mm=6.0, youngs_modulus_mpa=1e5)
BLOCK = ObjectParameters(material='stone', youngs_modulus_mpa=1e4, texture_amplitude_mm=0.05,
                         texture_wavelength_mm=1.5, texture_seed=4)
MINI = SENSOR_PROFILES['gelsight_mini']
RENDERERS = {kind: GelRenderer(profile, 3) for kind, profile in SENSOR_PROFILES.items()}


def marker_motion_px(contact):
    """Places (x, y) of the dark dots in the middle of an image without shear, and their motion, from centroids."""
    renderer = RENDERERS['gelsight_mini_markers']
    still = dataclasses.replace(contact, shear_mm=(0.0, 0.0), twist_deg=0.0)

    def centroids(state):
        dark = np.clip(70.0 - renderer.render_clean(state).mean(axis=2), 0.0, 45.0)
        _, regions, statistics, centres = cv2.connectedComponentsWithStats((dark > 10).astype(np.uint8))
        found = []
        for index in range(1, len(statistics)):
            x, y = np.rint(centres[index]).astype(int)
            if 20 < x < 300 and 20 < y < 220:
                patch = dark[y - 9:y + 10, x - 9:x + 10]
                rows, columns = np.mgrid[y - 9:y + 10, x - 9:x + 10]
                found.append([(patch * columns).sum() / patch.sum(), (patch * rows).sum() / patch.sum()])
        return np.array(found)

    before, after = centroids(still), centroids(contact)
    before = before[(np.abs(before - [159.5, 119.5]) < [70.0, 50.0]).all(axis=1)]
    assert len(before) >= 8
    nearest = np.linalg.norm(before[:, None] - after[None], axis=2).argmin(axis=1)
    return before, after[nearest] - before


@pytest.mark.parametrize('kind', SENSOR_PROFILES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2 ** 32 - 1))
def test_every_sensor_renders_every_object(kind, seed):
    rng = np.random.default_rng(seed)
    contact = ContactState(rng.uniform(0.01, 30.0), tuple(rng.normal(0, 0.3, 2)), rng.normal(0, 5),
                           tuple(rng.normal(0, 4, 2)), rng.uniform(0, 360), sample_object(rng))
    clean = RENDERERS[kind].render_clean(contact)
    assert clean.dtype == np.float32 and np.isfinite(clean).all()
    image = RENDERERS[kind].render(contact, np.random.default_rng(1))
    assert image.dtype == np.uint8 and image.shape == (240, 320, 3) and image.flags.c_contiguous
    assert np.array_equal(image, RENDERERS[kind].render(contact, np.random.default_rng(1)))


def test_a_unit_is_its_seed_and_units_differ():
    contact = ContactState(4.0, object=STEEL_BALL)
    same, other = GelRenderer(MINI, 3), GelRenderer(MINI, 4)
    frame = RENDERERS['gelsight_mini'].render(contact, np.random.default_rng(0))
    assert np.array_equal(frame, same.render(contact, np.random.default_rng(0)))
    assert 1.0 < np.abs(frame.astype(float) - other.render(contact, np.random.default_rng(0))).mean() < 20.0


@pytest.mark.parametrize('kind', SENSOR_PROFILES)
def test_without_contact_only_noise_differs(kind):
    rng = np.random.default_rng(0)
    first, second = (RENDERERS[kind].render(ContactState(), rng).astype(float) for _ in range(2))
    assert abs((first - second).mean()) < 0.05
    assert 0.7 < (first - second).std() / np.sqrt(2) < 1.5
    moved = ContactState(0.0, (0.3, 0.2), 5.0, object=STEEL_BALL)
    assert np.array_equal(RENDERERS[kind].render_clean(moved), RENDERERS[kind].render_clean(ContactState()))


@pytest.mark.parametrize('kind', SENSOR_PROFILES)
def test_a_contact_shows(kind):
    pressed = RENDERERS[kind].render_clean(ContactState(5.0, object=STEEL_BALL))
    change = np.abs(pressed - RENDERERS[kind].render_clean(ContactState()))
    assert change[80:160, 110:210].mean() > 4.0


@settings(max_examples=8, deadline=None)
@given(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_shear_moves_markers_by_the_pixels_asked_for(x_px, y_px):
    shear_mm = (x_px * MINI.mm_per_px, y_px * MINI.mm_per_px)
    _, motion = marker_motion_px(ContactState(8.0, shear_mm, object=BLOCK))
    assert np.allclose(motion.mean(axis=0), [x_px, y_px], atol=0.06)


def test_twist_turns_markers_clockwise_about_the_contact():
    before, motion = marker_motion_px(ContactState(8.0, twist_deg=4.0, object=BLOCK))
    lever = before - [159.5, 119.5]
    angle = np.deg2rad(4.0)
    expected = lever @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) - lever
    assert np.abs(motion - expected).mean() < 0.12 and expected[lever[:, 0].argmax(), 1] > 0


@pytest.mark.parametrize('kind', ['gelsight_mini', 'gelsight_mini_markers', 'vitactip'])
def test_the_smallest_shear_changes_the_image_smoothly(kind):
    renderer = RENDERERS[kind]
    steps = np.arange(0.0, 0.31, 0.02) * renderer.profile.mm_per_px
    frames = [renderer.render_clean(ContactState(6.0, (step, 0.0), object=BLOCK)) for step in steps]
    changes = np.array([np.abs(after - before).mean() for before, after in zip(frames[:-1], frames[1:], strict=True)])
    assert changes.min() > 0 and changes.max() < 1.3 * changes.min()
    total = np.abs(frames[-1] - frames[0]).mean()
    assert total > 0.8 * changes.sum()


@pytest.mark.parametrize('kind', ['gelsight_mini', 'vitactip'])
def test_shear_carries_the_imprint_along(kind):
    renderer = RENDERERS[kind]
    still = renderer.render_clean(ContactState(6.0, object=BLOCK))
    sheared = renderer.render_clean(ContactState(6.0, (2.0 * renderer.profile.mm_per_px, 0.0), object=BLOCK))
    background = renderer.render_clean(ContactState())
    inside = np.s_[100:140, 140:180]
    gray = [(frame - background)[inside].mean(axis=2) - (frame - background)[inside].mean()
            for frame in (still, np.roll(sheared, -2, axis=1))]
    unmoved = (sheared - background)[inside].mean(axis=2) - (sheared - background)[inside].mean()
    follow = np.corrcoef(gray[0].ravel(), gray[1].ravel())[0, 1]
    if renderer.profile.markers is None:
        assert follow > 0.98
    assert follow > np.corrcoef(gray[0].ravel(), unmoved.ravel())[0, 1]


def test_twist_turns_the_imprint_as_turning_the_object_does():
    renderer = GelRenderer(dataclasses.replace(SENSOR_PROFILES['vitactip'], markers=None), 0)
    centre = np.s_[75:165, 115:205]
    still, twisted, turned = (
        renderer.render_clean(ContactState(6.0, twist_deg=twist_deg, orientation_deg=orientation_deg, object=BLOCK))
        for twist_deg, orientation_deg in ((0.0, 20.0), (10.0, 20.0), (0.0, 30.0)))
    assert np.abs(twisted - turned)[centre].mean() < 0.3 * np.abs(still - turned)[centre].mean()


def test_a_soft_object_leaves_a_wider_and_flatter_imprint():
    hard = press(MINI, ContactState(1.5, object=STEEL_BALL))
    soft = press(MINI, ContactState(1.5, object=dataclasses.replace(STEEL_BALL, youngs_modulus_mpa=0.3)))
    assert soft.patch_area_mm2 > 1.3 * hard.patch_area_mm2
    steepest = [np.hypot(*np.gradient(surface.height_mm)).max() for surface in (hard, soft)]
    assert steepest[1] < 0.8 * steepest[0]


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 3.0), st.floats(1.1, 3.0))
def test_more_force_presses_deeper_and_wider_up_to_the_limit(force_n, factor):
    light = press(MINI, ContactState(force_n, object=STEEL_BALL))
    firm = press(MINI, ContactState(force_n * factor, object=STEEL_BALL))
    assert firm.height_mm.max() >= light.height_mm.max() - 1e-6
    assert firm.patch_area_mm2 >= light.patch_area_mm2
    assert firm.height_mm.max() < 0.45 * MINI.gel_thickness_mm


def test_the_object_touches_where_its_offset_says():
    surface = press(MINI, ContactState(1.0, offset_mm=(3.0, -2.0), object=STEEL_BALL))
    y, x = np.unravel_index(cv2.GaussianBlur(surface.height_mm, (0, 0), 5).argmax(), (240, 320))
    assert abs((x - 159.5) * MINI.mm_per_px - 3.0) < 0.2 and abs((y - 119.5) * MINI.mm_per_px + 2.0) < 0.2


def test_a_missing_table_names_the_remedy():
    with pytest.raises(ConfigurationError, match='fit_gel_optics'):
        load_optics_table('unknown')
