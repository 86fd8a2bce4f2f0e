"""A cell: one method trained once on one training set, its features and its probes, each kept once it is there.

The folder is named after everything that matters for what comes out. Training goes on from its last checkpoint;
features and probes are written as a whole or not at all. So a table can be interrupted anywhere and filled piecemeal.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from training.base_clip import REPORT_FILE
from training.checkpoint import load_checkpoint, load_state
from training.device import choose_device
from training.digest import sha256_of
from training.evaluation.rss.benchmark import PARTS, UNKNOWN_LABEL, Benchmark, Task, labels_of
from training.evaluation.rss.convergence import Observed
from training.evaluation.rss.probe import PROBE_FORMAT, Labelled, probe_task
from training.evaluation.rss.recipe import RssRecipe
from training.networks.bridged_clip import parameter_counts
from training.networks.clip_folder import ClipTokenizer, read_clip_config
from training.objectives.methods import METHODS
from training.recipe import TrainerRecipe, recipe_as_dict
from training.run_checks import WITHOUT_INFLUENCE
from training.trainer import Trainer
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.parameters.definition import build_parameters

FORMAT = 1
# The method whose terms of convergence are logged.
_OBSERVED = 'tlv_core'
_FRAMES_AT_ONCE = 128


class Laboratory:
    """Everything that cells share.

    Args:
        recipe: Recipe of the tables.
        benchmark: Data and tasks.

    Raises:
        ModelError: The base is missing.
    """

    def __init__(self, recipe: RssRecipe, benchmark: Benchmark):
        self.recipe, self.benchmark, self.base = recipe, benchmark, Path(recipe.base)
        unknown = sorted({*recipe.methods} - {*METHODS})
        if unknown:
            raise ConfigurationError(f'there is no method {unknown[0]!r}', f'Choose from {", ".join(METHODS)}')
        self.context_length = read_clip_config(self.base).text_config.max_position_embeddings
        digests = [sha256_of(path) for path in sorted(self.base.iterdir())
                   if path.is_file() and path.name != REPORT_FILE]
        self.base_digest = hashlib.sha256(' '.join(digests).encode()).hexdigest()

    @cached_property
    def tokenizer(self) -> ClipTokenizer:
        """Give the tokenizer of the base."""
        return ClipTokenizer(self.base)

    def cell(self, method: str, training_set: str, seed: int, **changes: Any) -> Cell:
        """Give a cell; nothing is trained or encoded.

        Args:
            method: One of METHODS.
            training_set: One of the benchmark's; it and all settings are without influence where nothing is trained.
            seed: Seed of training and probes.
            changes: Settings of the method that differ from the recipe's.
        """
        entry = METHODS[method]
        kinds = self.benchmark.sensor_kinds(training_set)
        settings = self.recipe.settings_of(method) | {
            'seed': seed, 'base': self.recipe.base, 'data': (training_set,), 'sensor_kinds': kinds} | changes
        recipe = build_parameters(entry.recipe, settings, f'the settings of {method}')
        identity = {'format': FORMAT, 'method': method, 'base': self.base_digest}
        if entry.trains:
            identity |= {'seed': seed, 'data': self.benchmark.training_fingerprint(training_set), 'recipe': {
                name: value for name, value in recipe_as_dict(recipe).items() if name not in WITHOUT_INFLUENCE}}
        return Cell(self, method, training_set, recipe, identity)


@dataclass(frozen=True)
class Cell:
    """One trained method.

    Attributes:
        laboratory: What it shares with other cells.
        method: Name of the method.
        training_set: What it is trained on.
        recipe: What it is trained with.
        identity: Everything that matters for what comes out.
    """

    laboratory: Laboratory
    method: str
    training_set: str
    recipe: TrainerRecipe
    identity: dict[str, Any]

    @cached_property
    def folder(self) -> Path:
        """Give the folder, named after the identity."""
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
        return Path(self.laboratory.recipe.output) / f'{self.method}_{digest}'

    @property
    def series(self) -> str:
        """Name this cell and those that differ in nothing but the seed."""
        recipe = self.identity.get('recipe', {})
        return json.dumps(self.identity | {'seed': None, 'recipe': recipe | {'seed': None}}, sort_keys=True)

    @property
    def run_folder(self) -> Path:
        """Give the folder of the training run."""
        return self.folder / 'run'

    @property
    def is_trained(self) -> bool:
        """Whether the training is over, or there is none."""
        if not METHODS[self.method].trains:
            return True
        return (self.run_folder / 'state.json').is_file() and load_state(self.run_folder)['step'] == self.recipe.steps

    def probe(self, task: Task, tower: str) -> dict[str, Any]:
        """Give what `probe_task` finds with a tower, computing whatever is not there yet."""
        known = self.result(task, tower)
        if known is not None:
            return known
        parts = {part: self._labelled(task, tower, part) for part in PARTS}
        start = time.monotonic()
        torch.set_num_threads(self.recipe.threads)
        found = probe_task(task, parts, self.laboratory.recipe, self.recipe.seed)
        found |= {'task': task.name, 'tower': tower, 'seconds': round(time.monotonic() - start, 2)}
        write_atomically(self._probe_path(task, tower), json.dumps(found) + '\n')
        return found

    def result(self, task: Task, tower: str) -> dict[str, Any] | None:
        """Give what `probe` found, or None where it was not asked yet."""
        path = self._probe_path(task, tower)
        return json.loads(path.read_text()) if path.is_file() else None

    def features(self, source: str, part: str, picture: str, tower: str, names_sensor: bool = True) -> np.ndarray:
        """Give the features of a frame set, float32 [N, D], computing them if they are not there yet.

        Args:
            source: Name of the frame set.
            part: One of PARTS.
            picture: touch, touch_second or view.
            tower: touch or vision.
            names_sensor: False gives every frame the id of an unknown sensor.
        """
        path = self._features_path(source, part, picture, tower, names_sensor)
        if not path.is_file():
            objective = self._objective   # trained before the clock starts
            start = time.monotonic()
            frame_set = self.laboratory.benchmark.frame_set(source, part)
            features = self._encode(objective, frame_set, picture, tower, names_sensor)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix('.partial')
            save_file({'features': features}, partial, {'seconds': f'{time.monotonic() - start:.2f}'})
            os.replace(partial, path)
        return self.kept_features(source, part, picture, tower, names_sensor)

    def kept_features(self, source: str, part: str, picture: str, tower: str,
                      names_sensor: bool = True) -> np.ndarray | None:
        """Give what `features` computed, or None where it was not asked yet, or deleted."""
        path = self._features_path(source, part, picture, tower, names_sensor)
        if not path.is_file():
            return None
        with safe_open(path, 'numpy') as file:
            return file.get_tensor('features')

    def minutes(self, asked: Sequence[tuple[Task, str]]) -> float:
        """Return what the training and the answers to some questions cost to compute, minutes, as far as it is kept."""
        seconds = load_state(self.run_folder)['seconds'] if (self.run_folder / 'state.json').is_file() else 0.0
        seconds += sum(self.result(task, tower)['seconds'] for task, tower in asked)
        for path in {self._features_path(source, part, picture, tower, task.names_sensor) for task, tower in asked
                     for source in task.sources for part in PARTS for picture in task.pictures}:
            if path.is_file():
                with safe_open(path, 'numpy') as file:
                    seconds += float(file.metadata()['seconds'])
        return seconds / 60

    def release(self) -> None:
        """Forget the network; what is on disk stays."""
        self.__dict__.pop('_objective', None)

    def description(self) -> dict[str, Any] | None:
        """Return cell.json: the identity, and how many parameters were trained of how many; None before training."""
        path = self.folder / 'cell.json'
        return json.loads(path.read_text()) if path.is_file() else None

    @cached_property
    def _objective(self) -> Any:
        """The trained method, trained now if it is not yet."""
        laboratory, entry = self.laboratory, METHODS[self.method]
        samples = {part: laboratory.benchmark.samples(self.training_set, part, laboratory.tokenizer,
                                                      laboratory.context_length)
                   for part in ('train', 'validation')} if not self.is_trained else {}
        objective = entry.build(self.recipe, samples.get('validation'))
        trained, total = parameter_counts(objective.model)
        write_atomically(self.folder / 'cell.json', json.dumps(
            {'identity': self.identity, 'trained_parameters': trained, 'parameters': total}, indent=1) + '\n')
        if samples:
            observed = Observed(objective, samples['train'], self.recipe) if self.method == _OBSERVED else objective
            resume = (self.run_folder / 'state.json').is_file()
            Trainer(observed, samples['train'], self.recipe, self.run_folder, resume).run()
        elif entry.trains:
            load_checkpoint(self.run_folder, objective.model)
        objective.model.to(choose_device(self.recipe.device)).eval()
        return objective

    def _encode(self, objective: Any, frame_set: Any, picture: str, tower: str, names_sensor: bool) -> np.ndarray:
        kinds = self.recipe.sensor_kinds
        device = next(objective.model.parameters()).device
        torch.set_num_threads(self.recipe.threads)
        # A picture that is no touch, and a kind that was not trained on, have the id of an unknown sensor.
        known = names_sensor and picture != 'view' and frame_set.sensor_kind in kinds
        sensor_id = kinds.index(frame_set.sensor_kind) if known else len(kinds)
        features = []
        for rows in np.array_split(np.arange(len(frame_set)), max(1, round(len(frame_set) / _FRAMES_AT_ONCE))):
            frames = frame_set.frames(rows, picture).to(device)
            with torch.no_grad():
                found = objective.touch_features(frames, torch.full((len(rows),), sensor_id, device=device)) \
                    if tower == 'touch' else objective.vision_features(frames)
            features.append(found.float().cpu().numpy())
        print(f'{self.method}: {len(frame_set)} {picture} frames by the {tower} tower', file=sys.stderr, flush=True)
        return np.concatenate(features)

    def _labelled(self, task: Task, tower: str, part: str) -> Labelled:
        features, labels, groups = [], [], []
        benchmark = self.laboratory.benchmark
        for number, (source, own) in enumerate(zip(task.sources, labels_of(benchmark, task, part), strict=True)):
            known = own != UNKNOWN_LABEL
            features.append(np.concatenate([self.features(source, part, picture, tower, task.names_sensor)
                                            for picture in task.pictures], axis=1)[known])
            labels.append(own[known])
            # Objects of different sources are different.
            groups.append(benchmark.frame_set(source, part).groups[known] + number * 2 ** 32)
        return Labelled(*(np.concatenate(values) for values in (features, labels, groups)))

    def _features_path(self, source: str, part: str, picture: str, tower: str, names_sensor: bool) -> Path:
        fingerprint = self.laboratory.benchmark.frame_set(source, part).fingerprint
        unknown = '' if names_sensor else '_unknown'
        return self.folder / 'features' / f'{tower}_{picture}{unknown}_{fingerprint[:16]}.safetensors'

    def _probe_path(self, task: Task, tower: str) -> Path:
        recipe, benchmark = self.laboratory.recipe, self.laboratory.benchmark
        settings = [PROBE_FORMAT, self.recipe.seed, task.sources, task.label, len(task.classes), task.learning_rate,
                    task.weight_decay, task.pictures, recipe.probe_epochs, recipe.probe_batch_size,
                    recipe.probe_learning_rates, *(() if task.names_sensor else ('unknown sensor',)),
                    [benchmark.frame_set(source, part).fingerprint for source in task.sources for part in PARTS]]
        digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
        return self.folder / 'probes' / f'{task.name}_{tower}_{digest}.json'
