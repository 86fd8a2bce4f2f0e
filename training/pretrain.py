"""Train a recipe: `python -m training.pretrain --recipe training/recipes/tlv_core_tiny.yaml`.

Several processes: `torchrun --nproc-per-node 2 -m training.pretrain --recipe …`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from training.distributed import Processes, processes_of_run
from training.recipe import TrainerRecipe, load_recipe
from training.run_checks import check_run
from training.trainer import Trainer
from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError

# By the setting `objective`, a module with RECIPES, the recipe dataclass of every such name, and
# `prepare(recipe, output, resume, processes)`, which gives objective and samples: it refuses what can be refused before
# it does anything costly, and only the first process writes. It is imported when asked for: small towers need no CLIP.
PAPERS = {'tlv_core': 'training.rendered_run',
          **dict.fromkeys(('tlv_core_clip', 'tlv_link', 'vit_lens_2', 'anytouch_stage_2'), 'training.clip_run')}
_WITHOUT_NAME = 'tlv_core'


def recipe_kind(objective: Any) -> type[TrainerRecipe]:
    """Give the recipe dataclass of a paper.

    Args:
        objective: Value of the setting `objective`; None where a recipe does not have it.

    Raises:
        ConfigurationError: There is no such paper.
    """
    name = _WITHOUT_NAME if objective is None else objective
    if not isinstance(name, str) or name not in PAPERS:
        raise ConfigurationError(f'there is no objective {name!r}', f'Choose one of {", ".join(PAPERS)}')
    return _module_of(name).RECIPES[name]


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
        objective, samples = _module_of(recipe.objective).prepare(recipe, output, resume, processes)
        return Trainer(objective, samples, recipe, output, resume, processes).run()


def _module_of(name: str) -> ModuleType:
    return importlib.import_module(PAPERS[name])


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
        recipe = load_recipe(options.recipe, recipe_kind)
        processes = processes_of_run(recipe.device)
        metrics = pretrain(recipe, output, options.resume, processes)
    except KeyboardInterrupt:
        kept = (output / 'state.json').is_file()
        raise KeyboardInterrupt(f'Stopped. Continue with --resume; the last checkpoint is in {output}.' if kept else
                                'Stopped before the first checkpoint.') from None
    if not processes.is_first:
        return 0
    for name, value in metrics.items():
        print(f'{name:32} {value:.4g}')
    print(f'{(time.monotonic() - start) / 60:.1f} minutes; checkpoint in {output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
