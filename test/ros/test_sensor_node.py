"""sensor on a replayed folder: the device seam is the only thing that is not a device."""

import dataclasses
import errno
import json
import threading
import time

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import TransitionCallbackReturn
from ros_graph import wait_until
from sensor_msgs.msg import Image
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame
from visuotactile_ros.nodes import sensor_node
from visuotactile_ros.nodes.sensor_node import SensorNode
from visuotactile_ros.ros_interface.image_codec import decode_image
from visuotactile_ros.ros_interface.messages import ns_from_time
from visuotactile_ros.sensors import frame_grabber
from visuotactile_ros.sensors.sources import recorded_or_device_source

LEFT = '/tactile/left'
ATTEMPTS = 3


@pytest.fixture
def frames_folder(tmp_path):
    """Gel images that differ by less than contact does."""
    rng = np.random.default_rng(0)
    base = rng.integers(60, 200, (48, 64, 3), dtype=np.uint8)
    for number in range(6):
        image = base.copy()
        image[0, 0] = number
        cv2.imwrite(str(tmp_path / f'{number:02d}.png'), image)
    return tmp_path


def replay_settings(folder, **others):
    return {'source': 'replay', 'replay_path': str(folder), 'replay_loop': True, 'width_px': 64, 'height_px': 48,
            # The pictures are noise, which looks like an imprint.
            'reference_frames': 3, 'touched_imprint_level': 255.0, **others}


class ScriptedSource:
    """A replay whose frames, faults and stamps a test can spoil."""

    def __init__(self, source):
        self._source = source
        self.sensor, self.nominal_period_s = source.sensor, source.nominal_period_s
        self.stamps_ns = {}
        self.unplugged = threading.Event()
        self.open_error = SensorError('left is not there', 'Plug it in')
        self.next_error = None
        self.wall_clock_ahead_ns = 0
        self.change_image = lambda image: image

    def open(self):
        if self.unplugged.is_set():
            raise self.open_error
        self._source.open()

    def grab(self):
        frame = self._source.grab()
        if self.unplugged.is_set():
            raise SensorError('left was unplugged', 'Plug it in') from OSError(errno.ENODEV, 'No such device')
        if self.next_error is not None:
            error, self.next_error = self.next_error, None
            raise error
        frame = Frame(self.change_image(frame.image_hwc), frame.stamp_ns + self.wall_clock_ahead_ns, frame.sensor,
                      frame.sequence)
        self.stamps_ns[frame.stamp_ns] = frame.sequence
        return frame

    def close(self):
        self._source.close()


@pytest.fixture
def scripted(monkeypatch):
    """The source of the next node, once that is configured; a device reads the folder too."""
    made = []

    def source_for(settings):
        made.append(ScriptedSource(recorded_or_device_source(dataclasses.replace(settings, source='replay'))))
        return made[-1]
    monkeypatch.setattr(sensor_node, 'source_for', source_for)
    return made


def test_every_frame_goes_out_once_with_the_stamp_of_its_grab(graph, frames_folder, scripted):
    heard = graph.listen(Image, f'{LEFT}/image_raw', 10)
    graph.add(SensorNode, LEFT, **replay_settings(frames_folder, frame_id='left_gel'))
    wait_until(lambda: len(heard) >= 10)
    sequences = [scripted[0].stamps_ns[ns_from_time(message.header.stamp)] for message in heard[:10]]
    assert sequences == sorted(set(sequences))
    assert {message.header.frame_id for message in heard} == {'left_gel'}
    assert decode_image(heard[0]).shape == (48, 64, 3)


def test_contact_is_told_by_the_difference_from_the_reference(graph, frames_folder, scripted):
    contacts = graph.listen(Bool, f'{LEFT}/contact')
    graph.add(SensorNode, LEFT, **replay_settings(frames_folder))
    wait_until(lambda: contacts and not contacts[-1].data)
    scripted[0].change_image = lambda image: image // 2
    wait_until(lambda: contacts[-1].data)
    touched = graph.call(Trigger, f'{LEFT}/sensor/capture_reference')
    assert not touched.success and 'Take the object off' in touched.message
    scripted[0].change_image = lambda image: image
    wait_until(lambda: not contacts[-1].data)


def test_capture_reference_answers_when_the_new_reference_is_there(graph, frames_folder, scripted):
    node = graph.add(SensorNode, LEFT, **replay_settings(frames_folder))
    wait_until(lambda: node._gel.in_contact is not None)
    before = node._gel.reference_hwc
    scripted[0].change_image = lambda image: image + np.uint8(1)
    answer = graph.call(Trigger, f'{LEFT}/sensor/capture_reference')
    assert answer.success, answer.message
    assert node._gel.reference_hwc.mean() == pytest.approx(before.mean() + 1, abs=0.5)


def reported(reports, level, *words):
    """The statuses of the sensor at a level, all of whose words are in the message."""
    return [status for report in list(reports) for status in report.status
            if status.level == level and all(word in status.message for word in words)]


