"""ManagedNode: what all nodes of the package share: strict settings, lifecycle, diagnostics, one line a fault."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from visuotactile_ros.errors import VisuotactileError
from visuotactile_ros.parameters.groups import ParameterGroups
from visuotactile_ros.parameters.managed_node import ManagedNodeParameters
from visuotactile_ros.ros_interface.declare_parameters import check_change, declare_parameters, read_parameters
from visuotactile_ros.ros_interface.diagnostics import ERROR, STALE, Health, diagnostic_message

DIAGNOSTICS_PERIOD_S = 1.0


class ManagedNode(LifecycleNode):
    """A lifecycle node that says every fault in one line and never with a traceback.

    A node of the package overrides `configure`, `activate`, `deactivate`, `cleanup` and `health`. The first two may
    raise VisuotactileError: the transition then fails and the node keeps its state. `deactivate` and `cleanup` must
    work on a node that was only half configured.

    Args:
        name: Default name of the node.
        groups: Its settings, without ManagedNodeParameters.
        node_arguments: What rclpy's Node takes: namespace, parameter_overrides, context, …

    Attributes:
        parameters: The settings as read at the last configure, by dataclass.
        stop_requested: Set when the process was asked to end; a `configure` that waits must look at it.
        finished: Set by a node whose work has come to its end (a replay): its process then ends.
        last_error: Why the last transition failed; None where it did not, or met a defect of this package.
        has_crashed: Whether a worker met a defect of this package.

    Raises:
        ConfigurationError: A parameter that is unknown or cannot be used.
    """

    def __init__(self, name: str, groups: ParameterGroups, **node_arguments: Any):
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **node_arguments)
        self._groups = (('', ManagedNodeParameters), *groups)
        try:
            self.parameters: dict[type, Any] = declare_parameters(self, self._groups)
        except VisuotactileError:
            self.destroy_node()
            raise
        self.stop_requested, self.finished = threading.Event(), threading.Event()
        self.has_crashed = False
        self.last_error: VisuotactileError | None = None
        self._last_fault = ''
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self.publish_diagnostics,
                          callback_group=MutuallyExclusiveCallbackGroup())

    def configure(self) -> None:
        """Load what the settings name; nothing is published or moved yet."""

    def activate(self) -> None:
        """Start to work."""

    def deactivate(self) -> None:
        """Stop to work."""

    def cleanup(self) -> None:
        """Release what `configure` took."""

    def health(self) -> Health:
        """Report of an active node."""
        return Health()

    def hardware_id(self) -> str:
        """Serial number or address of the device behind this node, '' for none."""
        return ''

    def start_worker(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Start a thread; an exception in it is a defect of this package and ends the process, not only the thread."""
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self._last_fault = f'internal error: {error!r}'
                self.get_logger().fatal(f'{self._last_fault}\n{traceback.format_exc()}')
                self.has_crashed = True
                self.finished.set()
        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    @property
    def state_label(self) -> str:
        """Lifecycle state: unconfigured, inactive, active or finalized, or a transition between them."""
        return self._state_machine.current_state[1]

    def _on_set_parameters(self, changed):
        return check_change(self, self._groups, changed, self.state_label == 'unconfigured')

    def publish_diagnostics(self) -> None:
        """Publish the report of this moment on `/diagnostics`."""
        if self.state_label == 'active':
            health = self.health()
        else:
            health = Health(ERROR, self._last_fault) if self._last_fault else Health(STALE, self.state_label)
        self._diagnostics_publisher.publish(diagnostic_message(
            self.get_fully_qualified_name(), self.hardware_id(), health, self.get_clock().now().to_msg()))

    def _transition(self, work: Callable[[], None]) -> TransitionCallbackReturn:
        self.last_error = None
        try:
            work()
        except VisuotactileError as error:
            self.last_error = error
            self._last_fault = str(error)
            self.get_logger().error(str(error))
            self.publish_diagnostics()
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            # A defect of this package, not a fault of its surroundings: rclpy would swallow it without a word.
            self._last_fault = f'internal error: {error!r}'
            self.get_logger().error(f'{self._last_fault}\n{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        self._last_fault = ''
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self.parameters = read_parameters(self, self._groups)
        try:
            self.configure()
        except BaseException:
            self.cleanup()
            raise

    def _activate(self) -> None:
        try:
            self.activate()
        except BaseException:
            self.deactivate()
            raise

    def _release(self) -> None:
        self.deactivate()
        self.cleanup()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the settings and load what they name."""
        return self._transition(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to work."""
        return self._transition(self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to work."""
        return self._transition(self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release what was loaded."""
        return self._transition(self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release, from whatever state."""
        return self._transition(self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an internal error: stop, release and become unconfigured."""
        self._release()
        return TransitionCallbackReturn.SUCCESS
