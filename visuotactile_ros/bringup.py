"""The graph as one table: which processes, under which names, with which parameters.

The launch files and the local runner both start what stands here, so they cannot differ. Sensors live in a namespace
of their own (`/tactile/left/sensor` publishes `/tactile/left/image_raw`), perception in `/tactile`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.resources import PACKAGE, resource_path

TACTILE_SENSORS = ('left', 'right')
CAMERA = 'wrist_camera'
REPLAYED_SENSOR = 'replay'
# Simulated sensors render in turn instead of all at one moment.
SENSOR_PHASES = {'left': 0.0, 'right': 0.5, CAMERA: 0.25}
# The port of a true arm, 502, needs root.
SIMULATED_ARM_PORT = 5502
# The return to upright takes 6 s from the largest tilt, and 10 s at most whatever the settings of the arm; `launch`
# would kill it after 5.
SHUTDOWN_TIMEOUT_S = 30
FASTDDS_PROFILE = 'config/fastdds_shm.xml'


@dataclass(frozen=True)
class Process:
    """One process of the graph.

    Attributes:
        executable: Name under which `ros2 run` knows it.
        module: Module that `python -m` starts.
        name: Node name.
        namespace: Node namespace, absolute.
        parameter_files: ROS parameter files, later ones win.
        parameters: Parameters that win over every file.
        arguments: Command line arguments of a process that is no ROS node.
        required: Whether the graph is broken without it; the others may end by themselves.
    """

    executable: str
    module: str
    name: str
    namespace: str = '/'
    parameter_files: tuple[Path, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    required: bool = True

    @property
    def full_name(self) -> str:
        """Namespace and name as one path, unique in a graph."""
        return f'{self.namespace.rstrip("/")}/{self.name}'


@dataclass(frozen=True)
class Argument:
    """One argument of a graph: `name:=value` of `ros2 launch`, a keyword of `graph_processes`."""

    default: Any
    description: str


_PERCEPTION_ARGUMENTS = {
    'simulated': Argument(True, 'Simulate sensors, vessel and arm; false uses the hardware configuration'),
    'sensor_kind': Argument('gelsight_mini_markers', 'Kind of the two tactile sensors'),
    'model': Argument('', 'Folder of the encoder; empty uses the default of perception'),
    'camera_model': Argument('', 'Folder of the encoder of the camera; empty uses the default of perception'),
    'seed': Argument(1, 'Seed of everything random about the simulation'),
    'world_address': Argument('127.0.0.1', 'Loopback address of the simulated world'),
    'left_serial': Argument('', 'Serial number of the left sensor; needed where two of a kind are plugged in'),
    'right_serial': Argument('', 'Serial number of the right sensor'),
    'camera_serial': Argument('', 'Serial number of the wrist camera; empty takes the only other camera'),
    'camera_topic': Argument('', 'Image or CompressedImage topic of a driver that has the wrist camera already'),
    'shear': Argument(False, 'Publish shear and twist of the gels, and slip where they have markers'),
    'depth': Argument(False, 'Publish depth and normals of the gels; clear GelSight Mini and DIGIT only'),
    'record': Argument('', 'Folder that gets a bag of the run; empty records none'),
}
GRAPHS: dict[str, dict[str, Argument]] = {
    'perception': _PERCEPTION_ARGUMENTS,
    'pour': {
        **_PERCEPTION_ARGUMENTS,
        'policy': Argument('', 'Folder of the pouring policy; empty uses models/pouring_policy'),
        'arm_address': Argument('', 'Dotted address of the arm; needed when simulated is false'),
        'dry_run': Argument('', 'true checks every command and sends none to the arm; empty uses the parameter file'),
    },
    'replay': {
        'path': Argument('', 'Image folder, video file or rosbag2/MCAP bag'),
        'topic': Argument('', 'Image topic of a bag; empty takes the only one'),
        'timing': Argument('steady', 'steady (rate_hz), recorded, or lockstep: each frame once the last was encoded'),
        'loop': Argument(True, 'Start again at the end, so that there is always something to look at'),
        'rate_hz': Argument(10.0, 'Frames a second'),
        'sensor_kind': Argument('gelsight_mini', 'Kind of the sensor that took the frames'),
        'model': Argument('', 'Folder of the encoder; empty uses the default of perception'),
    },
}


def graph_processes(graph: str, **arguments: Any) -> list[Process]:
    """Return the processes of a graph, in the order of their start.

    Args:
        graph: One of GRAPHS.
        arguments: Values for the arguments of that graph; those not given keep their default.

    Raises:
        ConfigurationError: An unknown graph or argument, or arguments that do not fit together.
    """
    if graph not in GRAPHS:
        raise ConfigurationError(f'there is no graph {graph!r}', f'Choose one of {", ".join(GRAPHS)}')
    unknown = sorted(set(arguments) - set(GRAPHS[graph]))
    if unknown:
        raise ConfigurationError(f'the graph {graph} has no argument {unknown[0]!r}',
                                 f'Choose one of {", ".join(GRAPHS[graph])}')
    values = {name: arguments.get(name, argument.default) for name, argument in GRAPHS[graph].items()}
    if graph == 'replay':
        return [_replay_sensor(values), _perception(values, (REPLAYED_SENSOR,), camera='')]
    # Where no arm closes the fingers they close by themselves, once the sensors have seen themselves untouched.
    grasp = () if graph == 'pour' else ('--grasp-after-s', '5')
    processes = [_recorder(values['record'])] if values['record'] else []
    if values['simulated']:
        processes.append(_simulated_world(values, grasp))
    processes += [_sensor(name, values) for name in (*TACTILE_SENSORS, CAMERA)]
    processes.append(_perception(values, TACTILE_SENSORS, CAMERA))
    if graph == 'pour':
        processes.append(_pouring(values))
    return processes


def graph_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that the graph needs on top of the user's own.

    Images above 512 KiB are lost between processes with the default settings of Fast DDS; the shipped profile has a
    larger shared-memory segment. Both names are set: Jazzy and older read the second.

    Args:
        environment: The environment of the caller; what the user set there stays as it is.
    """
    profile = str(resource_path(FASTDDS_PROFILE))
    wanted = {'FASTDDS_DEFAULT_PROFILES_FILE': profile, 'FASTRTPS_DEFAULT_PROFILES_FILE': profile}
    return {name: value for name, value in wanted.items() if name not in environment}


