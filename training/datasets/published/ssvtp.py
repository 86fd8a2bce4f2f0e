"""SSVTP: a DIGIT and a camera on one arm touch and see the same spots of cloth (Kerr et al. 2022, captions by TVL)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from training.datasets.published.files import caption_tokens, is_there, names_in, read_lines, read_rows, splits_of
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import UNLISTED, Record
from visuotactile_ros.errors import ConfigurationError

_SAMPLE = re.compile(r'image_(\d+)_(?:rgb|tac)\.jpg')
_LISTS = ('train', 'test')


class Ssvtp(PublishedDataset):
    """Pairs of touch and view; those in neither list were published without a split."""

    name = 'ssvtp'
    licence = 'not stated for the data'
    source_url = 'https://huggingface.co/datasets/mlfu7/Touch-Vision-Language-Dataset (folder ssvtp)'
    sensors = ('digit',)
    index_files = (*(f'{split}.csv' for split in _LISTS), 'images_tac', 'images_rgb', 'text')

    def records(self, root: Path) -> Iterator[Record]:
        """List every pair by its number."""
        splits = splits_of((number, split) for split in _LISTS for number in _listed(root / f'{split}.csv'))
        present = (_SAMPLE.fullmatch(name) for name in names_in(root / 'images_tac'))
        for number in sorted(splits.keys() | {int(sample[1]) for sample in present if sample}):
            caption = root / 'text' / f'labels_{number}.txt'
            yield Record(
                id=str(number), split=splits.get(number, UNLISTED), sensor='digit',
                touch=root / 'images_tac' / f'image_{number}_tac.jpg',
                view=root / 'images_rgb' / f'image_{number}_rgb.jpg',
                text=(read_lines(caption) or [''])[0] if is_there(caption) else '',
                tokens=caption_tokens(root, f'ssvtp_{number}.pt'))


def _listed(path: Path) -> Iterator[int]:
    """Give the numbers of the pairs of a list; its first row may be a header."""
    for number, row in enumerate(read_rows(path, columns=1), start=1):
        sample = _SAMPLE.search(row[0])
        if sample:
            yield int(sample[1])
        elif number > 1:
            raise ConfigurationError(f'row {number} of {path} names {row[0]!r}, no image_<i>_rgb.jpg',
                                     'Download it again')
