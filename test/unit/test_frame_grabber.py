"""The grabber: newest frame only, faults told, reconnection; step by step on a simulated clock."""

import errno

import numpy as np
import pytest
from scripted_source import NO_FRAME, PERIOD_S, ScriptedSource, grabber_of, newest, os_error, take

from visuotactile_ros.errors import SensorError
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors import frame_grabber
from visuotactile_ros.sensors.frame_grabber import FrameGrabber, is_device_lost


@pytest.fixture
def source():
    return ScriptedSource()


def test_newest_frame_is_read_and_may_be_read_again(source):
    grabber = grabber_of(source, *source.frames(0, 1, 2, 3, 4))
    assert newest(grabber).sequence == 4
    assert newest(grabber) is newest(grabber)
    statistics = grabber.statistics()
    assert (statistics.grabbed_frames, statistics.fault, statistics.warning) == (5, '', '')
    assert statistics.rate_hz == pytest.approx(1.0 / PERIOD_S)
    assert statistics.frame_age_ms == pytest.approx(0.0, abs=1e-3)


def test_before_the_first_frame_there_is_none_and_no_fault(source):
    grabber = grabber_of(source)
    assert newest(grabber) is None
    assert grabber.statistics().frame_age_ms == float('inf')
    assert grabber.statistics().fault == ''


def test_the_age_of_a_frame_is_that_of_its_stamp(source):
    grabber = grabber_of(source, source.frame(0, back_s=3.0))
    assert grabber.statistics().frame_age_ms == pytest.approx(3000.0, abs=1e-3)


def test_skipped_sequence_numbers_count_as_dropped(source):
    grabber = grabber_of(source, *source.frames(0, 3, 4, 10))
    assert grabber.statistics().dropped_frames == 7


def test_source_that_blocks_for_ever_is_dead_to_its_readers(source):
    grabber = grabber_of(source, source.frame(0), dead_after_periods=3)
    source.clock.now_s += 2.9 * PERIOD_S
    assert grabber.statistics().fault == ''
    source.clock.now_s += 0.2 * PERIOD_S
    assert 'left is dead: no frame for 0.4 s' in grabber.statistics().fault
    assert grabber.statistics().rate_hz == 0.0


def test_source_that_takes_long_to_open_is_no_fault_and_one_that_never_opens_is():
    source = ScriptedSource()
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    grabber._reset()  # as a thread that has just begun
    source.clock.now_s += frame_grabber.DRIVER_TIMEOUT_S - 0.1
    assert grabber.statistics().fault == ''
    source.clock.now_s += 0.2
    assert 'left is dead: no frame for 5.1 s' in grabber.statistics().fault


def test_cause_is_told_until_the_first_frame_unless_the_source_hangs_after_it_was_opened_again(source):
    grabber = grabber_of(source, source.frame(0), os_error(errno.ENODEV), dead_after_periods=3)
    source.open_script.extend([NO_FRAME, None])
    for _ in range(2):
        grabber.step()
        assert grabber.statistics().fault == str(NO_FRAME)
    assert grabber.statistics().reopened == 1
    source.clock.now_s += 3.1 * PERIOD_S
    assert 'left is dead: no frame for' in grabber.statistics().fault
    take(grabber, source, source.frame(1))
    assert grabber.statistics().fault == ''


def test_source_that_is_there_only_later_has_a_fault_until_its_first_frame():
    source = ScriptedSource()
    source.open_script.extend([NO_FRAME, None])
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    for _ in range(2):
        grabber.step()
        assert grabber.statistics().fault == str(NO_FRAME)
    take(grabber, source, source.frame(0))
    assert grabber.statistics().fault == ''


def test_single_failed_grab_is_a_warning_and_does_not_reopen(source):
    grabber = grabber_of(source, source.frame(0), NO_FRAME)
    assert (grabber.statistics().fault, grabber.statistics().warning) == ('', str(NO_FRAME))
    assert newest(grabber).sequence == 0
    take(grabber, source, source.frame(2))
    statistics = grabber.statistics()
    assert (statistics.failed_grabs, statistics.reopened, statistics.fault, statistics.warning) == (1, 0, '', '')
    assert statistics.last_failure == str(NO_FRAME)
    assert len(source.opened_s) == 1 and not source.closed_s


def test_cause_is_the_fault_after_two_periods_long_before_the_source_is_dead(source):
    grabber = grabber_of(source, source.frame(0), NO_FRAME, NO_FRAME, dead_after_periods=1000)
    assert grabber.statistics().fault == ''
    take(grabber, source, NO_FRAME)
    assert grabber.statistics().fault == str(NO_FRAME)
    assert not source.closed_s


def test_failing_driver_is_never_asked_faster_than_the_rate_and_a_slow_one_not_slower(source):
    grabber = grabber_of(source, source.frame(0), dead_after_periods=1000)
    source.grab_duration_s = 0.25 * PERIOD_S
    take(grabber, source, NO_FRAME)
    assert source.clock.sleeps_s[1:] == pytest.approx([0.75 * PERIOD_S])
    source.grab_duration_s = 1.5 * PERIOD_S
    take(grabber, source, NO_FRAME)
    assert source.clock.sleeps_s[2:] == [0.0]


@pytest.mark.parametrize('error', [NO_FRAME, OSError('odd'), ValueError('odd\nbytes'), KeyError('gain')])
def test_silent_source_is_opened_again_until_it_works_whatever_its_driver_raises(source, error):
    grabber = grabber_of(source, source.frame(0), *[error] * 3, dead_after_periods=2)
    assert len(source.closed_s) == 1
    assert str(error).split('\n')[0] in grabber.statistics().fault
    assert '\n' not in grabber.statistics().fault
    source.open_script.extend([SensorError('left: cannot be opened', 'Check cable'), error])
    grabber.step()
    assert 'cannot be opened' in grabber.statistics().fault
    take(grabber, source, source.frame(7))
    statistics = grabber.statistics()
    assert (statistics.grabbed_frames, statistics.reopened, statistics.fault) == (2, 1, '')


