"""perception with tiny true models: what comes out, from which frame, and what is refused."""

import json
import shutil
import threading

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from ros_graph import wait_until
from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray, String

from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.inference.model_folder import write_model_folder
from visuotactile_ros.nodes.perception_node import PerceptionNode
from visuotactile_ros.ros_interface.image_codec import decode_vector
from visuotactile_ros.ros_interface.messages import encoder_hashes, image_message, ns_from_time
from visuotactile_ros.ros_interface.qos import EMBEDDING_SUBSCRIPTION, LATCHED, STREAM_PUBLISHER

KINDS = {'left': 'digit', 'right': 'gelsight_mini', 'wrist_camera': 'wrist_camera'}
TOPICS = {'left': '/tactile/left/image_raw', 'right': '/tactile/right/image_raw',
          'wrist_camera': '/wrist_camera/image_raw'}
STAMP_NS = 1_700_000_000_123_456_789


@pytest.fixture(scope='module')
def settings(tiny_encoder, tmp_path_factory):
    """One tiny model for the fingers and another for the camera."""
    folder = tmp_path_factory.mktemp('models')
    write_model_folder(folder / 'touch', *tiny_encoder())
    write_model_folder(folder / 'camera', *tiny_encoder(takes_sensor_id=False, seed=1))
    return {'sensors': ['left', 'right'], 'sensor_kinds': ['digit', 'gelsight_mini'],
            'model': str(folder / 'touch'), 'camera_model': str(folder / 'camera')}


def a_frame(sensor, seed):
    image = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Frame(image, STAMP_NS + seed, SensorIdentity(sensor, KINDS[sensor]), seed)


class Cameras:
    """Publishers in the place of the sensor nodes."""

    def __init__(self, graph):
        self._publishers = {sensor: graph.publisher(Image, topic, STREAM_PUBLISHER) for sensor, topic in TOPICS.items()}

    def send(self, frame):
        self._publishers[frame.sensor.name].publish(image_message(frame, frame.sensor.name))

    def send_message(self, sensor, message):
        self._publishers[sensor].publish(message)


@pytest.fixture
def stamped(graph):
    """Stamped embeddings as they come: (sensor, stamp in nanoseconds, vector)."""
    heard = []
    graph.listen(Image, '/tactile/embedding_stamped', EMBEDDING_SUBSCRIPTION, lambda message: heard.append(
        (message.header.frame_id, ns_from_time(message.header.stamp), decode_vector(message))))
    return heard


def test_every_sensor_gets_its_own_models_prediction_with_the_stamp_of_its_frame(graph, settings, stamped):
    arrays = graph.listen(Float32MultiArray, '/tactile/embedding', 10)
    materials = graph.listen(Float32MultiArray, '/tactile/material', 10)
    graph.add(PerceptionNode, '/tactile', **settings)
    cameras = Cameras(graph)
    for seed, sensor in enumerate(KINDS):
        frame = a_frame(sensor, seed)
        cameras.send(frame)
        wait_until(lambda count=seed + 1: len(stamped) == len(arrays) == len(materials) == count)
        folder = settings['camera_model' if sensor == 'wrist_camera' else 'model']
        expected = TactileEncoder(folder).encode([frame])[0]
        name, stamp_ns, vector = stamped[-1]
        assert (name, stamp_ns) == (sensor, frame.stamp_ns)
        np.testing.assert_allclose(vector, expected.embedding, atol=1e-6)
        assert [(each.label, each.size) for each in arrays[-1].layout.dim] == [(sensor, 1), ('tiny', 5)]
        np.testing.assert_array_equal(arrays[-1].data, vector)
        assert [(each.label, each.size) for each in materials[-1].layout.dim] == [(sensor, 1), ('metal,wood,rubber', 3)]
        np.testing.assert_allclose(materials[-1].data, expected.heads['material'], atol=1e-6)


def test_model_info_reaches_a_late_listener(graph, settings):
    graph.add(PerceptionNode, '/tactile', **settings)
    heard = graph.listen(String, '/tactile/model_info', LATCHED)
    wait_until(lambda: heard)
    hashes = encoder_hashes(heard[0])
    card = TactileEncoder(settings['model']).card
    assert hashes['left'] == hashes['right'] == card.sha256 != hashes['wrist_camera']
    described = json.loads(heard[0].data)['models'][0]
    assert (described['name'], described['embedding_size']) == ('tiny', 5)
    assert described['heads']['material']['classes'] == ['metal', 'wood', 'rubber']


def test_while_the_worker_is_busy_only_the_newest_frame_is_kept(graph, settings, stamped, monkeypatch):
    may_go_on, batches = threading.Event(), []
    encode = TactileEncoder.encode

    def slow_encode(self, frames):
        batches.append([(frame.sensor.name, frame.stamp_ns - STAMP_NS) for frame in frames])
        assert may_go_on.wait(10)
        return encode(self, frames)
    monkeypatch.setattr(TactileEncoder, 'encode', slow_encode)
    node = graph.add(PerceptionNode, '/tactile', **settings)
    cameras = Cameras(graph)
    cameras.send(a_frame('left', 0))
    wait_until(lambda: batches)
    for seed in (1, 2, 3):
        for stream, sensor in zip(node._streams, ('left', 'right'), strict=False):
            count = stream.received
            cameras.send(a_frame(sensor, seed))
            wait_until(lambda stream=stream, count=count: stream.received == count + 1)
    may_go_on.set()
    wait_until(lambda: len(stamped) == 3)
    assert batches == [[('left', 0)], [('left', 3), ('right', 3)]]
    assert [stream.dropped for stream in node._streams[:2]] == [2, 2]


