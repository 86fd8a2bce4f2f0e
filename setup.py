"""Install visuotactile_ros as an ament_python package; `colcon build` runs this file."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'visuotactile_ros'
SHARE = f'share/{PACKAGE}'
MODEL_FOLDERS = sorted(path for path in glob('models/*') if Path(path).is_dir())

setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(include=[f'{PACKAGE}*', 'training*']),
    package_data={PACKAGE: ['simulation/optics_tables/*'], 'training': ['recipes/*.yaml']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        # `ros2 run` looks in lib/, where setup.cfg puts the commands below; a shell looks here: `visuotactile doctor`.
        ('bin', ['resource/visuotactile']),
        (f'{SHARE}/launch', sorted(glob('launch/*.launch.py'))),
        (f'{SHARE}/config', sorted(path for kind in ('yaml', 'xml', 'rules') for path in glob(f'config/*.{kind}'))),
        *[(f'{SHARE}/{folder}', sorted(path for path in glob(f'{folder}/*') if Path(path).is_file()))
          for folder in MODEL_FOLDERS],
    ],
    python_requires='>=3.10',
    install_requires=['setuptools', 'numpy', 'pyyaml'],
    extras_require={'test': ['pytest']},
    zip_safe=True,
    maintainer='visuotactile_ros maintainers',
    maintainer_email='maintainers@example.com',
    description='A sense of touch that robots can compute with: visuo-tactile sensors, encoders and policies on ROS 2.',
    license='Apache-2.0',
    entry_points={'console_scripts': [
        'sensor = visuotactile_ros.nodes.sensor_node:main',
        'perception = visuotactile_ros.nodes.perception_node:main',
        'pouring = visuotactile_ros.nodes.pouring_node:main',
        'simulated_world = visuotactile_ros.simulation.world_process:main',
        'pour = visuotactile_ros.pour:main',
        'replay_frames = visuotactile_ros.replay_frames:main',
        'recorder = visuotactile_ros.nodes.record_node:main',
        'doctor = visuotactile_ros.doctor:main',
        'udev_rules = visuotactile_ros.udev_rules:main',
        'export_onnx = training.export_onnx:main',
    ]},
)
