"""Calibrated probabilities and the distance from known data, against slow oracles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visuotactile_ros.inference.heads import (
    calibrated_probabilities,
    most_likely,
)

logits = hnp.arrays(np.float32, st.integers(2, 12), elements=st.floats(-1e4, 1e4, width=32))
temperatures = st.floats(0.05, 20)


@given(logits, temperatures)
def test_probabilities_are_a_distribution_in_the_order_of_the_logits(values, temperature):
    probabilities = calibrated_probabilities(values, temperature)
    assert probabilities.dtype == np.float32 and (probabilities >= 0).all()
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    order = np.argsort(values, kind='stable')
    assert (np.diff(probabilities[order]) >= 0).all()


@given(hnp.arrays(np.float32, 4, elements=st.floats(-20, 20, width=32)), temperatures)
def test_probabilities_are_the_formula(values, temperature):
    exponentials = [math.exp(float(value) / temperature - 400) for value in values]
    if min(exponentials) == 0.0:   # the plain formula underflows where the stable one does not
        return
    expected = [value / math.fsum(exponentials) for value in exponentials]
    np.testing.assert_allclose(calibrated_probabilities(values, temperature), expected, rtol=1e-5, atol=1e-7)


@given(logits, temperatures, st.floats(-100, 100))
def test_a_constant_added_to_all_logits_changes_nothing(values, temperature, constant):
    shifted = values.astype(np.float64) + constant
    np.testing.assert_allclose(calibrated_probabilities(shifted, temperature),
                               calibrated_probabilities(values, temperature), atol=1e-5)


def test_a_higher_temperature_is_less_sure():
    values = np.array([2.0, 0.0, -1.0], dtype=np.float32)
    largest = [calibrated_probabilities(values, temperature).max() for temperature in (0.5, 1.0, 2.0, 100.0)]
    assert largest == sorted(largest, reverse=True)
    assert largest[-1] == pytest.approx(1 / 3, abs=0.01)


def test_rows_are_independent():
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    together = calibrated_probabilities(rows, 1.5)
    np.testing.assert_array_equal(together, [calibrated_probabilities(row, 1.5) for row in rows])


def test_the_likeliest_class_is_named():
    label, probability = most_likely(('soft', 'hard'), np.array([0.25, 0.75], dtype=np.float32))
    assert (label, probability) == ('hard', 0.75)
