"""Settings: right types, ranges, zero is a value, and an unknown name finds its neighbour."""

from dataclasses import dataclass

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import build_parameters, check_settings, load_parameter_yaml, setting


@dataclass(frozen=True)
class Kettle:
    temperature_c: float = setting(90.0, 'Temperature of the water', unit='°C', minimum=0.0, maximum=100.0)
    cups: int = setting(2, 'Cups to fill', minimum=0, maximum=12)
    tea: str = setting('green', 'Kind of tea', choices=('green', 'black'))
    lid_open: bool = setting(False, 'Whether the lid is open')
    steps_s: tuple[float, ...] = setting((1.0, 2.0), 'Times of the steps', unit='s', minimum=0.0)

    def __post_init__(self):
        check_settings(self)


def test_defaults_pass_their_own_checks():
    assert build_parameters(Kettle, {}, 'a test') == Kettle()


@given(st.floats(0.0, 100.0), st.integers(0, 12), st.sampled_from(('green', 'black')), st.booleans(),
       st.lists(st.floats(0.0, 1e9)))
def test_any_value_of_the_definition_is_kept(temperature_c, cups, tea, lid_open, steps_s):
    values = {'temperature_c': temperature_c, 'cups': cups, 'tea': tea, 'lid_open': lid_open, 'steps_s': steps_s}
    kettle = build_parameters(Kettle, values, 'a test')
    assert kettle == Kettle(temperature_c, cups, tea, lid_open, tuple(steps_s))
    assert isinstance(kettle.steps_s, tuple)


@given(st.sampled_from(['temperature_c', 'cups', 'tea', 'lid_open', 'steps_s']),
       st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
       | st.lists(st.integers(), max_size=2))
def test_a_value_is_kept_as_its_type_or_refused_by_name(name, value):
    try:
        kept = getattr(build_parameters(Kettle, {name: value}, 'a test'), name)
    except ConfigurationError as error:
        assert f'Kettle.{name}' in str(error) and '\n' not in str(error)
    else:
        assert type(kept) is type(getattr(Kettle(), name))
        assert kept == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize('name', ['temperature_c', 'cups'])
def test_zero_is_a_value(name):
    assert getattr(build_parameters(Kettle, {name: 0}, 'a test'), name) == 0


def test_a_whole_number_becomes_a_float():
    kettle = build_parameters(Kettle, {'temperature_c': 20}, 'a test')
    assert kettle.temperature_c == 20.0 and isinstance(kettle.temperature_c, float)


@pytest.mark.parametrize(('values', 'words'), [
    ({'temperature_c': 100.1}, r'Kettle.temperature_c is 100.1 °C. Give a value between 0.0 and 100.0'),
    ({'temperature_c': -0.1}, 'between 0.0 and 100.0'), ({'temperature_c': float('nan')}, 'not finite'),
    ({'temperature_c': float('inf')}, 'not finite'), ({'temperature_c': True}, 'not a float'),
    ({'temperature_c': '90'}, 'not a float'), ({'cups': 2.0}, 'not a int'), ({'cups': True}, 'not a int'),
    ({'cups': 13}, 'between 0 and 12'), ({'tea': 'white'}, 'Choose one of green, black'), ({'tea': 3}, 'not a str'),
    ({'lid_open': 1}, 'not a bool'), ({'lid_open': 'yes'}, 'not a bool'), ({'steps_s': 1.0}, 'not a tuple'),
    ({'steps_s': [1.0, -1.0]}, 'Give a value'), ({'steps_s': [float('nan')]}, 'not finite'),
    ({'tea': None}, 'not a str'),
])
def test_a_value_outside_the_definition_is_refused(values, words):
    with pytest.raises(ConfigurationError, match=words):
        build_parameters(Kettle, values, 'a test')


@pytest.mark.parametrize(('name', 'nearest'), [('cup', 'cups'), ('temperature', 'temperature_c'), ('TEA', 'tea'),
                                             ('lid', 'lid_open')])
def test_an_unknown_setting_names_the_nearest_and_the_source(name, nearest):
    with pytest.raises(ConfigurationError, match=f"kettle.yaml has the unknown setting '{name}'"):
        build_parameters(Kettle, {name: 1}, 'kettle.yaml')
    if name != 'TEA':
        with pytest.raises(ConfigurationError, match=f"Did you mean '{nearest}'"):
            build_parameters(Kettle, {name: 1}, 'kettle.yaml')


@given(st.text(min_size=1, max_size=10))
def test_any_unknown_setting_is_refused_in_one_sentence(name):
    if name not in vars(Kettle()):
        with pytest.raises(ConfigurationError, match='Did you mean'):
            build_parameters(Kettle, {name: 1}, 'a test')


def test_a_parameter_file_is_read(tmp_path):
    path = tmp_path / 'kettle.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': {'cups': 0}}}))
    assert load_parameter_yaml(path) == {'cups': 0}


@pytest.mark.parametrize('content', [b'\xff\xfe\x00', b'a: [', b'', b'/other:\n  ros__parameters: {}\n'])
def test_a_parameter_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / 'kettle.yaml'
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match='kettle.yaml'):
        load_parameter_yaml(path)


def test_a_missing_parameter_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match='cannot be read'):
        load_parameter_yaml(tmp_path / 'nowhere.yaml')


@pytest.mark.parametrize(('text', 'line', 'name'), [
    ('/**:\n  ros__parameters:\n    cups: 1\n    spoons: {a: 1, "a": 2}', 4, 'a'),
    ('/**:\n  ros__parameters:\n    cups: 1\n    spoons: 2\n    cups: 3', 5, 'cups'),
    ('/**: {}\n/**:\n  ros__parameters: {}', 2, '/**')])
def test_a_key_that_is_there_twice_is_refused(tmp_path, text, line, name):
    path = tmp_path / 'parameters.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError, match='parameters.yaml cannot be read: ') as caught:
        load_parameter_yaml(path)
    assert f'line {line} names {name!r} a second time' in str(caught.value)
