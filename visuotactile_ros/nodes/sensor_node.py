"""sensor: one tactile sensor or camera, real, replayed or simulated, as ROS topics."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.ros_interface.diagnostics import ERROR, OK, WARN, Health, RecentEvents
from visuotactile_ros.ros_interface.gel_topics import GelTopics
from visuotactile_ros.ros_interface.image_topic_source import ImageTopicSource, resolved_topic
from visuotactile_ros.ros_interface.managed_node import ManagedNode
from visuotactile_ros.ros_interface.messages import image_message, ns_from_time
from visuotactile_ros.ros_interface.node_main import run_node
from visuotactile_ros.ros_interface.qos import EMBEDDING_SUBSCRIPTION, STREAM_PUBLISHER
from visuotactile_ros.sensors.frame_grabber import LATE_AFTER_PERIODS, FrameGrabber, GrabberStatistics
from visuotactile_ros.sensors.gel_watch import GelWatch
from visuotactile_ros.sensors.sources import geometry_of, identity_of
from visuotactile_ros.simulation.simulated_sensor import source_for

PARAMETER_GROUPS = (('', SensorParameters),)
LOG_PERIOD_S = 5.0
LISTENER_POLL_S = 0.02
JOIN_TIMEOUT_S = 10.0


class SensorNode(ManagedNode):
    """Publishes every frame once, as soon as it is there, and nothing in its place when it is not.

    The node stays active, with all its topics, while its device is away or not to be believed: `/diagnostics` says so
    within two frame periods, and frames go on when the same device is back.

    Topics (relative to the namespace, `/tactile/left` in the shipped graphs): `image_raw` (sensor_msgs/Image rgb8,
    stamped at the grab) and, with a gel, `contact` (std_msgs/Bool) and those of GelTopics. Service
    `~/capture_reference` (std_srvs/Trigger): take the no-contact reference anew; it is also taken at the start.
    """

    def __init__(self, **node_arguments):
        super().__init__('sensor', PARAMETER_GROUPS, **node_arguments)
        self._entities = ExitStack()  # what configure has made, and how to take it off the node again
        self._grabber: FrameGrabber | None = None
        self._worker: threading.Thread | None = None
        self._stopping = threading.Event()
        self._gel: GelWatch | None = None
        self._waiters_lock = threading.Lock()
        self._reference_waiters: list[Future] = []
        self._fault = self._warning = ''
        self._fault_since_s = 0.0

    def configure(self) -> None:
        """Build the source; the device is opened when the node becomes active."""
        self._settings: SensorParameters = self.parameters[SensorParameters]
        settings = self._settings
        self._source = self._topic_source(settings) if settings.source == 'topic' else source_for(settings)
        self._gel_topics = GelTopics(self, settings)
        self._entities.callback(self._gel_topics.destroy)
        self._is_lockstep = settings.source == 'replay' and settings.replay_timing == 'lockstep'
        if self._is_lockstep:
            resolved_topic(self, settings.replay_answer_topic, 'replay_answer_topic', '/tactile/embedding_stamped')
            self._entities.callback(self.destroy_subscription, self.create_subscription(
                Image, settings.replay_answer_topic, self._on_answer, EMBEDDING_SUBSCRIPTION))
        self._image_publisher = self.create_publisher(Image, 'image_raw', STREAM_PUBLISHER)
        self._entities.callback(self.destroy_publisher, self._image_publisher)
        if settings.has_gel:
            self._contact_publisher = self.create_publisher(Bool, 'contact', STREAM_PUBLISHER)
            self._entities.callback(self.destroy_publisher, self._contact_publisher)
            # A service that awaits holds its group until it has answered.
            self._entities.callback(self.destroy_service, self.create_service(
                Trigger, '~/capture_reference', self._capture_reference, callback_group=ReentrantCallbackGroup()))
        self._published = RecentEvents()
        self._grabber = FrameGrabber(self._source, settings)

    def _on_answer(self, message: Image) -> None:
        if message.header.frame_id == self._settings.sensor_name:
            self._source.answered(ns_from_time(message.header.stamp))

    def _topic_source(self, settings: SensorParameters) -> ImageTopicSource:
        return ImageTopicSource(self, identity_of(settings), settings.image_topic, settings.rate_hz,
                                settings.max_frame_age_ms, geometry_of(settings), settings.padded_jpeg)

    def cleanup(self) -> None:
        """Forget source and topics."""
        self._grabber = None
        self._entities.close()

    def activate(self) -> None:
        """Open the source and publish.

        Raises:
            SensorError: A replay has nothing to play. A device that is absent is no such error: it may be plugged in.
        """
        settings = self._settings
        if settings.source == 'replay':
            self._source.open()
        self._gel = GelWatch(settings) if settings.has_gel else None
        self._fault = self._warning = ''
        self._stopping.clear()
        self._worker = self.start_worker(self._publish_frames, 'publish frames')

    def deactivate(self) -> None:
        """Stop to publish and close the source."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.join(JOIN_TIMEOUT_S)
            self._worker = None
        self._answer_waiters('the node was stopped')
        if self._gel is not None:
            self._gel.close()
        if self._grabber is not None:
            try:
                self._grabber.stop()
            except SensorError as error:
                self.get_logger().error(str(error))

    def hardware_id(self) -> str:
        """Serial number of the device."""
        return self.parameters[SensorParameters].serial if self._grabber is None else self._source.sensor.serial

    def health(self) -> Health:
        """Rate and age of the frames, contact, and the fault of the moment."""
        statistics = self._grabber.statistics()
        values = {'source': self._settings.source, 'published_hz': self._published.rate_hz(),
                  'grabbed_hz': statistics.rate_hz, 'frame_age_ms': statistics.frame_age_ms,
                  'grabbed_frames': statistics.grabbed_frames, 'dropped_frames': statistics.dropped_frames,
                  'refused_frames': statistics.refused_frames, 'failed_grabs': statistics.failed_grabs,
                  'reopened': statistics.reopened}
        if self._gel is not None:
            values |= self._gel.values()
        if self._fault != '':
            return Health(ERROR, self._fault, values)
        warning = self._warning or ('' if self._gel is None else self._gel.warning)
        if warning != '':
            return Health(WARN, warning, values)
        return Health(OK, 'publishing', values)

    def _publish_frames(self) -> None:
        # In lockstep a frame that nobody hears is never answered.
        while self._is_lockstep and self.count_subscribers('image_raw') == 0:
            if self._stopping.wait(LISTENER_POLL_S):
                return
        if not self._start_grabber():
            return
        period_s = self._source.nominal_period_s
        wait_s, dead_after_s = LATE_AFTER_PERIODS * period_s, self._settings.dead_after_periods * period_s
        sequence, failed_grabs, last_published_s = -1, 0, time.monotonic()
        while not self._stopping.is_set():
            frame = self._grabber.wait_for_newer(sequence, wait_s)
            statistics = self._grabber.statistics()
            if self._settings.source == 'replay' and statistics.failed_grabs > failed_grabs:
                # One that loops has no end at which to tell it.
                failed_grabs = statistics.failed_grabs
                self.get_logger().warning(statistics.last_failure, throttle_duration_sec=LOG_PERIOD_S)
            if frame is None and statistics.ended:
                self._end_replay(statistics)
                return
            if frame is not None:
                sequence = frame.sequence
                problem = self._age_problem(frame)
                if problem == '':
                    self._publish(frame, statistics.warning)
                    last_published_s = time.monotonic()
                    continue
            else:
                problem = statistics.warning or str(SensorError(
                    f'{self._settings.sensor_name}: no frame for more than {wait_s * 1000:.0f} ms',
                    'Check its cable and the load of the machine'))
            if statistics.fault != '':
                self._set_fault(statistics.fault)
            elif not statistics.starting and time.monotonic() - last_published_s > dead_after_s:
                # Whatever keeps every single frame back is a fault to those who wait for one.
                self._set_fault(problem)
            else:
                self._set_warning(problem)

    def _start_grabber(self) -> bool:
        """Start reading; False where the node is stopped before a driver has let go of the reader of the last time."""
        while not self._stopping.is_set():
            try:
                self._grabber.start()
                return True
            except SensorError as error:
                self._set_fault(str(error))
        return False

    def _end_replay(self, statistics: GrabberStatistics) -> None:
        path = self._settings.replay_path
        if statistics.failed_grabs > 0:
            self.get_logger().error(f'{path} was not replayed whole. Faults: {statistics.failed_grabs}; the last one: '
                                    f'{statistics.last_failure}')
        self.get_logger().info(f'The replay of {path} has ended.')
        self.finished.set()

    def _age_problem(self, frame: Frame) -> str:
        age_ms, limit_ms = (time.time_ns() - frame.stamp_ns) / 1e6, self._settings.max_frame_age_ms
        if age_ms <= limit_ms:
            return ''
        return str(SensorError(f'{self._settings.sensor_name}: a frame was {age_ms:.0f} ms old when it could be '
                               f'published, the limit is {limit_ms:g} ms',
                               'Lower the load of the machine, or raise max_frame_age_ms'))

    def _publish(self, frame: Frame, warning: str) -> None:
        self._image_publisher.publish(image_message(frame, self._settings.frame_id or self._settings.sensor_name))
        self._published.add()
        self._set_warning(warning)
        self._set_fault('')
        if self._gel is not None:
            self._update_gel(frame)

    def _set_warning(self, text: str) -> None:
        """Report a gap or a doubt at once; a busy machine makes short gaps, which are not worth a log line."""
        changed = (text == '') != (self._warning == '')
        self._warning = text
        if changed:
            self.publish_diagnostics()

    def _set_fault(self, fault: str) -> None:
        changed = (fault == '') != (self._fault == '')
        self._fault = fault
        if fault != '':
            if changed:
                self._fault_since_s = time.monotonic()
            self._answer_waiters(fault)
            self.get_logger().error(fault, throttle_duration_sec=LOG_PERIOD_S)
        elif changed:
            fault_s = time.monotonic() - self._fault_since_s
            self.get_logger().info(f'{self._settings.sensor_name} gives frames again after {fault_s:.1f} s.')
        if changed:
            self.publish_diagnostics()

    def _update_gel(self, frame: Frame) -> None:
        try:
            if self._gel.update(frame):
                self._answer_waiters('')
        except SensorError as error:
            self._answer_waiters(str(error))
            self.get_logger().warning(str(error), throttle_duration_sec=LOG_PERIOD_S)
        in_contact = self._gel.in_contact
        if in_contact is not None:
            self._contact_publisher.publish(Bool(data=in_contact))
        try:
            self._gel_topics.publish(frame, self._gel.reference_hwc)
        except SensorError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=LOG_PERIOD_S)

    def _answer_waiters(self, problem: str) -> None:
        with self._waiters_lock:
            waiters, self._reference_waiters = self._reference_waiters, []
        for waiter in waiters:
            waiter.set_result(problem)

    async def _capture_reference(self, _request, response):
        """Answer once the reference is there; frames go on being published meanwhile."""
        waiter = Future(executor=self.executor)
        try:
            if self.state_label != 'active' or self._fault != '':
                raise SensorError(f'{self._settings.sensor_name} gives no frames: {self._fault or self.state_label}',
                                  'Mend that first')
            with self._waiters_lock:
                self._gel.request_reference()
                self._reference_waiters.append(waiter)
        except SensorError as error:
            response.success, response.message = False, str(error)
            return response
        problem = await waiter
        response.success = problem == ''
        response.message = problem or f'The reference of {self._settings.sensor_name} is taken.'
        return response


def main(arguments: list[str] | None = None) -> int:
    """Run the sensor node."""
    return run_node(SensorNode, arguments)


if __name__ == '__main__':
    sys.exit(main())
