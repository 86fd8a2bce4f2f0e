"""Settings of a sensor: what is refused, and that every shipped preset can be used."""

from dataclasses import asdict
from pathlib import Path

import pytest

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.parameters.definition import build_parameters, load_parameter_yaml
from visuotactile_ros.parameters.sensor import SENSOR_KINDS, SensorParameters
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.sources import geometry_of, identity_of, recorded_or_device_source
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

CONFIG_FOLDER = Path(__file__).parents[2] / 'config'


@pytest.mark.parametrize('kind', SENSOR_KINDS)
def test_preset_builds_a_device_of_its_kind(kind):
    path = CONFIG_FOLDER / f'{kind}.yaml'
    values = load_parameter_yaml(path)
    parameters = build_parameters(SensorParameters, {**values, 'source': 'device'}, str(path))
    assert parameters.kind == kind
    assert recorded_or_device_source(parameters).sensor.kind == kind
    assert parameters.has_gel == (kind != 'wrist_camera')


def test_preset_of_a_device_with_markers_is_that_of_the_device():
    plain, dotted = (load_parameter_yaml(CONFIG_FOLDER / f'{kind}.yaml')
                     for kind in ('gelsight_mini', 'gelsight_mini_markers'))
    assert dotted == {**plain, 'kind': 'gelsight_mini_markers', 'touched_imprint_level': 25.0}


@pytest.mark.parametrize('kind', SENSOR_KINDS)
def test_preset_says_only_what_differs_from_the_defaults(kind):
    values, defaults = load_parameter_yaml(CONFIG_FOLDER / f'{kind}.yaml'), asdict(SensorParameters())
    assert [name for name, value in values.items() if defaults[name] == value] == []


def test_every_simulated_kind_is_a_kind():
    assert set(SENSOR_PROFILES) | {'wrist_camera'} == set(SENSOR_KINDS)


@pytest.mark.parametrize(('values', 'text'), [
    ({'kind': 'gelsight_mni'}, 'Choose one of'),
    ({'source': 'video'}, 'Choose one of'),
    ({'sensor_name': 'left/gel'}, 'cannot be part of a topic'),
    ({'sensor_name': ''}, 'cannot be part of a topic'),
    ({'source': 'replay'}, 'replay_path is empty'),
    ({'led_levels': (15, 15)}, 'not three whole numbers'),
    ({'led_levels': (0, 0, 16)}, 'between 0 and 15'),
    ({'led_levels': (0, 0.5, 1)}, 'not three whole numbers'),
    ({'contact_on_level': 0.2}, 'contact_off_level 0.3 is above'),
    ({'border_fraction': 0.5}, 'between 0.0 and 0.45'),
    ({'rate_hz': float('nan')}, 'not finite'),
    ({'rate_hz': 0.0}, 'between 1.0'),
    ({'capture_fourcc': 'MJPEG'}, 'not four characters'),
    ({'device_path': '/dev/video0', 'driver': 'digit_interface'}, 'driver is digit_interface, which finds'),
    ({'device_path': '/dev/video0', 'driver': 'gsrobotics', 'gsrobotics_path': '/gs'}, 'Leave device_path empty'),
    ({'width_px': 320.0}, 'not a int'),
])
def test_bad_setting_is_refused_with_its_name(values, text):
    with pytest.raises(ConfigurationError, match=text) as caught:
        SensorParameters(**values)
    assert next(iter(values)) in str(caught.value) or next(iter(values)) == 'source'
    assert '\n' not in str(caught.value)


def test_serial_is_carried_in_one_spelling_however_it_was_written():
    parameters = SensorParameters(sensor_name='right', serial='2bnn-4ze7')
    assert identity_of(parameters) == SensorIdentity('right', 'gelsight_mini', '2BNN4ZE7')


def test_geometry_is_that_of_the_settings():
    parameters = SensorParameters(border_fraction=0.1, rotate_quarter_turns=3, mirror=True, width_px=20, height_px=30)
    assert geometry_of(parameters) == ImageGeometry(0.1, 3, True, 20, 30)


def test_unknown_setting_names_the_nearest():
    with pytest.raises(ConfigurationError, match="Did you mean 'rate_hz'"):
        build_parameters(SensorParameters, {'rate': 30.0}, 'left.yaml')
