"""Every loss against a slow loop written from the paper's formula."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses.decoupled_learning import decoupled_learning, sensor_log_probabilities
from training.losses.gradient_reversal import reverse_gradient
from training.losses.info_nce import symmetric_info_nce


def unit_rows(seed: int, rows: int, columns: int) -> torch.Tensor:
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, columns)))
    return values / values.norm(dim=1, keepdim=True)


def cosine(first, second) -> float:
    product = sum(float(a) * float(b) for a, b in zip(first, second, strict=True))
    return product / math.sqrt(sum(float(a) ** 2 for a in first) * sum(float(b) ** 2 for b in second))


def slow_symmetric_info_nce(first, second, temperature: float) -> float:
    """Eq. 5 of TLV-CoRe, term by term."""
    count, total = len(first), 0.0
    for i in range(count):
        own = math.exp(cosine(first[i], second[i]) / temperature)
        total += math.log(own / sum(math.exp(cosine(first[i], second[j]) / temperature) for j in range(count)))
        total += math.log(own / sum(math.exp(cosine(second[i], first[j]) / temperature) for j in range(count)))
    return -total / (2 * count)


def slow_decoupled_learning(features, sensor_id, centroids, temperature: float) -> float:
    """Eqs. 2 and 3 of TLV-CoRe, term by term."""
    total = 0.0
    for feature, sensor in zip(features, sensor_id, strict=True):
        scores = [math.exp(cosine(feature, centroid) / temperature) for centroid in centroids]
        total += math.log(scores[int(sensor)] / sum(scores))
    return -total / len(features)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 6), temperature=st.sampled_from([0.05, 0.2, 1.0]))
def test_info_nce_is_equation_5(seed, rows, temperature):
    first, second = unit_rows(seed, rows, 5), unit_rows(seed + 1, rows, 5)
    loss = symmetric_info_nce(first, second, temperature).item()
    assert loss == pytest.approx(slow_symmetric_info_nce(first, second, temperature), abs=1e-9)
    assert loss == pytest.approx(symmetric_info_nce(second, first, temperature).item(), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), both=st.lists(st.booleans(), min_size=1, max_size=7))
def test_masked_info_nce_and_its_gradient_are_those_of_the_intersection(seed, both):
    both = torch.tensor(both)
    first, second = (unit_rows(seed + offset, len(both), 5).requires_grad_() for offset in (0, 1))
    loss = symmetric_info_nce(first, second, 0.05, both)
    gradients = torch.autograd.grad(loss, (first, second))
    if both.sum() < 2:
        assert loss.item() == 0.0 and not any(gradient.any() for gradient in gradients)
        return
    slow = slow_symmetric_info_nce(first[both].detach(), second[both].detach(), 0.05)
    assert loss.item() == pytest.approx(slow, abs=1e-9)
    expected = torch.autograd.grad(symmetric_info_nce(first[both], second[both], 0.05), (first, second))
    for gradient, value in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient, value, atol=1e-12)


def test_temperature_of_info_nce_can_be_learned():
    first, second = unit_rows(1, 4, 5), unit_rows(2, 4, 5)
    temperature = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    symmetric_info_nce(first, second, temperature).backward()
    change = [slow_symmetric_info_nce(first, second, value) for value in (0.2 - 1e-5, 0.2 + 1e-5)]
    assert temperature.grad.item() == pytest.approx((change[1] - change[0]) / 2e-5, rel=1e-5)


def test_info_nce_of_orthogonal_pairs_has_a_closed_form():
    axes = torch.eye(4, dtype=torch.float64)
    # Own pair: cosine 1. The three others: cosine 0.
    assert symmetric_info_nce(axes, axes, 0.5).item() == pytest.approx(math.log(math.exp(2.0) + 3) - 2.0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 6), sensors=st.integers(2, 5))
def test_decoupled_learning_is_equations_2_and_3(seed, rows, sensors):
    generator = np.random.default_rng(seed)
    features, centroids = (torch.from_numpy(generator.normal(size=(count, 7))) for count in (rows, sensors))
    sensor_id = torch.from_numpy(generator.integers(0, sensors, rows))
    expected = slow_decoupled_learning(features, sensor_id, centroids, 0.05)
    assert decoupled_learning(features, sensor_id, centroids, 0.05).item() == pytest.approx(expected, rel=1e-9)
    probabilities = sensor_log_probabilities(features, centroids, 0.05).exp()
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(rows, dtype=torch.float64))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), known=st.lists(st.booleans(), min_size=1, max_size=7))
def test_decoupled_learning_leaves_out_samples_without_a_known_sensor(seed, known):
    generator, known = np.random.default_rng(seed), torch.tensor(known)
    features, centroids = (torch.tensor(generator.normal(size=(count, 7)), requires_grad=True)
                           for count in (len(known), 3))
    # The id of an unknown sensor is S, for which there is no centroid.
    sensor_id = torch.from_numpy(generator.integers(0, 3, len(known))).masked_fill(~known, 3)
    loss = decoupled_learning(features, sensor_id, centroids, 0.05, known)
    gradient, = torch.autograd.grad(loss, features)
    assert not gradient[~known].any()
    if not known.any():
        assert loss.item() == 0.0
        return
    expected = slow_decoupled_learning(features[known].detach(), sensor_id[known], centroids.detach(), 0.05)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_decoupled_learning_without_reversal_helps_the_classifier():
    generator = np.random.default_rng(3)
    features, centroids = (torch.tensor(generator.normal(size=(count, 6)), requires_grad=True) for count in (8, 3))
    sensor_id = torch.from_numpy(generator.integers(0, 3, 8))
    losses = [decoupled_learning(features, sensor_id, centroids, 0.5, reverse=reverse) for reverse in (True, False)]
    (reversed_gradient,), (gradient,) = (torch.autograd.grad(loss, features) for loss in losses)
    assert losses[0].item() == losses[1].item()
    assert torch.equal(gradient, -reversed_gradient) and gradient.any()


def test_reversed_gradient_has_the_opposite_sign_and_the_same_size():
    values = torch.tensor([1.0, -2.0, 0.0], requires_grad=True)
    (3 * reverse_gradient(values) ** 2).sum().backward()
    assert values.grad.tolist() == [-6.0, 12.0, 0.0]
    assert reverse_gradient(values).tolist() == values.tolist()


def test_decoupled_learning_teaches_centroids_and_confuses_features():
    generator = np.random.default_rng(3)
    features, centroids = (torch.tensor(generator.normal(size=(count, 6)), requires_grad=True) for count in (8, 3))
    sensor_id = torch.from_numpy(generator.integers(0, 3, 8))
    decoupled_learning(features, sensor_id, centroids, 0.5).backward()
    with torch.no_grad():
        before = slow_decoupled_learning(features, sensor_id, centroids, 0.5)
        # A step of gradient descent: the classifier gets better on its own, the features get harder to classify.
        assert slow_decoupled_learning(features, sensor_id, centroids - 0.01 * centroids.grad, 0.5) < before
        assert slow_decoupled_learning(features - 0.01 * features.grad, sensor_id, centroids, 0.5) > before
