"""Fixtures of the ROS tests."""

import subprocess

import pytest
from ros_graph import Graph, NodeProcess


@pytest.fixture
def graph():
    """A graph that is taken down after the test."""
    running = Graph()
    yield running
    running.close()


@pytest.fixture
def start_process():
    """Start nodes as processes; none outlives the test."""
    started = []

    def start(module, *arguments, output=subprocess.PIPE):
        started.append(NodeProcess(module, *arguments, output=output))
        return started[-1]
    yield start
    for process in started:
        process.close()