def _simulated_world(values: Mapping[str, Any], grasp: tuple[str, ...]) -> Process:
    return Process('simulated_world', f'{PACKAGE}.simulation.world_process', 'simulated_world',
                   arguments=('--seed', str(values['seed']), '--address', values['world_address'],
                              '--control-port', str(SIMULATED_ARM_PORT),
                              '--config', str(resource_path('config/simulation.yaml')), *grasp))


def _sensor(name: str, values: Mapping[str, Any]) -> Process:
    is_camera = name == CAMERA
    kind = CAMERA if is_camera else values['sensor_kind']
    parameters: dict[str, Any] = {'sensor_name': name, 'kind': kind, 'source': 'device'}
    if not is_camera:
        parameters |= {'shear': values['shear'], 'depth': values['depth']}
    if values['simulated']:
        parameters |= {'source': 'simulated', 'world_address': values['world_address'],
                       'simulation_seed': values['seed'], 'phase_fraction': SENSOR_PHASES[name]}
    elif is_camera and values['camera_topic']:
        parameters |= {'source': 'topic', 'image_topic': values['camera_topic']}
    else:
        parameters['serial'] = values['camera_serial' if is_camera else f'{name}_serial']
    return Process('sensor', f'{PACKAGE}.nodes.sensor_node', 'sensor',
                   f'/{CAMERA}' if is_camera else f'/tactile/{name}',
                   (resource_path(f'config/{kind}.yaml'),), parameters)


def _recorder(folder: str) -> Process:
    return Process('recorder', f'{PACKAGE}.nodes.record_node', 'recorder',
                   parameters={'folder': str(Path(folder).expanduser().resolve())}, required=False)


def _replay_sensor(values: Mapping[str, Any]) -> Process:
    if not values['path']:
        raise ConfigurationError('no frames to replay are named', 'Add path:=<image folder, video or bag>')
    kind = values['sensor_kind']
    return Process('sensor', f'{PACKAGE}.nodes.sensor_node', 'sensor', f'/tactile/{REPLAYED_SENSOR}',
                   (resource_path(f'config/{kind}.yaml'),),
                   {'sensor_name': REPLAYED_SENSOR, 'kind': kind, 'source': 'replay', 'rate_hz': values['rate_hz'],
                    'replay_path': str(Path(values['path']).expanduser().resolve()), 'replay_loop': values['loop'],
                    'replay_topic': values['topic'], 'replay_timing': values['timing'],
                    # A recording need not begin with an untouched gel, so that contact is not known.
                    'has_gel': False},
                   required=False)


