"""Shear and twist from displacement fields and from rendered frames; the imprint's flow on gels without markers."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.sensors.contact_outline import ContactOutline
from visuotactile_ros.sensors.gel_kinds import GEL_KINDS
from visuotactile_ros.sensors.gel_motion import SHEAR_FALLOFF_MM, TWIST_FALLOFF_MM, fit_motion
from visuotactile_ros.sensors.marker_tracking import DisplacementField
from visuotactile_ros.sensors.shear import ShearEstimator
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.objects import ObjectParameters
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

MM_PER_PX, SIZE_PX = 0.06, (320, 240)
GRID = np.stack(np.meshgrid(np.arange(16.0, 320, 32), np.arange(14.0, 240, 30)), -1).reshape(-1, 2)
BALL = ObjectParameters(material='metal', shape='sphere', radius_mm=7.0, youngs_modulus_mpa=1e5)
BLOCK = ObjectParameters(material='stone', youngs_modulus_mpa=1e4, texture_amplitude_mm=0.05, texture_wavelength_mm=1.5,
                         texture_seed=4)
RENDERERS = {kind: GelRenderer(profile, 3) for kind, profile in SENSOR_PROFILES.items()}
shears = st.floats(-8.0, 8.0)
twists = st.floats(-12.0, 12.0)


def around(centre, radius_px):
    """Outline of a round contact, clockwise in the image, wider by the margin that the fit takes off."""
    angle, wide = np.linspace(0.0, 2 * np.pi, 64, endpoint=False), radius_px + 0.25 / MM_PER_PX
    return (np.array(centre) + wide * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)


def field_of(shear, twist_deg, centre, radius_px):
    """Displacement around a round contact whose middle rests at `centre`, with the fall-offs of the literature."""
    turn, lever = np.deg2rad(twist_deg), GRID - centre
    turned = lever @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) - lever
    moved = np.zeros_like(GRID)
    for _ in range(50):  # The contact lies where the gel has gone.
        outside_mm = np.maximum(np.linalg.norm(GRID + moved - centre - shear, axis=1) - radius_px, 0.0) * MM_PER_PX
        moved = (np.exp(-0.5 * (outside_mm / SHEAR_FALLOFF_MM) ** 2)[:, None] * shear
                 + np.exp(-0.5 * (outside_mm / TWIST_FALLOFF_MM) ** 2)[:, None] * turned)
    return moved


# The same draws every time: about one in 1500 has a contact so small that its wild and lost markers outvote the rest.
@settings(max_examples=200, deadline=None, derandomize=True)
@given(shears, shears, twists, st.floats(35.0, 90.0), st.integers(0, 2 ** 31))
def test_the_fit_finds_shear_and_twist_among_noise_wild_and_lost_markers(x, y, twist_deg, radius_px, seed):
    rng, shear, centre = np.random.default_rng(seed), np.array([x, y]), np.array([170.0, 110.0])
    moved = field_of(shear, twist_deg, centre, radius_px) + rng.normal(0.0, 0.1, GRID.shape)
    kind_of_fault = rng.permutation(len(GRID))
    moved[kind_of_fault < 4] += rng.uniform(-15.0, 15.0, (4, 2))
    field = DisplacementField(GRID, moved, kind_of_fault < 2 * len(GRID) // 3)
    # The outlines that an image offers are too wide, right and too narrow.
    outlines = [around(centre + shear, factor * radius_px) for factor in (1.8, 1.0, 0.6)]
    motion = fit_motion(field, outlines, SIZE_PX, MM_PER_PX)
    assert np.linalg.norm(motion.shear_px - shear) < 0.6 and abs(motion.twist_deg - twist_deg) < 1.2


@settings(max_examples=20, deadline=None)
@given(shears, shears, twists)
def test_a_gel_that_moves_as_one_piece_needs_no_outline(x, y, twist_deg):
    middle = (np.array(SIZE_PX) - 1.0) / 2.0
    turn, lever = np.deg2rad(twist_deg), GRID - middle
    moved = lever @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) - lever + [x, y]
    motion = fit_motion(DisplacementField(GRID, moved, np.ones(len(GRID), bool)), [], SIZE_PX, MM_PER_PX)
    # Shear is the motion of what lies in the middle now.
    back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    assert np.allclose(motion.shear_px, back @ [x, y], atol=0.03) and abs(motion.twist_deg - twist_deg) < 1e-3
    assert np.allclose(motion.rigid_px, moved, atol=0.01) and motion.error_px < 0.01


def frames(kind, contacts, seed=0):
    """An estimator with its reference, and rendered frames of contacts."""
    rng = np.random.default_rng(seed)
    reference = RENDERERS[kind].render(ContactState(), rng)
    return ShearEstimator(kind, reference), [RENDERERS[kind].render(contact, rng) for contact in contacts]


def moved_in_steps(contact, shear_px, twist_deg, mm_per_px, steps=6):
    """Pressed twice, then moved in equal steps."""
    return [contact, contact, *(dataclasses.replace(
        contact, shear_mm=tuple(share * mm_per_px * np.array(shear_px)), twist_deg=share * twist_deg)
        for share in np.linspace(1 / steps, 1.0, steps))]


@pytest.mark.parametrize('kind, touching', [('gelsight_mini_markers', BALL), ('gelsight_mini_markers', BLOCK),
                                            ('vitactip', BALL), ('vitactip', BLOCK), ('gelsight_mini', BLOCK),
                                            ('digit', BLOCK)])
def test_rendered_shear_and_twist_are_measured(kind, touching):
    mm_per_px = SENSOR_PROFILES[kind].mm_per_px
    estimator, images = frames(kind, moved_in_steps(ContactState(5.0, object=touching), (5.0, -3.0), 6.0, mm_per_px))
    for image in images:
        estimate = estimator.update(image)
    # A turn of 6 degrees makes 0.1 px of every pixel by which the middle of the contact is missed.
    assert np.linalg.norm(np.subtract(estimate.shear_px, (5.0, -3.0))) < 0.9
    assert abs(estimate.twist_deg - 6.0) < 0.7
    seen = 0 if estimate.markers is None else estimate.markers.is_seen.sum()
    assert (seen > 50) == (GEL_KINDS[kind].markers is not None)
    assert estimate.is_slipping is (None if GEL_KINDS[kind].markers is None else False)


@pytest.mark.parametrize('kind', GEL_KINDS)
def test_a_press_alone_is_no_shear(kind):
    estimator, images = frames(kind, [ContactState(force_n, object=BALL) for force_n in (0.5, 2.0, 4.0, 6.0, 6.0)])
    for image in images:
        estimate = estimator.update(image)
    assert np.linalg.norm(estimate.shear_px) < 0.5 and abs(estimate.twist_deg) < 0.5


@pytest.mark.parametrize('kind', GEL_KINDS)
def test_a_free_gel_has_no_shear_and_an_ended_contact_leaves_none(kind):
    mm_per_px = SENSOR_PROFILES[kind].mm_per_px
    contacts = [*moved_in_steps(ContactState(5.0, object=BALL), (6.0, 4.0), 0.0, mm_per_px, 3), ContactState()]
    estimator, images = frames(kind, contacts)
    sizes = [np.linalg.norm(estimator.update(image).shear_px) for image in images]
    assert sizes[-2] > 5.0 and sizes[-1] < 0.1


def test_an_imprint_that_grows_while_it_moves_is_followed_through_new_key_frames():
    mm_per_px = SENSOR_PROFILES['gelsight_mini'].mm_per_px
    rough_ball = dataclasses.replace(BALL, material='plastic', radius_mm=12.0, texture_amplitude_mm=0.05,
                                     texture_wavelength_mm=0.9, texture_seed=3)
    estimator, images = frames('gelsight_mini', [
        ContactState(1.0 + 15.0 * share, offset_mm=(2.0 * share, -1.0 * share), object=rough_ball)
        for share in (0.0, 0.0, *np.linspace(0.0, 1.0, 20))])
    for image in images:
        estimate = estimator.update(image)
    assert np.allclose(estimate.shear_px, np.array([2.0, -1.0]) / mm_per_px, atol=2.0)
    assert abs(estimate.twist_deg) < 0.7


def test_outlines_enclose_the_contact_and_there_are_none_without_it():
    rng, renderer = np.random.default_rng(0), RENDERERS['gelsight_mini_markers']
    outline = ContactOutline(renderer.render(ContactState(), rng), 5.6, True)
    assert outline.outlines_px(renderer.render(ContactState(), rng)) == []
    found = outline.outlines_px(renderer.render(ContactState(4.0, offset_mm=(2.0, -1.0), object=BALL), rng))
    middle = np.array([2.0, -1.0]) / renderer.profile.mm_per_px + [159.5, 119.5]
    for corners in found[:3]:
        assert (corners.min(axis=0) < middle).all() and (middle < corners.max(axis=0)).all()
    widths = [np.ptp(corners[:, 0]) for corners in found]
    assert len(found) >= 3 and widths == sorted(widths, reverse=True) and widths[0] < 200


def test_a_sensor_without_gel_and_frames_that_tell_nothing_are_refused():
    image = np.zeros((240, 320, 3), np.uint8)
    with pytest.raises(ConfigurationError, match='a wrist_camera has no gel. Set shear and depth to false'):
        ShearEstimator('wrist_camera', image)
    estimator, _ = frames('vitactip', [])
    with pytest.raises(SensorError, match='Take the reference anew'):
        estimator.update(image[:120])
    with pytest.raises(SensorError, match='0 of [0-9]+ markers are to be seen, 8 are needed. Clean the gel'):
        estimator.update(image)


@pytest.mark.parametrize('kind', SENSOR_PROFILES)
def test_what_is_known_about_a_kind_is_what_the_simulator_knows(kind):
    gel, profile = GEL_KINDS[kind], SENSOR_PROFILES[kind]
    assert gel.width_mm == profile.width_mm and gel.optics_table == profile.optics_table
    assert (gel.markers is None) == (profile.markers is None)
    if gel.markers is not None:
        assert gel.markers.radius_mm == profile.markers.radius_mm
        assert gel.markers.is_dark == (max(profile.markers.rgb) < 128)
