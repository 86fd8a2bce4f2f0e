"""Life of a node's process: start, spin, end on a signal, exit code."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.managed_node import ManagedNodeParameters
from visuotactile_ros.ros_interface.managed_node import ManagedNode

EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_CONFIGURATION = 2
EXIT_NOT_STARTED = 3
# A signal is seen between two waits.
SPIN_TIMEOUT_S = 0.1
# A terminal sends its Ctrl-C to every process of a graph, and whatever has started them may pass it on once more.
INSISTS_AFTER_S = 1.0


def run_node(make_node: Callable[[], ManagedNode], arguments: list[str] | None = None) -> int:
    """Run one node until SIGINT, SIGTERM or SIGHUP (its terminal was closed), or until its work is finished.

    The node ends by its shutdown transition, while ROS is still up: an arm can retract and say so. A further signal
    interrupts that, but not before INSISTS_AFTER_S.

    Args:
        make_node: The node's class.
        arguments: Command line; None takes the process's own.

    Returns:
        EXIT_OK after a signal or at the end of its work; where `autostart` could not bring the node to active,
        EXIT_CONFIGURATION when a setting is the reason and else EXIT_NOT_STARTED; EXIT_CRASHED after a defect of this
        package; 128 + its number where a further signal has interrupted it.
    """
    _lose_output_rather_than_wait()
    # The handlers of rclpy would end ROS first and the node later, too late for an arm that must still retract.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node = executor = None
    signals_seen, first_signal_s = [], math.inf

    def on_signal(number, _frame):
        nonlocal first_signal_s
        first_signal_s = min(first_signal_s, time.monotonic())
        signals_seen.append(number)
        if node is not None:
            node.stop_requested.set()
        if time.monotonic() - first_signal_s > INSISTS_AFTER_S:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever started the node by nohup wants it to outlive the terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
    try:
        try:
            node = make_node()
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            return _run(node, executor, signals_seen)
        except ConfigurationError as error:
            print(error, file=sys.stderr, flush=True)
            return EXIT_CONFIGURATION
        finally:
            if node is not None:
                if node.state_label != 'finalized':
                    node.trigger_shutdown()
                node.destroy_node()
            if executor is not None:
                executor.shutdown(timeout_sec=1.0)
            rclpy.try_shutdown()
            # What a launcher sends from now on would only interrupt the end of the interpreter.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        print('ended by a second signal', file=sys.stderr, flush=True)
        return 128 + signals_seen[-1]


def _lose_output_rather_than_wait() -> None:
    """Let lines be lost that a full pipe or a halted terminal does not take.

    rclpy logs with the interpreter locked: waiting there, a node would stand still with all of its threads, and an arm
    with it, as long as somebody keeps his terminal halted.
    """
    for descriptor in (1, 2):
        # A socket, or a file of another user, cannot be opened again; it stays as it is.
        with contextlib.suppress(OSError):
            # Opened anew, so that nothing changes for others who write to the same terminal.
            own = os.open(f'/proc/self/fd/{descriptor}', os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
            os.dup2(own, descriptor)
            os.close(own)


def _run(node: ManagedNode, executor: SingleThreadedExecutor, signals_seen: list[int]) -> int:
    if node.parameters[ManagedNodeParameters].autostart:
        for trigger in (node.trigger_configure, node.trigger_activate):
            if signals_seen:
                return EXIT_OK
            result = trigger()
            if result != TransitionCallbackReturn.SUCCESS:
                return EXIT_OK if signals_seen else _exit_code_of_failure(node, result)
    while not signals_seen and not node.finished.is_set():
        executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
    return EXIT_CRASHED if node.has_crashed else EXIT_OK


def _exit_code_of_failure(node: ManagedNode, result: TransitionCallbackReturn) -> int:
    if result == TransitionCallbackReturn.ERROR:
        return EXIT_CRASHED
    return EXIT_CONFIGURATION if isinstance(node.last_error, ConfigurationError) else EXIT_NOT_STARTED
