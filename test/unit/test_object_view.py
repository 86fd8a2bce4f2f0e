"""Camera images of objects: shape, determinism, and that they show what the record says."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.simulation.object_view import render_object_view, render_wrist_view
from visuotactile_ros.simulation.objects import ObjectParameters, sample_object


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2 ** 32 - 1), st.sampled_from([32, 64, 128]))
def test_a_view_is_an_rgb_image_and_repeats(seed, size_px):
    obj = sample_object(np.random.default_rng(seed))
    view = render_object_view(obj, np.random.default_rng(seed), size_px)
    assert view.dtype == np.uint8 and view.shape == (size_px, size_px, 3)
    assert np.array_equal(view, render_object_view(obj, np.random.default_rng(seed), size_px))


def test_a_view_shows_the_colour():
    red = ObjectParameters(albedo_rgb=(0.8, 0.1, 0.1), gloss=0.1)
    mean = render_object_view(red, np.random.default_rng(0)).reshape(-1, 3).mean(axis=0)
    assert mean[0] > 2 * mean[1] and mean[0] > 2 * mean[2]


def test_a_rough_object_shows_more_contrast_than_a_smooth_one():
    smooth = ObjectParameters(material='stone', texture_amplitude_mm=0.008, texture_wavelength_mm=2.0, gloss=0.0)
    rough = dataclasses.replace(smooth, texture_amplitude_mm=0.12)
    contrast = [render_object_view(obj, np.random.default_rng(1)).std() for obj in (smooth, rough)]
    assert contrast[1] > 1.2 * contrast[0]


def test_a_wrist_view_is_an_rgb_image_at_every_tilt_and_content():
    vessel = ObjectParameters(albedo_rgb=(0.2, 0.3, 0.8))
    for tilt_deg in (-10.0, 0.0, 60.0, 130.0):
        for content_fraction in (0.0, 0.001, 0.5, 1.0):
            view = render_wrist_view(vessel, tilt_deg, content_fraction, np.random.default_rng(0))
            assert view.dtype == np.uint8 and view.shape == (240, 320, 3)


def test_beads_cover_the_area_their_fraction_asks_for():
    vessel = ObjectParameters(albedo_rgb=(0.1, 0.1, 0.9), gloss=0.0)

    def bead_pixels(tilt_deg, content_fraction):
        view = render_wrist_view(vessel, tilt_deg, content_fraction, np.random.default_rng(0)).astype(int)
        return int(((view[:, 100:220, 0] - view[:, 100:220, 2]) > 30).sum())

    half, full = bead_pixels(0.0, 0.5), bead_pixels(0.0, 1.0)
    assert 0.45 < half / full < 0.55
    assert 0.9 < bead_pixels(70.0, 0.5) / half < 1.1
    assert bead_pixels(0.0, 0.0) < 0.02 * full


def test_the_bench_turns_against_the_camera():
    vessel = ObjectParameters()
    upright = render_wrist_view(vessel, 0.0, 0.0, np.random.default_rng(0)).astype(int)
    tilted = render_wrist_view(vessel, 90.0, 0.0, np.random.default_rng(0)).astype(int)
    assert upright[230, :30].mean() < upright[10, :30].mean() - 30
    assert tilted[20, -20:].mean() < tilted[20, :20].mean() - 30
