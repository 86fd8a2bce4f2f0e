"""The alarm of strange embeddings: late, lasting, and without flicker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.inference.out_of_distribution import StrangenessAlarm

DISTANCES = st.lists(st.floats(0.0, 3.0), max_size=60)


def alarm():
    return StrangenessAlarm(threshold=1.3, window_frames=10, on_share=0.5, off_share=0.2)


def states(distances):
    watched = alarm()
    return [watched.update(distance) for distance in distances]


def test_the_alarm_begins_at_the_upper_share_and_ends_at_the_lower_one():
    assert states([2.0] * 5) == [False] * 4 + [True]
    # Of the last ten frames 5, 5, 5, 5, 5, 4, 3, 2 are strange.
    assert states([2.0] * 5 + [1.0] * 8)[5:] == [True] * 7 + [False]


def test_single_strange_frames_are_no_alarm():
    assert not any(states([1.0, 1.0, 2.0] * 30))


def test_a_frame_at_the_threshold_is_usual_and_one_that_is_no_number_strange():
    assert not any(states([1.3] * 20))
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
        StrangenessAlarm(1.3, window_frames, on_share, off_share)
