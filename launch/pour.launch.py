"""The whole pouring task; simulated:=false uses the hardware configuration."""

from visuotactile_ros.bringup import launch_description


def generate_launch_description():
    """Return what `visuotactile_ros/bringup.py` says about this graph."""
    return launch_description('pour')
