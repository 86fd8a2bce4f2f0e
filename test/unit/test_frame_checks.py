"""Frames that nobody may believe: stamps and numbers that go back, frozen and black pictures."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_source import NO_FRAME, PERIOD_S, ScriptedSource, grabber_of, newest, os_error, take

from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.frame_grabber import FrameGrabber


@pytest.fixture
def source():
    return ScriptedSource()


def test_sequence_numbers_go_on_when_a_driver_counts_from_0_after_reopening(source):
    lost = os_error(errno.ENODEV)
    grabber = grabber_of(source)
    seen = []
    for sequence, item in [(0, None), (1, None), (0, lost), (0, None), (2, None), (0, lost), (9, None), (0, lost),
                           (0, None), (1, None)]:
        take(grabber, source, source.frame(sequence) if item is None else item)
        if item is None:
            seen.append(newest(grabber).sequence)
    assert seen == [0, 1, 2, 4, 11, 12, 13]
    assert grabber.statistics().dropped_frames == 7


@pytest.mark.parametrize('again', [3, 0])
def test_a_frame_that_comes_again_is_refused(source, again):
    grabber = grabber_of(source, *source.frames(2, 3), source.frame(again))
    assert grabber.wait_for_newer(3, 0.0) is None
    assert f'left gave frame {again} after frame 3' in grabber.statistics().warning
    assert (grabber.statistics().refused_frames, grabber.statistics().grabbed_frames) == (1, 2)
    take(grabber, source, source.frame(4))
    assert grabber.wait_for_newer(3, 0.0).sequence == 4


def test_the_last_frame_handed_out_again_after_reopening_is_refused(source):
    grabber = grabber_of(source, source.frame(0))
    old = newest(grabber)
    take(grabber, source, os_error(errno.ENODEV), old)
    assert grabber.wait_for_newer(0, 0.0) is None
    assert grabber.statistics().refused_frames == 1


def test_frames_are_refused_while_the_wall_clock_is_set_back_and_the_source_is_not_called_dead(source):
    grabber = grabber_of(source, *source.frames(0, 1), dead_after_periods=2)
    source.clock.wall_ahead_s -= 9.25 * PERIOD_S
    for sequence in range(2, 11):
        take(grabber, source, source.frame(sequence))
        assert grabber.wait_for_newer(1, 0.0) is None
    assert 'left: the clock of the machine stands 0.031 s before the last stamp' in grabber.statistics().fault
    assert not source.closed_s
    take(grabber, source, source.frame(11))
    statistics = grabber.statistics()
    assert (statistics.fault, statistics.refused_frames, statistics.dropped_frames) == ('', 9, 9)


def test_frozen_device_is_refused_opened_again_with_back_off_and_comes_back(source):
    grabber = grabber_of(source, *source.frames(0, 1, 2, seed=1), frozen_after_frames=4)
    assert newest(grabber).sequence == 0
    assert 'left may be frozen: the last 3 frames are identical. Replug' in grabber.statistics().warning
    take(grabber, source, source.frame(3, seed=1))
    for number in range(4):
        assert f'left is frozen: the last {4 + number} frames are identical' in grabber.statistics().fault
        assert newest(grabber).sequence == 0
        assert len(source.closed_s) == 1 + number
        take(grabber, source, source.frame(4 + number, seed=1))
    pauses_s = [opened_s - closed_s for opened_s, closed_s in zip(source.opened_s[1:], source.closed_s)]
    assert pauses_s == pytest.approx([0.0, 0.5, 1.0, 2.0])
    take(grabber, source, source.frame(8, seed=2))
    assert newest(grabber).sequence == 8


@pytest.mark.parametrize('fault', [NO_FRAME, os_error(errno.ENOENT), 'frozen'])
def test_replay_never_begins_anew(fault):
    source = ScriptedSource()
    grabber = FrameGrabber(source, SensorParameters(source='replay', replay_path='x', frozen_after_frames=2,
                                                    dead_after_periods=2), source.clock)
    grabber.step()
    take(grabber, source, source.frame(0),
         *(source.frames(1, 2, 3, seed=0) if fault == 'frozen' else [fault] * 5))
    assert grabber.statistics().fault != ''
    take(grabber, source, source.frame(4))
    assert grabber.statistics().fault == ''
    assert len(source.opened_s) == 1 and not source.closed_s


def test_black_source_is_refused_and_comes_back(source):
    grabber = grabber_of(source, source.frame(0), source.frame(1, level=0), black_after_frames=3)
    assert newest(grabber).sequence == 0
    assert 'left may be black: the last frame is black. Check its light' in grabber.statistics().warning
    take(grabber, source, *source.frames(2, 3, level=0))
    assert 'left is black: 3 frames below 5 grey levels' in grabber.statistics().fault
    assert newest(grabber).sequence == 0
    take(grabber, source, source.frame(4, level=6))
    assert newest(grabber).sequence == 4 and grabber.statistics().fault == ''
    assert not source.closed_s


@pytest.mark.parametrize('settings', [{'source': 'replay', 'replay_path': 'x'},
                                      {'source': 'topic', 'image_topic': 'x'}])
def test_what_is_no_device_may_repeat_a_picture_and_be_dark_for_a_moment(source, settings):
    grabber = FrameGrabber(source, SensorParameters(frozen_after_frames=4, black_after_frames=3, **settings),
                           source.clock)
    taken = []
    for frame in source.frames(0, 1, 2, 3, seed=1) + source.frames(4, 5, 6, level=0) + source.frames(7):
        take(grabber, source, frame)
        taken.append(newest(grabber).sequence)
    assert taken == [0, 1, 2, 2, 4, 5, 5, 7]


def test_a_source_without_light_is_called_black_even_where_its_frames_are_identical(source):
    grabber = grabber_of(source, *source.frames(*range(6), level=0, seed=0), frozen_after_frames=3,
                         black_after_frames=3)
    assert 'left is black' in grabber.statistics().fault


EVENT = st.one_of(
    st.tuples(st.just('frame'), st.integers(0, 5)),  # and how many are skipped before it
    st.tuples(st.just('clock'), st.floats(-3.0, 3.0)),
    st.tuples(st.sampled_from(['again', 'restart', 'damaged', 'lost', 'driver']), st.just(0)))


@given(st.lists(EVENT, max_size=60))
def test_what_comes_out_only_goes_forward_and_no_grab_is_forgotten(events):
    source = ScriptedSource()
    grabber = grabber_of(source, dead_after_periods=4)
    sequence, came, out = 0, 0, []
    for kind, value in events:
        if kind == 'clock':
            source.clock.wall_ahead_s += value
            continue
        if kind == 'restart':  # a driver that counts from 0 after each opening
            sequence, item = 0, os_error(errno.ENODEV)
        elif kind in ('frame', 'again'):
            sequence += 1 + value if kind == 'frame' else 0
            item, came = source.frame(sequence, seed=came % 256), came + 1
        else:
            item = {'damaged': NO_FRAME, 'lost': os_error(errno.ENODEV), 'driver': ValueError('odd')}[kind]
        take(grabber, source, item)
        frame = grabber.wait_for_newer(out[-1].sequence if out else -1, 0.0)
        if frame is not None:
            assert kind in ('frame', 'again')
            out.append(frame)
    statistics = grabber.statistics()
    assert all(a.stamp_ns < b.stamp_ns and a.sequence < b.sequence for a, b in zip(out, out[1:]))
    assert len(out) == statistics.grabbed_frames == came - statistics.refused_frames
