"""Which ROS is here and how it is set up; asked in a process of its own, because a broken one can crash."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from visuotactile_ros.bringup import FASTDDS_PROFILE, graph_processes
from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.resources import resource_path

SUBJECT = 'ROS'
TIMEOUT_S = 30.0
PROGRAM = """
import diagnostic_msgs.msg, geometry_msgs.msg, lifecycle_msgs.msg, sensor_msgs.msg, std_msgs.msg, std_srvs.srv
from rclpy.utilities import get_rmw_implementation_identifier
print(get_rmw_implementation_identifier())
"""
SHARED_MEMORY = Path('/dev/shm')
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')


def check(request: Request) -> Iterator[Finding]:
    """Import rclpy and every message package that the nodes need, and look at the settings of the middleware."""
    distribution = os.environ.get('ROS_DISTRO', '')
    try:
        done = subprocess.run([sys.executable, '-c', PROGRAM], capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        yield Finding(BROKEN, SUBJECT, f'rclpy does not load within {TIMEOUT_S:g} s', 'Open a new shell and source ROS')
        return
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]
        remedy = f'Source /opt/ros/{distribution}/setup.bash and use its python3, not {sys.executable}' \
            if distribution else 'Source /opt/ros/<distribution>/setup.bash, or run make setup and use .venv/bin/python'
        yield Finding(BROKEN, SUBJECT, f'rclpy and its messages do not load: {reason}', remedy)
        return
    middleware = done.stdout.split()[-1]
    settings = ', '.join(f'{name}={os.environ[name]}' for name in ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE',
                                                                   'ROS_LOCALHOST_ONLY') if name in os.environ)
    yield Finding(OK, SUBJECT, f'rclpy of {distribution or "Python wheels"} with {middleware}, '
                  f'{settings or "default domain and discovery range"}')
    if middleware == 'rmw_fastrtps_cpp':
        yield from _fast_dds()


def _fast_dds() -> Iterator[Finding]:
    profile = resource_path(FASTDDS_PROFILE)
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        yield Finding(NOTE, SUBJECT, 'Fast DDS loses images above 512 KiB between processes with its own defaults',
                      f'Nothing for the launch files and make, which set the profile; otherwise export '
                      f'{PROFILE_VARIABLES[0]}={profile} and {PROFILE_VARIABLES[1]} likewise')
    segment_bytes = int(re.search(r'<segment_size>(\d+)<', profile.read_text())[1])
    needed_mib, free_mib = (size >> 20 for size in (segment_bytes * len(graph_processes('pour')),
                                                    shutil.disk_usage(SHARED_MEMORY).free))
    if free_mib < needed_mib:
        yield Finding(NOTE, SUBJECT, f'{SHARED_MEMORY} has {free_mib} MiB left; the nodes of a pour want {needed_mib}',
                      f'Start the container with --shm-size={4 * needed_mib}m or --ipc=host')
