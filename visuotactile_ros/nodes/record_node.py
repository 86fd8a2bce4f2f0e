"""recorder: topics of the graph into a rosbag2 bag, every message as it was on the wire."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.recorder import RecorderParameters
from visuotactile_ros.ros_interface.bag_queue import BagQueue
from visuotactile_ros.ros_interface.bag_writer import BagWriter, qos_description
from visuotactile_ros.ros_interface.diagnostics import ERROR, OK, WARN, Health, RecentEvents
from visuotactile_ros.ros_interface.managed_node import ManagedNode
from visuotactile_ros.ros_interface.node_main import run_node

PARAMETER_GROUPS = (('', RecorderParameters),)
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
DISCOVERY_PERIOD_S = 0.5
# A record must miss nothing: the images of a second wait here until the executor takes them.
SUBSCRIPTION_DEPTH = 60
# What waits in the queue must still reach the disk.
CLOSE_TIMEOUT_S = 60.0
LOG_PERIOD_S = 5.0
MIB = 1 << 20
# MCAP has 32 bits for it.
LARGEST_SEQUENCE = 2**32 - 1


def recording_qos(offered: list[QoSProfile]) -> QoSProfile:
    """The strictest quality of service that every publisher of a topic can serve."""
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in offered)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=SUBSCRIPTION_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)


class RecordNode(ManagedNode):
    """Writes a bag while it is active; every activation begins a new one, every deactivation closes it.

    Messages are neither decoded nor changed. A topic is recorded from when its first publisher is seen.
    """

    def __init__(self, **node_arguments):
        super().__init__('recorder', PARAMETER_GROUPS, **node_arguments)
        self._topic_subscriptions: dict[str, Subscription] = {}
        self._refused: set[str] = set()
        self._timer = self._bag = self._queue = None
        self._worker: threading.Thread | None = None

    def activate(self) -> None:
        """Begin a new bag.

        Raises:
            ConfigurationError: It is there already or cannot be made.
        """
        settings: RecorderParameters = self.parameters[RecorderParameters]
        name = settings.bag_name or datetime.now().strftime('%Y-%m-%d_%H-%M-%S')
        self._lost, self._received = 0, RecentEvents()
        self._bag = BagWriter(Path(settings.folder).expanduser() / name, settings.compression)
        self._queue = BagQueue(self._bag, int(settings.queue_mib * MIB), settings.flush_period_s,
                               int(settings.keep_free_mib * MIB))
        self._worker = self.start_worker(self._write, 'write the bag')
        self.get_logger().info(f'Recording to {self._bag.folder}.')
        self._look_for_topics()
        self._timer = self.create_timer(DISCOVERY_PERIOD_S, self._look_for_topics)

    def deactivate(self) -> None:
        """Stop to listen, write what waits and close the bag."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        for subscription in self._topic_subscriptions.values():
            self.destroy_subscription(subscription)
        self._topic_subscriptions = {}
        self._refused = set()
        if self._worker is None:
            return
        self._queue.finish()
        self._worker.join(CLOSE_TIMEOUT_S)
        if self._worker.is_alive():
            self.get_logger().error(f'{self._bag.folder} is not closed after {CLOSE_TIMEOUT_S:g} s: its disk hangs. '
                                    'Replay it as it is: what is there can be read.')
        self._worker = None

    def hardware_id(self) -> str:
        """Path of the bag."""
        return '' if self._bag is None else str(self._bag.folder)

    def health(self) -> Health:
        """What is recorded, what waits for the disk and what the bag lacks."""
        dropped = self._queue.dropped.total()
        values = {'topics': len(self._topic_subscriptions), 'messages': sum(self._bag.message_counts.values()),
                  'received_hz': self._received.rate_hz(), 'waiting_mib': self._queue.waiting_bytes / MIB,
                  'dropped': dropped, 'lost': self._lost}
        if self._queue.fault != '':
            return Health(ERROR, self._queue.fault, values)
        if dropped > 0 or self._lost > 0:
            return Health(WARN, f'the bag lacks messages: {dropped} found the queue full, {self._lost} were lost '
                                'on their way here', values)
        missing = sorted(set(self.parameters[RecorderParameters].topics) - set(self._topic_subscriptions))
        if missing:
            return Health(WARN, f'{missing[0]} is not recorded: ' + (
                'its type cannot be used' if missing[0] in self._refused else 'nobody publishes it'), values)
        if not self._topic_subscriptions:
            return Health(WARN, 'there is no topic to record', values)
        return Health(OK, 'recording', values)

    def _write(self) -> None:
        self._queue.run()
        if self._queue.fault != '':
            self.get_logger().error(f'The recording has ended: {self._queue.fault}')
        dropped = self._queue.dropped
        self.get_logger().info(
            f'{sum(self._bag.message_counts.values())} messages of {len(self._bag.message_counts)} topics are in '
            f'{self._bag.folder}; dropped: {dict(dropped) if dropped else "none"}, lost on their way: {self._lost}.')

    def _is_wanted(self, topic: str, type_name: str) -> bool:
        settings: RecorderParameters = self.parameters[RecorderParameters]
        if settings.topics:
            return topic in settings.topics
        return type_name in IMAGE_TYPES or any(topic == name or topic.startswith(f'{name}/')
                                               for name in settings.namespaces)

    def _look_for_topics(self) -> None:
        """Subscribe to what is wanted and not recorded yet."""
        for topic, types in self.get_topic_names_and_types():
            if topic in self._topic_subscriptions or topic in self._refused or not self._is_wanted(topic, types[0]):
                continue
            offered = [endpoint.qos_profile for endpoint in self.get_publishers_info_by_topic(topic)]
            if not offered:
                continue
            try:
                self._record(topic, types, offered)
            except ConfigurationError as error:
                self._refused.add(topic)
                self.get_logger().warning(f'{topic} is not recorded: {error}')

    def _record(self, topic: str, types: list[str], offered: list[QoSProfile]) -> None:
        if len(types) > 1:
            raise ConfigurationError(f'its publishers use the types {", ".join(types)}', 'End all but one of them')
        package, _, name = types[0].split('/')
        try:
            message_type = getattr(importlib.import_module(f'{package}.msg'), name)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(f'{types[0]} is not installed', 'Source the workspace that has it') from error
        self._queue.add_topic(topic, types[0], [qos_description(profile) for profile in offered])
        self._topic_subscriptions[topic] = self.create_subscription(
            message_type, topic, partial(self._on_message, topic), recording_qos(offered), raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=self._on_lost))

    def _on_message(self, topic: str, content: bytes, info: dict[str, Any]) -> None:
        self._received.add()
        # A middleware that does not know a time says 0.
        received_ns = info['received_timestamp'] or time.time_ns()
        sequence = (info.get('publication_sequence_number') or 0) & LARGEST_SEQUENCE
        is_taken = self._queue.write(topic, content, received_ns, info['source_timestamp'] or received_ns, sequence)
        if not is_taken and self._queue.fault == '':
            self.get_logger().warning(f'The disk is too slow: a message of {topic} was dropped. Record fewer topics, '
                                      'or compress them.', throttle_duration_sec=LOG_PERIOD_S)

    def _on_lost(self, event: Any) -> None:
        self._lost += event.total_count_change


def main(arguments: list[str] | None = None) -> int:
    """Run the recorder."""
    return run_node(RecordNode, arguments)


if __name__ == '__main__':
    sys.exit(main())
