"""The log of a run: one JSON line a record, TensorBoard, and progress for whoever watches."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from training.progress import TrainingProgress
from training.recipe import TrainerRecipe
from visuotactile_ros.files import write_atomically


class RunLog:
    """Writes log.jsonl and TensorBoard; a run that continues drops what was logged behind its checkpoint.

    Args:
        folder: Folder of the run, which is there.
        recipe: Its steps and batch size.
        first_step: Steps that were done before; 0 starts a new log.
    """

    def __init__(self, folder: Path, recipe: TrainerRecipe, first_step: int):
        path = folder / 'log.jsonl'
        if path.exists():
            write_atomically(path, ''.join(f'{line}\n' for line in path.read_text().splitlines()
                                           if _is_up_to(line, first_step)))
        self._recipe, self._first_step = recipe, first_step
        self._log = open(path, 'a')
        self._board = SummaryWriter(folder / 'tensorboard', purge_step=first_step + 1)
        self._progress = TrainingProgress(recipe.steps, first_step, recipe.batch_size, sys.stderr)
        self._start_s = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._progress.close()
        self._board.close()
        self._log.close()

    def advance(self) -> None:
        """Count one more step."""
        self._progress.advance()

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        self._log.write(json.dumps({'step': step, **values}) + '\n')
        self._log.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._progress.say(step, values)

    def rate(self, step: int) -> dict[str, float]:
        """Return images a second since the run was started, and the minutes that are left."""
        steps_per_second = (step - self._first_step) / (time.monotonic() - self._start_s)
        return {'images_per_second': steps_per_second * self._recipe.batch_size,
                'eta_minutes': (self._recipe.steps - step) / steps_per_second / 60}


def _is_up_to(line: str, step: int) -> bool:
    try:
        return json.loads(line)['step'] <= step
    except ValueError:  # the run was killed while it wrote this line
        return False
