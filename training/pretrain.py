"""Train a recipe: `python -m training.pretrain --recipe training/recipes/tlv_core_tiny.yaml`.

Several processes: `torchrun --nproc-per-node 2 -m training.pretrain --recipe …`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.checkpoint import load_checkpoint, load_state
from training.datasets.rendered import CLASS_NAMES, GRIP_KIND, RenderedTriplets, render_data
from training.distributed import Processes, processes_of_run
from training.networks.tlv_core import TlvCore, TlvCoreShape
from training.objectives.tlv_core import TlvCoreObjective
from training.recipe import TlvCoreRecipe, TrainerRecipe, load_recipe
from training.run_checks import check_run, check_samples
from training.tokenizer import Tokenizer
from training.trainer import Objective, Samples, Trainer
from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError, ModelError
from visuotactile_ros.parameters.definition import build_parameters
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

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
    """Load a folder that `pretrain` wrote.

    Raises:
        ModelError: The checkpoint is missing, torn or damaged.
    """
    recipe = build_parameters(TlvCoreRecipe, load_state(checkpoint)['recipe'], str(checkpoint))
    tokenizer = Tokenizer.load(checkpoint / VOCABULARY_FILE)
    model = TlvCore(tlv_core_shape(recipe, tokenizer.vocabulary_size))
    return Trained(recipe, tokenizer, model, load_checkpoint(checkpoint, model))


def prepare_tlv_core(recipe: TlvCoreRecipe, output: Path, resume: bool,
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


@dataclass(frozen=True)
class Paper:
    """How a recipe becomes a run.

    Attributes:
        recipe: Its recipe dataclass.
        prepare: Turns a recipe, the output folder, whether to resume and the processes into objective and samples. What
            can be refused is refused before anything costly; only the first process writes.
    """

    recipe: type[TrainerRecipe]
    prepare: Callable[[Any, Path, bool, Processes], tuple[Objective, Samples]]


# By the setting `objective`; a recipe without it is of the first.
PAPERS = {'tlv_core': Paper(TlvCoreRecipe, prepare_tlv_core)}


def pretrain(recipe: TrainerRecipe, output: Path, resume: bool = False,
             processes: Processes | None = None) -> dict[str, float]:
    """Check everything, prepare, train, and leave log and checkpoint in `output`.

    Args:
        recipe: The recipe.
        output: Folder of the run.
        resume: Continue from the checkpoint in it.
        processes: The processes of the run; None means those of which `torchrun` tells, if it does.

    Returns:
        The last validation metrics; in other processes than the first, none that are newer than the checkpoint.
    """
    processes = processes or processes_of_run(recipe.device)
    check_run(recipe, output, resume, processes)
    with processes.connected():
        objective, samples = PAPERS[recipe.objective].prepare(recipe, output, resume, processes)
        return Trainer(objective, samples, recipe, output, resume, processes).run()


def _check_sensor_kinds(recipe: TlvCoreRecipe) -> None:
    unknown = sorted({*recipe.sensor_kinds, recipe.unseen_sensor_kind} - set(SENSOR_PROFILES))
    if unknown:
        raise ConfigurationError(f'there is no sensor kind {unknown[0]!r}',
                                 f'Choose from {", ".join(sorted(SENSOR_PROFILES))}')
    if recipe.grip_share > 0 and GRIP_KIND not in recipe.sensor_kinds:
        raise ConfigurationError(f'grips are felt by {GRIP_KIND}, which is not among sensor_kinds',
                                 'Add it, or write grip_share: 0')


def _check_start(recipe: TlvCoreRecipe, start_from: Path) -> None:
    before = build_parameters(TlvCoreRecipe, load_state(start_from)['recipe'], str(start_from / 'state.json'))
    changed = [name for name in SHAPE_SETTINGS if getattr(before, name) != getattr(recipe, name)]
    if changed:
        raise ConfigurationError(f'start_from {start_from} has another network ({", ".join(changed)})',
                                 'Use the settings of that run, or start from another')
    if not (start_from / 'model.safetensors').exists():
        raise ModelError(f'start_from {start_from} holds no model.safetensors', 'Train it again or give another folder')


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
        recipe = load_recipe(options.recipe, {name: paper.recipe for name, paper in PAPERS.items()})
        processes = processes_of_run(recipe.device)
        metrics = pretrain(recipe, output, options.resume, processes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f'Stopped. Continue with --resume; the last checkpoint is in {output}.') from None
    if not processes.is_first:
        return 0
    for name, value in metrics.items():
        print(f'{name:32} {value:.4g}')
    print(f'{(time.monotonic() - start) / 60:.1f} minutes; checkpoint in {output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
