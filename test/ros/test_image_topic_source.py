"""ImageTopicSource behind true publishers: pictures, stamps, faults and a driver that comes and goes."""

import time

import cv2
import numpy as np
import pytest
import rclpy
from hypothesis import given
from hypothesis import strategies as st
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_graph import wait_until
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.nodes.sensor_node import SensorNode
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.ros_interface import image_topic_source
from visuotactile_ros.ros_interface.image_codec import decode_image, encode_image
from visuotactile_ros.ros_interface.image_topic_source import ImageTopicSource, check_stamp
from visuotactile_ros.ros_interface.messages import ns_from_time, time_from_ns
from visuotactile_ros.sensors.frame_grabber import FrameGrabber
from visuotactile_ros.sensors.image_geometry import ImageGeometry

TOPIC = '/camera/image_raw'
SENSOR = SensorIdentity('wrist_camera', 'wrist_camera')
AS_IT_IS = ImageGeometry(0.0, 0, False, 32, 24)
LONG_MS = 60_000.0
NOW_NS = 1_800_000_000 * 10**9
MS = 10**6


class Driver:
    """Somebody else's camera driver: a node of its own that publishes a picture when it is told to."""

    def __init__(self):
        self.node = rclpy.create_node('driver')
        self._publisher = None

    def advertise(self, kind=Image, topic=TOPIC, qos=10):
        self._publisher = self.node.create_publisher(kind, topic, qos)

    def wait_for_subscriptions(self, count=1):
        wait_until(lambda: self._publisher.get_subscription_count() == count)

    def send(self, message, stamp_ns=None):
        message.header.stamp = time_from_ns(time.time_ns() if stamp_ns is None else stamp_ns)
        self._publisher.publish(message)
        return ns_from_time(message.header.stamp)

    def close(self):
        self.node.destroy_node()


@pytest.fixture
def driver(graph):
    running = Driver()
    yield running
    running.close()


@pytest.fixture
def make_source(graph):
    """Sources on the helper node; none outlives the test."""
    made = []

    def make(topic=TOPIC, rate_hz=1.0, max_frame_age_ms=LONG_MS, geometry=AS_IT_IS, is_open=True):
        made.append(ImageTopicSource(graph.helper, SENSOR, topic, rate_hz, max_frame_age_ms, geometry))
        if is_open:
            made[-1].open()
        return made[-1]
    yield make
    for source in made:
        source.close()


def picture(red=200, height=24, width=32):
    image = np.full((height, width, 3), (red, 90, 10), np.uint8)
    image[0, 0] = 0
    return image


def raw(image):
    message = Image()
    encode_image(message, image)
    return message


def compressed(image, suffix='.jpg'):
    return CompressedImage(format='jpeg', data=cv2.imencode(suffix, image[:, :, ::-1])[1].tobytes())


@pytest.mark.parametrize('qos', [
    QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE),
    QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
    QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)],
    ids=['reliable', 'best_effort', 'transient_local'])
def test_a_picture_becomes_a_frame_with_the_stamp_of_its_driver(driver, make_source, qos):
    driver.advertise(qos=qos)
    source = make_source()
    source.open()  # does nothing on an open source
    driver.wait_for_subscriptions()
    stamp_ns = driver.send(raw(picture()))
    frame = source.grab()
    assert (frame.stamp_ns, frame.sensor, frame.sequence) == (stamp_ns, SENSOR, 0)
    np.testing.assert_array_equal(frame.image_hwc, picture())


@pytest.mark.parametrize(('suffix', 'tolerance'), [('.jpg', 4), ('.png', 0)])
def test_a_compressed_topic_is_recognised_by_its_type(driver, make_source, suffix, tolerance):
    driver.advertise(CompressedImage)
    source = make_source()
    driver.wait_for_subscriptions()
    driver.send(compressed(picture(), suffix))
    np.testing.assert_allclose(source.grab().image_hwc[12:], picture()[12:].astype(float), atol=tolerance)


