"""The report: figures from a record, one atomic file, plots and page from full and from empty records."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from visuotactile_ros.files import write_atomically
from visuotactile_ros.report import new_run_folder, write_report, write_report_json
from visuotactile_ros.run_record import (
    FrameSample,
    PourSample,
    RunRecord,
    percentiles_ms,
    rate_hz,
    rate_over_time,
    summarise,
)

SECOND = 1_000_000_000
COMPLETED = {'state': 'completed', 'reason': 'poured', 'safety_rules_broken': []}


@pytest.fixture
def record():
    record = RunRecord(simulated=True, target_g=60.0, seed=0, started_ns=1000 * SECOND)
    for index in range(50):
        stamp_ns = record.started_ns + index * SECOND // 5
        record.samples.append(PourSample(stamp_ns, 'pour', 'pour' if index % 2 else 'wait', 0.25 * index, 1.2 * index))
        record.decision_stamps_ns.append(stamp_ns)
    stamps_ns = [record.started_ns + index * SECOND // 25 for index in range(250)]
    record.image_stamps_ns['left'] = stamps_ns
    record.embedding_times_ns['left'] = [(stamp, stamp + 8_000_000) for stamp in stamps_ns]
    record.frames = [FrameSample(stamp, 'left', np.full((24, 32, 3), 90, np.uint8)) for stamp in stamps_ns[::50]]
    return record


def test_figures(record):
    figures = summarise(record)
    assert figures['poured_g'] == pytest.approx(58.8)
    assert figures['error_g'] == pytest.approx(-1.2)
    assert figures['streams_hz'] == {'left': 25.0}
    assert figures['policy_hz'] == 5.0
    assert figures['stamp_to_published_ms'] == {'p50': 8.0, 'p95': 8.0, 'p99': 8.0}
    assert figures['actions'] == {'pour': 25, 'wait': 25, 'retract': 0}
    assert figures['seed'] == 0


def test_an_empty_scale_is_not_a_missing_scale(record):
    record.samples = [PourSample(record.started_ns, 'pour', 'wait', 0.0, 0.0)]
    assert summarise(record)['error_g'] == -60.0
    record.samples = [PourSample(record.started_ns, 'pour', 'wait', 0.0, None)]
    assert summarise(record)['error_g'] is None


def test_report_is_complete_and_self_contained(record, tmp_path):
    page = write_report(tmp_path, record, COMPLETED).read_text()
    assert 'SIMULATED' in page
    assert 'src="data:image/png;base64,' in page and not re.search(r'(src|href)="(?!data:)', page)
    images = [base64.b64decode(text) for text in re.findall(r'base64,([^"]+)"', page)]
    assert len(images) == 6 and all(image.startswith(b'\x89PNG') for image in images)
    for name in ('tilt', 'mass', 'action', 'embedding_rate', 'latency', 'tactile_strip', 'overview'):
        assert (tmp_path / f'{name}.png').stat().st_size > 500
    content = json.loads((tmp_path / 'report.json').read_text())
    assert len(content['series']['tilt_deg']) == 50 and content['outcome'] == COMPLETED


def test_report_of_a_run_that_saw_nothing(tmp_path):
    record = RunRecord(simulated=True, target_g=60.0, faults=['<the arm> is off'])
    outcome = {'state': 'failed', 'reason': 'pouring ended', 'safety_rules_broken': ['tilt']}
    page = write_report(tmp_path, record, outcome).read_text()
    assert 'FAILED' in page and '&lt;the arm&gt; is off' in page
    assert json.loads((tmp_path / 'report.json').read_text())['poured_g'] is None


def test_a_measured_run_is_not_called_simulated(record, tmp_path):
    record.simulated = False
    assert 'simulated' not in write_report(tmp_path, record, COMPLETED).read_text().split('</style>')[1].lower()


def test_an_interrupted_write_leaves_the_old_file(record, tmp_path, monkeypatch):
    path = write_report_json(tmp_path, record, COMPLETED)
    before = path.read_text()

    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, 'replace', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, 'half')
    assert path.read_text() == before and list(tmp_path.iterdir()) == [path]


def test_rates():
    assert rate_hz([]) == 0.0 and rate_hz([5]) == 0.0
    assert rate_hz([0, SECOND // 10, SECOND // 5]) == 10.0
    centres_s, rates = rate_over_time(np.arange(0, 3.05, 0.1))
    np.testing.assert_allclose(centres_s, [0.5, 1.5, 2.5])
    assert rates.tolist()[:2] == [10.0, 10.0]
    assert len(rate_over_time(np.empty(0))[0]) == 0
    assert percentiles_ms(np.empty(0)) == {'p50': None, 'p95': None, 'p99': None}


def test_two_runs_of_one_second_have_two_folders(tmp_path):
    folders = {new_run_folder(tmp_path / 'runs') for _ in range(3)}
    assert len(folders) == 3 and all(folder.is_dir() for folder in folders)
