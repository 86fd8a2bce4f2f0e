"""Rendered triplets: a touch image, a view of the same object and its caption, with labels that agree by construction.

Every sample is drawn from (seed, split, index) alone, so that any number of processes renders the same data.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from training.datasets.sampled_contacts import (
    FRAMES_PER_GRIP,
    MATERIALS_HELD_OUT_IN_VAIN,
    NOT_A_GRASP,
    contact_values,
    motion_values,
    sample_grip,
    sample_press,
)
from training.digest import sha256_of
from training.interface import Batch
from training.networks.tlv_core import MOTION_QUANTITIES
from training.recipe import TlvCoreRecipe
from training.tokenizer import Tokenizer
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.inference.encoder import resize_for_model
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.object_view import render_object_view, render_wrist_view
from visuotactile_ros.simulation.objects import HARDNESS, MATERIALS, ROUGHNESS, caption_of, labels_of
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

SPLITS = ('train', 'validation', 'held_out', 'unseen_sensor')
CLASS_NAMES = {'material': MATERIALS, 'hardness': HARDNESS, 'roughness': ROUGHNESS,
               'grasp_success': ('failure', 'success')}
GRIP_KIND = 'gelsight_mini_markers'
NO_GRIP = -1
_FORMAT = 1
# Gels differ from unit to unit; each split sees other units of the same kind.
_UNITS_PER_KIND = 240
# Written when a split is whole.
_DIGEST_FILE = 'sha256'


@dataclass(frozen=True)
class RenderedData:
    """Rendered data on disk: one folder a split.

    Attributes:
        folder: Where it lies.
    """

    folder: Path

    def split(self, name: str) -> Path:
        """Give the folder of one of SPLITS."""
        return self.folder / name

    def digest(self, name: str) -> str:
        """Give the SHA-256 of all that a split holds, hexadecimal; computed once and kept beside it."""
        path = self.split(name) / _DIGEST_FILE
        if not path.is_file():
            write_atomically(path, _digest_of_files(self.split(name)))
        return path.read_text()

    def captions(self, name: str) -> list[str]:
        """Give the captions of a split."""
        return json.loads((self.split(name) / 'captions.json').read_text())

    def triplets(self, name: str, tokenizer: Tokenizer, context_length: int) -> RenderedTriplets:
        """Give the samples of a split; `held_out` without the materials whose held-out regions training enters."""
        left_out = MATERIALS_HELD_OUT_IN_VAIN if name == 'held_out' else ()
        return RenderedTriplets(self.split(name), tokenizer, context_length, left_out)


class RenderedTriplets:
    """Random access to a rendered split.

    Args:
        folder: Folder of the split.
        tokenizer: Encodes the captions.
        context_length: Most tokens of a caption.
        left_out_materials: Materials whose samples are skipped.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, context_length: int,
                 left_out_materials: tuple[str, ...] = ()):
        self.touch, self.view, self.grip = (np.load(folder / f'{name}.npy', mmap_mode='r', allow_pickle=False)
                                            for name in ('touch', 'view', 'grip'))
        labels = np.load(folder / 'labels.npz', allow_pickle=False)
        self.labels = {name: torch.from_numpy(labels[name]) for name in labels.files
                       if name not in ('grip_row', 'motion')}
        self.grip_row, self.motion = labels['grip_row'], torch.from_numpy(labels['motion'])
        captions = json.loads((folder / 'captions.json').read_text())
        if left_out_materials:
            left_out = [MATERIALS.index(material) for material in left_out_materials]
            kept = np.flatnonzero(~np.isin(labels['material'], left_out))
            self.touch, self.view, self.grip_row = self.touch[kept], self.view[kept], self.grip_row[kept]
            self.labels = {name: values[kept] for name, values in self.labels.items()}
            captions = [captions[row] for row in kept]
        tokens, lengths = tokenizer.encode_batch(captions, context_length)
        self.labels |= {'tokens': torch.from_numpy(tokens), 'lengths': torch.from_numpy(lengths)}

    def __len__(self) -> int:
        return len(self.touch)

    def batch(self, indices: np.ndarray) -> Batch:
        """Give samples as one batch.

        Args:
            indices: int64 [N].

        Returns:
            touch, view: uint8 [N, 1, H, W, 3] RGB; tokens int64 [N, L] and lengths int64 [N] of the captions;
            sensor_id int64 [N]; material, hardness, roughness, grasp_success int64 [N], the last NOT_A_GRASP where the
            sample is no lift; contact float32 [N, 4]: newton, millimetres (x, y), degrees; in_grip bool [N];
            grip uint8 [G, FRAMES_PER_GRIP, 1, H, W, 3] and motion float32 [G, FRAMES_PER_GRIP, 3] of the
            G = in_grip.sum() samples in a grip.
        """
        batch = {name: values[indices] for name, values in self.labels.items()}
        batch['touch'] = torch.from_numpy(self.touch[indices])[:, None]
        batch['view'] = torch.from_numpy(self.view[indices])[:, None]
        rows = self.grip_row[indices]
        batch['in_grip'] = torch.from_numpy(rows != NO_GRIP)
        rows = rows[rows != NO_GRIP]
        batch['grip'], batch['motion'] = torch.from_numpy(self.grip[rows])[:, :, None], self.motion[rows]
        return batch


