"""How far a training run is: a bar on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm


class TrainingProgress:
    """Shows steps, rate and what is left.

    Args:
        steps: Steps of the whole run.
        first_step: Steps that were done before.
        batch_size: Samples a step.
        stream: Where to write; a terminal gets a bar that is redrawn, anything else only lines.
    """

    def __init__(self, steps: int, first_step: int, batch_size: int, stream: TextIO):
        self.steps, self._stream = steps, stream
        self._batch_size = batch_size
        self._bar = tqdm(total=steps * batch_size, initial=first_step * batch_size, unit=' images', unit_scale=True,
                         dynamic_ncols=True, file=stream) if stream.isatty() else None

    def advance(self) -> None:
        """Count one more step."""
        if self._bar is not None:
            self._bar.update(self._batch_size)

    def say(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step as a line; a bar stays below it."""
        line = describe_step(step, self.steps, values)
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the line of the bar."""
        if self._bar is not None:
            self._bar.close()


def describe_step(step: int, steps: int, values: Mapping[str, float]) -> str:
    """Return one line: step, values by name, and what is left as hours and minutes."""
    texts = []
    for name, value in values.items():
        if name == 'eta_minutes':
            hours, minutes = divmod(math.ceil(value), 60)
            texts.append(f'ETA {hours} h {minutes:02d} min' if hours else f'ETA {minutes} min')
        else:
            shown = name.removeprefix('loss/').removeprefix('validation/').replace('images_per_second', 'images/s')
            texts.append(f'{shown} {value:.4g}')
    return f'[{step}/{steps}]  {"  ".join(texts)}'
