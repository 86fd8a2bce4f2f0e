"""The one-way arrows of docs/architecture.md, read from the source text of every file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'visuotactile_ros'

# frame, errors, parameters ← sensors, inference, policy, robot ← simulation ← ros_interface ← nodes, bringup
BASE = {'errors', 'files', 'frame', 'parameters', 'resources'}
MAY_IMPORT = {
    'errors': set(), 'files': set(), 'frame': {'errors'}, 'parameters': {'errors'}, 'resources': {'errors'},
    'sensors': BASE, 'inference': BASE, 'policy': BASE | {'inference'}, 'robot': BASE,
    'simulation': BASE | {'sensors', 'inference', 'policy', 'robot'},
    'ros_interface': BASE | {'sensors', 'inference', 'policy', 'robot', 'simulation'},
    # The table names node modules by text, so that it can be read where no node could run.
    'bringup': {'errors', 'parameters', 'resources'}, 'run_record': {'errors'},
    'nodes': BASE | {'sensors', 'inference', 'policy', 'robot', 'simulation', 'ros_interface', 'bringup', 'run_record'},
}
CORE = ('errors', 'files', 'frame', 'parameters', 'resources', 'sensors', 'inference', 'policy', 'robot', 'simulation')
# Every other module of the package is a program of its own (a command, its report): it may use all of the above, and
# none of the above may use it.

MAY_IMPORT_ROS = {'ros_interface', 'nodes', 'bringup', 'local_runner'}
ROS_MODULES = {'ament_index_python', 'builtin_interfaces', 'cv_bridge', 'launch', 'launch_ros', 'launch_testing',
               'rcl_interfaces', 'rclpy', 'ros2cli', 'rosbag2_py', 'tf2_ros'}
ROS_SUFFIXES = ('_msgs', '_srvs', '_interfaces')
# The package share directory is looked up in one place.
EXCEPTIONS = {('resources', 'ament_index_python')}
TRAINING_MODULES = {'PIL', 'datasets', 'h5py', 'kornia', 'onnx', 'onnxscript', 'peft', 'pyarrow', 'safetensors',
                    'sklearn', 'tensorboard', 'torch', 'torchvision', 'transformers'}


def imported_modules(path, root):
    """List the dotted names a file imports anywhere in it, with their lines; `from a import b` counts as `a.b`."""
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            module = '.'.join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f'{module}.{alias.name}') for alias in node.names)
        elif (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(('import_module', '__import__'))
              and node.args and isinstance(node.args[0], ast.Constant)):
            yield node.lineno, str(node.args[0].value)


def is_ros(module):
    return module in ROS_MODULES or module.endswith(ROS_SUFFIXES)


def complaint(path, root, module):
    """Say which arrow an import breaks, or nothing."""
    place, top = path.relative_to(root).parts, module.split('.')[0]
    if place[0] == 'training':
        return 'training imports ROS' if is_ros(top) else ''
    if place[0] == 'launch':
        beyond = top in ('training', PACKAGE) and not module.startswith(f'{PACKAGE}.bringup')
        return 'a launch file imports more than the bringup table' if beyond else ''
    if place[:2] == ('test', 'unit'):
        return 'a unit test imports ROS or torch' if is_ros(top) or top == 'torch' else ''
    if place[0] != PACKAGE:
        return ''
    part = place[1].removesuffix('.py')
    if top == 'training':
        return 'the runtime imports training'
    if top in TRAINING_MODULES:
        return 'the runtime imports what only training needs'
    if is_ros(top) and part not in MAY_IMPORT_ROS and (part, top) not in EXCEPTIONS:
        return 'ROS outside ros_interface, nodes, bringup and local_runner'
    if top == PACKAGE and part in MAY_IMPORT:
        imported = module.split('.')[1] if '.' in module else part
        if imported != part and imported not in MAY_IMPORT[part]:
            return f'{part} does not know {imported}'
    return ''


def violations(root):
    """List every import below a root that breaks a rule, as `path:line: rule (module)`."""
    found = []
    for folder in (PACKAGE, 'training', 'launch', 'test/unit'):
        for path in sorted((root / folder).rglob('*.py')):
            for line, module in imported_modules(path, root):
                rule = complaint(path, root, module)
                if rule:
                    found.append(f'{path.relative_to(root)}:{line}: {rule} ({module})')
    return found


def test_no_import_goes_against_the_arrows():
    assert violations(ROOT) == []


def test_the_files_are_found():
    found = {path.name for path in (ROOT / PACKAGE).rglob('*.py')}
    assert {'frame.py', 'encoder.py', 'perception_node.py', 'bringup.py'} <= found
    for part in MAY_IMPORT:
        assert (ROOT / PACKAGE / part).is_dir() or (ROOT / PACKAGE / f'{part}.py').is_file(), part


@pytest.mark.parametrize('file, code, rule', [
    ('visuotactile_ros/frame.py', 'import rclpy', 'ROS outside'),
    ('visuotactile_ros/sensors/x.py', 'from sensor_msgs.msg import Image', 'ROS outside'),
    ('visuotactile_ros/sensors/x.py', 'def f():\n    import std_srvs.srv', 'ROS outside'),
    ('visuotactile_ros/simulation/x.py', 'import launch', 'ROS outside'),
    ('visuotactile_ros/policy/x.py', 'from ament_index_python import packages', 'ROS outside'),
    ('visuotactile_ros/report.py', 'import rclpy.node', 'ROS outside'),
    ('visuotactile_ros/inference/x.py', 'import torch', 'only training needs'),
    ('visuotactile_ros/nodes/x.py', 'from torch import nn', 'only training needs'),
    ('visuotactile_ros/inference/x.py', 'import onnx', 'only training needs'),
    ('visuotactile_ros/nodes/x.py', 'import importlib\nimportlib.import_module("training.recipe")', 'imports training'),
    ('visuotactile_ros/nodes/x.py', 'from training.recipe import load_recipe', 'imports training'),
    ('visuotactile_ros/pour.py', 'import training', 'imports training'),
    ('visuotactile_ros/sensors/x.py', 'import visuotactile_ros.inference.encoder', 'sensors does not know inference'),
    ('visuotactile_ros/sensors/x.py', 'from visuotactile_ros import inference', 'sensors does not know inference'),
    ('visuotactile_ros/sensors/x.py', 'from ..inference import encoder', 'sensors does not know inference'),
    ('visuotactile_ros/sensors/x.py', 'from .. import inference', 'sensors does not know inference'),
    ('visuotactile_ros/inference/x.py', 'from visuotactile_ros.sensors.replay import R', 'does not know sensors'),
    ('visuotactile_ros/inference/x.py', 'from visuotactile_ros.policy import p', 'inference does not know policy'),
    ('visuotactile_ros/robot/x.py', 'from visuotactile_ros.simulation import world', 'robot does not know simulation'),
    ('visuotactile_ros/policy/x.py', 'from visuotactile_ros.robot import arm', 'policy does not know robot'),
    ('visuotactile_ros/parameters/x.py', 'from visuotactile_ros.frame import Frame', 'parameters does not know frame'),
    ('visuotactile_ros/errors.py', 'from visuotactile_ros import frame', 'errors does not know frame'),
    ('visuotactile_ros/simulation/x.py', 'from visuotactile_ros.nodes import x', 'simulation does not know nodes'),
    ('visuotactile_ros/ros_interface/x.py', 'from visuotactile_ros.nodes import x', 'does not know nodes'),
    ('visuotactile_ros/bringup.py', 'from visuotactile_ros.nodes import x', 'bringup does not know nodes'),
    ('visuotactile_ros/nodes/x.py', 'from visuotactile_ros import report', 'nodes does not know report'),
    ('visuotactile_ros/policy/x.py', 'from visuotactile_ros.report import r', 'policy does not know report'),
    ('training/x.py', 'import rclpy', 'training imports ROS'),
    ('launch/x.launch.py', 'from visuotactile_ros.nodes import perception_node', 'launch file imports more'),
    ('test/unit/test_x.py', 'import torch', 'unit test imports'),
    ('test/unit/test_x.py', 'from std_msgs.msg import Bool', 'unit test imports'),
])
def test_a_planted_violation_is_found(tmp_path, file, code, rule):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'import math\n{code}\n')
    found = violations(tmp_path)
    assert len(found) == 1 and file in found[0] and rule in found[0], found


@pytest.mark.parametrize('file, code', [
    ('visuotactile_ros/frame.py', 'from visuotactile_ros.errors import SensorError'),
    ('visuotactile_ros/sensors/x.py', 'from .interface import FrameSource\nfrom ..frame import Frame'),
    ('visuotactile_ros/policy/x.py', 'from visuotactile_ros.inference.model_folder import load_model_folder'),
    ('visuotactile_ros/simulation/x.py', 'from visuotactile_ros.sensors import interface'),
    ('visuotactile_ros/nodes/x.py', 'import rclpy\nfrom sensor_msgs.msg import Image'),
    ('visuotactile_ros/bringup.py', 'def d():\n    from launch import LaunchDescription'),
    ('visuotactile_ros/resources.py', 'from ament_index_python.packages import get_package_share_directory'),
    ('visuotactile_ros/pour.py', 'from visuotactile_ros import local_runner, report'),
    ('training/x.py', 'import torch\nfrom visuotactile_ros.inference.encoder import resize_for_model'),
    ('launch/x.launch.py', 'import launch\nfrom visuotactile_ros.bringup import launch_description'),
])
def test_an_allowed_import_is_allowed(tmp_path, file, code):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    assert violations(tmp_path) == []


def test_the_core_can_be_imported_where_neither_ros_nor_torch_is_installed():
    modules = sorted('.'.join(path.relative_to(ROOT).with_suffix('').parts) for part in CORE
                     for path in [*(ROOT / PACKAGE / part).rglob('*.py'), ROOT / PACKAGE / f'{part}.py']
                     if path.is_file() and path.name != '__init__.py')
    assert len(modules) > 20
    program = f"""
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.split('.')[0]
        if top in {sorted(ROS_MODULES | TRAINING_MODULES)!r} or top.endswith({ROS_SUFFIXES!r}):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
for name in {modules!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
