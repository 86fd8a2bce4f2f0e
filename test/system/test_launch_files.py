"""The launch files: thin, one a graph, and under `launch` they start what the table says.

Where `launch` cannot be imported (it is not among the wheels) a recorder of the same interface stands in for it; where
it can, the true one runs too.
"""

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest

from visuotactile_ros import bringup

LAUNCH_FOLDER = Path(__file__).parents[2] / 'launch'
HAS_LAUNCH = importlib.util.find_spec('launch_ros') is not None and importlib.util.find_spec('launch') is not None
GIVEN = {'perception': {'simulated': 'false'}, 'pour': {'seed': '7', 'dry_run': 'true'},
         'replay': {'path': '/tmp/frames', 'rate_hz': '5'}}
EXPECTED = {'perception': {'simulated': False}, 'pour': {'seed': 7, 'dry_run': 'true'},
            'replay': {'path': '/tmp/frames', 'rate_hz': 5.0}}


def load_launch_file(graph):
    spec = importlib.util.spec_from_file_location(f'{graph}_launch', LAUNCH_FOLDER / f'{graph}.launch.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_graph_has_its_launch_file():
    assert {path.name for path in LAUNCH_FOLDER.iterdir() if path.is_file()} == \
        {f'{graph}.launch.py' for graph in bringup.GRAPHS}


@pytest.mark.parametrize('graph', bringup.GRAPHS)
def test_a_launch_file_is_nothing_but_its_graph(graph, monkeypatch):
    monkeypatch.setattr(bringup, 'launch_description', lambda name: ('description of', name))
    assert load_launch_file(graph).generate_launch_description() == ('description of', graph)


class Recorded:
    """Stands in for any class of launch: keeps what it is made with."""

    def __init__(self, *arguments, **options):
        self.arguments, self.options = arguments, options


class Context:
    def __init__(self, values):
        self.values = values


@pytest.fixture
def recorder(monkeypatch):
    names = {'launch': ['LaunchDescription'],
             'launch.actions': ['DeclareLaunchArgument', 'OpaqueFunction', 'SetEnvironmentVariable', 'Shutdown'],
             'launch_ros': [], 'launch_ros.actions': ['Node'],
             'launch_ros.parameter_descriptions': ['ParameterValue']}
    for name, classes in names.items():
        module = types.ModuleType(name)
        for each in classes:
            setattr(module, each, type(each, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    substitutions = types.ModuleType('launch.substitutions')
    substitutions.LaunchConfiguration = type('LaunchConfiguration', (Recorded,), {
        'perform': lambda self, context: context.values[self.arguments[0]]})
    monkeypatch.setitem(sys.modules, 'launch.substitutions', substitutions)


@pytest.mark.parametrize('graph', bringup.GRAPHS)
def test_a_launch_file_starts_the_table(graph, recorder):
    given = GIVEN[graph] | ({} if graph == 'replay' else {'world_address': '127.0.77.3'})
    entities = load_launch_file(graph).generate_launch_description().arguments[0]
    declared = {each.arguments[0]: each.options for each in entities if type(each).__name__ == 'DeclareLaunchArgument'}
    assert list(declared) == list(bringup.GRAPHS[graph])
    assert all(options['description'] for options in declared.values())
    function, = (each for each in entities if type(each).__name__ == 'OpaqueFunction')
    values = {name: options['default_value'] for name, options in declared.items()} | given
    nodes = function.options['function'](Context(values))
    expected = bringup.graph_processes(graph, **EXPECTED[graph], **(
        {} if graph == 'replay' else {'world_address': '127.0.77.3'}))
    assert [node.options['executable'] for node in nodes] == [process.executable for process in expected]
    for node, process in zip(nodes, expected):
        assert (node.options['name'], node.options['namespace']) == (process.name, process.namespace)
        assert tuple(node.options['arguments']) == process.arguments
        assert (node.options['on_exit'] is not None) == process.required
        if process.required:
            # Shut down once only: a second shutdown would interrupt the return of the arm.
            assert node.options['on_exit']('event', types.SimpleNamespace(is_shutdown=True)) is None
            ended = node.options['on_exit']('event', types.SimpleNamespace(is_shutdown=False))
            assert type(ended).__name__ == 'Shutdown'
        assert float(node.options['sigterm_timeout']) > 10.0
        if not process.arguments:
            *files, parameters = node.options['parameters']
            assert files == list(map(str, process.parameter_files))
            assert {name: value.arguments[0] if isinstance(value, Recorded) else value
                    for name, value in parameters.items()} == dict(process.parameters)
            assert all(value.options == {'value_type': str} for value in parameters.values()
                       if isinstance(value, Recorded))


if HAS_LAUNCH:
    @pytest.mark.parametrize('graph', bringup.GRAPHS)
    def test_the_true_launch_understands_it(graph, monkeypatch):
        from launch import LaunchContext
        from launch_ros.actions import Node
        monkeypatch.setattr(os, 'environ', dict(os.environ))
        context = LaunchContext(argv=[])
        context.launch_configurations.update(GIVEN[graph])
        nodes = []
        for entity in load_launch_file(graph).generate_launch_description().entities:
            nodes += [each for each in entity.visit(context) or [] if isinstance(each, Node)]
        expected = bringup.graph_processes(graph, **EXPECTED[graph])
        assert [node.node_executable for node in nodes] == [process.executable for process in expected]
        for node, process in zip(nodes, expected):
            node._perform_substitutions(context)
            assert node.node_name == process.full_name
