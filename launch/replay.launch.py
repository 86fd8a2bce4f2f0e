"""Recorded frames as a sensor, through perception: path:=<image folder, video or bag>."""

from visuotactile_ros.bringup import launch_description


def generate_launch_description():
    """Return what `visuotactile_ros/bringup.py` says about this graph."""
    return launch_description('replay')
