"""Recordings: episodes rendered once, felt by all encoders, on all cores, and kept as one file an encoder and seed."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import cv2

from training.pouring.demonstrations import (
    Demonstration,
    load_demonstration,
    record_demonstration,
    save_demonstration,
)
from training.pouring.simulated_episode import Encode, one_frame_a_call
from training.pouring.weighed_grips import record_weighed_grip
from visuotactile_ros.inference.encoder import TactileEncoder

_LOG = logging.getLogger(__name__)
_RECORD = {'operator': record_demonstration, 'grip': record_weighed_grip}


def recordings(kind: str, seeds: Sequence[int], encoders: Mapping[str, str], data: Path,
               processes: int) -> dict[str, list[Demonstration]]:
    """Give the episodes of some seeds as every encoder felt them, recorded now where no earlier run has.

    Args:
        kind: `operator` for whole demonstrations, `grip` for weighed grips.
        seeds: Seeds of the episodes.
        encoders: Hash of every encoder by its model folder, from which each process loads it for itself.
        data: Folder of the recordings.
        processes: Episodes at a time.

    Returns:
        By folder of the encoder: one Demonstration a seed, in order.
    """
    files = {seed: {folder: data / f'{Path(folder).name}_{sha256[:8]}' / f'{kind}_{seed}.npz'
                    for folder, sha256 in encoders.items()} for seed in seeds}
    missing = [seed for seed in seeds if not all(path.exists() for path in files[seed].values())]
    if missing:
        started = time.monotonic()
        record = partial(_record, kind, tuple(encoders))
        # The parent may run torch threads already: spawn, do not fork them.
        with multiprocessing.get_context('spawn').Pool(processes, cv2.setNumThreads, (1,)) as pool:
            for number, (seed, episode) in enumerate(pool.imap(record, missing, chunksize=4), start=1):
                for folder, demonstration in episode.items():
                    save_demonstration(files[seed][folder], demonstration)
                if number % 20 == 0 or number == len(missing):
                    _LOG.info('%s %d of %d, %.0f s', kind, number, len(missing), time.monotonic() - started)
    return {folder: [load_demonstration(files[seed][folder]) for seed in seeds] for folder in encoders}


@lru_cache
def _encode(folder: str) -> Encode:
    return one_frame_a_call(TactileEncoder(folder))


def _record(kind: str, folders: tuple[str, ...], seed: int) -> tuple[int, dict[str, Demonstration]]:
    return seed, _RECORD[kind](seed, {folder: _encode(folder) for folder in folders})
