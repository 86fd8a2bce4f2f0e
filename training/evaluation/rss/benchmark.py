"""What the RSS tables ask of their data, simulated or published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from training.interface import Samples

# Probes are fitted on the first, tuned on the second and tested on the third.
PARTS = ('fit', 'validation', 'test')
UNKNOWN_LABEL = -1
# Label of the task whose classes are its sources.
SENSOR_LABEL = 'sensor'


@dataclass(frozen=True)
class Task:
    """One classification by a linear probe: a column of a table.

    Attributes:
        name: Key in the JSON.
        sources: Frame sets whose samples are put together.
        label: What is predicted.
        classes: Names of its classes.
        learning_rate: Of the probe in the papers.
        weight_decay: Of the probe in the papers.
        stands_for: The published column that a simulated one stands for; its own name where it is published.
        pictures: Images of a sample whose features are put side by side.
    """

    name: str
    sources: tuple[str, ...]
    label: str
    classes: tuple[str, ...]
    learning_rate: float
    weight_decay: float
    stands_for: str
    pictures: tuple[str, ...] = ('touch',)

    @property
    def names_sensor(self) -> bool:
        """Whether a method is told the sensor of a frame; not where that is the question."""
        return self.label != SENSOR_LABEL


def labels_of(benchmark: Benchmark, task: Task, part: str) -> list[np.ndarray]:
    """Give the labels of a task, int64 by source, UNKNOWN_LABEL where a sample has none; `part` is one of PARTS."""
    return [benchmark.frame_set(source, part).labels[task.label] for source in task.sources] \
        if task.label != SENSOR_LABEL else [np.full(len(benchmark.frame_set(source, part)), number)
                                            for number, source in enumerate(task.sources)]


class CaptionEncoder(Protocol):
    """A tokenizer."""

    def encode_batch(self, texts: Sequence[str], context_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Give int64 [N, L] ids and int64 [N] lengths."""


class FrameSet(Protocol):
    """Samples of one sensor kind that are classified.

    Attributes:
        sensor_kind: Their kind; '' for pictures that are no touch.
        labels: int64 [len] by name, UNKNOWN_LABEL where a sample has none.
        groups: int64 [len]: samples of one object have one number. Tests are resampled by object.
        fingerprint: Text that no other samples have.
    """

    sensor_kind: str
    labels: Mapping[str, np.ndarray]
    groups: np.ndarray
    fingerprint: str

    def __len__(self) -> int:
        """Return the number of samples."""

    def frames(self, indices: np.ndarray, picture: str) -> Tensor:
        """Give the images `picture` (touch, touch_second or view) of samples, uint8 [N, 1, H, W, 3] RGB."""


class Benchmark(Protocol):
    """Training sets and tasks.

    Attributes:
        simulated: Whether every number of it is simulated.
        notes: What a reader of its tables has to know.
        touch_tasks: Columns of the robustness table.
        synergy_tasks: Touch tasks that the vision tower is probed with.
        image_tasks: Picture tasks that the touch tower is probed with.
        aside_tasks: What the touch tower is asked as well and no mean holds: which sensor a frame is from.
    """

    simulated: bool
    notes: tuple[str, ...]
    touch_tasks: tuple[Task, ...]
    synergy_tasks: tuple[Task, ...]
    image_tasks: tuple[Task, ...]
    aside_tasks: tuple[Task, ...]

    def sensor_kinds(self, training_set: str) -> tuple[str, ...]:
        """Give the sensor kinds of a training set; the position is the sensor id."""

    def samples(self, training_set: str, part: str, tokenizer: CaptionEncoder, context_length: int) -> Samples:
        """Give a training set; `part` is train or validation."""

    def training_fingerprint(self, training_set: str) -> str:
        """Give a text that no other training data has."""

    def frame_set(self, source: str, part: str) -> FrameSet:
        """Give what probes see of a source; `part` is one of PARTS."""
