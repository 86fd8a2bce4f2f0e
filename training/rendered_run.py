"""TLV-CoRe on rendered triplets: from a recipe to what is trained, and from a checkpoint to what was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.checkpoint import load_checkpoint
from training.datasets.rendered import CLASS_NAMES, GRIP_KIND, RenderedTriplets, render_data
from training.distributed import Processes
from training.networks.tlv_core import TlvCore, TlvCoreShape
from training.objectives.tlv_core import TlvCoreObjective
from training.recipe import TlvCoreRecipe
from training.run_checks import check_samples, recipe_of_run
from training.tokenizer import Tokenizer
from visuotactile_ros.errors import ConfigurationError, ModelError
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

RECIPES = {'tlv_core': TlvCoreRecipe}
VOCABULARY_FILE = 'vocabulary.json'
SHAPE_SETTINGS = ('image_size_px', 'patch_size_px', 'width', 'heads', 'image_depth', 'text_depth', 'adapter_rank',
                  'embedding_size', 'context_length', 'sensor_kinds')


def tlv_core_shape(recipe: TlvCoreRecipe, vocabulary_size: int) -> TlvCoreShape:
    """Give the shape of a recipe's network.

    Args:
        recipe: The recipe.
        vocabulary_size: Ids of the vocabulary that was learned; at most the recipe's.
    """
    return TlvCoreShape(
        image_size_px=recipe.image_size_px, patch_size_px=recipe.patch_size_px, width=recipe.width,
        heads=recipe.heads, image_depth=recipe.image_depth, text_depth=recipe.text_depth,
        adapter_rank=recipe.adapter_rank, embedding_size=recipe.embedding_size, vocabulary_size=vocabulary_size,
        context_length=recipe.context_length, sensors=len(recipe.sensor_kinds),
        classes={name: len(names) for name, names in CLASS_NAMES.items()})


@dataclass(frozen=True, eq=False)
class Trained:
    """What a checkpoint holds: the recipe it was trained by, its tokenizer, the model with its weights, the state."""

    recipe: TlvCoreRecipe
    tokenizer: Tokenizer
    model: TlvCore
    state: dict[str, Any]


def load_trained(checkpoint: Path) -> Trained:
    """Load a folder that `python -m training.pretrain` wrote.

    Raises:
        ConfigurationError: It is a checkpoint of another objective.
        ModelError: It is missing, torn or damaged.
    """
    recipe = recipe_of_run(checkpoint, TlvCoreRecipe)
    tokenizer = Tokenizer.load(checkpoint / VOCABULARY_FILE)
    model = TlvCore(tlv_core_shape(recipe, tokenizer.vocabulary_size))
    return Trained(recipe, tokenizer, model, load_checkpoint(checkpoint, model))


def prepare(recipe: TlvCoreRecipe, output: Path, resume: bool,
            processes: Processes) -> tuple[TlvCoreObjective, RenderedTriplets]:
    """Render the data if it is not there yet, learn the vocabulary, and make the network.

    Raises:
        ConfigurationError, ModelError: A sensor kind is not known; the data folder or `start_from` belong to another
            recipe; the vocabulary or the checkpoint to start from is missing.
    """
    _check_sensor_kinds(recipe)
    check_samples(recipe.train_samples, recipe)
    start_from = None if resume or recipe.start_from == '' else Path(recipe.start_from)
    if start_from is not None:
        _check_start(recipe, start_from)
    known_vocabulary = output if resume else start_from
    tokenizer = None if known_vocabulary is None else Tokenizer.load(known_vocabulary / VOCABULARY_FILE)
    with processes.first_goes_first():
        data = render_data(recipe)
        if processes.is_first and not resume:
            tokenizer = tokenizer or Tokenizer.train(data.captions('train'), recipe.vocabulary_size)
            output.mkdir(parents=True, exist_ok=True)
            tokenizer.save(output / VOCABULARY_FILE)
    tokenizer = tokenizer or Tokenizer.load(output / VOCABULARY_FILE)
    train = data.triplets('train', tokenizer, recipe.context_length)
    validation = data.triplets('validation', tokenizer, recipe.context_length)
    torch.manual_seed(recipe.seed)
    model = TlvCore(tlv_core_shape(recipe, tokenizer.vocabulary_size))
    if start_from is not None:
        load_checkpoint(start_from, model)
    return TlvCoreObjective(model.to(processes.device), recipe, validation), train


def _check_sensor_kinds(recipe: TlvCoreRecipe) -> None:
    unknown = sorted({*recipe.sensor_kinds, recipe.unseen_sensor_kind} - set(SENSOR_PROFILES))
    if unknown:
        raise ConfigurationError(f'there is no sensor kind {unknown[0]!r}',
                                 f'Choose from {", ".join(sorted(SENSOR_PROFILES))}')
    if recipe.grip_share > 0 and GRIP_KIND not in recipe.sensor_kinds:
        raise ConfigurationError(f'grips are felt by {GRIP_KIND}, which is not among sensor_kinds',
                                 'Add it, or write grip_share: 0')


def _check_start(recipe: TlvCoreRecipe, start_from: Path) -> None:
    before = recipe_of_run(start_from, TlvCoreRecipe)
    changed = [name for name in SHAPE_SETTINGS if getattr(before, name) != getattr(recipe, name)]
    if changed:
        raise ConfigurationError(f'start_from {start_from} has another network ({", ".join(changed)})',
                                 'Use the settings of that run, or start from another')
    if not (start_from / 'model.safetensors').exists():
        raise ModelError(f'start_from {start_from} holds no model.safetensors', 'Train it again or give another folder')
