"""What watches a graph from outside: the run monitor, the replay monitor, and the calls of the listener."""

import os
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistStamped
from ros_graph import wait_until
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32MultiArray, String
from std_srvs.srv import Trigger

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.frame import Frame, Prediction, SensorIdentity
from visuotactile_ros.nodes.replay_monitor import ReplayMonitor, describe_predictions
from visuotactile_ros.nodes.run_monitor import RunMonitor
from visuotactile_ros.ros_interface import messages
from visuotactile_ros.ros_interface.qos import LATCHED, STREAM_PUBLISHER
from visuotactile_ros.run_record import RunRecord

DOMAIN_ID = int(os.environ['ROS_DOMAIN_ID'])
LEFT, REPLAY = SensorIdentity('left', 'digit'), SensorIdentity('replay', 'digit')


def test_a_run_is_recorded(graph):
    record = RunRecord(simulated=True, target_g=60.0)
    with RunMonitor(record, DOMAIN_ID, lambda: 12.5) as monitor:
        state = graph.publisher(JointState, '/pouring/state', STREAM_PUBLISHER)
        action = graph.publisher(TwistStamped, '/pouring/action', STREAM_PUBLISHER)
        phase = graph.publisher(String, '/pouring/phase', LATCHED)
        image = graph.publisher(Image, '/tactile/left/image_raw', STREAM_PUBLISHER)
        embedding = graph.publisher(Image, '/tactile/embedding_stamped', STREAM_PUBLISHER)
        diagnostics = graph.publisher(DiagnosticArray, '/diagnostics', 10)

        phase.publish(String(data='pour'))
        wait_until(lambda: monitor.phase == 'pour')
        stamp_ns = time.time_ns()
        state.publish(messages.tilt_message(stamp_ns, 42.0))
        wait_until(lambda: record.samples)
        action.publish(messages.action_message(stamp_ns + 1, 'pour', 1.25))
        wait_until(lambda: record.decision_stamps_ns)
        pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
        image.publish(messages.image_message(Frame(pixels, stamp_ns, LEFT, 0), 'left'))
        embedding.publish(messages.stamped_embedding_message(Prediction(stamp_ns, LEFT, np.ones(4, np.float32))))
        diagnostics.publish(DiagnosticArray(status=[
            DiagnosticStatus(name='/another', values=[KeyValue(key='missed_deadlines', value='7')]),
            DiagnosticStatus(name='/pouring', values=[KeyValue(key='missed_deadlines', value='2'),
                                                      KeyValue(key='limit_violations', value='1')])]))
        phase.publish(String(data='fault: the arm is lost'))
        wait_until(lambda: record.faults and record.frames and record.embedding_times_ns and record.limit_violations)
    sample, = record.samples
    assert (sample.stamp_ns, sample.phase, sample.action, sample.poured_g) == (stamp_ns, 'pour', 'pour', 12.5)
    assert sample.tilt_deg == pytest.approx(42.0)
    np.testing.assert_array_equal(record.frames[0].image_hwc, pixels)
    (source_ns, published_ns), = record.embedding_times_ns['left']
    assert source_ns == stamp_ns and 0 < published_ns - stamp_ns < 60e9
    assert (record.missed_deadlines, record.limit_violations) == (2, 1)
    assert record.faults == ['the arm is lost'] and monitor.phase == 'fault'


def test_a_replay_is_collected_frame_by_frame(graph):
    with ReplayMonitor(DOMAIN_ID) as monitor:
        info = graph.publisher(String, '/tactile/model_info', LATCHED)
        image = graph.publisher(Image, '/tactile/replay/image_raw', STREAM_PUBLISHER)
        embedding = graph.publisher(Image, '/tactile/embedding_stamped', STREAM_PUBLISHER)
        info.publish(messages.json_message({'models': [{'name': 'tiny', 'heads': {'material': {}}}]}))
        material = graph.publisher(Float32MultiArray, '/tactile/material', STREAM_PUBLISHER)
        assert monitor.listeners_of_images() == 1
        for number in range(3):
            frame = Frame(np.zeros((6, 8, 3), np.uint8), number + 1, REPLAY, number)
            heads = {'material': np.array([0.25 * number, 1.0 - 0.25 * number], np.float32)}
            prediction = Prediction(number + 1, REPLAY, np.full(4, number, np.float32), heads)
            image.publish(messages.image_message(frame, 'replay'))
            wait_until(lambda: monitor.images == number + 1 and not monitor.complete(number + 1))
            embedding.publish(messages.stamped_embedding_message(prediction))
            wait_until(lambda: len(monitor.embeddings) == number + 1)
            material.publish(messages.head_message(prediction, 'material', ('metal', 'wood')))
            wait_until(lambda: monitor.complete(number + 1))
    assert not monitor.complete(4)
    assert [entry['stamp_ns'] for entry in monitor.embeddings] == [1, 2, 3]
    assert monitor.embeddings[1] == {'stamp_ns': 2, 'sensor': 'replay', 'embedding': [1.0] * 4,
                                     'predictions': {'material': {'metal': 0.25, 'wood': 0.75}}}
    assert describe_predictions(monitor.embeddings[2]['predictions']) == 'material metal 0.50'


def test_a_service_that_nobody_offers_is_told(graph):
    with ReplayMonitor(DOMAIN_ID) as monitor, pytest.raises(ConfigurationError, match='nobody offers'):
        monitor.call(Trigger, '/nobody/here', Trigger.Request(), timeout_s=0.2)


def test_a_refused_transition_is_told(graph, tmp_path):
    from visuotactile_ros.nodes.sensor_node import SensorNode
    node = graph.add(SensorNode, active=False, source='replay', replay_path=str(tmp_path / 'nothing'))
    with ReplayMonitor(DOMAIN_ID) as monitor:
        monitor.change_state(node.get_fully_qualified_name(), 'configure', timeout_s=10.0)
        with pytest.raises(ConfigurationError, match='could not activate'):
            monitor.change_state(node.get_fully_qualified_name(), 'activate', timeout_s=10.0)
