"""Simulated data of the RSS tables: rendered presses, told apart by sensor kind and by region of the object space."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import torch

from training.datasets.rendered import NO_GRIP, RenderedData, RenderedTriplets, render_data
from training.evaluation.rss.benchmark import PARTS, SENSOR_LABEL, CaptionEncoder, FrameSet, Task
from training.evaluation.rss.recipe import EVERYTHING, RssRecipe
from training.interface import Batch
from training.recipe import TlvCoreRecipe, load_recipe
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.simulation.objects import HARDNESS, MATERIALS, ROUGHNESS, SHAPES

_PROBED_KINDS = ('gelsight_mini', 'digit')
# Behind a sensor kind: tested on other objects of the regions that are trained on, instead of those held out.
_SEEN_REGIONS = '_seen_regions'
# Other samples than those that anything is pretrained on.
PROBE_SEED = 2000
_SPLIT_OF_PART = {'fit': 'train', 'validation': 'validation', 'test': 'held_out'}
_WORDS_OF_SHAPE = {'flat': ('flat surface', 'plane'), 'sphere': ('ball', 'sphere'), 'cylinder': ('cylinder', 'rod'),
                   'edge': ('edge', 'ridge'), 'cone': ('cone', 'pointed tip'), 'dots': ('row of dots', 'grid of bumps')}
_SHAPE_OF_WORD = {word: shape for shape, words in _WORDS_OF_SHAPE.items() for word in words}
_SHAPE = re.compile(rf'\b({"|".join(_SHAPE_OF_WORD)})\b', re.IGNORECASE)


class PressSamples:
    """Presses of a rendered split as training samples.

    Grips are left out: their vessels come from the simulated world and enter the regions that are held out for tests.

    Args:
        folder: Folder of the split.
        rendered_kinds: Sensor kinds of the folder, in the order of its ids.
        sensor_kinds: Kinds that are wanted; the position is the new sensor id.
        tokenizer: Encodes the captions.
        context_length: Most tokens of a caption.
    """

    def __init__(self, folder: Path, rendered_kinds: tuple[str, ...], sensor_kinds: tuple[str, ...],
                 tokenizer: CaptionEncoder, context_length: int):
        self._triplets = RenderedTriplets(folder, tokenizer, context_length)
        new_id = np.full(len(rendered_kinds), -1)
        new_id[[rendered_kinds.index(kind) for kind in sensor_kinds]] = range(len(sensor_kinds))
        self._sensor_id = new_id[self._triplets.labels['sensor_id'].numpy()]
        self.rows = np.flatnonzero((self._triplets.grip_row == NO_GRIP) & (self._sensor_id >= 0))

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: np.ndarray) -> Batch:
        """Give samples int64 [N]: touch, view uint8 [N, 1, H, W, 3] RGB, tokens, lengths and sensor_id."""
        rows = self.rows[indices]
        batch = self._triplets.batch(rows)
        return {name: batch[name] for name in ('touch', 'view', 'tokens', 'lengths')} | {
            'sensor_id': torch.from_numpy(self._sensor_id[rows])}


def rendered_presses(rendered_by: str, split: str, sensor_kinds: tuple[str, ...] | None, tokenizer: CaptionEncoder,
                     context_length: int) -> PressSamples:
    """Give the presses of a split, rendering the data if it is not there yet.

    Args:
        rendered_by: Recipe whose data it is.
        split: Split of the rendered data.
        sensor_kinds: Kinds that are wanted; None for all.
        tokenizer: Encodes the captions.
        context_length: Most tokens of a caption.
    """
    recipe = load_recipe(Path(rendered_by), TlvCoreRecipe)
    return PressSamples(render_data(recipe).split(split), recipe.sensor_kinds, sensor_kinds or recipe.sensor_kinds,
                        tokenizer, context_length)


def shape_of_caption(caption: str) -> str:
    """Read the shape of an object, one of SHAPES, from its caption; rendered data keeps it nowhere else."""
    return _SHAPE_OF_WORD[_SHAPE.search(caption)[1].lower()]


class SimulatedFrames:
    """Presses on one sensor kind, for probes.

    Args:
        data: The rendered data.
        split: Its split.
        sensor_kind: Their kind.
        sensor_id: Its id in that data.
    """

    def __init__(self, data: RenderedData, split: str, sensor_kind: str, sensor_id: int):
        folder = data.split(split)
        labels = np.load(folder / 'labels.npz', allow_pickle=False)
        self._rows = np.flatnonzero((labels['sensor_id'] == sensor_id) & (labels['grip_row'] == NO_GRIP))
        captions = json.loads((folder / 'captions.json').read_text())
        shapes = np.array([SHAPES.index(shape_of_caption(captions[row])) for row in self._rows])
        self.sensor_kind, self.labels = sensor_kind, {'shape': shapes} | {
            name: labels[name][self._rows] for name in ('material', 'hardness', 'roughness', 'grasp_success')}
        # Every sample has an object of its own.
        self.groups = np.arange(len(self._rows))
        self._images = {name: np.load(folder / f'{name}.npy', mmap_mode='r', allow_pickle=False)
                        for name in ('touch', 'view')}
        self.fingerprint = hashlib.sha256(f'{data.digest(split)} {sensor_kind}'.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def frames(self, indices: np.ndarray, picture: str) -> torch.Tensor:
        """Give images, uint8 [N, 1, H, W, 3] RGB; `picture` is touch or view."""
        return torch.from_numpy(self._images[picture][self._rows[indices]])[:, None]


# Labels and captions of a folder are read once, however many cells and tasks ask.
_frames = cache(SimulatedFrames)


class SimulatedBenchmark:
    """Columns of the simulated tables, each beside the published one that it stands for.

    Args:
        recipe: Where the data is, or what to render.

    Raises:
        ConfigurationError: There is no such training set, or no frames of a kind that is asked about.
    """

    simulated = True
    notes = (
        'Tests are on units of gels that nothing was trained on. The columns of gelsight_mini and of views are about '
        'other objects of the regions that are trained on, all others about held-out regions: a shape and a band of '
        'textures of every material. The vessels of grips would enter those and are left out of all training.',
        'Every contact is felt by one sensor, so that AnyTouch has nothing to match across sensors.',
        'All training sets are trained on for the same number of steps: the presses of a single kind are seen more '
        'often than those of all kinds together.')

    def __init__(self, recipe: RssRecipe):
        self._recipe = recipe
        self._rendering = load_recipe(Path(recipe.rendered_by), TlvCoreRecipe)
        self.kinds, self.unseen_kind = self._rendering.sensor_kinds, self._rendering.unseen_sensor_kind
        unknown = sorted({*recipe.training_sets, *recipe.synergy_training_sets, recipe.shared_training_set}
                         - {*self.kinds, EVERYTHING})
        if unknown:
            raise ConfigurationError(f'there is no training set {unknown[0]!r}',
                                     f'Choose from {", ".join([*self.kinds, EVERYTHING])}')
        missing = sorted({*_PROBED_KINDS} - {*self.kinds})
        if missing:
            raise ConfigurationError(f'{recipe.rendered_by} has no frames of {missing[0]}, which tasks are about',
                                     'Add it to its sensor_kinds')

    @property
    def _seen_regions(self) -> tuple[str, ...]:
        return (f'{_PROBED_KINDS[0]}{_SEEN_REGIONS}',)

    @property
    def touch_tasks(self) -> tuple[Task, ...]:
        """Columns of the robustness table."""
        mini, digit = self._seen_regions, _PROBED_KINDS[1:]
        return (Task('gelsight_mini_material', mini, 'material', MATERIALS, 2e-4, 0.05, 'Touch and Go material'),
                Task('gelsight_mini_roughness', mini, 'roughness', ROUGHNESS, 2e-4, 0.05, 'Touch and Go roughness'),
                Task('gelsight_mini_hardness', mini, 'hardness', HARDNESS, 2e-4, 0.05, 'Touch and Go hardness'),
                Task('digit_material', digit, 'material', MATERIALS, 1e-3, 0.01, 'ObjectFolder 1.0 material'),
                Task('unseen_gelsight_material', (self.unseen_kind,), 'material', MATERIALS, 1e-3, 0.01,
                     'ObjectFolder 2.0 material'),
                # Only a third of the presses are lifts, so those of all known kinds are taken.
                Task('grasp_success', self.kinds, 'grasp_success', ('failure', 'success'), 1e-3, 0.05, 'Feel grasp'))

    @property
    def synergy_tasks(self) -> tuple[Task, ...]:
        """Touch tasks that the vision tower is probed with."""
        return self.touch_tasks[:3]

    @property
    def image_tasks(self) -> tuple[Task, ...]:
        """Classes of object views, in place of those of natural pictures."""
        return tuple(Task(f'view_{label}', self._seen_regions, label, classes, 2e-4, 0.05, stands_for, ('view',))
                     for label, classes, stands_for in (('material', MATERIALS, 'CIFAR-10'),
                                                        ('shape', SHAPES, 'CIFAR-100'),
                                                        ('roughness', ROUGHNESS, 'ImgNetDogs')))

    @property
    def aside_tasks(self) -> tuple[Task, ...]:
        """Which of the known kinds a frame is from: low is good. And the shape, which captions name too."""
        return (Task('sensor_identity', self.kinds, SENSOR_LABEL, self.kinds, 2e-4, 0.05, ''),
                Task('gelsight_mini_shape', self._seen_regions, 'shape', SHAPES, 2e-4, 0.05, ''))

    def sensor_kinds(self, training_set: str) -> tuple[str, ...]:
        """Give the sensor kinds of a training set."""
        return self.kinds if training_set == EVERYTHING else (training_set,)

    def samples(self, training_set: str, part: str, tokenizer: CaptionEncoder, context_length: int) -> PressSamples:
        """Give the presses of a training set; `part` is train or validation."""
        return rendered_presses(self._recipe.rendered_by, part, self.sensor_kinds(training_set), tokenizer,
                                context_length)

    def training_fingerprint(self, training_set: str) -> str:
        """Tell the training data apart from any other."""
        return ' '.join([render_data(self._rendering).digest('train'), *self.sensor_kinds(training_set)])

    def frame_set(self, source: str, part: str) -> FrameSet:
        """Give the probe's presses on a sensor kind, rendering them if they are not there yet.

        Args:
            source: The sensor kind, with _SEEN_REGIONS behind it or not.
            part: One of PARTS: fit and validation are of the regions of training, test of those held out or not.
        """
        if part not in PARTS:
            raise ValueError(part)
        recipe, kind = self._recipe, source.removesuffix(_SEEN_REGIONS)
        if part == 'test' and kind != source:
            # The split of an unseen sensor has gels of its own, and objects of the regions of training.
            rendered = self._rendered(source, (kind,), kind, 1, 1, 1, recipe.test_samples)
            return _frames(rendered, 'unseen_sensor', kind, 0)
        kinds = (kind,) if kind == self.unseen_kind else self.kinds
        rendered = self._rendered(kind if kind == self.unseen_kind else '', kinds, self.unseen_kind, *(
            len(kinds) * count for count in (recipe.fit_samples, recipe.validation_samples, recipe.test_samples)), 1)
        return _frames(rendered, _SPLIT_OF_PART[part], kind, kinds.index(kind))

    def _rendered(self, name: str, kinds: tuple[str, ...], unseen_kind: str, train: int, validation: int,
                  held_out: int, unseen: int) -> RenderedData:
        """Render presses, so many a split, beside those of the probes."""
        return render_data(dataclasses.replace(
            self._rendering, data='_'.join(filter(None, (self._recipe.probe_data, name))), seed=PROBE_SEED,
            grip_share=0.0, sensor_kinds=kinds, unseen_sensor_kind=unseen_kind, train_samples=train,
            validation_samples=validation, held_out_samples=held_out, unseen_sensor_samples=unseen))