def render_data(recipe: TlvCoreRecipe, workers: int = 2, unrecorded_seed: int = 0) -> RenderedData:
    """Render the data of a recipe, unless it is there already; splits that an interrupted rendering finished are kept.

    Args:
        recipe: Numbers of samples, sensor kinds, image size, seed.
        workers: Processes.
        unrecorded_seed: What a folder was rendered with whose settings do not name the seed, as earlier ones do not.

    Raises:
        ConfigurationError: The folder holds the data of another recipe.
    """
    folder = Path(recipe.data)
    settings = {'format': _FORMAT, 'seed': recipe.seed, 'image_size_px': recipe.image_size_px,
                'sensor_kinds': list(recipe.sensor_kinds), 'unseen_sensor_kind': recipe.unseen_sensor_kind,
                'grip_share': recipe.grip_share,
                'samples': {split: getattr(recipe, f'{split}_samples') for split in SPLITS}}
    data, done, begun = RenderedData(folder), folder / 'settings.json', folder / 'unfinished.json'
    for path in (done, begun):
        if path.exists() and {'seed': unrecorded_seed, **json.loads(path.read_text())} != settings:
            raise ConfigurationError(f'{folder} holds the data of another recipe',
                                     'Delete it or set another data folder')
    if done.exists():
        return data
    goes_on, text = begun.exists(), json.dumps(settings, indent=1) + '\n'
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(begun, text)
    for split, count in settings['samples'].items():
        if not (goes_on and (data.split(split) / _DIGEST_FILE).is_file()):
            _render_split(recipe, split, count, data.split(split), workers)
            data.digest(split)
    write_atomically(done, text)
    begun.unlink()
    return data


@lru_cache(maxsize=1024)
def _renderer(kind: str, unit: int) -> GelRenderer:
    return GelRenderer(SENSOR_PROFILES[kind], unit)


@dataclass(frozen=True)
class _Job:
    split: str
    kinds: tuple[str, ...]
    seed: int
    size_px: int
    grip_share: float