def test_pictures_are_turned_and_resized_like_those_of_a_device(driver, make_source):
    driver.advertise()
    source = make_source(geometry=ImageGeometry(0.25, 1, False, 12, 16))
    driver.wait_for_subscriptions()
    image = picture()
    image[:, 16:] = (1, 2, 3)
    driver.send(raw(image))
    frame = source.grab()
    assert frame.image_hwc.shape == (16, 12, 3)
    # A quarter turn clockwise brings the right half down.
    assert tuple(frame.image_hwc[0, 0]) == (200, 90, 10) and tuple(frame.image_hwc[-1, 0]) == (1, 2, 3)


def test_only_the_newest_picture_counts_and_the_sequence_tells_what_was_overtaken(driver, make_source):
    driver.advertise()
    source = make_source()
    driver.wait_for_subscriptions()
    for index in range(3):
        driver.send(raw(picture(10 * index)))
        wait_until(lambda: source._received > index)
    frame = source.grab()
    assert frame.sequence == 2 and frame.image_hwc[5, 5, 0] == 20


def test_a_silent_topic_and_a_closed_source_are_errors(driver, make_source):
    driver.advertise()
    source = make_source(rate_hz=100.0)
    with pytest.raises(SensorError, match=f'no picture on {TOPIC} for 30 ms'):
        source.grab()
    source.close()
    source.close()
    with pytest.raises(SensorError, match='not open'):
        source.grab()


def test_a_topic_that_cannot_be_used_is_refused(graph, driver, make_source, monkeypatch):
    monkeypatch.setattr(image_topic_source, 'DISCOVERY_TIMEOUT_S', 0.05)
    with pytest.raises(ConfigurationError, match="image_topic is 'no topic', which cannot be"):
        make_source('no topic')
    with pytest.raises(SensorError, match='nobody publishes /nothing'):
        make_source('/nothing')
    graph.helper.create_publisher(Image, '/own', 10)
    with pytest.raises(SensorError, match='listen to itself'):
        make_source('/own')
    driver.advertise(String)
    with pytest.raises(SensorError, match=r'carries std_msgs/msg/String\. Set image_topic'):
        wait_until(lambda: graph.helper.get_publishers_info_by_topic(TOPIC))
        make_source()


def test_what_cannot_be_believed_is_an_error_and_the_next_picture_counts_again(driver, make_source):
    driver.advertise()
    source = make_source()
    driver.wait_for_subscriptions()
    first_ns = driver.send(raw(picture()))
    source.grab()
    unusable = raw(picture())
    unusable.encoding = 'mono16'
    for message, stamp_ns, told in [
            (raw(picture()), first_ns, 'stamped no later than the one before'),
            (raw(picture()), first_ns - 1, 'stamped no later than the one before'),
            (raw(picture()), 0, 'has no stamp'),
            (unusable, None, "'mono16' is not supported. Publish one of"),
            (raw(picture(height=48)), None, r'is \(48, 32, 3\), those before it were \(24, 32, 3\)')]:
        driver.send(message, stamp_ns)
        with pytest.raises(SensorError, match=told) as refused:
            source.grab()
        assert TOPIC in str(refused.value)
    last_ns = driver.send(raw(picture()))
    assert source.grab().stamp_ns == last_ns
    # A driver that was set up anew, or whose clock was set back, is believed again after the source was opened anew.
    source.close()
    driver.wait_for_subscriptions(0)
    source.open()
    driver.wait_for_subscriptions()
    stamp_ns = driver.send(raw(picture(height=48)), last_ns - MS)
    assert source.grab().stamp_ns == stamp_ns


