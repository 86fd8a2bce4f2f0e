"""The doctor: how the command ends, and what it finds about OpenCV, udev, ROS, models and arm."""

import json
import socket
import sys
from types import SimpleNamespace

import pytest

from visuotactile_ros import doctor, udev_rules
from visuotactile_ros.doctor_checks import arm, models, opencv, ros, rules
from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.errors import SensorError
from visuotactile_ros.inference.model_folder import write_model_folder


def found(check, *cameras, **request):
    return list(check(Request(cameras, **request)))


def marks(findings):
    return [finding.mark for finding in findings]


@pytest.fixture
def checks(monkeypatch):
    """Give a function that replaces all checks; they see no camera."""
    monkeypatch.setattr('visuotactile_ros.sensors.discovery.list_video_devices', lambda: [])

    def replace(**by_name):
        monkeypatch.setattr(doctor, 'CHECKS', tuple(by_name))
        for name, check in by_name.items():
            monkeypatch.setitem(sys.modules, f'{doctor.CHECKS_PACKAGE}.{name}', SimpleNamespace(check=check))
    return replace


def fail_with(error):
    def check(request):
        yield Finding(OK, 'bones', 'the first are whole')
        raise error
    return check


def heart(request):
    yield Finding(NOTE, 'heart', 'it beats fast', 'Sit down')


@pytest.mark.parametrize(('error', 'lines'), [
    (SensorError('a leg is off', 'Sew it on'), 'broken  leg bones: a leg is off\n             do: Sew it on\n'),
    (ImportError('No module named knee'), 'broken  leg bones: No module named knee\n             do: Run make setup'),
    (PermissionError(13, 'Permission denied', '/skin'), "broken  leg bones: [Errno 13] Permission denied: '/skin'\n"),
])
def test_check_that_fails_is_a_finding_and_the_others_go_on(checks, capsys, error, lines):
    checks(leg_bones=fail_with(error), heart=heart)
    assert doctor.main([]) == 1
    output = capsys.readouterr().out
    assert output.startswith('ok      bones: the first are whole\n' + lines)
    assert output.endswith('note    heart: it beats fast\n             do: Sit down\n\n1 broken, 1 to note, 1 ok\n')


def test_notes_break_nothing(checks, capsys):
    checks(heart=heart)
    assert doctor.main([]) == 0


def test_json_holds_the_same(checks, capsys):
    checks(bones=fail_with(SensorError('a leg is off', 'Sew it on')), heart=heart)
    assert doctor.main(['--json']) == 1
    assert json.loads(capsys.readouterr().out) == {'broken': 1, 'findings': [
        {'mark': 'ok', 'subject': 'bones', 'finding': 'the first are whole', 'remedy': ''},
        {'mark': 'broken', 'subject': 'bones', 'finding': 'a leg is off', 'remedy': 'Sew it on'},
        {'mark': 'note', 'subject': 'heart', 'finding': 'it beats fast', 'remedy': 'Sit down'}]}


def test_arguments_reach_the_checks(checks):
    requests = []
    checks(any=lambda request: requests.append(request) or [])
    doctor.main(['--sensor', 'digit=D20001', '--sensor', 'vitactip', '--sensor', 'vitactip=/dev/v4l/by-path/a=b',
                 '--arm', '192.168.1.217', '--no-capture'])
    doctor.main([])
    expected = (('digit', 'D20001'), ('vitactip', ''), ('vitactip', '/dev/v4l/by-path/a=b'))
    assert requests == [Request((), expected, False, '192.168.1.217', 502), Request((), (), True, '', 502)]


@pytest.mark.parametrize(('arguments', 'match'), [
    (['--sensor', 'digits=D1'], "unknown kind 'digits'. Choose one of gelsight_mini"), (['--arm', 'xarm'], 'IPv4')])
def test_wrong_arguments_are_one_line(checks, capsys, arguments, match):
    checks()
    assert doctor.main(arguments) == 1
    error = capsys.readouterr().err
    assert match in error and error.count('\n') == 1


def test_missing_libudev_is_a_finding(checks, capsys, monkeypatch):
    def list_video_devices():
        raise SensorError('libudev cannot be used', 'Install it')
    checks(heart=heart)
    monkeypatch.setattr('visuotactile_ros.sensors.discovery.list_video_devices', list_video_devices)
    assert doctor.main([]) == 1
    output = capsys.readouterr().out
    assert output.startswith('broken  sensors: libudev cannot be used\n') and 'heart' in output


def test_missing_pyudev_is_a_finding(checks, capsys, monkeypatch):
    checks(heart=heart)
    monkeypatch.setitem(sys.modules, 'visuotactile_ros.sensors.discovery', None)
    assert doctor.main([]) == 1
    output = capsys.readouterr().out
    assert output.startswith('broken  sensors: ') and 'make setup' in output and 'heart' in output


def test_every_check_runs_on_this_machine_whatever_it_has(monkeypatch, capsys):
    monkeypatch.setattr(doctor, 'CHECKS', tuple(name for name in doctor.CHECKS if name not in ('models', 'ros')))
    doctor.main(['--json', '--no-capture'])
    for finding in json.loads(capsys.readouterr().out)['findings']:
        assert finding['mark'] in (OK, NOTE) or finding['remedy'], finding


def test_broken_without_remedy_is_a_mistake():
    with pytest.raises(ValueError, match='needs a remedy'):
        Finding(BROKEN, 'bones', 'a leg is off')


