"""Parameter groups: nested YAML and dotted ROS names are the same, and nothing unknown passes."""

from dataclasses import dataclass

import pytest

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import check_settings, setting
from visuotactile_ros.parameters.groups import build_parameter_groups, flatten_names


@dataclass(frozen=True)
class Node:
    rate_hz: float = setting(5.0, 'Rate', unit='Hz', minimum=0.0)

    def __post_init__(self):
        check_settings(self)


@dataclass(frozen=True)
class Arm:
    address: str = setting('127.0.0.1', 'Address')
    rate_hz: float = setting(100.0, 'Rate', unit='Hz', minimum=1.0)

    def __post_init__(self):
        check_settings(self)


GROUPS = (('', Node), ('arm', Arm))


def test_nested_and_dotted_names_build_the_same():
    nested = {'rate_hz': 0, 'arm': {'address': '127.0.0.2'}}
    dotted = {'rate_hz': 0, 'arm.address': '127.0.0.2'}
    assert flatten_names(nested) == dotted
    built = build_parameter_groups(GROUPS, nested, 'a file')
    assert built == build_parameter_groups(GROUPS, dotted, 'a file') == {Node: Node(0.0), Arm: Arm('127.0.0.2', 100.0)}


def test_the_same_setting_name_in_two_groups_stays_apart():
    built = build_parameter_groups(GROUPS, {'arm.rate_hz': 50.0}, 'a file')
    assert (built[Node].rate_hz, built[Arm].rate_hz) == (5.0, 50.0)


@pytest.mark.parametrize(('values', 'told'), [
    ({'arm': {'adress': 'x'}}, "a file has the unknown setting 'arm.adress'. Did you mean 'arm.address'."),
    ({'arm.rate_hz': 0.5}, 'Give a value between 1.0'),
    ({'address': 'x'}, "Did you mean 'arm.address'"),
    ({'rate_hz': 'fast'}, 'not a float'),
])
def test_what_is_unknown_or_bad_is_refused(values, told):
    with pytest.raises(ConfigurationError, match=told):
        build_parameter_groups(GROUPS, values, 'a file')
