"""The log of a run: what TensorBoard finds, images a second, and the time left."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.recipe import TrainerRecipe
from training.run_log import RunLog

RECIPE = TrainerRecipe(steps=100, batch_size=32)


def curves(folder):
    board = EventAccumulator(str(folder / 'tensorboard'))
    board.Reload()
    return {name: {event.step: event.value for event in board.Scalars(name)} for name in board.Tags()['scalars']}


def test_tensorboard_shows_every_value_at_its_step(tmp_path):
    with RunLog(tmp_path, RECIPE, 0) as log:
        log.record(10, {'loss': 2.5, 'loss/touch_text': 0.5})
        log.record(20, {'loss': 1.5})
    assert curves(tmp_path) == {'loss': {10: 2.5, 20: 1.5}, 'loss/touch_text': {10: 0.5}}


def test_tensorboard_drops_what_was_logged_behind_the_checkpoint(tmp_path):
    with RunLog(tmp_path, RECIPE, 0) as log:
        for step in (10, 20, 30):
            log.record(step, {'loss': float(step)})
    with RunLog(tmp_path, RECIPE, 20) as log:
        log.record(25, {'loss': 25.0})
    assert curves(tmp_path) == {'loss': {10: 10.0, 20: 20.0, 25: 25.0}}


def test_rate_counts_the_steps_since_the_run_was_resumed(tmp_path, monkeypatch):
    now_s = [1000.0]
    monkeypatch.setattr('training.run_log.time.monotonic', lambda: now_s[0])
    with RunLog(tmp_path, RECIPE, 40) as log:
        now_s[0] += 30.0
        # 20 steps of 32 images in 30 s; 40 more steps take 60 s.
        assert log.rate(60) == pytest.approx({'images_per_second': 640 / 30, 'eta_minutes': 1.0})