def _render_sample(job: _Job, index: int) -> dict:
    split_number = SPLITS.index(job.split)
    rng = np.random.default_rng([job.seed, split_number, index])
    unit = 1000 * split_number + int(rng.integers(_UNITS_PER_KIND))
    grip = sample_grip(rng) if job.grip_share > 0 and rng.random() < job.grip_share else None
    if grip is None:
        kind = job.kinds[index % len(job.kinds)]
        contact, success = sample_press(rng, 'held_out' if job.split == 'held_out' else 'train')
        view = render_object_view(contact.object, rng)
    else:
        kind, contact, success = GRIP_KIND, grip.moments[0], NOT_A_GRASP
        view = render_wrist_view(contact.object, grip.tilt_deg, grip.fill_fraction, rng)
    renderer = _renderer(kind, unit)

    def touch(state: ContactState) -> np.ndarray:
        return resize_for_model(renderer.render(state, rng), job.size_px, job.size_px)

    labels = labels_of(contact.object)
    return {
        'touch': touch(contact), 'view': resize_for_model(view, job.size_px, job.size_px),
        'grip': None if grip is None else np.stack([touch(moment) for moment in grip.moments]),
        'motion': None if grip is None else [motion_values(moment) for moment in grip.moments],
        'caption': caption_of(contact.object, rng), 'sensor_id': job.kinds.index(kind), 'material': labels.material,
        'hardness': labels.hardness, 'roughness': labels.roughness, 'grasp_success': success,
        'contact': contact_values(contact)}


def _render_range(arguments: tuple[_Job, int, int]) -> list[dict]:
    cv2.setNumThreads(1)
    job, first, last = arguments
    return [_render_sample(job, index) for index in range(first, last)]


def _render_chunks(chunks: list[tuple[_Job, int, int]], workers: int) -> Iterator[list[dict]]:
    if len(chunks) == 1:
        yield _render_range(chunks[0])
        return
    # The parent may run torch threads already: spawn, do not fork them.
    with multiprocessing.get_context('spawn').Pool(workers, initializer=os.nice, initargs=(5,)) as pool:
        yield from pool.imap(_render_range, chunks)


def _digest_of_files(folder: Path) -> str:
    names = ('captions.json', 'grip.npy', 'labels.npz', 'touch.npy', 'view.npy')
    return hashlib.sha256(' '.join(sha256_of(folder / name) for name in names).encode()).hexdigest()


def _render_split(recipe: TlvCoreRecipe, split: str, count: int, folder: Path, workers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _DIGEST_FILE).unlink(missing_ok=True)
    kinds = (recipe.unseen_sensor_kind,) if split == 'unseen_sensor' else recipe.sensor_kinds
    grip_share = recipe.grip_share if split in ('train', 'validation') else 0.0
    job = _Job(split, kinds, recipe.seed, recipe.image_size_px, grip_share)
    shape = (count, recipe.image_size_px, recipe.image_size_px, 3)
    images = {name: np.lib.format.open_memmap(folder / f'{name}.npy', 'w+', np.uint8, shape)
              for name in ('touch', 'view')}
    dtypes = {'sensor_id': np.int64, 'material': np.int64, 'hardness': np.int64, 'roughness': np.int64,
              'grasp_success': np.int64, 'contact': np.float32}
    labels: dict[str, list] = {name: [] for name in dtypes}
    captions, grips, motions, grip_row, start = [], [], [], [], time.monotonic()
    chunks = [(job, first, min(first + 100, count)) for first in range(0, count, 100)]
    for samples in _render_chunks(chunks, workers):
        for sample in samples:
            for name, array in images.items():
                array[len(captions)] = sample[name]
            for name, values in labels.items():
                values.append(sample[name])
            grip_row.append(NO_GRIP if sample['grip'] is None else len(grips))
            if sample['grip'] is not None:
                grips.append(sample['grip'])
                motions.append(sample['motion'])
            captions.append(sample['caption'])
        print(f'rendered {len(captions)}/{count} of {split}, '
              f'{len(captions) / (time.monotonic() - start):.0f} samples/s', file=sys.stderr, flush=True)
    for array in images.values():
        array.flush()
    np.save(folder / 'grip.npy', np.array(grips, np.uint8).reshape(-1, FRAMES_PER_GRIP, *shape[1:]))
    np.savez(folder / 'labels.npz', grip_row=np.array(grip_row, np.int64),
             motion=np.array(motions, np.float32).reshape(-1, FRAMES_PER_GRIP, len(MOTION_QUANTITIES)),
             **{name: np.array(values, dtypes[name]) for name, values in labels.items()})
    (folder / 'captions.json').write_text(json.dumps(captions))
