"""What can be refused before any work starts."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from training.checkpoint import load_state
from training.device import check_precision
from training.distributed import Processes
from training.recipe import AnyRecipe, TrainerRecipe, recipe_as_dict, require
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import build_parameters

# Settings that change how long a run takes, or where its CLIP lies, and at most the last digits of what comes out.
WITHOUT_INFLUENCE = ('base', 'device', 'threads', 'compile', 'log_every_steps', 'validate_every_steps',
                     'checkpoint_every_steps')
_LOCK_FILE = '.lock'


def check_run(recipe: TrainerRecipe, folder: Path, resume: bool, processes: Processes) -> None:
    """Check what any run needs, whatever it trains.

    Args:
        recipe: The recipe.
        folder: Where log and checkpoint go.
        resume: Continue from the checkpoint in `folder`.
        processes: The processes of the run.

    Raises:
        ConfigurationError: The warm-up is longer than the run; the processes cannot share the batch; the device lacks
            the precision; the folder cannot be written, another run is training in it, or it holds a run that is not to
            be resumed, or one of another recipe or another number of processes.
        ModelError: There is no checkpoint to resume from.
    """
    require(recipe.warmup_steps <= recipe.steps,
            f'warmup_steps {recipe.warmup_steps} is more than steps {recipe.steps}', 'Lower warmup_steps')
    if recipe.batch_size % processes.size != 0:
        raise ConfigurationError(f'{processes.size} processes cannot share a batch of {recipe.batch_size} equally',
                                 f'Set batch_size to a multiple of {processes.size} or start fewer processes')
    check_precision(recipe.precision, processes.device)
    _check_free(folder, processes)
    if resume:
        _check_same_run(recipe, folder, processes)
    elif (folder / 'state.json').exists():
        raise ConfigurationError(f'{folder} holds a run already', 'Add --resume, or choose another output folder')


def recipe_of_run(folder: Path, kind: type[AnyRecipe]) -> AnyRecipe:
    """Read the recipe of a run from its checkpoint; a setting that is newer than it had its default then.

    Raises:
        ConfigurationError: It is the run of another objective.
        ModelError: There is no checkpoint, or it is damaged.
    """
    settings, expected = load_state(folder)['recipe'], getattr(kind, 'objective', None)
    found = settings.get('objective', expected)
    if found != expected:
        raise ConfigurationError(f'{folder} holds a run of {found}, not of {expected}', 'Name another folder')
    return build_parameters(kind, settings, str(folder / 'state.json'))


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold a folder for one run; the system lets go of it however that ends.

    Raises:
        ConfigurationError: Another run holds it: both would write the same log and checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_FILE).open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f'another run is training in {folder}',
                                     'Wait for it or choose another output folder') from None
        yield


def check_samples(samples: int, recipe: TrainerRecipe) -> None:
    """Check that there is at least one batch.

    Raises:
        ConfigurationError: There are fewer samples than one batch.
    """
    if samples < recipe.batch_size:
        raise ConfigurationError(f'{samples} samples are fewer than one batch of {recipe.batch_size}',
                                 'Lower batch_size or give more samples')


def _check_free(folder: Path, processes: Processes) -> None:
    # Nothing is made: a run that is refused leaves no folder behind.
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    if not there.is_dir():
        raise ConfigurationError(f'{there} is a file', 'Choose another output folder')
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigurationError(f'{there} cannot be written', 'Choose another output folder')
    if processes.is_first and (folder / _LOCK_FILE).exists():
        with only_run_in(folder):
            pass


def _check_same_run(recipe: TrainerRecipe, folder: Path, processes: Processes) -> None:
    before = recipe_as_dict(recipe_of_run(folder, type(recipe)))
    changed = sorted(name for name, value in recipe_as_dict(recipe).items()
                     if before[name] != value and name not in WITHOUT_INFLUENCE)
    if changed:
        raise ConfigurationError(f'{folder} was trained with another recipe ({", ".join(changed)})',
                                 'Resume with the same recipe or choose another output folder')
    # Sums over other shares are rounded otherwise: the run would no longer be the same to the bit.
    size = load_state(folder).get('processes', 1)
    if size != processes.size:
        raise ConfigurationError(f'{folder} was trained by {size} processes, not {processes.size}',
                                 f'Resume it with {size}')