def test_a_driver_that_goes_and_comes_back_is_reported_and_found_again(driver, make_source, monkeypatch):
    monkeypatch.setattr(image_topic_source, 'DISCOVERY_TIMEOUT_S', 0.05)
    monkeypatch.setattr('visuotactile_ros.sensors.frame_grabber.FIRST_REOPEN_PAUSE_S', 0.05)
    driver.advertise()
    grabber = FrameGrabber(make_source(rate_hz=50.0, is_open=False), SensorParameters(dead_after_periods=3))
    grabber.start()
    returned = Driver()
    try:
        # Sent until it comes: a grabber that finds its source silent subscribes anew.
        wait_until(lambda: driver.send(raw(picture())) and grabber.statistics().grabbed_frames > 0)
        driver.close()
        wait_until(lambda: 'nobody publishes' in grabber.statistics().fault)
        count = grabber.statistics().grabbed_frames
        returned.advertise(CompressedImage)
        back_ns = time.time_ns()
        wait_until(lambda: returned.send(compressed(picture())) and grabber.statistics().grabbed_frames > count)
        assert grabber.statistics().reopened > 0 and grabber.wait_for_newer(-1, 0.0).stamp_ns > back_ns
    finally:
        grabber.stop()
        returned.close()


def test_a_sensor_node_publishes_the_pictures_of_a_topic_under_their_own_stamps(graph, driver):
    driver.advertise(CompressedImage)
    heard, sent_ns = graph.listen(Image, '/wrist_camera/image_raw'), []
    graph.add(SensorNode, '/wrist_camera', sensor_name='wrist_camera', kind='wrist_camera', has_gel=False,
              source='topic', image_topic=TOPIC, width_px=64, height_px=48, max_frame_age_ms=10_000.0)
    wait_until(lambda: sent_ns.append(driver.send(compressed(picture()))) or heard)
    assert ns_from_time(heard[0].header.stamp) in sent_ns
    assert decode_image(heard[0]).shape == (48, 64, 3)


@pytest.mark.parametrize(('stamp_ns', 'sent_ns', 'told'), [
    (0, NOW_NS, 'has no stamp'),
    (12_345 * MS, NOW_NS, r'stamped 12\.345 s, which is no system time: its driver stamps by a clock of its own'),
    (NOW_NS + 5 * MS, NOW_NS - MS, r'5\.0 ms after it came.*its driver stamps by is ahead of that of its machine'),
    (NOW_NS + 5 * MS, NOW_NS + 4 * MS, 'the machine that sends is ahead of that of this machine'),
    (NOW_NS - 300 * MS, NOW_NS - MS, r'300\.0 ms before it came, the limit is 200 ms before: .* driver stamps by is '
                                     'behind that of its machine, or the driver is slow or plays a recording'),
    (NOW_NS - 300 * MS, NOW_NS - 290 * MS, 'the machine that sends is behind that of this machine, or the network'),
    (NOW_NS - 300 * MS, 0, 'the machine that sends is behind that of this machine'),
])
def test_a_wrong_stamp_is_refused_and_the_clock_is_named(stamp_ns, sent_ns, told):
    with pytest.raises(SensorError, match=told) as refused:
        check_stamp('a picture', stamp_ns, sent_ns, NOW_NS, 200.0)
    assert '\n' not in str(refused.value)


@given(age_ns=st.integers(-10**10, 10**10), limit_ms=st.integers(1, 10_000), sent_ago_ns=st.integers(-10**10, 10**10))
def test_a_stamp_counts_when_it_lies_between_the_limit_and_now_whoever_sent_it(age_ns, limit_ms, sent_ago_ns):
    def check():
        check_stamp('a picture', NOW_NS - age_ns, NOW_NS - sent_ago_ns, NOW_NS, float(limit_ms))
    if 0 <= age_ns <= limit_ms * MS:
        check()
    else:
        with pytest.raises(SensorError):
            check()


def test_a_machine_whose_clock_was_never_set_can_still_read_its_own_camera():
    check_stamp('a picture', 100_000 * MS, 100_001 * MS, 100_002 * MS, 200.0)
    with pytest.raises(SensorError, match='its driver stamps by is ahead'):
        check_stamp('a picture', 100_003 * MS, 100_001 * MS, 100_002 * MS, 200.0)
