"""Listener: a ROS node in a thread of its own, for programs that watch a graph from outside."""

from __future__ import annotations

import threading
from typing import Any

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from visuotactile_ros.errors import ConfigurationError

# A record must miss nothing, unlike a controller that wants the newest only.
EVERY_MESSAGE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=200, reliability=ReliabilityPolicy.RELIABLE)
SPIN_TIMEOUT_S = 0.1
JOIN_TIMEOUT_S = 2.0


class Listener:
    """A node with its own context; use it as a context manager: inside it, its callbacks run in another thread.

    Args:
        name: Name of the node.
        domain_id: ROS domain of the graph.

    Attributes:
        node: The node; create subscriptions before entering.
    """

    def __init__(self, name: str, domain_id: int):
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopping.set()
        self._thread.join(JOIN_TIMEOUT_S)
        self._executor.shutdown(timeout_sec=JOIN_TIMEOUT_S)
        self.node.destroy_node()
        self._context.try_shutdown()

    def call(self, kind: type, name: str, request: Any, timeout_s: float) -> Any:
        """Call a service from outside the listener's thread and return the response.

        Raises:
            ConfigurationError: No such service, or no answer in time.
        """
        client = self.node.create_client(kind, name)
        try:
            if not client.wait_for_service(timeout_s):
                raise ConfigurationError(f'nobody offers the service {name}', 'Check that its node runs')
            answered = threading.Event()
            future = client.call_async(request)
            future.add_done_callback(lambda _: answered.set())
            if not answered.wait(timeout_s):
                raise ConfigurationError(f'{name} gave no answer in {timeout_s:g} s', 'Check the log of its node')
            return future.result()
        finally:
            self.node.destroy_client(client)

    def change_state(self, node_name: str, transition: str, timeout_s: float) -> None:
        """Ask a lifecycle node for a transition.

        Args:
            node_name: Its full name.
            transition: `configure`, `activate`, `deactivate`, `cleanup` or `shutdown`.
            timeout_s: Longest wait, seconds.

        Raises:
            ConfigurationError: The node does not answer or refuses; its own log says why.
        """
        request = ChangeState.Request(transition=Transition(label=transition))
        if not self.call(ChangeState, f'{node_name}/change_state', request, timeout_s).success:
            raise ConfigurationError(f'{node_name} could not {transition}', 'Look at its log')

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
