"""TacQuad, coarse part: the same spots felt with three sensors by hand, in- and outdoors (Feng et al. 2025)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from training.datasets.published.files import (
    caption_tokens,
    numbered_files,
    object_rule,
    read_rows,
    split_by_object,
)
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record
from visuotactile_ros.errors import ConfigurationError

# In the order of the columns of the lists: each has the first and the last frame in contact.
_FOLDERS = {'gelsight': 'gelsight_mini', 'digit': 'digit', 'duragel': 'duragel'}
_PLACES = ('indoor', 'outdoor')
# Two rows carry the name from before the folders were translated.
_TRANSLATED = {'yumaoqiu': 'shuttlecock', 'yumaoqiu2': 'shuttlecock2'}
_SHARES = {'train': 0.8, 'validation': 0.1, 'test': 0.1}


class TacQuad(PublishedDataset):
    """Contact frames of all sensors; `pair` joins those of one spot, which were not felt at the same moment."""

    name = 'tacquad'
    licence = 'MIT'
    source_url = 'https://huggingface.co/datasets/xxuan01/TacQuad'
    sensors = tuple(_FOLDERS.values())
    index_files = tuple(name for place in _PLACES for name in (f'contact_{place}.csv', f'data_{place}'))

    def split_rule(self, root: Path) -> str:
        """No split is published; spots of one object stay together."""
        return object_rule(_SHARES)

    def records(self, root: Path) -> Iterator[Record]:
        """List the contact frames by place, row, sensor and time."""
        rows = [(place, number, row) for place in _PLACES
                for number, row in enumerate(read_rows(root / f'contact_{place}.csv', columns=7))]
        splits = split_by_object(self.name, (_object_of(_folder_of(row)) for *_, row in rows), _SHARES)
        for place, number, row in rows:
            item = _folder_of(row)
            folder, tokens = root / f'data_{place}' / item, caption_tokens(root, f'tacquad_{place}_{number}.pt')
            for column, (kind, sensor) in enumerate(_FOLDERS.items()):
                first, last = _range_of(row, column, root / f'contact_{place}.csv')
                touches, views = (len(list(numbered_files(folder / name, 'png'))) for name in (kind, f'img_{kind}'))
                for index in range(first, last + 1):
                    # Camera and gel ran at different rates for the same time.
                    view = index * views // touches if touches else index
                    yield Record(
                        id=f'{place}/{item}/{kind}/{index}', split=splits[_object_of(item)], sensor=sensor,
                        object=_object_of(item), touch=folder / kind / f'{index}.png',
                        view=folder / f'img_{kind}' / f'{view}.png',
                        reference=folder / kind / '0.png' if first > 0 else None, tokens=tokens,
                        clip=f'{place}/{item}/{kind}', frame_index=index, pair=f'{place}/{item}')


def _folder_of(row: list[str]) -> str:
    return _TRANSLATED.get(row[0], row[0])


def _object_of(item: str) -> str:
    """A number behind a name counts the spots of that object."""
    return re.sub(r'\d+$', '', item)


def _range_of(row: list[str], column: int, path: Path) -> tuple[int, int]:
    try:
        return int(row[1 + 2 * column]), int(row[2 + 2 * column])
    except ValueError:
        raise ConfigurationError(f'{path} has no frame numbers for {row[0]}', 'Download it again') from None