def test_malformed_images_are_refused_and_the_next_good_one_is_encoded(graph, settings, stamped):
    node = graph.add(PerceptionNode, '/tactile', **settings)
    cameras = Cameras(graph)

    def spoiled(**changes):
        message = image_message(a_frame('left', 0), 'left')
        for name, value in changes.items():
            setattr(message, name, value)
        return message
    bad = [spoiled(encoding='bayer_rggb8'), spoiled(height=25), spoiled(step=1), spoiled(width=0, height=0), Image()]
    for number, message in enumerate(bad, start=1):
        cameras.send_message('left', message)
        wait_until(lambda number=number: node._streams[0].refused == number)
    cameras.send(a_frame('left', 1))
    wait_until(lambda: stamped)
    assert [(name, stamp_ns) for name, stamp_ns, _ in stamped] == [('left', STAMP_NS + 1)]
    assert node.state_label == 'active'


def test_a_foreign_camera_may_be_best_effort_and_pad_its_bgr_rows(graph, settings, stamped):
    graph.add(PerceptionNode, '/tactile', **settings)
    publisher = graph.publisher(Image, TOPICS['wrist_camera'], qos_profile_sensor_data)
    frame = a_frame('wrist_camera', 3)
    message = Image(encoding='bgr8', height=24, width=32, step=100)
    message.header = image_message(frame, 'usb_cam').header
    rows = np.zeros((24, 100), np.uint8)
    rows[:, :96] = frame.image_hwc[:, :, ::-1].reshape(24, 96)
    message.data.frombytes(rows)
    publisher.publish(message)
    wait_until(lambda: stamped)
    name, stamp_ns, vector = stamped[0]
    assert (name, stamp_ns) == ('wrist_camera', frame.stamp_ns)
    expected = TactileEncoder(settings['camera_model']).encode([frame])[0].embedding
    np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_a_silent_sensor_is_named_in_diagnostics(graph, settings, stamped):
    reports = graph.listen(DiagnosticArray, '/diagnostics', 10)
    node = graph.add(PerceptionNode, '/tactile', **settings)
    cameras = Cameras(graph)
    cameras.send(a_frame('left', 0))
    wait_until(lambda: stamped)
    node.publish_diagnostics()
    report = wait_until(lambda: [r.status[0] for r in reports if r.status[0].level == DiagnosticStatus.ERROR])[-1]
    assert report.name == '/tactile/perception' and report.message == 'no images from right, wrist_camera'
    values = {each.key: each.value for each in report.values}
    assert values['left.received'] == '1' and float(values['stamp_to_published_p50_ms']) > 0
    assert {name: value for name, value in values.items() if name.endswith('strange_share')} and all(
        value == '0' for name, value in values.items() if name.endswith('strange_share'))


@pytest.mark.parametrize('spoil', [
    lambda folder: shutil.rmtree(folder),
    lambda folder: (folder / 'model.onnx').write_bytes((folder / 'model.onnx').read_bytes() + b'\0'),
    lambda folder: (folder / 'model_card.yaml').write_text('format_version: 1'),
    lambda folder: (folder / 'golden.npz').unlink(),
])
def test_a_bad_model_folder_leaves_the_node_unconfigured(graph, settings, tmp_path, spoil):
    shutil.copytree(settings['model'], tmp_path / 'spoiled')
    spoil(tmp_path / 'spoiled')
    node = graph.add(PerceptionNode, '/tactile', active=False, **{**settings, 'model': str(tmp_path / 'spoiled')})
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert node.state_label == 'unconfigured'
    assert str(tmp_path / 'spoiled') in node._last_fault and '\n' not in node._last_fault


def test_a_node_can_be_deactivated_cleaned_up_and_brought_back(graph, settings, stamped):
    node = graph.add(PerceptionNode, '/tactile', **settings)
    for trigger in (node.trigger_deactivate, node.trigger_cleanup, node.trigger_configure, node.trigger_activate):
        assert trigger() == TransitionCallbackReturn.SUCCESS
    Cameras(graph).send(a_frame('right', 5))
    wait_until(lambda: stamped)


def arguments_of(settings):
    arguments = ['--ros-args']
    for name, value in settings.items():
        arguments += ['-p', f'{name}:={json.dumps(value)}']
    return arguments


def test_the_process_ends_clean_on_sigterm(graph, settings, start_process):
    heard = graph.listen(String, '/model_info', LATCHED)
    process = start_process('perception_node', *arguments_of(settings))
    wait_until(lambda: heard)
    process.terminate()
    code, output = process.end(timeout_s=5)
    assert code == 0 and 'Traceback' not in output


def test_the_process_says_in_one_line_which_model_is_missing(start_process, settings):
    code, output = start_process('perception_node', *arguments_of({**settings, 'model': '/nowhere/touch'})).end()
    assert code == 3 and len(output.strip().splitlines()) == 1 and '/nowhere/touch' in output


@pytest.mark.parametrize(('wrong', 'told'), [
    ({'camera_modell': 'x'}, "Did you mean 'camera_model'"),
    ({'inference_threads': 0}, 'Give a value between 1 and 64'),
    ({'inference_threads': 'two'}, 'not a int'),
    ({'sensors': ['left']}, 'Give one kind for each sensor'),
])
def test_a_wrong_parameter_is_one_line_and_exit_code_2(start_process, settings, wrong, told):
    code, output = start_process('perception_node', *arguments_of({**settings, **wrong})).end()
    assert code == 2 and len(output.strip().splitlines()) == 1 and told in output
