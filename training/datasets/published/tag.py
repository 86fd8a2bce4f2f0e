"""Touch and Go: GelSight with markers and a head camera, recorded by hand in- and outdoors (Yang et al. 2022)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from training.datasets.published.files import (
    caption_tokens,
    frame,
    is_there,
    read_lines,
    read_rows,
    sorted_by,
    splits_of,
)
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import UNLISTED, Image, Record
from visuotactile_ros.errors import ConfigurationError

UNKNOWN_MATERIAL = -1
# Synthetic and natural fabric, leather, paper, grass. Source: the hardness task of Yang et al. 2022.
SOFT_MATERIALS = {7, 8, 9, 11, 13}
# Folder of a recording, and number of the frame.
_FRAME = re.compile(r'[^/]+/\d+\.\w+')
_CAPTIONS = 'contact_text_tag_notest.csv'
_CATEGORY = re.compile(r"\W*(?P<name>\w[^'\":]*)\W*:\s*(?P<number>\d+)")


class TouchAndGo(PublishedDataset):
    """Contact frames of all recordings; material and hardness share one pair of lists, roughness has its own."""

    name = 'tag'
    licence = 'CC BY 4.0'
    source_url = 'https://touch-and-go.github.io; lists: https://github.com/fredfyyang/Touch-and-Go'
    sensors = ('gelsight',)
    index_files = ('label.txt', 'category_reference.txt', 'train.txt', 'test.txt', 'train_rough.txt', 'test_rough.txt',
                   'dataset')
    published_records = {'train': 91_982, 'test': 29_879, 'train_rough': 35_119, 'test_rough': 8_085}

    def label_classes(self, root: Path) -> Mapping[str, tuple[str, ...]]:
        """Read the names of the materials; their numbers have no gap, though none shows class 9."""
        found = (_CATEGORY.match(line) for line in read_lines(root / 'category_reference.txt'))
        names = {int(line['number']): line['name'].lower() for line in found if line}
        if not names:
            raise ConfigurationError(f"{root / 'category_reference.txt'} has no line like 'Concrete': 0",
                                     'Download it again')
        materials = tuple(names.get(number, f'class {number}') for number in range(max(names) + 1))
        return {'material': materials, 'hardness': ('soft', 'hard'), 'roughness': ('smooth', 'rough')}

    def notes(self, root: Path) -> Iterable[str]:
        """Say where two tasks cross."""
        yield 'material and hardness use train and test; roughness uses train_rough and test_rough'

    def records(self, root: Path) -> Iterator[Record]:
        """List every frame of any list once, with all of its splits."""
        materials, listed, rough = dict(_entries(root / 'label.txt')), [], {}
        for split in ('train', 'test'):
            entries = dict(_entries(root / f'{split}.txt'))
            materials |= entries
            listed += [(name, split) for name, material in entries.items() if material != UNKNOWN_MATERIAL]
        for split in ('train_rough', 'test_rough'):
            entries = dict(_entries(root / f'{split}.txt'))
            rough |= entries
            listed += [(name, split) for name in entries]
        splits, captions, references = splits_of(listed), _captions(root), _references(root)
        for name in sorted_by(str, materials.keys() | rough.keys()):
            material, labels = materials.get(name, UNKNOWN_MATERIAL), {}
            if material != UNKNOWN_MATERIAL:
                labels = {'material': material, 'hardness': int(material not in SOFT_MATERIALS)}
            if name in rough:
                labels['roughness'] = rough[name]
            if not labels:
                continue
            folder, file = name.split('/')
            place, index = root / 'dataset' / folder, int(file.split('.')[0])

            def gel(file: str, place: Path = place) -> Image:
                return frame(place / 'gelsight_frame', file, place / 'gelsight.mp4', int(file.split('.')[0]))

            yield Record(
                id=name, split=splits.get(name, UNLISTED), sensor='gelsight', object=folder,
                touch=gel(file), view=frame(place / 'video_frame', file, place / 'video.mp4', index),
                reference=gel(references[name]) if name in references else None,
                tokens=captions.get(name), clip=folder, frame_index=index, labels=labels)


def _entries(path: Path) -> Iterator[tuple[str, int]]:
    for row in read_rows(path, columns=2):
        if not _FRAME.fullmatch(row[0]):
            raise ConfigurationError(f'{path} has {row[0]!r} for a frame', 'Download it again')
        try:
            yield row[0], int(row[1])
        except ValueError:
            raise ConfigurationError(f'{path} has the class {row[1]!r}', 'Download it again') from None


def _captions(root: Path) -> dict[str, Path | None]:
    """Captions of frames that are in no test list; published apart, with the TacQuad data set."""
    if not is_there(root / _CAPTIONS):
        return {}
    return {f'{folder}/{file}': caption_tokens(root, f'tag_{caption}.pt')
            for folder, file, caption, in_test, *_ in read_rows(root / _CAPTIONS, columns=4) if in_test != '1'}


def _references(root: Path) -> dict[str, str]:
    """Contact-free frames of the same folder; published apart, as a third column, with AnyTouch2."""
    return {row[0]: row[2] for split in ('train', 'test', 'train_rough', 'test_rough')
            if is_there(root / f'{split}_bg.txt') for row in read_rows(root / f'{split}_bg.txt', columns=3)}
