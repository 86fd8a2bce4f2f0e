"""SSVTP: a DIGIT and a camera on one arm touch and see the same spots of cloth (Kerr et al. 2022, captions by TVL)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from training.datasets.published.files import caption_tokens, is_there, names_in, read_lines, read_rows, splits_of
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import UNLISTED, Record

_SAMPLE = re.compile(r'image_(\d+)_(?:rgb|tac)\.jpg')


class Ssvtp(PublishedDataset):
    """Pairs of touch and view; those in neither list were published without a split."""

    name = 'ssvtp'
    licence = 'not stated for the data'
    source_url = 'https://huggingface.co/datasets/mlfu7/Touch-Vision-Language-Dataset (folder ssvtp)'
    sensors = ('digit',)
    index_files = ('train.csv', 'test.csv', 'images_tac', 'images_rgb', 'text')

    def records(self, root: Path) -> Iterator[Record]:
        """List every pair by its number."""
        splits = splits_of((int(sample[1]), split) for split in ('train', 'test')
                           for row in read_rows(root / f'{split}.csv', columns=1) if (sample := _SAMPLE.search(row[0])))
        present = (_SAMPLE.fullmatch(name) for name in names_in(root / 'images_tac'))
        for number in sorted(splits.keys() | {int(sample[1]) for sample in present if sample}):
            caption = root / 'text' / f'labels_{number}.txt'
            yield Record(
                id=str(number), split=splits.get(number, UNLISTED), sensor='digit',
                touch=root / 'images_tac' / f'image_{number}_tac.jpg',
                view=root / 'images_rgb' / f'image_{number}_rgb.jpg',
                text=(read_lines(caption) or [''])[0] if is_there(caption) else '',
                tokens=caption_tokens(root, f'ssvtp_{number}.pt'))