def _perception(values: Mapping[str, Any], sensors: tuple[str, ...], camera: str) -> Process:
    parameters: dict[str, Any] = {'sensors': list(sensors), 'sensor_kinds': [values['sensor_kind']] * len(sensors),
                                  'camera': camera}
    parameters |= {name: values[name] for name in ('model', 'camera_model') if values.get(name)}
    return Process('perception', f'{PACKAGE}.nodes.perception_node', 'perception', '/tactile',
                   (resource_path('config/perception.yaml'),), parameters)


def _pouring(values: Mapping[str, Any]) -> Process:
    parameters: dict[str, Any] = {}
    if values['simulated']:
        path = resource_path('config/pouring.yaml')
        # A true arm moves only after somebody has called ~/arm and ~/start.
        parameters |= {'auto_start': True, 'arm.address': values['world_address'],
                       'arm.control_port': SIMULATED_ARM_PORT}
    else:
        path = resource_path('config/pour_hardware.yaml')
        if not values['arm_address']:
            raise ConfigurationError('the address of the arm is missing', 'Add arm_address:=<dotted address>')
        parameters['arm.address'] = values['arm_address']
    if values['dry_run']:
        parameters['arm.dry_run'] = read_argument('dry_run', True, values['dry_run'])
    if values['policy']:
        parameters['policy'] = values['policy']
    return Process('pouring', f'{PACKAGE}.nodes.pouring_node', 'pouring', '/', (path,), parameters)


def launch_description(graph: str) -> Any:
    """Return the `launch.LaunchDescription` of a graph; needs a sourced ROS distribution."""
    import os

    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
    from launch.substitutions import LaunchConfiguration
    from launch_ros.actions import Node
    from launch_ros.parameter_descriptions import ParameterValue

    def launch_parameters(process):
        if process.arguments:
            return None
        # A serial number of digits would be read as a number.
        return [*map(str, process.parameter_files),
                {name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
                 for name, value in process.parameters.items()}]

    def end_graph(_event, context):
        # Another shutdown would send every process another SIGINT: one is an order to end well, two an interruption.
        return None if context.is_shutdown else Shutdown(reason='a required process ended')

    def start(context):
        given = {name: read_argument(name, argument.default, LaunchConfiguration(name).perform(context))
                 for name, argument in GRAPHS[graph].items()}
        return [Node(package=PACKAGE, executable=process.executable, name=process.name, namespace=process.namespace,
                     parameters=launch_parameters(process), arguments=list(process.arguments), output='screen',
                     on_exit=end_graph if process.required else None, sigterm_timeout=str(SHUTDOWN_TIMEOUT_S))
                for process in graph_processes(graph, **given)]

    return LaunchDescription([
        *[DeclareLaunchArgument(name, default_value=str(argument.default).lower() if argument.default in (True, False)
                                else str(argument.default), description=argument.description)
          for name, argument in GRAPHS[graph].items()],
        *[SetEnvironmentVariable(name, value) for name, value in graph_environment(os.environ).items()],
        OpaqueFunction(function=start)])


def read_arguments(graph: str, texts: Sequence[str]) -> dict[str, Any]:
    """Read arguments as `ros2 launch` takes them.

    Args:
        graph: One of GRAPHS.
        texts: Each `name:=value`.

    Raises:
        ConfigurationError: An unknown name, or a value of another type.
    """
    values = {}
    for text in texts:
        name, separator, value = text.partition(':=')
        if not separator or name not in GRAPHS[graph]:
            nearest = difflib.get_close_matches(name, GRAPHS[graph], n=1, cutoff=0.0)[0]
            raise ConfigurationError(f'{text!r} is no argument of the graph {graph}', f'Did you mean {nearest}:=…')
        values[name] = read_argument(name, GRAPHS[graph][name].default, value)
    return values


def read_argument(name: str, default: Any, text: str) -> Any:
    """Read the text of a launch argument as the type of its default.

    Raises:
        ConfigurationError: The text is not of that type.
    """
    if isinstance(default, bool):
        if text.lower() in ('true', '1', 'yes'):
            return True
        if text.lower() in ('false', '0', 'no'):
            return False
        raise ConfigurationError(f'{name} is {text!r}', 'Write true or false')
    if isinstance(default, (int, float)):
        try:
            return type(default)(text)
        except ValueError as error:
            raise ConfigurationError(f'{name} is {text!r}', f'Write a number, for example {default}') from error
    return text
