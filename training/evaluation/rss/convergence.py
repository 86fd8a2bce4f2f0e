"""The terms of the convergence theorems of TLV-CoRe, measured while it trains.

The objective itself logs the condition number of W_sh (theorem 3.1). Added here: the information of the tactile feature
about the sensor (lemma 3.2) and the variance of the stochastic gradient (assumption 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from training.gradient_cache import total_loss
from training.interface import Batch, LossTerm, Samples, to_device
from training.recipe import TrainerRecipe

# The same batches at every validation, so that only the weights differ.
GRADIENT_BATCHES = 8
# What tells the sensors apart is the adversary of the model and no part of it; its gradient is far larger.
_ADVERSARY = 'sensor_centroids'
_FRAMES_AT_ONCE = 128


class Observed:
    """An objective whose validation also measures the terms of convergence.

    Args:
        objective: What is trained; has `validation` samples and `touch_features`.
        samples: What it is trained on.
        recipe: Batch size and seed.
    """

    def __init__(self, objective: Any, samples: Samples, recipe: TrainerRecipe):
        self._objective, self._samples, self._recipe = objective, samples, recipe
        self.model = objective.model

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Encode as the objective does."""
        return self._objective.encode(batch)

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Compare as the objective does."""
        return self._objective.loss_terms(encoded, batch)

    def validate(self) -> dict[str, float]:
        """Return the metrics of the objective, and the terms as the methods below name them."""
        return self._objective.validate() | self._gradient_terms() | self._sensor_information()

    def _gradient_terms(self) -> dict[str, float]:
        """Trace of the covariance of the gradient over batches, and the squared norm of its mean, without bias."""
        rng = np.random.default_rng([self._recipe.seed, 0])
        parameters = [parameter for name, parameter in self.model.named_parameters()
                      if parameter.requires_grad and name != _ADVERSARY]
        device, gradients = parameters[0].device, []
        self.model.train()
        with torch.enable_grad(), torch.random.fork_rng():
            for number in range(GRADIENT_BATCHES):
                rows = rng.choice(len(self._samples), self._recipe.batch_size, replace=False)
                batch = to_device(self._samples.batch(rows), device)
                torch.manual_seed(number)
                loss = total_loss(self._objective.loss_terms(self._objective.encode(batch), batch))
                found = torch.autograd.grad(loss, parameters, materialize_grads=True)
                gradients.append(torch.cat([gradient.flatten() for gradient in found]))
        self.model.eval()
        stacked = torch.stack(gradients).double()
        variance = stacked.var(dim=0).sum().item()
        return {'gradient_variance': variance,
                'gradient_norm_squared': max(0.0, stacked.mean(dim=0).square().sum().item()
                                             - variance / GRADIENT_BATCHES)}

    def _sensor_information(self) -> dict[str, float]:
        """Give a lower bound of I(h; s), in bits: how much a linear classifier of the sensor beats guessing.

        Source: Barber and Agakov 2003: I(h; s) is at least H(s) minus the cross-entropy of any classifier, and of any
            that reads a function of h.
        """
        samples, device = self._objective.validation, next(self.model.parameters()).device
        features, sensors = [], []
        for rows in np.array_split(np.arange(len(samples)), 1 + len(samples) // _FRAMES_AT_ONCE):
            batch = to_device(samples.batch(rows), device)
            # The id of an unknown sensor, so that what is read is a function of h alone.
            unknown = torch.full_like(batch['sensor_id'], self.model.sensors)
            found = self._objective.touch_features(batch['touch'], unknown)
            features.append(found.float().cpu().numpy())
            sensors.append(batch['sensor_id'].cpu().numpy())
        return sensor_information(np.concatenate(features), np.concatenate(sensors), self._recipe.seed)


def sensor_information(features: np.ndarray, sensors: np.ndarray, seed: int) -> dict[str, float]:
    """Fit a classifier of the sensor on one half of the samples and measure on the other what it knows.

    Args:
        features: float32 [N, D].
        sensors: int64 [N].
        seed: Draws the halves.

    Returns:
        sensor_information_bits, or nothing where one half has a single sensor or one that the other lacks.
    """
    order = np.random.default_rng(seed).permutation(len(sensors))
    fit, test = order[::2], order[1::2]
    kinds, counts = np.unique(sensors[test], return_counts=True)
    if len(kinds) < 2 or not np.isin(kinds, sensors[fit]).all():
        return {}
    classifier = LogisticRegression(max_iter=300).fit(features[fit], sensors[fit])
    logarithms = classifier.predict_log_proba(features[test])
    own = logarithms[np.arange(len(test)), np.searchsorted(classifier.classes_, sensors[test])]
    shares = counts / counts.sum()
    return {'sensor_information_bits': max(0.0, float(own.mean() - (shares * np.log(shares)).sum()) / math.log(2))}
