"""The graph as one table: names, parameters, and how the local runner writes them on a command line."""

import importlib.util
from pathlib import Path

import pytest

from visuotactile_ros import pour
from visuotactile_ros.bringup import GRAPHS, graph_environment, graph_processes, read_argument, read_arguments
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.parameters.definition import load_parameter_yaml
from visuotactile_ros.parameters.pouring_node import PouringNodeParameters
from visuotactile_ros.resources import resource_path

GIVEN = {'perception': {}, 'pour': {}, 'replay': {'path': '/tmp/frames'}}


@pytest.mark.parametrize('graph', GRAPHS)
def test_every_process_can_be_started(graph):
    processes = graph_processes(graph, **GIVEN[graph])
    assert len({process.full_name for process in processes}) == len(processes)
    for process in processes:
        assert importlib.util.find_spec(process.module) is not None, process.module
        assert all(path.is_file() for path in process.parameter_files)


def test_executables_are_the_console_scripts():
    setup = (Path(__file__).parents[2] / 'setup.py').read_text()
    for graph in GRAPHS:
        for process in graph_processes(graph, **GIVEN[graph]):
            assert f"'{process.executable} = {process.module}:main'" in setup


def test_a_hardware_pour_has_no_simulation_and_needs_an_arm():
    with pytest.raises(ConfigurationError, match='arm_address'):
        graph_processes('pour', simulated=False)
    processes = graph_processes('pour', simulated=False, arm_address='192.168.1.217')
    assert 'simulated_world' not in [process.name for process in processes]
    for process in processes:
        assert process.parameters.get('source', 'device') == 'device'
        assert '127.0.0.1' not in process.parameters.values()


def test_a_hardware_pour_is_a_dry_run_until_somebody_says_otherwise():
    def pouring(**arguments):
        return graph_processes('pour', simulated=False, arm_address='192.168.1.217', **arguments)[-1]
    assert ArmParameters().dry_run
    assert 'arm.dry_run' not in pouring().parameters and 'auto_start' not in pouring().parameters
    assert 'dry_run' not in load_parameter_yaml(pouring().parameter_files[0]).get('arm', {})
    assert pouring(dry_run='false').parameters['arm.dry_run'] is False
    with pytest.raises(ConfigurationError, match='dry_run'):
        pouring(dry_run='perhaps')


def test_the_words_about_the_policy_are_true():
    assert 'models/pouring_policy' in GRAPHS['pour']['policy'].description
    assert PouringNodeParameters().policy == 'pouring_policy'
    assert all('policy' not in load_parameter_yaml(resource_path(path))
               for path in ('config/pouring.yaml', 'config/pour_hardware.yaml'))


def test_make_pour_refuses_a_true_arm_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pour.signal, 'signal', lambda *_: None)
    assert pour.main(['--output-folder', str(tmp_path / 'runs'), 'simulated:=false', 'arm_address:=192.168.1.217']) == 1
    told = capsys.readouterr()
    assert 'ros2 launch visuotactile_ros pour.launch.py simulated:=false' in told.err and told.err.count('\n') == 1
    assert not (tmp_path / 'runs').exists()


def test_the_simulation_is_where_everything_looks_for_it():
    world, *others = graph_processes('pour', world_address='127.0.77.5', seed=7)
    assert world.arguments[:4] == ('--seed', '7', '--address', '127.0.77.5')
    simulated = [process for process in others if process.parameters.get('source') == 'simulated']
    assert {process.parameters['world_address'] for process in simulated} == {'127.0.77.5'}
    pouring = next(process for process in others if process.name == 'pouring')
    assert pouring.parameters['arm.address'] == '127.0.77.5'


@pytest.mark.parametrize(('graph', 'arguments', 'said'), [
    ('pouring', {}, 'perception, pour, replay'),
    ('pour', {'sed': 3}, "'sed'"),
    ('replay', {}, 'path:='),
])
def test_bad_arguments_are_told(graph, arguments, said):
    with pytest.raises(ConfigurationError, match=said):
        graph_processes(graph, **arguments)


@pytest.mark.parametrize(('default', 'text', 'value'), [
    (True, 'False', False), (False, '1', True), (1, '0', 0), (10.0, '5', 5.0), ('', 'a b', 'a b')])
def test_launch_arguments_have_the_type_of_their_default(default, text, value):
    read = read_argument('x', default, text)
    assert read == value and type(read) is type(value)


def test_arguments_are_read_as_launch_takes_them():
    assert read_arguments('pour', ['seed:=3', 'simulated:=false']) == {'seed': 3, 'simulated': False}
    for text in ('sed:=3', 'seed=3', 'seed'):
        with pytest.raises(ConfigurationError, match='Did you mean seed:='):
            read_arguments('pour', [text])


@pytest.mark.parametrize(('default', 'text'), [(True, 'maybe'), (1, '1.5'), (10.0, 'fast')])
def test_unreadable_launch_arguments_are_told(default, text):
    with pytest.raises(ConfigurationError, match='x is'):
        read_argument('x', default, text)


def test_the_users_own_profile_stays():
    assert graph_environment({'FASTDDS_DEFAULT_PROFILES_FILE': 'mine.xml'}).keys() == {'FASTRTPS_DEFAULT_PROFILES_FILE'}


def test_devices_are_told_apart_by_serial_number_and_a_camera_may_be_a_topic():
    processes = graph_processes('perception', simulated=False, left_serial='20001', camera_topic='/camera/image_raw')
    by_name = {process.full_name: process.parameters for process in processes}
    assert by_name['/tactile/left/sensor']['serial'] == '20001'
    assert by_name['/tactile/right/sensor']['serial'] == ''
    camera = by_name['/wrist_camera/sensor']
    assert (camera['source'], camera['image_topic']) == ('topic', '/camera/image_raw')
