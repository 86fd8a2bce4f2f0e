"""ImageTopicSource: a camera behind somebody else's ROS driver as a sensor."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from visuotactile_ros.errors import ConfigurationError, MessageError, SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.ros_interface.image_codec import decode_compressed_image, decode_image
from visuotactile_ros.ros_interface.messages import ns_from_time
from visuotactile_ros.ros_interface.qos import NEWEST_SUBSCRIPTION
from visuotactile_ros.sensors.image_geometry import ImageGeometry

MESSAGE_TYPES = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}
# A node that has just started learns in this time who publishes what; below the time that a grabber waits for its
# thread when it stops.
DISCOVERY_TIMEOUT_S = 3.0
DISCOVERY_POLL_S = 0.05
GRAB_TIMEOUT_PERIODS = 3
# September 2001: a smaller number counts from the start of a machine, a camera or a simulation.
SMALLEST_SYSTEM_TIME_NS = 10**18


@dataclass(frozen=True, eq=False)
class _Arrival:
    """A message and its times, nanoseconds since the epoch by the clocks of sender and receiver."""

    message: Any
    sequence: int
    sent_ns: int
    received_ns: int


class ImageTopicSource:
    """Takes the newest picture of a topic, with the stamp that its driver gave it.

    A frame's sequence counts the messages that came, so that a gap is a picture that was overtaken before its grab.

    Args:
        node: Node that subscribes; its executor must be running while frames are grabbed.
        sensor: Identity that every frame carries.
        topic: Topic of sensor_msgs/Image or CompressedImage; which of them it is, is found out at open.
        rate_hz: Frames a second that are expected.
        max_frame_age_ms: Oldest age of a stamp on arrival, milliseconds.
        geometry: Shape of the frames and the way there.
        accepts_padding: For compressed pictures, see JpegDecoder.

    Raises:
        ConfigurationError: The topic has no possible name.
    """

    def __init__(self, node: Node, sensor: SensorIdentity, topic: str, rate_hz: float, max_frame_age_ms: float,
                 geometry: ImageGeometry, accepts_padding: bool = False):
        self.sensor = sensor
        self.nominal_period_s = 1.0 / rate_hz
        self._node, self._requested = node, topic
        self._max_frame_age_ms, self._geometry = max_frame_age_ms, geometry
        self._decoders = {Image: decode_image,
                          CompressedImage: partial(decode_compressed_image, accepts_padding=accepts_padding)}
        self._topic = resolved_topic(node, topic, 'image_topic', '/camera/image_raw')
        # Of its own, so that no other callback of the node keeps a picture waiting.
        self._callback_group = MutuallyExclusiveCallbackGroup()
        self._subscription: Subscription | None = None
        self._arrived = threading.Condition()
        self._newest: _Arrival | None = None
        self._received = 0
        self._last_stamp_ns = 0
        self._picture_shape: tuple[int, ...] | None = None

    def open(self) -> None:
        """Find out the type of the topic and subscribe; does nothing where it is open.

        Raises:
            SensorError: Nobody publishes the topic, or not as pictures.
        """
        if self._subscription is not None:
            return
        if self._topic in [publisher.topic_name for publisher in self._node.publishers]:
            raise SensorError(f'{self.sensor.name} would listen to itself: it publishes {self._topic}',
                              'Set image_topic to the topic of the camera')
        message_type = self._message_type()
        self._decode = self._decoders[message_type]
        # After a gap the driver may have been set up anew, or the clock set back.
        self._newest = self._picture_shape = None
        self._last_stamp_ns = 0
        self._subscription = self._node.create_subscription(
            message_type, self._requested, self._on_message, NEWEST_SUBSCRIPTION, callback_group=self._callback_group)

    def _message_type(self) -> type:
        deadline_s = time.monotonic() + DISCOVERY_TIMEOUT_S
        while not (offered := {info.topic_type for info in self._node.get_publishers_info_by_topic(self._requested)}):
            if time.monotonic() > deadline_s:
                raise SensorError(f'{self.sensor.name}: nobody publishes {self._topic}',
                                  'Start the driver of the camera, or look for its topic with ros2 topic list -t')
            time.sleep(DISCOVERY_POLL_S)
        if len(offered) != 1 or not offered <= MESSAGE_TYPES.keys():
            raise SensorError(f'{self.sensor.name}: {self._topic} carries {", ".join(sorted(offered))}',
                              f'Set image_topic to a topic of {" or ".join(MESSAGE_TYPES)}')
        return MESSAGE_TYPES[offered.pop()]

    def _on_message(self, message: Any, info: dict[str, Any]) -> None:
        received_ns = time.time_ns()
        with self._arrived:
            self._newest = _Arrival(message, self._received, info['source_timestamp'], received_ns)
            self._received += 1
            self._arrived.notify()

    def grab(self) -> Frame | None:
        """Wait for a picture that has not been grabbed and return it.

        Raises:
            SensorError: None came in time, its stamp or its content is not to be believed, or its size has changed
                since the source was opened.
        """
        if self._subscription is None:
            raise SensorError(f'{self.sensor.name} is not open', 'Call open() first')
        timeout_s = GRAB_TIMEOUT_PERIODS * self.nominal_period_s
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._newest is not None, timeout_s):
                raise SensorError(f'{self.sensor.name}: no picture on {self._topic} for {timeout_s * 1000:.0f} ms',
                                  f'Check its driver with ros2 topic hz {self._topic}, and rate_hz')
            arrival, self._newest = self._newest, None
        origin = f'{self.sensor.name}: a picture on {self._topic}'
        stamp_ns = ns_from_time(arrival.message.header.stamp)
        check_stamp(origin, stamp_ns, arrival.sent_ns, arrival.received_ns, self._max_frame_age_ms)
        if stamp_ns <= self._last_stamp_ns:
            raise SensorError(f'{origin} is stamped no later than the one before it',
                              f'Check with ros2 topic info -v {self._topic} that only one node publishes it')
        self._last_stamp_ns = stamp_ns
        try:
            image_rgb = self._decode(arrival.message)
        except MessageError as error:
            raise SensorError(f'{origin}: {error.problem}', error.remedy) from error
        # One wrong byte can turn a JPEG into a picture of another size.
        if self._picture_shape not in (None, image_rgb.shape):
            raise SensorError(f'{origin} is {image_rgb.shape}, those before it were {self._picture_shape}',
                              'Keep the size of the pictures while they are used')
        self._picture_shape = image_rgb.shape
        # Seen as BGR, which takes no copy.
        return Frame(self._geometry.apply(image_rgb[:, :, ::-1]), stamp_ns, self.sensor, arrival.sequence)

    def close(self) -> None:
        """End the subscription; does nothing where it is closed."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None


