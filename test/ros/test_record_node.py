"""recorder: what is in its bags, bit for bit, however it ends, and what it says about what it could not keep."""

import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from mcap.reader import make_reader
from mcap.records import Message
from mcap.stream_reader import StreamReader
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from ros_graph import wait_until
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float32MultiArray, String

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, Prediction, SensorIdentity
from visuotactile_ros.nodes.record_node import RecordNode, recording_qos
from visuotactile_ros.ros_interface import messages
from visuotactile_ros.ros_interface.bag_writer import BagWriter
from visuotactile_ros.ros_interface.image_codec import decode_vector
from visuotactile_ros.ros_interface.listener import EVERY_MESSAGE, Listener
from visuotactile_ros.ros_interface.message_definitions import message_definition
from visuotactile_ros.ros_interface.qos import LATCHED, STREAM_PUBLISHER
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.replay import ReplaySource

LEFT = SensorIdentity('left', 'digit')
IMAGE_TOPIC, EMBEDDING_TOPIC = '/tactile/left/image_raw', '/tactile/embedding_stamped'
STAMP_NS = 1_700_000_000_123_456_789


def image(number, height=24, width=32):
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    return pixels, messages.image_message(Frame(pixels, STAMP_NS + number, LEFT, number), 'left')


def records(folder):
    """Topic, received and published time, and content of every message, in the order of their arrival."""
    with (folder / f'{folder.name}_0.mcap').open('rb') as stream:
        return [(channel.topic, message.log_time, message.publish_time, message.data)
                for _, channel, message in make_reader(stream, validate_crcs=True).iter_messages()]


def replay(folder, topic):
    """Every frame, and the error that ended the replay or None."""
    source = ReplaySource(LEFT, folder, topic, 30.0, False, ImageGeometry(0.0, 0, False, 32, 24), 'fastest')
    source.open()
    frames = []
    try:
        while (frame := source.grab()) is not None:
            frames.append(frame.image_hwc)
    except SensorError as error:
        return frames, error
    return frames, None


@pytest.fixture
def record(graph, tmp_path):
    """Start a recorder in the process of the test."""
    def start(**settings):
        return graph.add(RecordNode, **{'folder': str(tmp_path), 'bag_name': 'one', 'keep_free_mib': 0.0, **settings})
    return start


