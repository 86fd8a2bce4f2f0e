"""Progress of a training: a bar with rate and time left on a terminal, plain lines anywhere else."""

import io

import pytest

from training.progress import TrainingProgress, describe_step


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream):
    progress = TrainingProgress(steps=10, first_step=4, batch_size=8, stream=stream)
    progress.advance()
    progress.say(5, {'loss': 1.25, 'loss/touch_text': 0.5, 'images_per_second': 123.4, 'eta_minutes': 61.2})
    progress.close()
    return stream.getvalue()


def test_a_pipe_gets_one_plain_line():
    assert shown(io.StringIO()) == '[5/10]  loss 1.25  touch_text 0.5  images/s 123.4  ETA 1 h 02 min\n'


def test_a_terminal_gets_a_bar_that_starts_where_the_run_was_resumed():
    text = shown(Terminal())
    assert '\r' in text and '32.0/80.0' in text and 'images/s' in text
    assert '[5/10]  loss 1.25' in text


@pytest.mark.parametrize(('minutes', 'expected'), [(0.0, 'ETA 0 min'), (0.2, 'ETA 1 min'), (59.5, 'ETA 1 h 00 min'),
                                                   (60.0, 'ETA 1 h 00 min'), (125.1, 'ETA 2 h 06 min')])
def test_time_left_is_rounded_up(minutes, expected):
    assert describe_step(1, 2, {'eta_minutes': minutes}) == f'[1/2]  {expected}'
