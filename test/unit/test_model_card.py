"""ModelCard: what is written is read back, and everything else is refused by name."""

import dataclasses

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from visuotactile_ros.errors import ModelError
from visuotactile_ros.inference.model_card import (
    HeadDescription,
    OutOfDistribution,
    TensorDescription,
    model_card_yaml,
    parse_model_card,
)


@pytest.fixture
def card(tiny_encoder):
    return tiny_encoder()[1]


@pytest.fixture
def values(card):
    """Give the card as the mapping its YAML holds."""
    return yaml.safe_load(model_card_yaml(card))


STATISTICS = {'mean': [0.0, 0.0], 'axes': [[1.0, 0.0]], 'standard_deviation': [1.0],
              'residual_standard_deviation': 1.0, 'threshold': 1.0}


def parse(values):
    return parse_model_card(yaml.safe_dump(values))


def test_a_card_survives_its_yaml(card):
    assert parse_model_card(model_card_yaml(card)) == card


def test_a_policy_card_survives_its_yaml(card):
    policy = dataclasses.replace(
        card, kind='pouring_policy', image_height_px=None, image_width_px=None, frame_count=None, sensor_ids={},
        unknown_sensor_id=None, out_of_distribution={}, constants={'control_period_s': 0.2, 'encoder': 'tiny'})
    assert parse_model_card(model_card_yaml(policy)) == policy


numbers = st.floats(-1e6, 1e6).map(lambda value: float(f'{value:.6g}'))


@example([0.0] * 5, 1.0, '\x85', {})
@example([0.0] * 5, 1.0, 'a\u2028b', {'\u2029': 1.0})
@given(st.lists(numbers, min_size=5, max_size=5), st.floats(1e-3, 1e3), st.text(min_size=1, max_size=8),
       st.dictionaries(st.text(max_size=5), numbers, max_size=3))
def test_numbers_and_text_survive_yaml(tiny_encoder, mean, scale, class_name, metrics):
    card = dataclasses.replace(
        tiny_encoder(height=1, width=1)[1], training={'metrics': metrics},
        heads={'material': HeadDescription((class_name, class_name + 'a', class_name + 'b'), scale)},
        out_of_distribution={
            class_name: OutOfDistribution(tuple(mean), (tuple(mean),) * 2, (scale,) * 2, scale, scale)})
    assert parse_model_card(model_card_yaml(card)) == card


@pytest.mark.parametrize('version, words', [
    (0, 'too old, this package reads 1 to 1'), (-3, 'too old'), (2, 'too new, this package reads 1 to 1'),
    ('1', 'not a whole number'), (1.0, 'not a whole number'), (True, 'not a whole number'),
])
def test_other_versions_are_refused_before_anything_else(values, version, words):
    with pytest.raises(ModelError, match=words):
        parse(values | {'format_version': version, 'a_key_of_that_version': 1})


def test_a_version_that_is_too_new_asks_for_an_update(values):
    with pytest.raises(ModelError, match='Update visuotactile_ros'):
        parse(values | {'format_version': 99})


@pytest.mark.parametrize('name', ['format_version', 'name', 'kind', 'sha256', 'inputs', 'outputs', 'licence',
                                  'training'])
def test_a_missing_key_is_named(values, name):
    del values[name]
    with pytest.raises(ModelError, match=f'has no {name}'):
        parse(values)


@pytest.mark.parametrize('where, key, nearest', [
    ((), 'license', 'licence'), (('outputs', 0), 'tolerence', 'tolerance'), (('heads', 'material'), 'class', 'classes'),
    (('out_of_distribution', 'digit'), 'treshold', 'threshold'),
])
def test_an_unknown_key_names_the_nearest(values, where, key, nearest):
    target = values
    for step in where:
        target = target[step]
    target[key] = 1
    with pytest.raises(ModelError, match=f"unknown key '{key}'. Did you mean '{nearest}'"):
        parse(values)


