"""The methods on a CLIP that are compared: one line a paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.clip_recipe import TlvCoreClipRecipe
from training.interface import Objective, Samples
from training.objectives.anytouch_stage_2 import AnyTouchObjective, AnyTouchRecipe
from training.objectives.frozen_clip import FrozenClipObjective, FrozenClipRecipe
from training.objectives.tlv_core_clip import TlvCoreClipObjective
from training.objectives.tlv_link import TlvLinkObjective, TlvLinkRecipe
from training.objectives.vit_lens_2 import VitLens2Objective, VitLens2Recipe
from training.recipe import TrainerRecipe


@dataclass(frozen=True)
class MethodEntry:
    """How a recipe becomes an objective, which also has `touch_features` and `vision_features` for probes.

    Attributes:
        recipe: Its recipe dataclass.
        build: Loads the CLIP of a recipe and makes the objective; its validation samples are the second argument.
        trains: Whether there is anything to train.
    """

    recipe: type[TrainerRecipe]
    build: Callable[[Any, Samples], Objective]
    trains: bool = True


# By the names that tables and results use.
METHODS = {
    'clip': MethodEntry(FrozenClipRecipe, FrozenClipObjective.build, trains=False),
    'tlv_link': MethodEntry(TlvLinkRecipe, TlvLinkObjective.build),
    'vit_lens_2': MethodEntry(VitLens2Recipe, VitLens2Objective.build),
    'anytouch': MethodEntry(AnyTouchRecipe, AnyTouchObjective.build),
    'tlv_core': MethodEntry(TlvCoreClipRecipe, TlvCoreClipObjective.build),
}
