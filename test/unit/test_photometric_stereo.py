"""Depth and normals: exact integration, an inverse that inverts, and balls of known radius, rendered and real."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.sensors.optics_table import load_optics_table, place_terms, slope_terms
from visuotactile_ros.sensors.photometric_stereo import PhotometricStereo
from visuotactile_ros.sensors.recorded_images import read_image
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.gel_surface import press
from visuotactile_ros.simulation.objects import ObjectParameters
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

KINDS = ('gelsight_mini', 'digit', 'gelsight')
GREY = np.full((240, 320, 3), 128, np.uint8)
STEREOS = {kind: PhotometricStereo(kind, GREY) for kind in KINDS}
REAL_FRAMES = Path(__file__).parents[1] / 'data' / 'real_frames'
REAL_BALL_RADIUS_MM, REAL_MM_PER_PX = 2.0, 18.9 / 320


def shaded(kind, slope_x, slope_y):
    """Frame of a grey gel with given slopes, by the calibration table, pixel by pixel."""
    rows, columns = np.mgrid[0:240, 0:320]
    change = np.einsum('spc,shw,phw->hwc', load_optics_table(SENSOR_PROFILES[kind].optics_table).response,
                       slope_terms(slope_x, slope_y), place_terms(columns.astype(float), rows.astype(float)))
    return np.clip(np.rint(GREY + change), 0, 255).astype(np.uint8)


# Around x = 80 the table of the DIGIT gives opposite slopes nearly the same colour.
@pytest.mark.parametrize('kind, leftmost_px', [('gelsight_mini', 60.0), ('digit', 170.0), ('gelsight', 60.0)])
@settings(max_examples=3, deadline=None)
@given(st.floats(0.0, 1.0), st.floats(60.0, 180.0), st.floats(0.1, 0.5), st.floats(14.0, 30.0))
def test_a_smooth_hill_is_measured_as_it_is(kind, leftmost_px, share_of_way, y, steepest, width_px):
    x, height_mm = leftmost_px + share_of_way * (260.0 - leftmost_px), steepest * width_px * 0.06 / 0.607
    mm_per_px = SENSOR_PROFILES[kind].mm_per_px
    rows, columns = np.mgrid[0:240, 0:320]
    hill = height_mm * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / width_px ** 2)
    rise_y, rise_x = np.gradient(hill, mm_per_px)
    surface = STEREOS[kind].measure(shaded(kind, rise_x, rise_y))
    assert np.abs(surface.depth_mm - hill).max() < 0.06 * height_mm + 0.025
    normals = np.dstack([-rise_x, -rise_y, np.ones_like(rise_x)])
    cosine = (surface.normals * normals).sum(axis=2) / np.linalg.norm(normals, axis=2)
    assert np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0))).mean() < 1.0


@pytest.mark.parametrize('kind', KINDS)
def test_an_untouched_gel_is_flat(kind):
    surface = STEREOS[kind].measure(GREY)
    assert surface.depth_mm.shape == (240, 320) and surface.depth_mm.dtype == np.float32
    assert np.abs(surface.depth_mm).max() < 0.01 and surface.normals[..., 2].min() > 0.9999
    assert np.allclose(np.linalg.norm(surface.normals, axis=2), 1.0, atol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_a_rendered_ball_has_its_depth(kind):
    rng, renderer = np.random.default_rng(0), GelRenderer(SENSOR_PROFILES[kind], 1)
    contact = ContactState(2.0, offset_mm=(1.0, -0.5), object=ObjectParameters(
        material='metal', shape='sphere', radius_mm=6.0, youngs_modulus_mpa=1e5))
    height_mm = press(SENSOR_PROFILES[kind], contact).height_mm
    surface = PhotometricStereo(kind, renderer.render(ContactState(), rng)).measure(renderer.render(contact, rng))
    assert abs(surface.depth_mm.max() - height_mm.max()) < 0.15 * height_mm.max()
    assert np.abs(surface.depth_mm - height_mm).mean() < 0.05 * height_mm.max()
    row, column = np.unravel_index(cv2.GaussianBlur(surface.depth_mm, (0, 0), 3).argmax(), (240, 320))
    assert np.hypot((column - 159.5) * renderer.profile.mm_per_px - 1.0,
                    (row - 119.5) * renderer.profile.mm_per_px + 0.5) < 0.3


def real_frame(name):
    return np.ascontiguousarray(read_image(REAL_FRAMES / name)[..., ::-1])


def test_real_balls_are_as_round_as_they_are():
    stereo, shares = PhotometricStereo('gelsight', real_frame('gelsight_background.jpg')), []
    labels = (line.split(',') for line in (REAL_FRAMES / 'labels.csv').read_text().splitlines())
    presses = [line for line in labels if line[1] == 'gelsight' and line[0].endswith(('0.jpg', '4.jpg'))]
    for file, _, *numbers in presses:
        x_px, y_px, radius_px = (float(number) for number in numbers)
        distance_mm = np.hypot(np.arange(320)[None] - x_px, np.arange(240)[:, None] - y_px) * REAL_MM_PER_PX
        rim_mm = 0.95 * min(radius_px * REAL_MM_PER_PX, 0.98 * REAL_BALL_RADIUS_MM)
        ball_mm = np.sqrt(np.maximum(REAL_BALL_RADIUS_MM ** 2 - distance_mm ** 2, 0.0))
        true_mm = ball_mm - np.sqrt(REAL_BALL_RADIUS_MM ** 2 - rim_mm ** 2)
        depth_mm, inside = stereo.measure(real_frame(file)).depth_mm, distance_mm < rim_mm
        measured_mm = depth_mm - depth_mm[np.abs(distance_mm - rim_mm) < REAL_MM_PER_PX].mean()
        shares.append(np.abs(measured_mm - true_mm)[inside].mean() / true_mm.max())
    assert len(shares) == 10 and np.mean(shares) < 0.1 and max(shares) < 0.2


def test_frames_of_half_the_size_give_the_same_depth():
    rng, renderer = np.random.default_rng(0), GelRenderer(SENSOR_PROFILES['gelsight_mini'], 1)
    images = [renderer.render(contact, rng) for contact in (ContactState(), ContactState(3.0, object=ObjectParameters(
        shape='sphere', radius_mm=6.0)))]
    whole = PhotometricStereo('gelsight_mini', images[0]).measure(images[1]).depth_mm
    halves = [cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA) for image in images]
    half = PhotometricStereo('gelsight_mini', halves[0]).measure(halves[1]).depth_mm
    assert abs(half.max() - whole.max()) < 0.1 * whole.max()


@pytest.mark.parametrize('kind', ['gelsight_mini_markers', 'vitactip', 'wrist_camera'])
def test_a_kind_whose_colours_tell_no_depth_is_refused(kind):
    with pytest.raises(ConfigurationError, match=f'{kind} tell no depth. Use one of gelsight_mini, digit'):
        PhotometricStereo(kind, GREY)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigurationError, match='319x240. Use even sides'):
        PhotometricStereo('digit', GREY[:, :319])
    with pytest.raises(SensorError, match='Take the reference anew'):
        STEREOS['digit'].measure(GREY[:120])
