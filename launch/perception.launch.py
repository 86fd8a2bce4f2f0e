"""Sensors and perception: embeddings and predictions on topics."""

from visuotactile_ros.bringup import launch_description


def generate_launch_description():
    """Return what `visuotactile_ros/bringup.py` says about this graph."""
    return launch_description('perception')
