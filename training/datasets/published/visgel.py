"""VisGel: a robot presses a green GelSight on objects while a camera looks on (Li et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from training.datasets.published.files import contact_list, is_there, read_lines, sorted_by, splits_of
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import UNLISTED, Record
from visuotactile_ros.errors import ConfigurationError

# What a row holds, as paths with one space between: reference view, reference touch, view, touch, and four neighbours.
_COLUMNS, _VIEW_COLUMN, _TOUCH_COLUMN = 8, 2, 3
_LISTS = {'train': 'data_lst/train_vision2touch.txt', 'test': 'data_lst/eval_vision2touch.txt'}
_CONTACTS = 'contact_visgel.csv'
_REFERENCE = 'frame0000.jpg'
_FRAME = re.compile(r'frame(\d+)\.jpg')
# Where the archives are unpacked: beside the lists, or in a folder of all images.
_PREFIXES = ('', 'data', 'images')


class VisGel(PublishedDataset):
    """The frames of the published lists; those of unseen objects are a test of their own."""

    name = 'visgel'
    licence = 'not stated'
    source_url = 'https://github.com/YunzhuLi/VisGel'
    sensors = ('gelsight',)
    labels = {'contact': ('no', 'yes')}
    index_files = tuple(_LISTS.values())

    def records(self, root: Path) -> Iterator[Record]:
        """List every frame of a list once, by recording and number; the reference is no record of its own."""
        listed: list[tuple[str, str]] = []
        frames: dict[str, tuple[int, str]] = {}
        for split, name in _LISTS.items():
            for number, line in enumerate(read_lines(root / name), start=1):
                paths = line.split(' ')
                if len(paths) != _COLUMNS:
                    raise ConfigurationError(f'line {number} of {root / name} has {len(paths)} of {_COLUMNS} paths',
                                             'Download it again')
                view, touch = paths[_VIEW_COLUMN], paths[_TOUCH_COLUMN]
                frames.setdefault(touch, (_number_of(touch, f'line {number} of {root / name}'), view))
                kind = split if split == 'train' else 'test_unseen' if 'unseen' in touch else 'test_seen'
                listed.append((touch, kind))
        splits, contacts = splits_of(listed), contact_list(root, _CONTACTS)
        begin = _begin_of_paths(root, frames)
        for touch in sorted_by(str, frames):
            number, view = frames[touch]
            touch_path, view_path = (root.joinpath(begin[0], *_parts(path)[begin[1]:]) for path in (touch, view))
            recording, place = '/'.join(_parts(touch)[begin[1]:-1]), '/'.join(_parts(touch)[-3:])
            yield Record(
                id=f'{recording}/{touch_path.name}', split=splits[touch], sensor='gelsight', object=recording,
                touch=touch_path, view=view_path, reference=touch_path.with_name(_REFERENCE), clip=recording,
                frame_index=number, labels={} if contacts is None else {'contact': int(place in contacts)})
        listed_alone = sorted_by(str, (contacts or frozenset()) - {'/'.join(_parts(name)[-3:]) for name in frames})
        for name in listed_alone:
            number, touch_path = _number_of(name, f'a row of {root / _CONTACTS}'), root / 'images/touch' / name
            yield Record(
                id=f'touch/{name}', split=UNLISTED, sensor='gelsight', object=f'touch/{name.rpartition("/")[0]}',
                touch=touch_path, view=root / 'images/vision' / name, reference=touch_path.with_name(_REFERENCE),
                clip=f'touch/{name.rpartition("/")[0]}', frame_index=number, labels={'contact': 1})


def _number_of(path: str, place: str) -> int:
    """Read the number of a frame from its path, which stands at `place`."""
    found = _FRAME.fullmatch(path.rpartition('/')[2])
    if found is None:
        raise ConfigurationError(f'{place} names {path!r}, which is no frame%04d.jpg', 'Download it again')
    return int(found[1])


def _begin_of_paths(root: Path, paths: Iterable[str]) -> tuple[str, int]:
    """Find where the paths of the lists, which begin on the machine of their authors, begin here.

    Returns:
        Folder below the root, and how many parts of a path to drop.
    """
    for path in paths:
        parts = _parts(path)
        for prefix in _PREFIXES:
            for drop in range(len(parts)):
                if is_there(root.joinpath(prefix, *parts[drop:])):
                    return prefix, drop
    return '', 0


def _parts(path: str) -> list[str]:
    return [part for part in path.split('/') if part not in ('', '.', '..')]
