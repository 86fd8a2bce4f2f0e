"""Recordings: episodes rendered once, felt by all encoders, on all cores, and kept as one file an encoder and seed."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from training.pouring.demonstrations import Demonstration, record_demonstration
from training.pouring.simulated_episode import Encode, one_frame_a_call
from training.pouring.weighed_grips import WeighedGrip, record_weighed_grip
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters

Recording = TypeVar('Recording', Demonstration, WeighedGrip)

_LOG = logging.getLogger(__name__)
_KINDS = {'operator': (record_demonstration, Demonstration), 'grip': (record_weighed_grip, WeighedGrip)}

TASK_SETTINGS = ('target_mass_g', 'step_deg', 'policy_rate_hz', 'approach_tilt_deg')
"""Settings of the task that a policy is trained for; it refuses a task where one of them differs."""


def task_settings(task: PouringTaskParameters) -> dict[str, float]:
    """Give the TASK_SETTINGS of a task by name."""
    return {name: getattr(task, name) for name in TASK_SETTINGS}


def recordings(kind: str, seeds: Sequence[int], encoders: Mapping[str, str], task: PouringTaskParameters, data: Path,
               processes: int) -> dict[str, list]:
    """Give the episodes of some seeds as every encoder felt them, recorded now where no earlier run has.

    Args:
        kind: `operator` for whole demonstrations, `grip` for weighed grips.
        seeds: Seeds of the episodes.
        encoders: Hash of every encoder by its model folder, from which each process loads it for itself.
        task: What is poured in every episode.
        data: Folder of the recordings, all of one task.
        processes: Episodes at a time.

    Returns:
        By folder of the encoder: one Demonstration or WeighedGrip a seed, in order.

    Raises:
        ConfigurationError: The folder holds recordings of another task.
    """
    _check_task_of_folder(data, task)
    files = {seed: {folder: data / f'{Path(folder).name}_{sha256[:8]}' / f'{kind}_{seed}.npz'
                    for folder, sha256 in encoders.items()} for seed in seeds}
    missing = [seed for seed in seeds if not all(path.exists() for path in files[seed].values())]
    if missing:
        started = time.monotonic()
        record = partial(_record, kind, tuple(encoders), task)
        # The parent may run torch threads already: spawn, do not fork them.
        with multiprocessing.get_context('spawn').Pool(processes, cv2.setNumThreads, (1,)) as pool:
            for number, (seed, episode) in enumerate(pool.imap(record, missing, chunksize=4), start=1):
                for folder, recording in episode.items():
                    save_recording(files[seed][folder], recording)
                if number % 20 == 0 or number == len(missing):
                    _LOG.info('%s %d of %d, %.0f s', kind, number, len(missing), time.monotonic() - started)
    return {folder: [load_recording(files[seed][folder], _KINDS[kind][1]) for seed in seeds] for folder in encoders}


def save_recording(path: Path, recording: Demonstration | WeighedGrip) -> None:
    """Write an episode into one .npz file, which appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(path.name + '.partial')
    with partial_path.open('wb') as file:
        np.savez(file, **vars(recording))
    os.replace(partial_path, path)


def load_recording(path: Path, kind: type[Recording]) -> Recording:
    """Read what `save_recording` wrote."""
    with np.load(path, allow_pickle=False) as content:
        return kind(**{name: content[name] if content[name].ndim else content[name].item() for name in content.files})


def _check_task_of_folder(data: Path, task: PouringTaskParameters) -> None:
    settings, path = task_settings(task), data / 'settings.json'
    if path.exists():
        recorded = json.loads(path.read_text())
    else:
        # Folders from before there was a choice have recordings of the default task, and no settings.
        recorded = task_settings(PouringTaskParameters()) if any(data.glob('*/*.npz')) else settings
    if recorded != settings:
        differ = ', '.join(f'{name} {value}' for name, value in settings.items() if recorded.get(name) != value)
        raise ConfigurationError(f'{data} holds recordings of another task than {differ}',
                                 'Set another data folder in the recipe')
    if not path.exists():
        write_atomically(path, json.dumps(settings, indent=1) + '\n')


@lru_cache
def _encode(folder: str) -> Encode:
    return one_frame_a_call(TactileEncoder(folder))


def _record(kind: str, folders: tuple[str, ...], task: PouringTaskParameters,
            seed: int) -> tuple[int, dict[str, Demonstration | WeighedGrip]]:
    return seed, _KINDS[kind][0](seed, {folder: _encode(folder) for folder in folders}, task)
