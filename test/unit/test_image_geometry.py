"""Crop, rotate, mirror, resize and colour order between a device and a Frame."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors.image_geometry import ImageGeometry

FRACTIONS = st.floats(0.0, 0.45)
SIZES = st.integers(8, 60)


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(FRACTIONS, st.integers(0, 3), st.booleans(), SIZES, SIZES, SIZES, SIZES)
def test_result_always_has_the_promised_form(fraction, turns, mirror, width, height, source_width, source_height):
    result = ImageGeometry(fraction, turns, mirror, width, height).apply(random_image(source_height, source_width))
    assert result.shape == (height, width, 3) and result.dtype == np.uint8 and result.flags.c_contiguous


@given(FRACTIONS, SIZES, SIZES)
def test_crop_keeps_exactly_the_middle(fraction, width, height):
    source = random_image(height, width)
    rows, columns = int(fraction * height), int(fraction * width)
    middle = source[rows:height - rows, columns:width - columns]
    result = ImageGeometry(fraction, 0, False, middle.shape[1], middle.shape[0]).apply(source)
    np.testing.assert_array_equal(result, middle[:, :, ::-1])


@given(st.integers(0, 3), st.booleans(), SIZES, SIZES)
def test_rotation_and_mirror_move_every_pixel_where_opencv_moves_it(turns, mirror, width, height):
    source = random_image(height, width)
    codes = (None, cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)
    expected = source if turns == 0 else cv2.rotate(source, codes[turns])
    expected = cv2.flip(expected, 1) if mirror else expected
    result = ImageGeometry(0.0, turns, mirror, expected.shape[1], expected.shape[0]).apply(source)
    np.testing.assert_array_equal(result, cv2.cvtColor(expected, cv2.COLOR_BGR2RGB))


@given(st.tuples(*[st.integers(0, 255)] * 3), FRACTIONS, SIZES, SIZES)
def test_an_even_colour_stays_and_changes_from_bgr_to_rgb(bgr, fraction, width, height):
    result = ImageGeometry(fraction, 1, True, width, height).apply(np.full((40, 50, 3), bgr, np.uint8))
    assert (result == np.array(bgr[::-1], np.uint8)).all()


def test_gelsight_crop_equals_what_the_vendor_shows():
    """Reading, RGB, 15 % off each border, bilinear resize to 320x240, written out step by step."""
    source = random_image(480, 640)
    rgb = cv2.cvtColor(source, cv2.COLOR_BGR2RGB)
    expected = cv2.resize(rgb[72:480 - 72, 96:640 - 96], (320, 240))
    np.testing.assert_array_equal(ImageGeometry(0.15, 0, False, 320, 240).apply(source), expected)


@given(FRACTIONS, st.integers(0, 3), SIZES, SIZES, st.integers(8, 700), st.integers(8, 700))
def test_reduced_by_the_largest_factor_a_picture_is_never_enlarged_and_by_the_next_it_would_be(
        fraction, turns, width, height, source_width, source_height):
    geometry = ImageGeometry(fraction, turns, False, width, height)

    def enlarged(reduction):
        reduced = np.zeros((-(-source_height // reduction), -(-source_width // reduction)))
        rows, columns = int(fraction * reduced.shape[0]), int(fraction * reduced.shape[1])
        kept = np.rot90(reduced[rows:reduced.shape[0] - rows, columns:reduced.shape[1] - columns], turns)
        return kept.shape[0] < height or kept.shape[1] < width
    reduction = geometry.largest_reduction(source_width, source_height)
    assert reduction in (1, 2, 4, 8)
    assert reduction == 1 or not enlarged(reduction)
    assert reduction == 8 or enlarged(2 * reduction)


@pytest.mark.parametrize(('border_fraction', 'turns', 'source_size', 'reduction'), [
    (0.15, 0, (3280, 2464), 4), (0.0, 0, (640, 480), 2), (0.01, 0, (640, 480), 1), (0.0, 0, (320, 240), 1),
    (0.0, 0, (64, 48), 1), (0.0, 1, (960, 1280), 4), (0.0, 0, (960, 1280), 2), (0.0, 2, (2560, 1920), 8)])
def test_reduction_of_common_cameras(border_fraction, turns, source_size, reduction):
    assert ImageGeometry(border_fraction, turns, False, 320, 240).largest_reduction(*source_size) == reduction


@pytest.mark.parametrize('image', [
    None, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32),
    np.zeros((0, 4, 3), np.uint8)])
def test_anything_but_a_colour_picture_is_refused(image):
    with pytest.raises(SensorError):
        ImageGeometry(0.0, 0, False, 8, 8).apply(image)
