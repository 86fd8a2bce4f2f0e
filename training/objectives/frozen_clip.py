"""CLIP as it is: the features that every other method starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import CLIPModel

from training.clip_recipe import ClipMethodRecipe
from training.networks.three_towers import ThreeTowers
from training.objectives.clip_method import ClipMethod
from visuotactile_ros.parameters.definition import setting


@dataclass(frozen=True)
class FrozenClipRecipe(ClipMethodRecipe):
    """Nothing is trained: of these settings, only the base and the batch size of the validation are read."""

    objective: str = setting('frozen_clip', 'What is trained', choices=('frozen_clip',))


class FrozenClipObjective(ClipMethod):
    """Touch and views by the same frozen tower; nothing to train, but to validate and to probe."""

    @staticmethod
    def make_model(clip: CLIPModel, recipe: FrozenClipRecipe) -> ThreeTowers:
        """Take the towers and the temperature of CLIP."""
        towers = ThreeTowers(clip)
        towers.touch = towers.vision
        towers.requires_grad_(False)
        with torch.no_grad():
            towers.log_scale.copy_(clip.logit_scale)
        return towers