def resolved_topic(node: Node, topic: str, setting_name: str, example: str) -> str:
    """Full name of the topic that a setting names.

    Raises:
        ConfigurationError: No topic can be called so.
    """
    try:
        return node.resolve_topic_name(topic)
    except RuntimeError as error:
        raise ConfigurationError(f'{setting_name} is {topic!r}, which cannot be the name of a topic',
                                 f'Set it for example to {example}') from error


def check_stamp(origin: str, stamp_ns: int, sent_ns: int, received_ns: int, max_frame_age_ms: float) -> None:
    """Refuse a stamp that cannot be the time at which a picture was taken, and say which clock is wrong.

    Args:
        origin: What is stamped, for the error text.
        stamp_ns: Stamp of the driver, nanoseconds since the epoch.
        sent_ns: When the middleware sent the message, by the system clock of the sending machine; 0 where unknown.
        received_ns: When it came, by the system clock of this machine.
        max_frame_age_ms: Oldest age of the stamp that is accepted, milliseconds.

    Raises:
        SensorError: There is no stamp, or it is in the future or too old.
    """
    if stamp_ns == 0:
        raise SensorError(f'{origin} has no stamp', 'Let its driver stamp every picture when it is taken')
    age_ms = (received_ns - stamp_ns) / 1e6
    if 0.0 <= age_ms <= max_frame_age_ms:
        return
    if stamp_ns < SMALLEST_SYSTEM_TIME_NS <= received_ns:
        raise SensorError(f'{origin} is stamped {stamp_ns / 1e9:.3f} s, which is no system time: its driver stamps by '
                          'a clock of its own', 'Let it stamp with the system time, and set its use_sim_time to false')
    is_late = age_ms > 0.0
    side = 'behind' if is_late else 'ahead of'
    problem = (f'{origin} is stamped {abs(age_ms):.1f} ms {"before" if is_late else "after"} it came, the limit is '
               f'{max_frame_age_ms:g} ms before')
    # Where sender and receiver agree about the time, the stamp alone is off.
    if 0.0 <= (received_ns - sent_ns) / 1e6 <= max_frame_age_ms:
        raise SensorError(f'{problem}: the clock that its driver stamps by is {side} that of its machine'
                          f'{", or the driver is slow or plays a recording" if is_late else ""}',
                          'Let it stamp with the system time, and play recordings with source replay')
    raise SensorError(f'{problem}: the clock of the machine that sends is {side} that of this machine'
                      f'{", or the network is slow" if is_late else ""}', 'Synchronise both, for example with chrony')