@pytest.mark.parametrize('change, words', [
    ({'name': '../other'}, 'lower-case letters'), ({'name': 'a/b'}, 'lower-case letters'), ({'name': 3}, 'name is 3'),
    ({'name': ''}, 'lower-case letters'), ({'kind': 'diffusion'}, 'not one of encoder, pouring_policy'),
    ({'sha256': 'abc'}, 'sha256'), ({'licence': ''}, 'licence'), ({'training': {}}, 'training says nothing'),
    ({'training': 'yes'}, 'not a mapping'), ({'heads': [1]}, 'heads is'), ({'sensor_ids': [1]}, 'not a mapping'),
    ({'inputs': []}, 'inputs has the names'), ({'inputs': 'frames'}, 'not a list'), ({'inputs': [3]}, 'not a mapping'),
    ({'constants': {'period': float('nan')}}, 'constants holds'), ({'constants': {'period': [1]}}, 'constants holds'),
    ({'image_height_px': 7}, r'not uint8 \[B, 1, 7, 8, 3\]'), ({'image_width_px': None}, 'image_width_px'),
    ({'frame_count': 2}, r'not uint8 \[B, 2'), ({'frame_count': True}, 'frame_count'),
    ({'sensor_ids': {}}, 'sensor_ids'), ({'sensor_ids': {'digit': -1}}, 'sensor_ids'),
    ({'unknown_sensor_id': None}, 'unknown_sensor_id'), ({'unknown_sensor_id': 1.5}, 'unknown_sensor_id'),
    ({'heads': {'hardness': {'classes': ['soft', 'hard']}}}, "no output 'hardness'"),
    ({'heads': {'material': {'classes': ['a', 'b']}}}, 'has 2 classes, but output material'),
    ({'heads': {'material': {'classes': ['a', 'a', 'b']}}}, 'has the classes'),
    ({'heads': {'material': {'classes': ['a', '', 'b']}}}, 'has the classes'),
    ({'heads': {'material': {'classes': 'abc'}}}, 'not a list'),
    ({'heads': {'material': {'classes': ['a', 'b', 'c'], 'temperature': 0.0}}}, 'temperature'),
    ({'heads': {'material': {'classes': ['a', 'b', 'c'], 'temperature': float('inf')}}}, 'temperature'),
    ({'heads': {'material': {'classes': ['a', 'b', 'c'], 'temperature': '1'}}}, 'temperature'),
    ({'out_of_distribution': [1]}, 'out_of_distribution is'),
    *(({'out_of_distribution': {'digit': STATISTICS | change}}, words) for change, words in [
        ({}, '2 numbers for D = 5'), ({'mean': [0.0]}, '1 means, 1 axes'), ({'axes': []}, '2 means, 0 axes'),
        ({'standard_deviation': [1.0, 1.0]}, '2 deviations'), ({'mean': [0.0, float('nan')]}, 'not finite'),
        ({'axes': [[1.0, float('inf')]]}, 'not finite'), ({'axes': [3]}, 'not a list'),
        ({'standard_deviation': [0.0]}, 'not positive'), ({'residual_standard_deviation': 0.0}, 'not positive'),
        ({'threshold': 0}, 'threshold 0')]),
])
def test_a_value_that_cannot_be_is_refused(values, change, words):
    with pytest.raises(ModelError, match=words):
        parse(values | change)


@pytest.mark.parametrize('change, words', [
    ({'name': ''}, 'a tensor has the name'), ({'dtype': 'float16'}, "dtype 'float16'"), ({'shape': [0]}, 'shape'),
    ({'shape': [1.5]}, 'shape'), ({'shape': 'B'}, 'not a list'), ({'unit': 3}, 'unit'),
    ({'tolerance': -1}, 'tolerance'), ({'tolerance': float('nan')}, 'tolerance'),
])
def test_a_tensor_that_cannot_be_is_refused(change, words):
    with pytest.raises(ModelError, match=words):
        TensorDescription(**({'name': 'frames', 'dtype': 'uint8', 'shape': ['B', 3]} | change))


@pytest.mark.parametrize('index, change, words', [
    (('inputs', 0), {'dtype': 'float32'}, 'input frames is not uint8'),
    (('inputs', 0), {'name': 'images'}, 'input frames is not uint8'),
    (('inputs', 1), {'dtype': 'float32'}, 'sensor_id is not int64'),
    (('outputs', 0), {'name': 'features'}, "no output 'embedding'"),
    (('outputs', 0), {'shape': ['B', 'D']}, r'not float32 \[B, D\]'),
    (('outputs', 1), {'name': 'embedding'}, 'outputs has the names'),
])
def test_an_encoder_has_its_tensors(values, index, change, words):
    values[index[0]][index[1]].update(change)
    with pytest.raises(ModelError, match=words):
        parse(values)


@pytest.mark.parametrize('text', ['', '- a\n', 'just text', 'a: [', '\x00', '1: 2\n'])
def test_what_is_no_card_is_refused(text):
    with pytest.raises(ModelError):
        parse_model_card(text)


def test_a_tag_that_would_build_an_object_is_refused():
    with pytest.raises(ModelError, match='is not YAML'):
        parse_model_card('!!python/object/apply:os.getcwd []')


@given(st.text(max_size=40))
def test_any_text_is_a_card_or_a_model_error(text):
    try:
        parse_model_card(text)
    except ModelError as error:
        assert '\n' not in str(error)
