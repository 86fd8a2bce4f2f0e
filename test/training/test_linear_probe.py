"""The probe and its measure, on cases that can be checked by hand."""

import numpy as np
import pytest

from training.evaluation.bench_probe import summary
from training.evaluation.linear_probe import RidgeClassifier, balanced_accuracy, fit_probe, interval_95


def clusters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=count, p=[0.8, 0.1, 0.1])
    centres = np.array([[0.0, 0.0, 5.0], [2.0, 0.0, 5.0], [0.0, 2.0, 5.0]])
    return centres[labels] + rng.normal(0.0, 0.2, (count, 3)), labels


def test_balanced_accuracy_counts_classes_equally():
    # Class 0: 3 of 4 right. Class 2: 0 of 1 right. Class 1 does not occur.
    assert balanced_accuracy(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 0, 2])) == pytest.approx(0.375)


def test_probe_separates_what_a_line_separates_and_not_more():
    embeddings, labels = clusters(600, 0)
    test_embeddings, test_labels = clusters(600, 1)
    rng = np.random.default_rng(2)
    probe = fit_probe(embeddings, labels, 3, rng)
    assert balanced_accuracy(probe.predict(test_embeddings), test_labels) > 0.98
    shuffled = fit_probe(embeddings, rng.permutation(labels), 3, rng)
    assert balanced_accuracy(shuffled.predict(test_embeddings), test_labels) < 0.6


def test_ridge_without_strength_is_weighted_least_squares():
    embeddings, labels = clusters(60, 3)
    probe = RidgeClassifier(embeddings, labels, 3, 1e-9)
    weights = np.sqrt(1 / np.bincount(labels))[labels][:, None]
    design = np.column_stack([embeddings, np.ones(60)])
    expected = np.linalg.lstsq(weights * design, weights * np.eye(3)[labels], rcond=None)[0]
    np.testing.assert_array_equal(probe.predict(embeddings), (design @ expected).argmax(axis=1))


def test_interval_holds_95_percent():
    assert interval_95(np.arange(1001)) == (25.0, 975.0)


def test_summary_has_a_line_for_every_task():
    cell = {'balanced_accuracy': 0.5, 'ci95': [0.4, 0.6]}
    tasks = {name: cell for name in ('material', 'hardness', 'roughness', 'grasp_success')}
    encoder = {'held_out_objects': tasks, 'unseen_sensor': tasks, 'sensor_identity': cell}
    lines = summary({'encoders': {'trained': encoder, 'untrained': encoder}}).splitlines()
    assert len(lines) == 1 + 4 + 4 + 1 and all('0.500 [0.400, 0.600]' in line for line in lines[1:])
