"""run_monitor: listens to a running pour and fills a RunRecord; it publishes nothing and commands nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from visuotactile_ros.bringup import CAMERA, TACTILE_SENSORS
from visuotactile_ros.ros_interface.image_codec import decode_image
from visuotactile_ros.ros_interface.listener import EVERY_MESSAGE, Listener
from visuotactile_ros.ros_interface.messages import ns_from_time
from visuotactile_ros.ros_interface.qos import LATCHED
from visuotactile_ros.run_record import ACTIONS, FrameSample, PourSample, RunRecord

POURING_NODE = '/pouring'
FAULT_PREFIX = 'fault: '
KEPT_FRAME_PERIOD_NS = 1_000_000_000


class RunMonitor(Listener):
    """Fills a record from the topics of the `pour` graph.

    Args:
        record: What it fills.
        domain_id: ROS domain of the graph.
        read_scale: Returns the poured mass in grams at this moment, or None where there is no scale.

    Attributes:
        record: What it fills; another one may be put in its place.
        phase: Newest phase of the task, `fault` after a fault, '' before the first.
    """

    def __init__(self, record: RunRecord, domain_id: int, read_scale: Callable[[], float | None]):
        super().__init__('run_monitor', domain_id)
        self.record, self._read_scale = record, read_scale
        self._kept_ns: dict[str, int] = {}
        self.phase = ''
        for name in (*TACTILE_SENSORS, CAMERA):
            topic = f'/{name}/image_raw' if name == CAMERA else f'/tactile/{name}/image_raw'
            # Raw: an image is looked into once a second, and counted every time.
            self.node.create_subscription(Image, topic, partial(self._on_image, name), EVERY_MESSAGE, raw=True)
        self.node.create_subscription(Image, '/tactile/embedding_stamped', self._on_embedding, EVERY_MESSAGE)
        self.node.create_subscription(String, f'{POURING_NODE}/phase', self._on_phase, LATCHED)
        self.node.create_subscription(JointState, f'{POURING_NODE}/state', self._on_state, EVERY_MESSAGE)
        self.node.create_subscription(TwistStamped, f'{POURING_NODE}/action', self._on_action, EVERY_MESSAGE)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, EVERY_MESSAGE)

    def _on_image(self, sensor: str, serialized: bytes, info: dict[str, int]) -> None:
        stamp_ns = info['source_timestamp']
        self.record.image_stamps_ns.setdefault(sensor, []).append(stamp_ns)
        if sensor != CAMERA and stamp_ns - self._kept_ns.get(sensor, 0) >= KEPT_FRAME_PERIOD_NS:
            self._kept_ns[sensor] = stamp_ns
            image = decode_image(deserialize_message(serialized, Image)).copy()
            self.record.frames.append(FrameSample(stamp_ns, sensor, image))

    def _on_embedding(self, message: Image, info: dict[str, int]) -> None:
        times = self.record.embedding_times_ns.setdefault(message.header.frame_id, [])
        times.append((ns_from_time(message.header.stamp), info['source_timestamp']))

    def _on_phase(self, message: String) -> None:
        if message.data.startswith(FAULT_PREFIX):
            self.phase, fault = 'fault', message.data.removeprefix(FAULT_PREFIX)
            if fault not in self.record.faults:
                self.record.faults.append(fault)
        else:
            self.phase = message.data

    def _on_state(self, message: JointState) -> None:
        self.record.samples.append(PourSample(ns_from_time(message.header.stamp), self.phase, '',
                                               math.degrees(message.position[0]), self._read_scale()))

    def _on_action(self, message: TwistStamped) -> None:
        # The node measures, then decides: this action belongs to the newest sample.
        action, samples = message.header.frame_id, self.record.samples
        if action in ACTIONS and self.phase == 'pour' and samples:
            self.record.decision_stamps_ns.append(ns_from_time(message.header.stamp))
            samples[-1] = replace(samples[-1], action=action)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == POURING_NODE:
                values = {value.key: value.value for value in status.values}
                self.record.missed_deadlines = int(values.get('missed_deadlines', 0))
                self.record.limit_violations = int(values.get('limit_violations', 0))