def test_an_unplugged_sensor_is_reported_publishes_nothing_and_comes_back(graph, frames_folder, scripted):
    reports, images = graph.listen(DiagnosticArray, '/diagnostics', 10), graph.listen(Image, f'{LEFT}/image_raw')
    # Not because it was silent for long: it is never called dead here.
    node = graph.add(SensorNode, LEFT, **replay_settings(frames_folder, source='device', dead_after_periods=1000))
    wait_until(lambda: images and node._fault == '')
    scripted[0].unplugged.set()
    wait_until(lambda: reported(reports, DiagnosticStatus.ERROR, 'left'))
    wait_until(lambda: 'not there' in node._fault)
    count = len(images)
    refused = graph.call(Trigger, f'{LEFT}/sensor/capture_reference')
    assert not refused.success and 'gives no frames' in refused.message
    assert node.state_label == 'active'
    assert graph.helper.count_publishers(f'{LEFT}/image_raw') == graph.helper.count_publishers(f'{LEFT}/contact') == 1
    scripted[0].open_error = SensorError('left is D20002, not D20001', 'Plug D20001 in')
    wait_until(lambda: reported(reports, DiagnosticStatus.ERROR, 'D20002, not D20001'))
    assert len(images) == count and node.state_label == 'active'
    reports.clear()
    scripted[0].unplugged.clear()
    wait_until(lambda: len(images) > count and reported(reports, DiagnosticStatus.OK, 'publishing'))
    values = {pair.key: pair.value for pair in reported(reports, DiagnosticStatus.OK)[-1].values}
    assert int(values['reopened']) >= 1 and int(values['failed_grabs']) >= 2


def test_one_damaged_picture_is_reported_in_the_words_of_its_driver_and_the_frames_go_on(
        graph, frames_folder, scripted):
    reports, images = graph.listen(DiagnosticArray, '/diagnostics', 10), graph.listen(Image, f'{LEFT}/image_raw')
    node = graph.add(SensorNode, LEFT, **replay_settings(frames_folder, dead_after_periods=1000))
    wait_until(lambda: images and node._gel.in_contact is not None)
    for _ in range(ATTEMPTS):
        reports.clear()
        scripted[0].next_error = SensorError('left: half a JPEG', 'Use another USB port')
        wait_until(lambda: [reported(reports, level, 'half a JPEG')
                            for level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR)] != [[], []])
        # Where the machine stood still just then, two periods passed without a frame, which is more than a warning.
        if reported(reports, DiagnosticStatus.WARN, 'half a JPEG'):
            break
    assert reported(reports, DiagnosticStatus.WARN, 'half a JPEG')
    count = len(images)
    reports.clear()
    wait_until(lambda: len(images) > count and reported(reports, DiagnosticStatus.OK, 'publishing'))


def test_frames_from_before_a_wall_clock_that_was_set_back_are_not_followed_by_earlier_ones(
        graph, frames_folder, scripted):
    images = graph.listen(Image, f'{LEFT}/image_raw', 10)
    node = graph.add(SensorNode, LEFT, **replay_settings(frames_folder))
    scripted[0].wall_clock_ahead_ns = 1_000_000_000
    wait_until(lambda: images and ns_from_time(images[-1].header.stamp) > time.time_ns())
    scripted[0].wall_clock_ahead_ns = 0
    wait_until(lambda: 'the clock of the machine stands' in node._fault)
    count = len(images)
    wait_until(lambda: len(images) > count and node._fault == '')
    stamps_ns = [ns_from_time(message.header.stamp) for message in images]
    assert stamps_ns == sorted(set(stamps_ns))


def test_frozen_and_black_frames_are_not_published(graph, frames_folder, scripted):
    node = graph.add(SensorNode, LEFT, **replay_settings(frames_folder, frozen_after_frames=3, black_after_frames=3))
    images, reports = graph.listen(Image, f'{LEFT}/image_raw'), graph.listen(DiagnosticArray, '/diagnostics', 10)
    wait_until(lambda: images)
    scripted[0].change_image = lambda image: np.full_like(image, 90)
    wait_until(lambda: reported(reports, DiagnosticStatus.ERROR, 'left is frozen'))
    count = len(images)
    rng = np.random.default_rng(1)
    scripted[0].change_image = lambda image: rng.integers(0, 3, image.shape, dtype=np.uint8)
    wait_until(lambda: reported(reports, DiagnosticStatus.ERROR, 'left is black'))
    assert len(images) <= count + 2  # black only after black_after_frames of them
    assert node.state_label == 'active'


def test_a_node_that_refuses_every_frame_as_too_old_is_faulty_and_answers_who_waits(graph, frames_folder, scripted):
    node = graph.add(SensorNode, LEFT, **replay_settings(frames_folder, rate_hz=5.0, dead_after_periods=4,
                                                         max_frame_age_ms=100.0))
    images, answers = graph.listen(Image, f'{LEFT}/image_raw'), []
    wait_until(lambda: images and node._gel.in_contact is not None)
    scripted[0].change_image = lambda image: time.sleep(0.15) or image
    asking = threading.Thread(
        target=lambda: answers.append(graph.call(Trigger, f'{LEFT}/sensor/capture_reference')))
    asking.start()
    asking.join(30)
    assert not answers[0].success and 'Lower the load of the machine, or raise max_frame_age_ms' in answers[0].message
    assert 'ms old when it could be published, the limit is 100 ms' in node._fault
    scripted[0].change_image = lambda image: image
    wait_until(lambda: node._fault == '')


