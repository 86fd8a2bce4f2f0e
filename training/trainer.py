"""The trainer: sums named loss terms, steps, logs, checkpoints and resumes. It knows no paper."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from training.checkpoint import load_checkpoint, save_checkpoint
from training.recipe import TrainerRecipe, recipe_as_dict
from visuotactile_ros.errors import ConfigurationError

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class LossTerm:
    """One part of the loss.

    Attributes:
        value: Scalar tensor, not weighted.
        weight: What it is multiplied by.
    """

    value: Tensor
    weight: float


class Objective(Protocol):
    """What is trained: one file a paper."""

    model: nn.Module

    def loss_terms(self, batch: Batch) -> dict[str, LossTerm]:
        """Return the loss terms of a batch."""

    def validate(self) -> dict[str, float]:
        """Return the metrics on the validation data."""


class Samples(Protocol):
    """Training data with random access."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples int64 [N] as one batch."""


class Trainer:
    """Runs an objective over samples.

    Everything random of a step is drawn from (seed, step), so a run that was interrupted and resumed on the CPU
    ends with exactly the weights of one that was not.

    Args:
        objective: What is trained.
        samples: What it is trained on.
        recipe: How long, how fast.
        folder: Where log and checkpoint go.
        resume: Continue from the checkpoint in `folder`.

    Raises:
        ConfigurationError: There are fewer samples than one batch, or `resume` with a recipe of another run.
    """

    def __init__(self, objective: Objective, samples: Samples, recipe: TrainerRecipe, folder: Path,
                 resume: bool = False):
        if len(samples) < recipe.batch_size:
            raise ConfigurationError(f'{len(samples)} samples are fewer than one batch of {recipe.batch_size}',
                                     'Lower batch_size or render more')
        self.objective, self.samples, self.recipe, self.folder = objective, samples, recipe, folder
        torch.set_num_threads(recipe.threads)
        decayed = [tensor for tensor in objective.model.parameters() if tensor.ndim > 1]
        others = [tensor for tensor in objective.model.parameters() if tensor.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{'params': decayed, 'weight_decay': recipe.weight_decay}, {'params': others, 'weight_decay': 0.0}],
            lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-6)
        self.step = 0
        self.seconds_before = 0.0
        if resume:
            state = load_checkpoint(folder, objective.model, self.optimizer)
            if state['recipe'] != recipe_as_dict(recipe):
                changed = sorted(key for key, value in recipe_as_dict(recipe).items()
                                 if state['recipe'].get(key) != value)
                raise ConfigurationError(f'{folder} was trained with another recipe ({", ".join(changed)})',
                                         'Resume with the same recipe or choose another output folder')
            self.step, self.seconds_before = state['step'], state['seconds']

    def run(self, until_step: int | None = None) -> dict[str, float]:
        """Train to the end, or to `until_step`, and return the last validation metrics."""
        last = self.recipe.steps if until_step is None else min(until_step, self.recipe.steps)
        self.folder.mkdir(parents=True, exist_ok=True)
        metrics: dict[str, float] = {}
        start, first_step = time.monotonic(), self.step
        with open(self.folder / 'log.jsonl', 'a') as log, SummaryWriter(self.folder / 'tensorboard') as board:
            while self.step < last:
                values = self._take_step()
                seconds = time.monotonic() - start
                if self.step % self.recipe.log_every_steps == 0 or self.step == last:
                    rate = (self.step - first_step) / seconds
                    values |= {'images_per_second': rate * self.recipe.batch_size,
                               'eta_minutes': (self.recipe.steps - self.step) / rate / 60}
                    self._record(log, board, values)
                if self.step % self.recipe.validate_every_steps == 0 or self.step == last:
                    self.objective.model.eval()
                    with torch.no_grad():
                        metrics = self.objective.validate()
                    self.objective.model.train()
                    self._record(log, board, {f'validation/{name}': value for name, value in metrics.items()})
                if self.step % self.recipe.checkpoint_every_steps == 0 or self.step == last:
                    save_checkpoint(self.folder, self.objective.model, self.optimizer, {
                        'step': self.step, 'recipe': recipe_as_dict(self.recipe), 'metrics': metrics,
                        'seconds': self.seconds_before + time.monotonic() - start})
        return metrics

    def _take_step(self) -> dict[str, float]:
        recipe = self.recipe
        torch.manual_seed((recipe.seed << 32) + self.step)
        rate = learning_rate_at(self.step, recipe)
        for group in self.optimizer.param_groups:
            group['lr'] = rate
        terms = self.objective.loss_terms(self.samples.batch(sample_indices(self.step, len(self.samples), recipe)))
        total = sum(term.weight * term.value for term in terms.values())
        if not torch.isfinite(total):
            raise ConfigurationError(f'the loss is {total.item()} at step {self.step}', 'Lower learning_rate')
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.objective.model.parameters(), recipe.gradient_clip)
        self.optimizer.step()
        self.step += 1
        return {'loss': total.item(), **{f'loss/{name}': term.value.item() for name, term in terms.items()},
                'gradient_norm': norm.item(), 'learning_rate': rate}

    def _record(self, log, board: SummaryWriter, values: dict[str, Any]) -> None:
        log.write(json.dumps({'step': self.step, **values}) + '\n')
        log.flush()
        for name, value in values.items():
            board.add_scalar(name, value, self.step)
        text = '  '.join(f'{name.removeprefix("loss/").removeprefix("validation/")} {value:.4g}'
                         for name, value in values.items())
        print(f'[{self.step}/{self.recipe.steps}]  {text}', file=sys.stderr, flush=True)


def learning_rate_at(step: int, recipe: TrainerRecipe) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    share = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (1 + math.cos(math.pi * share)) / 2


def sample_indices(step: int, samples: int, recipe: TrainerRecipe) -> np.ndarray:
    """Return the samples int64 [batch_size] of a step: every epoch its own permutation, the remainder left out."""
    steps_per_epoch = samples // recipe.batch_size
    epoch, position = divmod(step, steps_per_epoch)
    order = np.random.default_rng([recipe.seed, epoch]).permutation(samples)
    return order[position * recipe.batch_size:(position + 1) * recipe.batch_size]
