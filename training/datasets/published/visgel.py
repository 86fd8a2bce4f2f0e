"""VisGel: a robot presses a green GelSight on objects while a camera looks on (Li et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from training.datasets.published.files import contact_list, is_there, read_lines, sorted_by
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import UNLISTED, Record
from visuotactile_ros.errors import ConfigurationError

# What a row holds, as paths with one space between: reference view, reference touch, view, touch, and four neighbours.
_COLUMNS, _VIEW_COLUMN, _TOUCH_COLUMN = 8, 2, 3
_LISTS = {'train': 'data_lst/train_vision2touch.txt', 'test': 'data_lst/eval_vision2touch.txt'}
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
        frames: dict[str, tuple[str, str]] = {}
        for split, name in _LISTS.items():
            for number, line in enumerate(read_lines(root / name), start=1):
                paths = line.split(' ')
                if len(paths) != _COLUMNS:
                    raise ConfigurationError(f'line {number} of {root / name} has {len(paths)} of {_COLUMNS} paths',
                                             'Download it again')
                view, touch = paths[_VIEW_COLUMN], paths[_TOUCH_COLUMN]
                kind = split if split == 'train' else 'test_unseen' if 'unseen' in touch else 'test_seen'
                frames.setdefault(touch, (kind, view))
        contacts = contact_list(root, 'contact_visgel.csv')
        begin = _begin_of_paths(root, frames)
        for touch in sorted_by(str, frames):
            split, view = frames[touch]
            touch_path, view_path = (root.joinpath(begin[0], *_parts(path)[begin[1]:]) for path in (touch, view))
            number, recording = _FRAME.fullmatch(touch_path.name), '/'.join(_parts(touch)[begin[1]:-1])
            if number is None:
                raise ConfigurationError(f'{touch} is no frame%04d.jpg', 'Download the lists again')
            listed = '/'.join(_parts(touch)[-3:])
            yield Record(
                id=f'{recording}/{touch_path.name}', split=split, sensor='gelsight', object=recording,
                touch=touch_path, view=view_path, reference=touch_path.with_name(_REFERENCE), clip=recording,
                frame_index=int(number[1]), labels={} if contacts is None else {'contact': int(listed in contacts)})
        listed_alone = sorted_by(str, (contacts or frozenset()) - {'/'.join(_parts(name)[-3:]) for name in frames})
        for name in listed_alone:
            touch_path = root / 'images/touch' / name
            yield Record(
                id=f'touch/{name}', split=UNLISTED, sensor='gelsight', object=f'touch/{name.rpartition("/")[0]}',
                touch=touch_path, view=root / 'images/vision' / name, reference=touch_path.with_name(_REFERENCE),
                clip=f'touch/{name.rpartition("/")[0]}', frame_index=int(_FRAME.fullmatch(touch_path.name)[1]),
                labels={'contact': 1})


def _begin_of_paths(root: Path, paths: dict[str, tuple[str, str]]) -> tuple[str, int]:
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
