"""Live progress: a bar on a terminal, plain lines in a pipe."""

import io

import pytest

from visuotactile_ros.progress import BAR_CELLS, Progress, describe_progress
from visuotactile_ros.run_record import PourSample, RunRecord


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def record():
    record = RunRecord(simulated=True, target_g=60.0)
    record.samples.append(PourSample(record.started_ns, 'pour', 'wait', 42.25, 30.0))
    record.embedding_times_ns['left'] = [
        (record.started_ns + index * 40_000_000, record.started_ns + index * 40_000_000) for index in range(25)]
    record.decision_stamps_ns = [record.started_ns + index * 200_000_000 for index in range(5)]
    return record


def test_a_line_says_mass_tilt_action_and_rates(record):
    line = describe_progress(record, record.started_ns + 1_000_000_000, with_bar=False)
    for part in ('1.0 s', 'pour', '30.0 / 60 g', 'tilt  42.2°', 'wait', 'left 25.0 Hz', 'policy 5.0 Hz'):
        assert part in line


@pytest.mark.parametrize(('grams', 'full'), [(0.0, 0), (30.0, BAR_CELLS // 2), (60.0, BAR_CELLS), (99.0, BAR_CELLS)])
def test_the_bar_is_as_full_as_the_scale(record, grams, full):
    record.samples.append(PourSample(record.started_ns, 'pour', 'wait', 0.0, grams))
    assert describe_progress(record, record.started_ns, with_bar=True).count('█') == full


def test_a_pipe_gets_plain_lines_at_a_modest_rate(record):
    stream = io.StringIO()
    progress = Progress(record, stream)
    for _ in range(50):
        progress.update()
    assert stream.getvalue().count('\n') == 1
    assert '\r' not in stream.getvalue() and '█' not in stream.getvalue()


def test_a_terminal_redraws_one_line(record):
    stream = Terminal()
    progress = Progress(record, stream)
    progress.update()
    progress.say('a fault')
    progress.finish()
    assert '█' in stream.getvalue() and stream.getvalue().count('\n') == 2


def test_nothing_seen_yet():
    record = RunRecord(simulated=False, target_g=60.0)
    assert 'starting' in describe_progress(record, record.started_ns, with_bar=True)


def test_a_closed_terminal_does_not_end_the_run(record):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(5, 'Input/output error')

    progress = Progress(record, Closed())
    progress.say('a fault')
    progress.finish()
