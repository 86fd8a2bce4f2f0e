"""Strange embeddings by the covariance of their kind, and the alarm: late, lasting, and without flicker."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.inference.out_of_distribution import (
    PRINCIPAL_AXES,
    StrangenessAlarm,
    fit_out_of_distribution,
    strangeness,
)

SIZE = 20


def embeddings_of_a_kind(count, seed=0):
    """Vectors that spread along three oblique directions and hardly elsewhere: float64 [count, SIZE]."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(9).normal(size=(SIZE, SIZE)))[0][:3]
    return 0.3 + rng.normal(size=(count, 3)) * [0.5, 0.2, 0.1] @ directions + rng.normal(0.0, 0.01, (count, SIZE))


def test_with_all_axes_but_one_it_is_the_mahalanobis_distance():
    embeddings = np.random.default_rng(1).normal(size=(500, 5)) @ np.random.default_rng(2).normal(size=(5, 5))
    statistics = fit_out_of_distribution(embeddings, embeddings)
    assert len(statistics.axes) == 4
    inverse = np.linalg.inv(np.cov(embeddings.T, bias=True))
    for embedding in embeddings[:20]:
        difference = embedding - embeddings.mean(axis=0)
        expected = np.sqrt(difference @ inverse @ difference) / statistics.threshold
        assert strangeness(embedding, statistics) == pytest.approx(expected, rel=2e-2)


def test_the_fit_leaves_the_given_share_of_other_frames_below_one():
    statistics = fit_out_of_distribution(embeddings_of_a_kind(2000), embeddings_of_a_kind(2000, 1), quantile=0.99)
    assert len(statistics.axes) == PRINCIPAL_AXES
    assert np.mean(strangeness(embeddings_of_a_kind(2000, 1), statistics) <= 1.0) == pytest.approx(0.99, abs=0.002)
    assert np.mean(strangeness(embeddings_of_a_kind(4000, 2), statistics) <= 1.0) == pytest.approx(0.99, abs=0.01)


def test_a_small_step_off_the_usual_directions_is_strange_and_a_larger_one_along_them_is_not():
    statistics = fit_out_of_distribution(embeddings_of_a_kind(2000), embeddings_of_a_kind(2000, 1))
    mean, along = np.array(statistics.mean), np.array(statistics.axes[0])
    across = np.linalg.qr(np.column_stack([*statistics.axes, np.ones(SIZE)]))[0][:, -1]
    assert strangeness(mean + 0.5 * along, statistics) < 1.0
    assert strangeness(mean + 0.2 * across, statistics) > 1.0


def test_axes_that_never_moved_and_few_frames_can_be_fitted():
    embeddings = embeddings_of_a_kind(3)
    embeddings[:, 1] = 0.25
    statistics = fit_out_of_distribution(embeddings, embeddings)
    assert np.isfinite(strangeness(embeddings, statistics)).all()


DISTANCES = st.lists(st.floats(0.0, 3.0), max_size=60)


def alarm():
    return StrangenessAlarm(window_frames=10, on_share=0.5, off_share=0.2)


def states(distances):
    watched = alarm()
    return [watched.update(distance) for distance in distances]


def test_the_alarm_begins_at_the_upper_share_and_ends_at_the_lower_one():
    assert states([1.5] * 5) == [False] * 4 + [True]
    # Of the last ten frames 5, 5, 5, 5, 5, 4, 3, 2 are strange.
    assert states([1.5] * 5 + [0.7] * 8)[5:] == [True] * 7 + [False]


def test_single_strange_frames_are_no_alarm():
    assert not any(states([0.7, 0.7, 1.5] * 30))


def test_a_frame_at_the_threshold_is_usual_and_one_that_is_no_number_strange():
    assert not any(states([1.0] * 20))
    assert states([float('nan')] * 5)[-1]


@given(DISTANCES)
def test_between_the_shares_the_alarm_keeps_its_state(distances):
    watched = alarm()
    for distance in distances:
        before = watched.is_on
        now = watched.update(distance)
        assert 0.0 <= watched.strange_share <= 1.0
        if 0.2 < watched.strange_share < 0.5:
            assert now == before
        else:
            assert now == (watched.strange_share >= 0.5)


@given(DISTANCES)
def test_ten_usual_frames_end_every_alarm(distances):
    watched = alarm()
    for distance in [*distances, *[0.0] * 10]:
        watched.update(distance)
    assert not watched.is_on and watched.strange_share == 0.0


@pytest.mark.parametrize('window_frames, on_share, off_share', [
    (0, 0.5, 0.2), (10, 0.2, 0.5), (10, 0.5, 0.5), (10, 1.1, 0.2), (10, 0.5, -0.1), (10, float('nan'), 0.2)])
def test_settings_that_make_no_alarm_are_refused(window_frames, on_share, off_share):
    with pytest.raises(ConfigurationError, match='Let it end at a lower share'):
        StrangenessAlarm(window_frames, on_share, off_share)
