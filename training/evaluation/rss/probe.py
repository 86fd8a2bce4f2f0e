"""Linear probes as the compared papers fit them: one layer on frozen features, AdamW, cosine, 50 epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.evaluation.rss.benchmark import PARTS, Task
from training.evaluation.rss.recipe import RssRecipe
from visuotactile_ros.errors import ConfigurationError

# A result of another number is computed again. 1 scaled features up by the square root of D.
PROBE_FORMAT = 2
# As the papers do it: fitted on fit and validation samples, their rate, the epoch that is best on the test. Validation
# samples that a data set publishes are left out in the papers, and not here.
PAPERS = 'papers'
# Rate chosen on the validation samples, last epoch.
HONEST = 'honest'
PROTOCOLS = (HONEST, PAPERS)


@dataclass(frozen=True)
class Labelled:
    """Features of samples with their labels.

    Attributes:
        features: float32 [N, D], as methods give them.
        labels: int64 [N].
        groups: int64 [N], the same for samples of one object.
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


def probe_task(task: Task, parts: Mapping[str, Labelled], recipe: RssRecipe, seed: int) -> dict[str, Any]:
    """Fit and test a probe in both protocols.

    Args:
        task: What is classified.
        parts: The samples, by PARTS.
        recipe: Epochs, batch size and rates.
        seed: Of weights and order.

    Returns:
        `count` of the test samples by object, and by protocol `correct` by object, with the epoch or the rate that was
        chosen and the share of the validation samples that is right (honest).

    Raises:
        ConfigurationError: A part has no sample with a label.
    """
    for part, samples in parts.items():
        if len(samples.labels) == 0:
            raise ConfigurationError(f'{task.name} has no samples for {part}',
                                     'Raise the number of samples, or prepare the data set from its whole archive')
    fit, validation, test = (parts[part] for part in PARTS)
    fit_x, validation_x, test_x = (torch.from_numpy(part.features) for part in (fit, validation, test))
    both_x, both_y = torch.cat([fit_x, validation_x]), np.concatenate([fit.labels, validation.labels])
    rates, settings = recipe.probe_learning_rates, (len(task.classes), task.weight_decay, recipe, seed)
    by_epoch = predict(both_x, both_y, test_x, (task.learning_rate,), *settings)[:, 0]
    best = int((by_epoch == test.labels).mean(axis=1).argmax())
    last = predict(fit_x, fit.labels, torch.cat([validation_x, test_x]), rates, *settings)[-1]
    tuned = (last[:, :len(validation.labels)] == validation.labels).mean(axis=1)
    chosen = int(tuned.argmax())
    honest = last[chosen, len(validation.labels):]
    objects = np.unique(test.groups, return_inverse=True)[1]

    def correct(predicted: np.ndarray) -> list[int]:
        return np.bincount(objects, predicted == test.labels).astype(int).tolist()

    return {'count': np.bincount(objects).tolist(), 'fit_samples': len(fit.labels),
            'protocols': {PAPERS: {'correct': correct(by_epoch[best]), 'epoch': best + 1},
                          HONEST: {'correct': correct(honest), 'learning_rate': rates[chosen],
                                   'validation_accuracy': float(tuned[chosen])}}}


def predict(features: Tensor, labels: np.ndarray, asked: Tensor, learning_rates: Sequence[float], classes: int,
            weight_decay: float, recipe: RssRecipe, seed: int) -> np.ndarray:
    """Fit one linear layer a learning rate, side by side, and let them predict after every epoch.

    Args:
        features: float32 [N, D] to fit on.
        labels: int64 [N].
        asked: float32 [M, D] to predict.
        learning_rates: R of them.
        classes: Number of classes; two take one output, as in the papers.
        weight_decay: Of the weights; biases have none.
        recipe: Epochs and batch size.
        seed: Of weights and order.

    Returns:
        int64 [epochs, R, M].

    Source: AnyTouch, its published probes: weights from a truncated normal of 0.01, AdamW (0.9, 0.99), a cosine to zero
        without warm-up.
    """
    generator = torch.Generator().manual_seed(seed)
    outputs, targets = 1 if classes == 2 else classes, torch.from_numpy(labels)
    heads = [nn.Linear(features.shape[1], outputs) for _ in learning_rates]
    for head in heads:
        nn.init.trunc_normal_(head.weight, std=0.01, generator=generator)
        nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(
        [{'params': [parameter], 'lr': rate, 'weight_decay': decay} for head, rate in zip(heads, learning_rates)
         for parameter, decay in ((head.weight, weight_decay), (head.bias, 0.0))], betas=(0.9, 0.99), fused=True)
    steps = recipe.probe_epochs * math.ceil(len(labels) / recipe.probe_batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    predicted = []
    for _ in range(recipe.probe_epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(recipe.probe_batch_size):
            batch, wanted = features[rows], targets[rows]
            loss = sum(_loss(head(batch), wanted) for head in heads)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            predicted.append(torch.stack([_classes(head(asked)) for head in heads]))
    return torch.stack(predicted).numpy()


def _loss(scores: Tensor, wanted: Tensor) -> Tensor:
    if scores.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(scores[:, 0], wanted.to(scores.dtype))
    return functional.cross_entropy(scores, wanted)


def _classes(scores: Tensor) -> Tensor:
    return (scores[:, 0] > 0).long() if scores.shape[1] == 1 else scores.argmax(dim=1)
