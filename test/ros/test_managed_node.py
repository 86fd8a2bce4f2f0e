"""ManagedNode: settings as ROS parameters, failures of a transition, workers, diagnostics, messages."""

from dataclasses import dataclass

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import DescribeParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_graph import wait_until

from visuotactile_ros.errors import ConfigurationError, MessageError, SensorError
from visuotactile_ros.frame import Prediction, SensorIdentity
from visuotactile_ros.nodes.perception_node import PerceptionNode
from visuotactile_ros.nodes.pouring_node import PouringNode
from visuotactile_ros.nodes.record_node import RecordNode
from visuotactile_ros.nodes.sensor_node import SensorNode
from visuotactile_ros.parameters.definition import check_settings, setting
from visuotactile_ros.ros_interface import messages
from visuotactile_ros.ros_interface.diagnostics import RecentEvents
from visuotactile_ros.ros_interface.managed_node import ManagedNode


@dataclass(frozen=True)
class Settings:
    rate_hz: float = setting(5.0, 'How often', unit='Hz', minimum=0.0, maximum=50.0)
    count: int = setting(2, 'How many', minimum=1)
    mode: str = setting('slow', 'Which way', choices=('slow', 'fast'))
    names: tuple[str, ...] = setting(('a', 'b'), 'Whom')

    def __post_init__(self):
        check_settings(self)


class Node(ManagedNode):
    def __init__(self, **node_arguments):
        super().__init__('node', (('part', Settings),), **node_arguments)
        self.calls = []
        self.fails_in = ''

    def _note(self, name):
        self.calls.append(name)
        if self.fails_in == name:
            raise SensorError('it is broken', 'Mend it')
        if self.fails_in == f'{name}!':
            raise ZeroDivisionError

    def configure(self):
        self._note('configure')

    def activate(self):
        self._note('activate')

    def deactivate(self):
        self.calls.append('deactivate')

    def cleanup(self):
        self.calls.append('cleanup')


def test_a_setting_is_declared_with_all_that_its_definition_says(graph):
    node = graph.add(Node, part__rate_hz=7.0, part__names=['c'])
    assert node.parameters[Settings] == Settings(rate_hz=7.0, names=('c',))
    request = DescribeParameters.Request(names=['part.rate_hz', 'part.count', 'part.mode'])
    rate, count, mode = graph.call(DescribeParameters, '/node/describe_parameters', request).descriptors
    assert rate.description == 'How often [Hz]'
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (0.0, 50.0)
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 2**63 - 1)
    assert mode.additional_constraints == 'one of: slow, fast'


@pytest.mark.parametrize('node_class', [SensorNode, PerceptionNode, PouringNode, RecordNode])
def test_a_node_that_was_never_configured_shuts_down_without_a_word(graph, node_class, capfd):
    node = graph.add(node_class, active=False)
    assert node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    assert node.state_label == 'finalized' and capfd.readouterr().err == ''


def test_a_whole_number_does_for_a_float(graph):
    assert graph.add(Node, part__rate_hz=0).parameters[Settings].rate_hz == 0.0


@pytest.mark.parametrize('wrong', [
    {'part__rate': 1.0}, {'part__rate_hz': 51.0}, {'part__mode': 'fats'}, {'rate_hz': 1.0}])
def test_a_wrong_setting_makes_no_node(graph, wrong):
    with pytest.raises(ConfigurationError):
        graph.add(Node, active=False, **wrong)


def test_settings_change_only_while_the_node_is_unconfigured(graph):
    node = graph.add(Node)
    wish = [Parameter('part.count', value=7)]
    refused = node.set_parameters(wish)[0]
    assert not refused.successful and 'clean up' in refused.reason
    node.trigger_deactivate()
    node.trigger_cleanup()
    bad = node.set_parameters([Parameter('part.mode', value='fats')])[0]
    assert not bad.successful and 'Choose one of slow, fast' in bad.reason
    assert node.set_parameters(wish)[0].successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.parameters[Settings].count == 7


@pytest.mark.parametrize(('fails_in', 'state', 'calls'), [
    ('configure', 'unconfigured', ['configure', 'cleanup']),
    ('activate', 'inactive', ['configure', 'activate', 'deactivate']),
])
def test_a_fault_fails_the_transition_and_releases_what_was_taken(graph, fails_in, state, calls):
    reports = graph.listen(DiagnosticArray, '/diagnostics', 10)
    node = graph.add(Node, active=False)
    node.fails_in = fails_in
    wait_until(lambda: reports)
    results = [node.trigger_configure()]
    if fails_in == 'activate':
        results.append(node.trigger_activate())
    assert results[-1] == TransitionCallbackReturn.FAILURE
    assert node.state_label == state and node.calls == calls
    status = wait_until(lambda: [r.status[0] for r in reports if r.status[0].level == DiagnosticStatus.ERROR])[-1]
    assert (status.name, status.message) == ('/node', 'it is broken. Mend it.')
    assert type(node.last_error) is SensorError
    node.fails_in = ''
    trigger = node.trigger_activate if state == 'inactive' else node.trigger_configure
    assert trigger() == TransitionCallbackReturn.SUCCESS and node.last_error is None


def test_a_defect_in_a_transition_ends_unconfigured(graph):
    node = graph.add(Node, active=False)
    node.fails_in = 'configure!'
    assert node.trigger_configure() == TransitionCallbackReturn.ERROR
    assert node.state_label == 'unconfigured' and 'ZeroDivisionError' in node._last_fault


def test_a_defect_in_a_worker_finishes_the_node(graph):
    node = graph.add(Node)
    node.start_worker(lambda: 1 / 0, 'worker')
    assert node.finished.wait(5) and node.has_crashed


def test_recent_events_forget_what_is_older_than_the_window():
    now_s = [100.0]
    events = RecentEvents(window_s=2.0, clock=lambda: now_s[0])
    assert events.rate_hz() == 0.0 and np.isnan(events.mean()) and np.isnan(events.percentiles(50)[0])
    for value in (1.0, 2.0, 6.0):
        events.add(value)
    now_s[0] = 101.0
    assert events.percentiles(50, 100) == (2.0, 6.0) and events.mean() == 3.0 and events.rate_hz() == 3.0
    now_s[0] = 102.5
    events.add(10.0)
    assert events.mean() == 10.0 and events.rate_hz() == 0.5


@pytest.mark.parametrize('stamp_ns', [0, 1, 1_700_000_000_999_999_999, 2**31 * 10**9 - 1])
def test_stamps_survive_to_the_nanosecond(stamp_ns):
    assert messages.ns_from_time(messages.time_from_ns(stamp_ns)) == stamp_ns


@pytest.mark.parametrize('text', ['', 'null', '{}', '{"models": [{}]}', '{"models": 3}'])
def test_a_model_info_of_another_kind_is_refused(text):
    with pytest.raises(MessageError):
        messages.encoder_hashes(messages.String(data=text))


def test_classification_is_stamped_and_named_where_vision_msgs_is():
    pytest.importorskip('vision_msgs')
    prediction = Prediction(1_500_000_000, SensorIdentity('left', 'digit'), np.ones(2, np.float32),
                            {'material': np.array([0.25, 0.75], np.float32)})
    message = messages.classification_message(prediction, 'material', ('wood', 'metal'))
    assert (message.header.frame_id, messages.ns_from_time(message.header.stamp)) == ('left', 1_500_000_000)
    assert [(result.class_id, result.score) for result in message.results] == [('wood', 0.25), ('metal', 0.75)]