def test_everything_of_the_graph_comes_back_bit_for_bit(graph, record, tmp_path):
    phase = graph.helper.create_publisher(String, '/pouring/phase', LATCHED)
    phase.publish(String(data='pour'))  # before the recorder is there
    kinds = {IMAGE_TOPIC: Image, EMBEDDING_TOPIC: Image, '/tactile/material': Float32MultiArray,
             '/tactile/left/contact': Bool, '/pouring/state': JointState, '/pouring/action': TwistStamped,
             '/camera/image/compressed': CompressedImage}
    publishers = {topic: graph.helper.create_publisher(kind, topic, STREAM_PUBLISHER) for topic, kind in kinds.items()}
    other = graph.helper.create_publisher(String, '/elsewhere/text', STREAM_PUBLISHER)
    wire = []
    graph.helper.create_subscription(Image, IMAGE_TOPIC, wire.append, EVERY_MESSAGE, raw=True)
    node = record()
    for topic, publisher in publishers.items():
        listeners = 2 if topic == IMAGE_TOPIC else 1
        wait_until(lambda: publisher.get_subscription_count() == listeners, what=f'the recorder of {topic}')
    prediction = Prediction(STAMP_NS, LEFT, np.linspace(-1, 1, 7, dtype=np.float32),
                            {'material': np.array([0.25, 0.75], np.float32)})
    sent = {EMBEDDING_TOPIC: messages.stamped_embedding_message(prediction),
            '/tactile/material': messages.head_message(prediction, 'material', ('wood', 'metal')),
            '/tactile/left/contact': Bool(data=True), '/pouring/state': messages.tilt_message(STAMP_NS, 30.0),
            '/pouring/action': messages.action_message(STAMP_NS, 'pour', 1.25),
            '/camera/image/compressed': CompressedImage(format='jpeg', data=[255, 216, 255, 0])}
    before_ns, pictures = time.time_ns(), []
    for number in range(20):
        pixels, message = image(number)
        pictures.append((pixels, message))
        publishers[IMAGE_TOPIC].publish(message)
        wait_until(lambda: node._bag.message_counts.get(IMAGE_TOPIC) == len(wire) == number + 1)
    for topic, message in sent.items():
        publishers[topic].publish(message)
        wait_until(lambda: node._bag.message_counts.get(topic) == 1, what=topic)
    wait_until(lambda: node._bag.message_counts.get('/pouring/phase') == 1)
    assert other.get_subscription_count() == 0
    assert node.health().level == DiagnosticStatus.OK and node.health().values['messages'] >= 27
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    after_ns, folder = time.time_ns(), tmp_path / 'one'

    found = records(folder)
    assert [record[3] for record in found if record[0] == IMAGE_TOPIC] == wire
    for topic, message in {**sent, '/pouring/phase': String(data='pour')}.items():
        assert [deserialize_message(record[3], type(message)) for record in found if record[0] == topic] == [message]
    for topic, received_ns, published_ns, _ in found:
        assert published_ns <= received_ns <= after_ns and (topic == '/pouring/phase' or before_ns <= published_ns)

    frames, error = replay(folder, IMAGE_TOPIC)
    assert error is None
    np.testing.assert_array_equal(frames, [pixels for pixels, _ in pictures])
    np.testing.assert_array_equal(decode_vector(sent[EMBEDDING_TOPIC]), prediction.embedding)

    metadata = yaml.safe_load((folder / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    topics = metadata['topics_with_message_count']
    counts = {topic['topic_metadata']['name']: topic['message_count'] for topic in topics}
    # Its own diagnostics, once a second, and what nodes of earlier tests leave in the graph for a moment.
    counts = {topic: count for topic, count in counts.items()
              if topic != '/diagnostics' and not topic.endswith('/transition_event')}
    assert counts == {IMAGE_TOPIC: 20, **dict.fromkeys(sent, 1), '/pouring/phase': 1}
    offered, = [topic['topic_metadata']['offered_qos_profiles'] for topic in topics
                if topic['topic_metadata']['name'] == '/pouring/phase']
    assert (offered[0]['durability'], offered[0]['deadline']) == ('transient_local', {'sec': 9223372036,
                                                                                   'nsec': 854775807})
    for topic, kind in kinds.items():
        on_the_wire = str(graph.helper.get_publishers_info_by_topic(topic)[0].topic_type_hash)
        assert message_definition(f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}')[1] == on_the_wire


def test_only_what_is_named_is_recorded_and_what_is_missing_is_told(graph, record, tmp_path):
    publisher = graph.helper.create_publisher(String, '/elsewhere/text', STREAM_PUBLISHER)
    images = graph.helper.create_publisher(Image, IMAGE_TOPIC, STREAM_PUBLISHER)
    node = record(topics=['/elsewhere/text', '/nobody/here'])
    wait_until(lambda: publisher.get_subscription_count() == 1)
    assert '/nobody/here is not recorded: nobody publishes it' in node.health().summary
    publisher.publish(String(data='x'))
    wait_until(lambda: node._bag.message_counts.get('/elsewhere/text') == 1)
    assert images.get_subscription_count() == 0
    node.trigger_deactivate()
    assert [record[0] for record in records(tmp_path / 'one')] == ['/elsewhere/text']


def test_a_topic_of_two_types_is_refused_and_the_others_go_on(graph, record):
    texts = graph.helper.create_publisher(String, '/tactile/odd', STREAM_PUBLISHER)
    images = graph.helper.create_publisher(Image, IMAGE_TOPIC, STREAM_PUBLISHER)
    # A process can have a topic in one type only.
    with Listener('another_process', int(os.environ['ROS_DOMAIN_ID'])) as another:
        another.node.create_publisher(Bool, '/tactile/odd', STREAM_PUBLISHER)
        wait_until(lambda: len(graph.helper.get_publishers_info_by_topic('/tactile/odd')) == 2)
        node = record(topics=['/tactile/odd', IMAGE_TOPIC])
        wait_until(lambda: images.get_subscription_count() == 1 and node._refused)
        assert node.health().summary == '/tactile/odd is not recorded: its type cannot be used'
        assert texts.get_subscription_count() == 0


def test_a_disk_that_hangs_holds_nobody_up_and_what_is_dropped_is_told(graph, record, tmp_path, monkeypatch):
    released, write = threading.Event(), BagWriter.write
    monkeypatch.setattr(BagWriter, 'write', lambda *arguments: released.wait(30) and write(*arguments))
    publisher = graph.helper.create_publisher(Image, IMAGE_TOPIC, STREAM_PUBLISHER)
    node = record(queue_mib=1.0, topics=[IMAGE_TOPIC])
    wait_until(lambda: publisher.get_subscription_count() == 1)
    _, message = image(0, 480, 640)  # 0.88 MiB
    for number in range(4):
        publisher.publish(message)
        wait_until(lambda: len(node._received._events) == number + 1, what='the callback')
    health = node.health()
    assert health.level == DiagnosticStatus.WARN and 'lacks messages: 3 found the queue full' in health.summary
    released.set()
    node.trigger_deactivate()
    assert len(records(tmp_path / 'one')) == 1
    assert '/tactile/left/image_raw": 3' in (tmp_path / 'one' / 'metadata.yaml').read_text()


def test_a_full_disk_is_an_error_and_the_bag_is_closed(graph, record, tmp_path):
    publisher = graph.helper.create_publisher(Image, IMAGE_TOPIC, STREAM_PUBLISHER)
    node = record(keep_free_mib=1e12, flush_period_s=0.01)
    wait_until(lambda: node._queue.fault)
    assert node.health().level == DiagnosticStatus.ERROR and 'Make room' in node.health().summary
    publisher.publish(image(0)[1])
    node.trigger_deactivate()
    assert (tmp_path / 'one' / 'metadata.yaml').exists()


def test_a_bag_that_is_removed_is_an_error_and_no_crash(graph, record, tmp_path):
    node = record(flush_period_s=0.01)
    shutil.rmtree(tmp_path / 'one')
    wait_until(lambda: node._queue.fault)
    assert node.health().level == DiagnosticStatus.ERROR and 'was removed' in node.health().summary
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS and not node.has_crashed


def test_a_second_recording_needs_another_name(graph, record, tmp_path):
    node = record()
    node.trigger_deactivate()
    assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
    assert 'exists already. Give the bag another name' in node._last_fault
    assert [path.name for path in tmp_path.iterdir()] == ['one']


@pytest.mark.parametrize('offered, expected', [
    (['reliable latched'], 'reliable latched'), (['reliable latched', 'reliable volatile'], 'reliable volatile'),
    (['reliable volatile', 'best_effort volatile'], 'best_effort volatile')])
def test_a_subscription_asks_for_what_every_publisher_can_serve(offered, expected):
    def profile(text):
        reliability, durability = text.split()
        return QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()],
                          durability=DurabilityPolicy['TRANSIENT_LOCAL' if durability == 'latched' else 'VOLATILE'])
    asked, wanted = recording_qos([profile(text) for text in offered]), profile(expected)
    assert (asked.reliability, asked.durability) == (wanted.reliability, wanted.durability)