@pytest.mark.parametrize(('content', 'udev_runs', 'mark', 'text'), [
    ('same', False, OK, 'that of this version'), ('same', True, OK, 'that of this version'),
    ('other', True, NOTE, 'is different'), (None, True, NOTE, 'is missing'), (None, False, NOTE, 'no udev runs here')])
def test_state_of_the_rules_is_told(tmp_path, monkeypatch, content, udev_runs, mark, text):
    monkeypatch.setattr(udev_rules, 'INSTALLED_RULES', tmp_path / 'rules')
    monkeypatch.setattr(rules, 'UDEV_SOCKET', tmp_path if udev_runs else tmp_path / 'none')
    if content is not None:
        shipped = udev_rules.resource_path(udev_rules.SHIPPED_RULES).read_text()
        (tmp_path / 'rules').write_text(shipped if content == 'same' else content)
    finding, = found(rules.check)
    assert finding.mark == mark and text in finding.finding


def test_opencv_of_this_machine_is_fit():
    assert marks(found(opencv.check)) == [OK]


@pytest.mark.parametrize(('name', 'value'), [('__version__', '5.0.0'), ('CAP_V4L2', -1)])
def test_unfit_opencv_is_broken(monkeypatch, name, value):
    monkeypatch.setattr(opencv.cv2, name, value)
    finding, = found(opencv.check)
    assert finding.mark == BROKEN and "'opencv-python-headless>=4.9,<5'" in finding.remedy


@pytest.fixture
def ros_answers(monkeypatch):
    """Give a function that replaces the program which asks ROS."""
    for name in ('ROS_DISTRO', 'ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY',
                 *ros.PROFILE_VARIABLES):
        monkeypatch.delenv(name, raising=False)

    def answer(program):
        monkeypatch.setattr(ros, 'PROGRAM', program)
    return answer


def test_middleware_and_settings_are_told(ros_answers, monkeypatch):
    ros_answers('print("rmw_cyclonedds_cpp")')
    assert found(ros.check) == [Finding(
        OK, 'ROS', 'rclpy of Python wheels with rmw_cyclonedds_cpp, default domain and discovery range')]
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv('ROS_DOMAIN_ID', '7')
    assert found(ros.check) == [Finding(OK, 'ROS', 'rclpy of jazzy with rmw_cyclonedds_cpp, ROS_DOMAIN_ID=7')]


def test_absent_ros_is_broken_with_the_reason(ros_answers, monkeypatch):
    ros_answers('import no_such_ros')
    finding, = found(ros.check)
    assert finding.mark == BROKEN and "No module named 'no_such_ros'" in finding.finding
    assert 'make setup' in finding.remedy
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    assert '/opt/ros/jazzy/setup.bash' in found(ros.check)[0].remedy


def test_ros_that_hangs_or_crashes_is_broken(ros_answers, monkeypatch):
    ros_answers('import os; os.abort()')
    assert 'exit code -6' in found(ros.check)[0].finding
    monkeypatch.setattr(ros, 'TIMEOUT_S', 0.05)
    ros_answers('import time; time.sleep(60)')
    assert 'does not load within 0.05 s' in found(ros.check)[0].finding


def test_fast_dds_without_profile_or_memory_is_noted(ros_answers, monkeypatch):
    ros_answers('print("rmw_fastrtps_cpp")')
    monkeypatch.setattr(ros.shutil, 'disk_usage', lambda path: SimpleNamespace(free=10**9))
    fine, note = found(ros.check)
    assert fine.mark == OK and note.mark == NOTE and 'fastdds_shm.xml' in note.remedy
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', '/mine.xml')
    assert marks(found(ros.check)) == [OK]
    monkeypatch.setattr(ros.shutil, 'disk_usage', lambda path: SimpleNamespace(free=64 << 20))
    _, note = found(ros.check)
    assert note.mark == NOTE and '/dev/shm has 64 MiB left' in note.finding and '--shm-size' in note.remedy


def test_ros_of_this_machine_is_there():
    assert found(ros.check)[0].mark == OK


def test_models_are_loaded_and_damaged_ones_told(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(models, 'resource_path', lambda relative: tmp_path)
    write_model_folder(tmp_path / 'whole', *tiny_encoder())
    (tmp_path / 'gone').mkdir()
    broken, fine = found(models.check)
    assert (broken.mark, fine.mark) == (BROKEN, OK)
    assert 'gone' in broken.finding and 'Export it again' in broken.remedy
    assert 'whole (encoder, Apache-2.0) computes its golden outputs' in fine.finding


def test_arm_is_connected_to_and_told_nothing():
    with socket.create_server(('127.0.0.1', 0)) as server:
        finding, = found(arm.check, arm_address='127.0.0.1', arm_port=server.getsockname()[1])
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5.0)
            assert connection.recv(100) == b''  # closed, and not a byte before
    assert finding.mark == OK


def test_arm_without_address_is_not_tried():
    finding, = found(arm.check)
    assert finding.mark == NOTE and '--arm' in finding.remedy


@pytest.mark.parametrize(('error', 'text'), [
    (TimeoutError(), 'does not answer within 2 s'), (ConnectionRefusedError(111, 'refused'), 'refuses connections'),
    (OSError(113, 'No route to host'), 'cannot be reached: No route to host')])
def test_arm_that_cannot_be_reached_is_broken_within_a_bounded_time(monkeypatch, error, text):
    def create_connection(address, timeout_s):
        assert address == ('192.168.1.217', 502) and timeout_s <= 2.0
        raise error
    monkeypatch.setattr(arm.socket, 'create_connection', create_connection)
    finding, = found(arm.check, arm_address='192.168.1.217')
    assert finding.mark == BROKEN and text in finding.finding
