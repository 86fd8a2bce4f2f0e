"""Train a recipe: `python -m training.pretrain --recipe training/recipes/tlv_core_tiny.yaml`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.checkpoint import load_checkpoint, load_state
from training.datasets.rendered import CLASS_NAMES, render_data
from training.networks.tlv_core import TlvCore, TlvCoreShape
from training.objectives.tlv_core import TlvCoreObjective
from training.recipe import TlvCoreRecipe, load_recipe
from training.tokenizer import Tokenizer
from training.trainer import Trainer
from visuotactile_ros.command_line import command
from visuotactile_ros.parameters.definition import build_parameters

VOCABULARY_FILE = 'vocabulary.json'


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
    """Load a folder that `pretrain` wrote.

    Raises:
        ModelError: The checkpoint is missing, torn or damaged.
    """
    recipe = build_parameters(TlvCoreRecipe, load_state(checkpoint)['recipe'], str(checkpoint))
    tokenizer = Tokenizer.load(checkpoint / VOCABULARY_FILE)
    model = TlvCore(tlv_core_shape(recipe, tokenizer.vocabulary_size))
    return Trained(recipe, tokenizer, model, load_checkpoint(checkpoint, model))


def pretrain(recipe: TlvCoreRecipe, output: Path, resume: bool = False) -> dict[str, float]:
    """Render the data if it is not there yet, train, and leave log, vocabulary and checkpoint in `output`.

    Returns:
        The last validation metrics.
    """
    data = render_data(recipe)
    output.mkdir(parents=True, exist_ok=True)
    start_from = None if resume or recipe.start_from == '' else Path(recipe.start_from)
    if resume:
        tokenizer = Tokenizer.load(output / VOCABULARY_FILE)
    else:
        tokenizer = Tokenizer.train(data.captions('train'), recipe.vocabulary_size) if start_from is None \
            else Tokenizer.load(start_from / VOCABULARY_FILE)
        tokenizer.save(output / VOCABULARY_FILE)
    train = data.triplets('train', tokenizer, recipe.context_length)
    validation = data.triplets('validation', tokenizer, recipe.context_length)
    torch.manual_seed(recipe.seed)
    model = TlvCore(tlv_core_shape(recipe, tokenizer.vocabulary_size))
    if start_from is not None:
        load_checkpoint(start_from, model)
    return Trainer(TlvCoreObjective(model, recipe, validation), train, recipe, output, resume).run()


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m training.pretrain', description=__doc__)
    parser.add_argument('--recipe', type=Path, required=True)
    parser.add_argument('--output', type=Path, help='default: training/output/<recipe>')
    parser.add_argument('--resume', action='store_true', help='continue from the checkpoint in the output folder')
    options = parser.parse_args(arguments)
    output = options.output or Path('training/output') / options.recipe.stem
    start = time.monotonic()
    try:
        metrics = pretrain(load_recipe(options.recipe, TlvCoreRecipe), output, options.resume)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f'Stopped. Continue with --resume; the last checkpoint is in {output}.') from None
    for name, value in metrics.items():
        print(f'{name:32} {value:.4g}')
    print(f'{(time.monotonic() - start) / 60:.1f} minutes; checkpoint in {output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
