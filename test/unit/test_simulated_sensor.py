"""Simulated sensors against a simulated world on the true link."""

import time

import numpy as np
import pytest

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.parameters.sensor import SENSOR_KINDS, SensorParameters
from visuotactile_ros.sensors.reference_frame import mean_difference
from visuotactile_ros.sensors.replay import ReplaySource
from visuotactile_ros.sensors.uvc_device import UvcDevice
from visuotactile_ros.simulation import simulated_sensor
from visuotactile_ros.simulation.simulated_sensor import SimulatedSensor, source_for
from visuotactile_ros.simulation.world import PouringWorld
from visuotactile_ros.simulation.world_link import WorldLinkServer, record_to_json

ADDRESS = '127.0.0.1'


@pytest.fixture
def world():
    world = PouringWorld(seed=1)
    world.link = WorldLinkServer({'left': lambda: record_to_json(world.contact('left')),
                                  'right': lambda: record_to_json(world.contact('right')),
                                  'wrist_camera': lambda: record_to_json(world.wrist_view()),
                                  'garbled': lambda: {'normal_force_n': 'strong'}}, ADDRESS, 0)
    world.link.start()
    yield world
    world.link.close()


@pytest.fixture
def open_sensor(world):
    opened = []

    def build(sensor_name='left', kind='gelsight_mini', **settings):
        source = source_for(SensorParameters(sensor_name=sensor_name, kind=kind, world_link_port=world.link.port,
                                             rate_hz=240.0, **settings))
        source.open()
        opened.append(source)
        return source
    yield build
    for source in opened:
        source.close()


@pytest.mark.parametrize('kind', [kind for kind in SENSOR_KINDS if kind != 'wrist_camera'])
def test_every_kind_of_gel_shows_the_grasp_and_nothing_before_it(world, open_sensor, kind):
    source = open_sensor(kind=kind)
    free, again = source.grab().image_hwc, source.grab().image_hwc
    world.grasp()
    world.advance(0.1, 0.0)
    held = source.grab().image_hwc
    assert free.shape == held.shape == (240, 320, 3)
    limits = SensorParameters()
    assert mean_difference(free, again) < limits.contact_off_level
    assert mean_difference(free, held) > limits.contact_on_level


def test_wrist_camera_sees_the_vessel_tilt(world, open_sensor):
    source = open_sensor('wrist_camera', 'wrist_camera')
    upright = source.grab()
    world.advance(1.0, 60.0)
    tilted = source.grab()
    assert upright.image_hwc.shape == (240, 320, 3)
    assert upright.sensor.kind == 'wrist_camera'
    assert mean_difference(upright.image_hwc, tilted.image_hwc) > 1.0


def test_frames_are_stamped_now_and_counted(open_sensor):
    source = open_sensor()
    before_ns = time.time_ns()
    frames = [source.grab() for _ in range(3)]
    stamps = [frame.stamp_ns for frame in frames]
    assert before_ns <= stamps[0] < stamps[1] < stamps[2] <= time.time_ns()
    numbers = [frame.sequence for frame in frames]
    assert numbers == sorted(set(numbers)) and numbers[0] >= 0
    assert frames[0].sensor.name == 'left' and frames[0].sensor.kind == 'gelsight_mini'


def test_noise_changes_from_frame_to_frame_and_from_sensor_to_sensor_but_not_from_run_to_run(open_sensor):
    left, right, left_again = open_sensor('left'), open_sensor('right'), open_sensor('left')
    first = left.grab().image_hwc
    np.testing.assert_array_equal(first, left_again.grab().image_hwc)
    assert (first != left.grab().image_hwc).any()
    assert (first != right.grab().image_hwc).any()
    other_seed = open_sensor('left', simulation_seed=1)
    assert (first != other_seed.grab().image_hwc).any()


def test_another_size_is_delivered(open_sensor):
    assert open_sensor(width_px=160, height_px=120).grab().image_hwc.shape == (120, 160, 3)


def test_lost_world_is_an_error_and_its_return_is_found(world, open_sensor):
    source = open_sensor()
    source.grab()
    port = world.link.port
    world.link.close()
    for _ in range(2):
        with pytest.raises(SensorError, match='simulated world'):
            source.grab()
    world.link = WorldLinkServer({'left': lambda: record_to_json(world.contact('left'))}, ADDRESS, port)
    world.link.start()
    assert source.grab().image_hwc.shape == (240, 320, 3)


def test_world_without_this_sensor_is_an_error(open_sensor):
    with pytest.raises(SensorError, match="cannot read 'thumb'"):
        open_sensor('thumb').grab()


def test_world_that_answers_nonsense_is_an_error(open_sensor):
    with pytest.raises(SensorError, match='same version'):
        open_sensor('garbled').grab()


def test_absent_world_is_given_up(monkeypatch, world):
    monkeypatch.setattr(simulated_sensor, 'WORLD_START_TIMEOUT_S', 0.0)
    port = world.link.port
    world.link.close()
    source = source_for(SensorParameters(world_link_port=port))
    with pytest.raises(SensorError, match='Start the simulated_world'):
        source.open()


def test_closed_sensor_gives_no_frame_and_opens_again(open_sensor):
    source = open_sensor()
    source.open()
    source.close()
    source.close()
    with pytest.raises(SensorError, match='not open'):
        source.grab()
    source.open()
    assert source.grab().image_hwc.shape == (240, 320, 3)


def test_source_follows_the_settings(tmp_path):
    assert isinstance(source_for(SensorParameters()), SimulatedSensor)
    assert isinstance(source_for(SensorParameters(source='replay', replay_path=str(tmp_path))), ReplaySource)
    assert isinstance(source_for(SensorParameters(source='device')), UvcDevice)


def test_kind_without_optics_is_refused(monkeypatch):
    monkeypatch.delitem(simulated_sensor.SENSOR_PROFILES, 'digit')
    with pytest.raises(ConfigurationError, match="there is no simulated 'digit'. Choose one of gelsight_mini"):
        source_for(SensorParameters(kind='digit'))