def test_a_driver_that_still_holds_its_thread_at_the_next_start_is_a_fault_until_it_lets_go(
        graph, frames_folder, scripted, monkeypatch):
    monkeypatch.setattr(frame_grabber, 'DRIVER_TIMEOUT_S', 0.05)
    images, returns = graph.listen(Image, f'{LEFT}/image_raw'), threading.Event()
    node = graph.add(SensorNode, LEFT, **replay_settings(frames_folder))
    wait_until(lambda: images)
    scripted[0].change_image = lambda image: returns.wait(30) and image
    wait_until(lambda: node._warning or node._fault)
    node.trigger_deactivate()
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    wait_until(lambda: 'does not return from its driver. Unplug it' in node._fault)
    images.clear()
    returns.set()
    wait_until(lambda: images and node._fault == '')
    assert not node.has_crashed


def test_a_replay_without_frames_leaves_the_node_inactive_with_one_line(graph, tmp_path):
    node = graph.add(SensorNode, LEFT, active=False, **replay_settings(tmp_path))
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
    assert node.state_label == 'inactive'


def test_a_device_that_is_absent_is_waited_for(graph, frames_folder, scripted, monkeypatch):
    monkeypatch.setattr(frame_grabber, 'FIRST_REOPEN_PAUSE_S', 0.05)
    images = graph.listen(Image, f'{LEFT}/image_raw')
    node = graph.add(SensorNode, LEFT, active=False, **replay_settings(frames_folder, source='device'))
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    scripted[0].unplugged.set()
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    wait_until(lambda: 'not there' in node._fault)
    assert not images
    scripted[0].unplugged.clear()
    wait_until(lambda: images and node._fault == '')


def test_a_process_without_autostart_waits_for_its_manager(graph, frames_folder, start_process):
    images = graph.listen(Image, '/image_raw')
    settings = {**replay_settings(frames_folder), 'autostart': False}
    process = start_process('sensor_node', '--ros-args', *(
        argument for name, value in settings.items() for argument in ('-p', f'{name}:={json.dumps(value)}')))
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert not images
        request = ChangeState.Request(transition=Transition(id=transition))
        assert graph.call(ChangeState, '/sensor/change_state', request).success
    wait_until(lambda: images)
    answer = graph.call(Trigger, '/sensor/capture_reference')
    assert answer.success, answer.message
    process.terminate()
    assert process.end()[0] == 0


def test_a_process_ends_by_itself_at_the_end_of_a_replay(start_process, frames_folder):
    code, output = start_process('sensor_node', '--ros-args', '-p', 'source:=replay',
                                 '-p', f'replay_path:={frames_folder}').end()
    assert code == 0 and 'has ended' in output


def test_a_damaged_picture_of_a_replay_that_loops_is_told_too(graph, frames_folder, capfd):
    (frames_folder / '02.png').write_bytes(b'no picture')
    node = graph.add(SensorNode, LEFT, **replay_settings(frames_folder))
    wait_until(lambda: node._grabber.statistics().failed_grabs > 1)
    wait_until(lambda: '02.png is not a readable image' in capfd.readouterr().err)


def test_a_replay_of_which_a_picture_is_damaged_says_so_at_its_end(start_process, frames_folder):
    (frames_folder / '02.png').write_bytes(b'no picture')
    code, output = start_process('sensor_node', '--ros-args', '-p', 'source:=replay',
                                 '-p', f'replay_path:={frames_folder}').end()
    assert code == 0 and 'not replayed whole. Faults: 1; the last one: ' in output and '02.png is not a read' in output


@pytest.mark.parametrize('settings, told', [
    (['source:=device', 'camera_controls:=EXPOSUR=1'], "Did you mean 'EXPOSURE'"),
    (['source:=replay', 'replay_timing:=lockstep', "replay_answer_topic:='no topic'"], "is 'no topic', which cannot"),
    (['source:=replay', 'kind:=gelsight_mini_markers', 'depth:=true'], 'tell no depth')])
def test_a_setting_that_only_configure_can_judge_is_one_line_and_exit_code_2(
        start_process, frames_folder, settings, told):
    code, output = start_process('sensor_node', '--ros-args', '-p', f'replay_path:={frames_folder}', *(
        argument for setting in settings for argument in ('-p', setting))).end()
    assert code == 2 and told in output and len(output.strip().splitlines()) == 1, output


def test_a_process_without_frames_says_so_in_one_line_and_fails(start_process, tmp_path):
    code, output = start_process('sensor_node', '--ros-args', '-p', 'source:=replay',
                                 '-p', f'replay_path:={tmp_path}').end()
    assert code == 3 and 'Traceback' not in output
    assert len(output.strip().splitlines()) == 1 and str(tmp_path) in output
