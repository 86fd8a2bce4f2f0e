"""The benchmark of the sensors: its cameras behave as V4L2 does, and both ways that it compares do the whole work."""

import json
import threading
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros import bench_camera, bench_sensors
from visuotactile_ros.bench_camera import EndlessCamera, PacedCamera, picture_of_camera, real_frames
from visuotactile_ros.bench_sensors import measure_decoding, percentiles, resize_whole
from visuotactile_ros.resources import resource_path

FRAMES_BGR = real_frames(resource_path('test/data/real_frames'), 1)
JPEG = picture_of_camera(FRAMES_BGR[0], 0)
SMALL_JPEGS = [cv2.imencode('.jpg', np.full((16, 16, 3), level, np.uint8))[1].tobytes() for level in (0, 100, 200)]
PERIOD_S = 0.04


@pytest.fixture
def clock(monkeypatch):
    """Put a time in the cameras' place that only sleeping and the test let pass."""
    clock = SimpleNamespace(now_s=10.0)
    clock.monotonic = lambda: clock.now_s

    def sleep(duration_s):
        clock.now_s += duration_s + 1e-9
    clock.sleep = sleep
    monkeypatch.setattr(bench_camera, 'time', clock)
    return clock


def test_a_picture_is_as_large_as_usb_carries_and_its_middle_is_the_real_frame():
    assert 0.9 * 3 * 1024 * 8000 / 25 < len(JPEG) < 3 * 1024 * 8000 / 25
    picture = cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (2464, 3280, 3)
    assert cv2.absdiff(resize_whole(picture)[:, :, ::-1].copy(), FRAMES_BGR[0]).mean() < 2.0


def test_a_camera_gives_its_pictures_in_turn_decoded_until_it_is_told_otherwise():
    camera = EndlessCamera(SMALL_JPEGS, 'path', cv2.CAP_V4L2)
    for level in (0, 100, 200, 0):
        assert camera.grab()
        assert camera.retrieve()[1].mean() == level
    assert camera.set(cv2.CAP_PROP_CONVERT_RGB, 0.0) and camera.grab()
    assert camera.retrieve()[1].tobytes() == SMALL_JPEGS[1]


def test_a_reader_in_time_gets_every_picture_when_it_comes(clock):
    camera = PacedCamera(SMALL_JPEGS, PERIOD_S, 10.5)
    for slot in range(5):
        assert camera.grab()
        assert camera.retrieve()[1].mean() == (0, 100, 200)[slot % 3]
        assert clock.now_s == pytest.approx(10.5 + slot * PERIOD_S)
    assert max(camera.ages_when_grabbed_ms) < 0.01


@given(st.integers(2, 4), st.floats(1.5, 10.0))
def test_a_late_reader_gets_old_pictures_and_loses_those_without_a_buffer(buffers, periods_a_picture):
    with pytest.MonkeyPatch.context() as monkeypatch:
        now = SimpleNamespace(s=0.0)
        monkeypatch.setattr(bench_camera, 'time', SimpleNamespace(monotonic=lambda: now.s, sleep=None))
        camera = PacedCamera(SMALL_JPEGS, PERIOD_S, 0.0)
        camera.set(cv2.CAP_PROP_BUFFERSIZE, buffers)
        slots = []
        for _ in range(12):
            now.s += periods_a_picture * PERIOD_S
            camera.grab()
            slots.append(camera._slot)
            camera.retrieve()
    assert slots == sorted(set(slots))
    assert slots[-1] - slots[0] > len(slots) - 1, 'nothing was lost'
    age_periods = camera.ages_when_grabbed_ms[-1] / 1e3 / PERIOD_S
    assert periods_a_picture - 1.0 < age_periods < buffers * (periods_a_picture + 1.0)


def test_decoding_is_compared_on_the_same_pictures():
    result = measure_decoding(FRAMES_BGR, [JPEG], 1)
    assert result['full_decode_equals_decode_then_resize'] is True
    assert 0.0 < result['mean_abs_pixel_difference'] < 1.5
    assert result['ours_difference_from_noiseless_frame'] < result['decode_then_resize_difference_from_noiseless_frame']
    assert result['ours_hz'] > 0.0 and result['decode_then_resize_hz'] > 0.0


@pytest.mark.parametrize('way', sorted(bench_sensors.WAYS))
def test_a_sensor_publishes_from_a_camera_and_leaves_no_thread(way, monkeypatch):
    monkeypatch.setattr(bench_sensors, '_start_together', [threading.Barrier(1)])
    result = bench_sensors._run_sensor(way, [JPEG], 0.0, 0.1)
    assert len(result['ages_ms']) >= len(result['latencies_ms'])
    assert min(result['latencies_ms'], default=0.0) >= 0.0 and result['cpu_s'] > 0.0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('grab')]


def test_percentiles_are_over_all_sensors():
    results = [{'ages_ms': [1.0] * 50}, {'ages_ms': [3.0] * 50}]
    assert percentiles(results, 'ages_ms') == {'p50': 2.0, 'p95': 3.0, 'p99': 3.0}


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_sensors, 'PICTURES', 1)
    monkeypatch.setattr(bench_sensors, 'ROUNDS', 1)
    monkeypatch.setattr(bench_sensors, 'measure_sensors', lambda way, count, jpegs, seconds: f'{way} {count} {seconds}')
    output = tmp_path / 'sensors.json'
    assert bench_sensors.main(['--seconds', '2', '--output', str(output)]) == 0
    result = json.loads(output.read_text())
    assert result == json.loads(capsys.readouterr().out)
    assert result['sensors'] == {count: {way: f'{way} {count} 2.0' for way in ('ours', 'plain_loop')}
                                 for count in ('1', '3', '6')}
    assert {'ours_hz', 'decode_then_resize_hz', 'mean_abs_pixel_difference'} <= result['gelsight_mini_decode'].keys()


def test_only_the_camera_is_replaced_and_only_meanwhile():
    before = cv2.VideoCapture
    with bench_sensors.standing_in(partial(EndlessCamera, SMALL_JPEGS)):
        assert isinstance(cv2.VideoCapture('path', cv2.CAP_V4L2), EndlessCamera)
    assert cv2.VideoCapture is before