def sensor_error_from(cause):
    error = SensorError('left: gave no frame', 'Check cable')
    error.__cause__ = cause
    return error


@pytest.mark.parametrize('error', [
    os_error(errno.ENODEV), os_error(errno.ENXIO), sensor_error_from(os_error(errno.ENODEV)),
    sensor_error_from(sensor_error_from(FileNotFoundError(errno.ENOENT, 'no /dev/video0')))])
def test_lost_device_is_a_fault_at_once_closed_at_once_and_opened_at_once(source, error):
    grabber = grabber_of(source, source.frame(0), dead_after_periods=1000)
    source.grab_duration_s = 0.0
    unplugged_s = source.clock.now_s
    take(grabber, source, error)
    assert grabber.statistics().fault != ''
    assert source.closed_s == [unplugged_s]
    grabber.step()
    assert source.opened_s[1:] == [unplugged_s]


@pytest.mark.parametrize('error', [None, NO_FRAME, os_error(errno.EIO), OSError('no number'),
                                   sensor_error_from(TimeoutError(errno.ETIMEDOUT, 'select'))])
def test_other_errors_do_not_say_that_a_device_is_lost(error):
    assert not is_device_lost(error)


def test_reopening_backs_off_until_enough_good_frames_and_begins_anew_after_them(source):
    lost = os_error(errno.ENODEV)
    grabber = grabber_of(source, source.frame(0), lost, dead_after_periods=1000, frozen_after_frames=3)
    source.open_script.extend([NO_FRAME] * 8)
    source.script.append(lost)  # it opens, and is gone before its first frame
    for _ in range(12):
        grabber.step()
        if not source.script:
            break
    take(grabber, source, *source.frames(1, 2), lost, *source.frames(3, 4, 5))
    pauses_s = np.diff([source.closed_s[0], *source.opened_s[1:]])
    # The last ones are longer by the grabs that found the device gone again, the very last after too few good frames.
    assert pauses_s[:-1] == pytest.approx([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0 + PERIOD_S])
    assert pauses_s[-1] == pytest.approx(8.0 + 3 * PERIOD_S)
    take(grabber, source, lost)
    assert len(source.opened_s) == 12
    grabber.step()
    assert source.opened_s[12] == source.closed_s[-1]


def test_a_source_that_cannot_be_closed_is_opened_again_all_the_same(source, monkeypatch):
    def broken_close():
        raise OSError('close fails')
    monkeypatch.setattr(source, 'close', broken_close)
    grabber = grabber_of(source, source.frame(0), os_error(errno.ENODEV))
    assert 'close fails' in grabber.statistics().fault
    take(grabber, source, source.frame(1))
    assert newest(grabber).sequence == 1


def test_rate_is_that_since_the_last_opening(source):
    grabber = grabber_of(source, *source.frames(0, 1), os_error(errno.ENODEV))
    source.clock.now_s += 30.0
    take(grabber, source, *source.frames(2, 3, 4))
    assert grabber.statistics().rate_hz == pytest.approx(1.0 / PERIOD_S)


def test_the_first_frames_after_every_opening_are_thrown_away_and_no_fault(source):
    # Longer than a source may be silent, and the frames are black, as those of a camera may be at first.
    grabber = grabber_of(source, *source.frames(*range(5), level=0, seed=0), warm_up_frames=6, dead_after_periods=3)
    statistics = grabber.statistics()
    assert (statistics.fault, statistics.warning, statistics.starting) == ('', '', True)
    take(grabber, source, NO_FRAME, source.frame(6, level=0))
    assert newest(grabber) is None and grabber.statistics().fault == ''
    take(grabber, source, source.frame(7))
    assert newest(grabber).sequence == 7 and not grabber.statistics().starting
    take(grabber, source, os_error(errno.ENODEV), *source.frames(8, 9, 10, 11, 12))
    assert newest(grabber).sequence == 7 and grabber.statistics().starting
    take(grabber, source, *source.frames(13, 14))
    statistics = grabber.statistics()
    assert newest(grabber).sequence == 14
    assert (statistics.fault, statistics.grabbed_frames, statistics.dropped_frames) == ('', 2, 1)


def test_a_source_that_hangs_while_it_warms_up_is_dead(source):
    grabber = grabber_of(source, source.frame(0), warm_up_frames=6, dead_after_periods=3)
    source.clock.now_s += 3.1 * PERIOD_S
    assert 'left is dead' in grabber.statistics().fault


@pytest.mark.parametrize('settings', [{'source': 'replay', 'replay_path': 'x'}, {'source': 'simulated'},
                                      {'source': 'topic', 'image_topic': 'x'}])
def test_only_a_device_warms_up(source, settings):
    grabber = FrameGrabber(source, SensorParameters(warm_up_frames=6, **settings), source.clock)
    take(grabber, source, source.frame(0))
    assert newest(grabber).sequence == 0


def test_a_driver_that_repeats_one_picture_after_every_opening_is_opened_ever_more_seldom(source):
    grabber = grabber_of(source, frozen_after_frames=4)
    for number in range(6):
        take(grabber, source, *source.frames(*range(4 * number, 4 * number + 4), seed=number))
    pauses_s = np.subtract(source.opened_s[1:], source.closed_s[:-1])
    assert pauses_s == pytest.approx([0.0, 0.5, 1.0, 2.0, 4.0])
