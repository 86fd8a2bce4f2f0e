"""Published data of the RSS tables, as `python -m training.prepare` wrote it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from training.datasets.prepared import PreparedDataset
from training.datasets.prepared_triplets import PreparedTriplets
from training.datasets.record import decode_image
from training.evaluation.rss.benchmark import SENSOR_LABEL, UNKNOWN_LABEL, CaptionEncoder, FrameSet, Task
from training.evaluation.rss.recipe import EVERYTHING, RssRecipe
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.inference.encoder import resize_for_model

# Of the objects that probes are fitted on, where a data set publishes no validation split.
PROBE_VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Source:
    """Records that probes see.

    Attributes:
        dataset: Name of the data set.
        fit: Split that probes are fitted on.
        test: Split that they are tested on.
        sensor: Sensor kind; '' for any.
        labels: Values that labels must have.
    """

    dataset: str
    fit: str = 'train'
    test: str = 'test'
    sensor: str = ''
    labels: Mapping[str, float] = field(default_factory=dict)


_SENSORS_OF_TACQUAD = ('gelsight_mini', 'digit', 'duragel')
SOURCES = {
    'tag': Source('tag'), 'tag_rough': Source('tag', 'train_rough', 'test_rough'),
    'objectfolder_1': Source('objectfolder_1'), 'objectfolder_2': Source('objectfolder_2'),
    'feel': Source('feel', labels={'moment': 1}),
    'cifar10': Source('cifar10'), 'cifar100': Source('cifar100'), 'imgnetdogs': Source('imgnetdogs'),
} | {f'tacquad_{sensor}': Source('tacquad', sensor=sensor) for sensor in _SENSORS_OF_TACQUAD}


class PreparedFrames:
    """Records of a prepared data set, for probes.

    Args:
        prepared: The data set.
        rows: Which of its records.
        sensor_kind: Their kind.
        image_size_px: Height and width of the images.
    """

    def __init__(self, prepared: PreparedDataset, rows: np.ndarray, sensor_kind: str, image_size_px: int):
        self._prepared, self._rows, self._size_px = prepared, rows, image_size_px
        self.sensor_kind = sensor_kind
        self.labels = {name: np.nan_to_num(prepared.label(name)[rows], nan=UNKNOWN_LABEL).astype(np.int64)
                       for name in prepared.manifest['labels']}
        objects = _objects_of(prepared)
        self.groups = np.unique([objects[row] for row in rows], return_inverse=True)[1]
        self.fingerprint = hashlib.sha256(repr([_digest_of(prepared), image_size_px]).encode() + rows.tobytes()
                                          ).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def frames(self, indices: np.ndarray, picture: str) -> torch.Tensor:
        """Give images, uint8 [N, 1, H, W, 3] RGB, stretched to the size of the base.

        Raises:
            ConfigurationError: A record lacks the image.
        """
        images = []
        for record in self._prepared.read(self._rows[indices], images=(picture,)):
            content = getattr(record, picture)
            if content is None:
                raise ConfigurationError(f'{record.id} in {self._prepared.folder} has no {picture}',
                                         'Prepare the data set again from its whole archive')
            images.append(resize_for_model(decode_image(content), self._size_px, self._size_px))
        return torch.from_numpy(np.stack(images))[:, None]


class PublishedBenchmark:
    """Columns and training sets of the paper, as far as their data sets are prepared.

    Args:
        recipe: Folders of the data sets.
        image_size_px: Height and width of the images of the base.

    Raises:
        ConfigurationError: A folder is not prepared, or a training set is not among them.
    """

    simulated = False

    def __init__(self, recipe: RssRecipe, image_size_px: int):
        self._recipe, self._size_px = recipe, image_size_px
        prepared = [PreparedDataset(folder) for folder in recipe.prepared]
        self._prepared = {dataset.manifest['dataset']: dataset for dataset in prepared}
        for name in {*recipe.training_sets, *recipe.synergy_training_sets, recipe.shared_training_set} - {EVERYTHING}:
            if name not in self._prepared:
                raise ConfigurationError(f'the training set {name} is not among prepared',
                                         'Add its folder there, or leave it out of the training sets')
        self._frame_sets: dict[tuple[str, str], FrameSet] = {}
        self.notes = tuple(f'{name}: {note}' for name, dataset in self._prepared.items()
                           for note in dataset.manifest['protocol_notes'])
        self.touch_tasks = self._tasks(
            ('tag_material', ('tag',), 'material', 2e-4, 0.05),
            ('tag_roughness', ('tag_rough',), 'roughness', 2e-4, 0.05),
            ('tag_hardness', ('tag',), 'hardness', 2e-4, 0.05),
            ('objectfolder_1_material', ('objectfolder_1',), 'material', 1e-3, 0.01),
            ('objectfolder_2_material', ('objectfolder_2',), 'material', 1e-3, 0.01),
            ('feel_grasp', ('feel',), 'grasp_success', 1e-3, 0.05, ('touch', 'touch_second')))
        self.synergy_tasks = tuple(task for task in self.touch_tasks if task.name.startswith('tag_'))
        self.image_tasks = self._tasks(*(
            (name, (name,), label, 2e-4, 0.05, ('view',))
            for name, label in (('cifar10', 'class'), ('cifar100', 'class'), ('imgnetdogs', 'breed'))))
        sensors = tuple(f'tacquad_{name}' for name in _SENSORS_OF_TACQUAD)
        self.aside_tasks = (Task('sensor_identity', sensors, SENSOR_LABEL, _SENSORS_OF_TACQUAD, 2e-4, 0.05, ''),) \
            if 'tacquad' in self._prepared else ()

    def sensor_kinds(self, training_set: str) -> tuple[str, ...]:
        """Give the sensor kinds of a training set, in alphabetical order."""
        return tuple(sorted({kind for dataset in self._trained_on(training_set)
                             for kind in dataset.manifest['sensors'] if kind}))

    def samples(self, training_set: str, part: str, tokenizer: CaptionEncoder,
                context_length: int) -> PreparedTriplets:
        """Give the samples of a training set; `part` is train or validation."""
        return PreparedTriplets([dataset.folder for dataset in self._trained_on(training_set)], part, tokenizer,
                                context_length, self._size_px, self.sensor_kinds(training_set))

    def training_fingerprint(self, training_set: str) -> str:
        """Tell the training data apart from any other."""
        return ' '.join([*map(_digest_of, self._trained_on(training_set)), str(self._size_px)])

    def frame_set(self, source: str, part: str) -> FrameSet:
        """Give what probes see of one of SOURCES; `part` is one of PARTS."""
        if (source, part) not in self._frame_sets:
            where = SOURCES[source]
            prepared = self._prepared[where.dataset]
            rows = _rows_of(prepared, where, part)
            kinds = {*np.array(prepared.names('sensor'))[rows]}
            kind = kinds.pop() if len(kinds) == 1 else ''
            self._frame_sets[source, part] = PreparedFrames(prepared, rows, kind, self._size_px)
        return self._frame_sets[source, part]

    def _trained_on(self, training_set: str) -> list[PreparedDataset]:
        names = [training_set] if training_set != EVERYTHING else [
            name for name in self._recipe.training_sets if name != EVERYTHING]
        return [self._prepared[name] for name in names]

    def _tasks(self, *rows: tuple) -> tuple[Task, ...]:
        tasks = []
        for name, sources, label, learning_rate, weight_decay, *pictures in rows:
            dataset = self._prepared.get(SOURCES[sources[0]].dataset)
            if dataset is not None:
                classes = tuple(dataset.manifest['labels'][label]['classes'])
                tasks.append(Task(name, sources, label, classes, learning_rate, weight_decay, name, *pictures))
        return tuple(tasks)


def _rows_of(prepared: PreparedDataset, source: Source, part: str) -> np.ndarray:
    """Records of a part; where no validation split is published, a share of the objects of the fit split is it."""
    if part == 'test':
        return prepared.select(source.test, source.sensor, **source.labels)
    has_validation = 'validation' in prepared.manifest['splits'] and source.fit == 'train'
    if has_validation:
        return prepared.select('validation' if part == 'validation' else source.fit, source.sensor, **source.labels)
    rows = prepared.select(source.fit, source.sensor, **source.labels)
    objects = np.array(_objects_of(prepared))[rows]
    ordered = sorted(set(objects), key=lambda name: hashlib.sha256(name.encode()).digest())
    held = ordered[:max(1, round(PROBE_VALIDATION_SHARE * len(ordered)))]
    return rows[np.isin(objects, held) == (part == 'validation')]


def _objects_of(prepared: PreparedDataset) -> list[str]:
    """Objects of all records; where a data set tells none apart, every record is one."""
    return [name or str(row) for row, name in enumerate(prepared.names('object'))]


def _digest_of(prepared: PreparedDataset) -> str:
    return hashlib.sha256(repr([shard['sha256'] for shard in prepared.manifest['shards']]).encode()).hexdigest()