@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_process_that_ends_leaves_a_bag_with_every_frame(graph, start_process, tmp_path, ending):
    process = start_process('record_node', '--ros-args', '-p', f'folder:={tmp_path}', '-p', 'bag_name:=one', '-p',
                            'keep_free_mib:=0.0', '-p', 'flush_period_s:=0.01')
    publisher = graph.publisher(Image, IMAGE_TOPIC, STREAM_PUBLISHER)
    file = tmp_path / 'one' / 'one_0.mcap'
    pictures = [image(number) for number in range(5)]
    for _, message in pictures:
        publisher.publish(message)
    wait_until(lambda: count_in_file(file) >= 5, what='five images in the file')
    process.process.send_signal(ending)
    code, output = process.end()
    frames, error = replay(tmp_path / 'one', IMAGE_TOPIC)
    np.testing.assert_array_equal(frames, [pixels for pixels, _ in pictures])
    if ending == signal.SIGKILL:
        assert 'damaged after 5 images' in str(error) and not (tmp_path / 'one' / 'metadata.yaml').exists()
    else:
        assert code == 0 and error is None and 'Traceback' not in output, output
        assert 'topics are in' in output and 'dropped: none' in output


def count_in_file(file):
    """Number of images in a file that is being written."""
    count = 0
    try:
        with file.open('rb') as stream:
            for record in StreamReader(stream, validate_crcs=True).records:
                count += isinstance(record, Message) and len(record.data) > 24 * 32 * 3
    except Exception:  # its end is not there yet
        pass
    return count


def test_a_folder_that_cannot_be_made_is_one_line_and_no_start(start_process, tmp_path):
    (tmp_path / 'file').touch()
    code, output = start_process('record_node', '--ros-args', '-p', f'folder:={tmp_path / "file"}').end()
    assert code == 2 and 'cannot be made: Not a directory. Record elsewhere.' in output
    assert 'Traceback' not in output
