"""The no-contact reference, what refuses one that was taken in contact, and the contact flag."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from visuotactile_ros.errors import SensorError
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.recorded_images import read_image
from visuotactile_ros.sensors.reference_frame import (
    ReferenceFrame,
    change_level,
    imprint_level,
    mean_difference,
    no_contact_statistics,
    robust_mean,
)

HEIGHT, WIDTH = 48, 64


def gel(seed, press=0.0, level=100.0, shape=(HEIGHT, WIDTH, 3)):
    """A noisy even gel; `press` grey levels are added in a patch of one sixteenth of the image."""
    image = np.random.default_rng(seed).normal(level, 1.5, shape)
    image[:shape[0] // 4, :shape[1] // 4] += press
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def reference_frame(frames=8):
    return ReferenceFrame('left', frames, 0.5, 0.5, 0.3)


def with_reference():
    reference = reference_frame()
    for seed in range(8):
        reference.update(gel(seed))
    return reference


def test_reference_is_there_after_its_frames_and_not_before():
    reference = reference_frame(frames=8)
    for seed in range(7):
        reference.update(gel(seed))
        assert reference.image_hwc is None and reference.is_collecting and not reference.in_contact
    reference.update(gel(7))
    assert reference.image_hwc.shape == (HEIGHT, WIDTH, 3) and reference.image_hwc.dtype == np.uint8
    assert not reference.is_collecting
    assert np.abs(reference.image_hwc.astype(float) - 100.0).mean() < 1.0


def test_contact_begins_above_one_level_and_ends_below_a_lower_one():
    reference = with_reference()
    # A patch of one sixteenth that is p levels brighter differs by p / 16 in the mean; on at 0.5, off at 0.3.
    answers = []
    for press in (0.0, 6.4, 11.2, 6.4, 3.2, 6.4):
        reference.update(gel(100, press))
        answers.append(reference.in_contact)
    assert answers == [False, False, True, True, False, False]


def test_noise_alone_is_far_from_contact():
    reference = with_reference()
    reference.update(gel(100))
    assert reference.difference_level < 0.3


def test_frames_that_differ_give_no_reference_and_collecting_begins_anew():
    reference = reference_frame(frames=4)
    with pytest.raises(SensorError, match='left: the frames of the reference differ by .* Keep the gel free and still'):
        for seed, press in enumerate((0.0, 0.0, 40.0, 80.0)):
            reference.update(gel(seed, press))
    assert reference.image_hwc is None and reference.is_collecting
    for seed in range(4):
        reference.update(gel(seed))
    assert reference.image_hwc is not None


def test_light_that_has_drifted_is_contact_until_a_new_reference_is_asked_for():
    background = real_frame(REAL_FRAMES / 'gelsight_mini_background.jpg')
    reference = at_start('gelsight_mini', background)
    brighter = np.clip(background * 1.05, 0, 255).astype(np.uint8)
    reference.update(brighter)
    assert reference.in_contact
    reference.request()
    for _ in range(3):
        reference.update(brighter)
    assert not reference.in_contact and not reference.is_collecting
    np.testing.assert_array_equal(reference.image_hwc, brighter)


def test_requested_reference_replaces_the_old_one_only_when_complete():
    reference = with_reference()
    old = reference.image_hwc
    reference.request()
    for seed in range(7):
        reference.update(gel(seed, level=100.2))
        assert reference.image_hwc is old
    reference.update(gel(7, level=100.2))
    assert reference.image_hwc is not old


def test_failed_request_keeps_the_old_reference():
    reference = with_reference()
    old = reference.image_hwc
    reference.request()
    with pytest.raises(SensorError, match='differ by'):
        for seed in range(8):
            reference.update(gel(seed, 50.0 * (seed % 2)))
    assert reference.image_hwc is old


def test_frames_of_another_size_are_refused_and_a_new_reference_begins():
    reference = with_reference()
    with pytest.raises(SensorError, match='changed its frames'):
        reference.update(gel(0, shape=(24, 32, 3)))
    for seed in range(8):
        reference.update(gel(seed, shape=(24, 32, 3)))
    assert reference.image_hwc.shape == (24, 32, 3)


@given(arrays.arrays(np.uint8, (9, 4, 5, 3)))
def test_two_wild_frames_of_nine_do_not_move_the_reference(images):
    images[:, :] = images[0]
    images[3], images[7] = 0, 255
    np.testing.assert_array_equal(robust_mean(list(images)), images[0])


@given(arrays.arrays(np.uint8, st.tuples(st.integers(3, 9), st.just(4), st.just(4), st.just(3))))
def test_reference_lies_between_darkest_and_brightest(images):
    reference = robust_mean(list(images))
    assert (images.min(axis=0) <= reference).all() and (reference <= images.max(axis=0)).all()


@given(arrays.arrays(np.uint8, (16, 24, 3)), arrays.arrays(np.uint8, (16, 24, 3)))
def test_difference_is_a_symmetric_distance(first, second):
    assert mean_difference(first, first) == 0.0
    assert mean_difference(first, second) == mean_difference(second, first)
    assert 0.0 <= mean_difference(first, second) <= 255.0


@given(st.integers(0, 255), st.integers(0, 255))
def test_difference_of_even_images_is_that_of_their_levels(first, second):
    shape = (16, 24, 3)
    assert mean_difference(np.full(shape, first, np.uint8), np.full(shape, second, np.uint8)) == abs(first - second)


REAL_FRAMES = Path(__file__).parents[1] / 'data' / 'real_frames'


def real_frame(path):
    """A real gel image at the published size."""
    return ImageGeometry(0.0, 0, False, 320, 240).apply(read_image(path))


@pytest.mark.parametrize('sensor', ['gelsight', 'gelsight_mini'])
def test_every_real_ball_press_is_contact_with_the_default_levels(sensor):
    settings = SensorParameters()
    presses = sorted(REAL_FRAMES.glob(f'{sensor}_[0-9][0-9].jpg'))
    assert len(presses) >= 10
    background = real_frame(REAL_FRAMES / f'{sensor}_background.jpg')
    reference = ReferenceFrame(sensor, settings.reference_frames, settings.reference_disagreement_level,
                               settings.contact_on_level, settings.contact_off_level)
    for _ in range(settings.reference_frames):
        reference.update(background)
    assert not reference.in_contact
    for press in presses:
        reference.update(background)
        assert not reference.in_contact
        reference.update(real_frame(press))
        assert reference.in_contact, f'{press.name} differs by {reference.difference_level}'


CALIBRATION = Path(__file__).parents[2] / 'docs' / 'results' / 'gel_health.json'
PROPOSED = json.loads(CALIBRATION.read_text())['touch_at_start']


def at_start(sensor, image, earlier=None):
    """The reference of a start with one still image."""
    reference = ReferenceFrame(sensor, 3, 0.5, 0.5, 0.3, earlier_reference_hwc=earlier,
                               touched_change_level=PROPOSED[sensor]['proposed_change_level'],
                               touched_imprint_level=PROPOSED[sensor]['proposed_imprint_level'])
    for _ in range(3):
        reference.update(image)
    return reference


@pytest.mark.parametrize('sensor', ['gelsight', 'gelsight_mini'])
def test_real_ball_presses_at_the_start_are_refused_and_the_untouched_gel_accepted(sensor):
    background = real_frame(REAL_FRAMES / f'{sensor}_background.jpg')
    assert at_start(sensor, background).image_hwc is not None
    assert at_start(sensor, background, background).image_hwc is not None
    for press in sorted(REAL_FRAMES.glob(f'{sensor}_[0-9][0-9].jpg'))[::3]:
        with pytest.raises(SensorError, match='first reference shows an imprint .* Take the object off'):
            at_start(sensor, real_frame(press))
        with pytest.raises(SensorError, match='differs by .* from the one before, the limit is'):
            at_start(sensor, real_frame(press), background)


def test_a_real_strawberry_at_the_start_is_refused():
    with pytest.raises(SensorError, match='is touched'):
        at_start('gelsight_mini', real_frame(REAL_FRAMES / 'gelsight_mini_strawberry.jpg'))


def test_a_refused_start_begins_anew_and_ends_when_the_object_is_gone():
    background = real_frame(REAL_FRAMES / 'gelsight_mini_background.jpg')
    press = real_frame(REAL_FRAMES / 'gelsight_mini_06.jpg')
    reference = ReferenceFrame('left', 3, 0.5, 0.5, 0.3, touched_imprint_level=8.0)
    reference.update(press)
    reference.update(press)
    with pytest.raises(SensorError, match='left is touched'):
        reference.update(press)
    assert reference.is_collecting and reference.image_hwc is None and not reference.in_contact
    np.testing.assert_array_equal(reference.refused[0], press)
    assert reference.refused[1].frames == 3
    for _ in range(3):
        reference.update(background)
    assert reference.image_hwc is not None and reference.refused is None
    reference.update(press)
    assert reference.in_contact


def test_a_requested_reference_is_compared_with_the_one_before():
    background = real_frame(REAL_FRAMES / 'gelsight_mini_background.jpg')
    press = real_frame(REAL_FRAMES / 'gelsight_mini_06.jpg')
    reference = ReferenceFrame('left', 3, 0.5, 0.5, 0.3, touched_change_level=7.0)
    for _ in range(3):
        reference.update(background)
    reference.request()
    old = reference.image_hwc
    with pytest.raises(SensorError, match='is touched.* from the one before.* Take the object off'):
        for _ in range(3):
            reference.update(press)
    assert reference.image_hwc is old and reference.in_contact
    # Whoever asked has been told; no other reference is taken behind his back.
    assert not reference.is_collecting


def test_a_stored_reference_of_another_size_is_left_aside():
    background = real_frame(REAL_FRAMES / 'gelsight_mini_background.jpg')
    assert at_start('gelsight_mini', background, np.zeros((48, 64, 3), np.uint8)).image_hwc is not None


def test_a_change_of_the_light_is_no_touch():
    background = real_frame(REAL_FRAMES / 'gelsight_mini_background.jpg')
    brighter = np.clip(background * 1.1, 0, 255).astype(np.uint8)
    assert mean_difference(brighter, background) > 5.0
    assert change_level(brighter, background) < 1.5


@given(arrays.arrays(np.uint8, (6, 8, 3)), arrays.arrays(np.uint8, (6, 8, 3)))
def test_touch_levels_are_symmetric_distances_and_blind_to_an_even_picture(first, second):
    assert change_level(first, first) == 0.0
    assert change_level(first, second) == pytest.approx(change_level(second, first), abs=1e-4)
    assert imprint_level(np.full((6, 8, 3), first[0, 0], np.uint8)) < 1e-3


@given(arrays.arrays(np.uint8, (6, 8)))
def test_marks_without_colour_are_no_imprint(grey):
    assert imprint_level(np.repeat(grey[..., None], 3, axis=2)) < 1e-2


@pytest.mark.parametrize('noise_level', [1.0, 4.0])
def test_statistics_tell_the_noise(noise_level):
    rng = np.random.default_rng(0)
    images = [np.clip(np.rint(rng.normal(120.0, noise_level, (96, 128, 3))), 0, 255).astype(np.uint8)
              for _ in range(15)]
    statistics = no_contact_statistics(images)
    assert statistics.frames == 15
    assert statistics.noise_level == pytest.approx(noise_level, rel=0.15)
