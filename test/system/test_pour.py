"""`make pour` as a user runs it: the whole graph in real time, its report, its exit code, and how it ends early."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
# Another draw of the pixel noise moves the simulated pour of this seed by 0.04 g; of others by up to 1.5 g, two steps
# between which the policy may choose.
SEED = 13
# A machine that stops a process for longer than touch or a report may be old ends a pour, as it should.
STOPPED_MACHINE = (' s old, more than', 'no fresh action', 'no report of the xArm')
ATTEMPTS = 3


def start_pour(folder, *arguments):
    return subprocess.Popen([sys.executable, '-m', 'visuotactile_ros.pour', '--output-folder', str(folder), *arguments],
                            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def report_of(folder):
    path, = folder.glob('*/report.json')
    return json.loads(path.read_text())


def graph_processes_alive():
    """List the command lines of what still runs in the ROS domain of these tests."""
    alive = []
    for process in psutil.process_iter(['cmdline']):
        try:
            if any('visuotactile_ros.' in part for part in process.info['cmdline'] or []) and \
                    process.environ().get('ROS_DOMAIN_ID') == os.environ['ROS_DOMAIN_ID']:
                alive.append(process.info['cmdline'])
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return alive


def machine_stopped(output):
    return any(sign in output for sign in STOPPED_MACHINE)


@pytest.fixture(scope='module')
def finished_pour(tmp_path_factory):
    for _ in range(ATTEMPTS):
        folder = tmp_path_factory.mktemp('runs')
        process = start_pour(folder, f'seed:={SEED}')
        output, _ = process.communicate(timeout=270)
        if not machine_stopped(output):
            break
    return folder, process.returncode, output


def interrupt_at_approach(folder, number):
    process = start_pour(folder)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if 'approach' in line:
            break
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, ''.join(lines) + rest


def test_the_pour_is_completed_and_reported(finished_pour):
    folder, code, output = finished_pour
    assert code == 0, output
    report = report_of(folder)
    assert report['simulated'] is True
    assert report['outcome']['state'] == 'completed' and report['outcome']['safety_rules_broken'] == []
    assert report['limit_violations'] == 0 and report['faults'] == []
    assert set(report['streams_hz']) == {'left', 'right', 'wrist_camera'}
    assert abs(report['error_g']) < 10.0
    assert {'baseline', 'approach', 'pour', 'retract', 'done'} <= set(report['series']['phase'])
    run, = folder.iterdir()
    assert {'report.html', 'report.json', 'tilt.png', 'mass.png', 'action.png', 'embedding_rate.png', 'latency.png',
            'tactile_strip.png', 'overview.png', 'nodes.log'} == {path.name for path in run.iterdir()}
    assert 'SIMULATED' in (run / 'report.html').read_text()


def test_progress_is_plain_lines_in_a_pipe(finished_pour):
    _, _, output = finished_pour
    assert '\r' not in output and 'Traceback' not in output
    lines = [line for line in output.splitlines() if ' / 60 g' in line]
    assert len(lines) > 10 and all('tilt' in line for line in lines)


def test_nothing_outlives_the_pour(finished_pour):
    assert finished_pour and graph_processes_alive() == []


def test_real_time_and_simulated_time_agree(finished_pour):
    from training.evaluation.pour_benchmark import policy_pour
    folder, _, _ = finished_pour
    trace = policy_pour(ROOT / 'models' / 'tlv_core_tiny_touch', ROOT / 'models' / 'pouring_policy')(SEED)
    assert trace.outcome == 'completed' and trace.limit_violations == []
    assert report_of(folder)['poured_g'] == pytest.approx(trace.final_mass_g, abs=1.0)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_pour_leaves_a_whole_report_and_an_upright_vessel(tmp_path, number):
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        code, output = interrupt_at_approach(folder, number)
        if not machine_stopped(output):
            break
    assert code == 130, output
    assert 'Traceback' not in output
    report = report_of(folder)
    assert report['outcome']['state'] == 'interrupted'
    assert 'approach' in report['series']['phase']
    assert 'the vessel is upright' in next(folder.glob('*/nodes.log')).read_text()
    assert graph_processes_alive() == []


def test_a_missing_model_is_one_clear_line(tmp_path):
    process = start_pour(tmp_path, f'model:={tmp_path}/nothing')
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 1 and 'Traceback' not in output
    last = output.splitlines()[-1]
    assert last.startswith('failed: /tactile/perception') and 'nothing' in last
    assert report_of(tmp_path)['outcome']['state'] == 'failed'


def test_a_wrong_argument_starts_nothing(tmp_path):
    process = start_pour(tmp_path, 'sed:=3')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and output.count('\n') == 1 and 'Did you mean seed:=' in output
    assert list(tmp_path.iterdir()) == []
