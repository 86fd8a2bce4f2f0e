"""CIFAR-10 and CIFAR-100: small pictures of ten or a hundred classes (Krizhevsky 2009)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from training.datasets.published.files import read_lines
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record
from visuotactile_ros.errors import ConfigurationError

_SIDE_PX = 32
_PIXEL_BYTES = 3 * _SIDE_PX * _SIDE_PX


class _Cifar(PublishedDataset):
    """The binary version, which is plain bytes: labels, then the red, the green and the blue plane of a picture.

    The Python version holds the same as pickles, and is not read.
    """

    licence = 'not stated'
    sensors = ()
    # Names of the labels, in the order of their bytes, and the files with their classes.
    class_files: Mapping[str, str]
    batches: Mapping[str, tuple[str, ...]]

    def label_classes(self, root: Path) -> Mapping[str, tuple[str, ...]]:
        """Read the names of the classes."""
        return {label: tuple(read_lines(root / name)) for label, name in self.class_files.items()}

    def records(self, root: Path) -> Iterator[Record]:
        """List the pictures by file and place."""
        row_bytes = len(self.class_files) + _PIXEL_BYTES
        for split, names in self.batches.items():
            for name in names:
                content = np.fromfile(root / name, np.uint8)
                if content.size == 0 or content.size % row_bytes:
                    raise ConfigurationError(f'{root / name} is no whole number of {row_bytes} bytes',
                                             f'Download the binary version again from {self.source_url}')
                rows = content.reshape(-1, row_bytes)
                for number, row in enumerate(rows):
                    labels = dict(zip(self.class_files, map(int, row)))
                    yield Record(id=f'{name}/{number}', split=split, view=partial(_picture, row[-_PIXEL_BYTES:]),
                                 labels=labels)


def _picture(planes: np.ndarray) -> np.ndarray:
    """Put three planes together, uint8 [32, 32, 3] RGB."""
    return np.ascontiguousarray(planes.reshape(3, _SIDE_PX, _SIDE_PX).transpose(1, 2, 0))


class Cifar10(_Cifar):
    """60 000 pictures of ten classes."""

    name = 'cifar10'
    source_url = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
    class_files = {'class': 'batches.meta.txt'}
    batches = {'train': tuple(f'data_batch_{number}.bin' for number in range(1, 6)), 'test': ('test_batch.bin',)}
    index_files = (*class_files.values(), *batches['train'], *batches['test'])
    published_records = {'train': 50_000, 'test': 10_000}


class Cifar100(_Cifar):
    """60 000 pictures of a hundred classes in twenty groups."""

    name = 'cifar100'
    source_url = 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz'
    class_files = {'group': 'coarse_label_names.txt', 'class': 'fine_label_names.txt'}
    batches = {'train': ('train.bin',), 'test': ('test.bin',)}
    index_files = (*class_files.values(), *batches['train'], *batches['test'])
    published_records = {'train': 50_000, 'test': 10_000}
