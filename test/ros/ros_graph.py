"""A ROS graph in the process of the tests: true rclpy, every wait bounded."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import rclpy
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from visuotactile_ros.ros_interface.qos import NEWEST_SUBSCRIPTION

WAIT_S = 30.0


def wait_until(condition, timeout_s=WAIT_S, what=''):
    """Wait until `condition()` is true and return what it gave."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        result = condition()
        if result:
            return result
        time.sleep(0.01)
    raise AssertionError(f'waited {timeout_s} s in vain for {what or condition}')


class Graph:
    """Nodes of the package beside one helper node that publishes, listens and calls."""

    def __init__(self):
        rclpy.init()
        self.helper = Node('helper')
        self._nodes = []
        self._executor = MultiThreadedExecutor(num_threads=4)
        self._executor.add_node(self.helper)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def add(self, node_class, namespace='/', active=True, **settings):
        """Make a node with settings and bring it to active."""
        node = node_class(namespace=namespace, parameter_overrides=[
            Parameter(name.replace('__', '.'), value=value) for name, value in settings.items()])
        self._nodes.append(node)
        self._executor.add_node(node)
        if active:
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        return node

    def listen(self, kind, topic, qos=NEWEST_SUBSCRIPTION, work=None):
        """Collect the messages of a topic in a list."""
        heard = []
        self.helper.create_subscription(kind, topic, work or heard.append, qos)
        return heard

    def publisher(self, kind, topic, qos=NEWEST_SUBSCRIPTION, subscribers=1):
        """Make a publisher and wait until somebody listens."""
        publisher = self.helper.create_publisher(kind, topic, qos)
        wait_until(lambda: publisher.get_subscription_count() >= subscribers, what=f'a subscriber of {topic}')
        return publisher

    def call(self, kind, name, request=None, timeout_s=WAIT_S):
        """Call a service and return its answer."""
        client = self.helper.create_client(kind, name)
        assert client.wait_for_service(timeout_sec=WAIT_S), f'no service {name}'
        future = client.call_async(request or kind.Request())
        wait_until(future.done, timeout_s, f'the answer of {name}')
        self.helper.destroy_client(client)
        return future.result()

    def close(self):
        for node in self._nodes:
            if node.state_label not in ('finalized', ''):
                node.trigger_shutdown()
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        for node in [*self._nodes, self.helper]:
            node.destroy_node()
        rclpy.try_shutdown()
        # A destroyed lifecycle node keeps its services, and by them its DDS participant, until it is collected: some
        # twenty lived into the system tests, and listened to the processes there.
        self._nodes, self.helper, self._executor = [], None, None
        gc.collect()


class NodeProcess:
    """A node as its own process, as the runner and launch start it."""

    def __init__(self, module, *arguments, output=subprocess.PIPE):
        # Children inherit what is ignored; under nohup that is SIGHUP, which nodes then rightly leave ignored.
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.process = subprocess.Popen([sys.executable, '-m', f'visuotactile_ros.nodes.{module}', *arguments],
                                        stdout=output, stderr=subprocess.STDOUT, text=True,
                                        env={**os.environ, 'PYTHONUNBUFFERED': '1'})
        signal.signal(signal.SIGHUP, before)

    def end(self, timeout_s=WAIT_S):
        """Wait for the end; returns exit code and output."""
        output, _ = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, output

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=WAIT_S)
