"""The Feeling of Success: will a grasp hold? Two GelSights and a Kinect, 106 objects (Calandra et al. 2017)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from training.datasets.published.files import (
    is_there,
    names_in,
    object_rule,
    read_rows,
    sorted_by,
    split_by_object,
    splits_of,
)
from training.datasets.published.interface import PUBLISHED_LISTS, PublishedDataset, unlike_published
from training.datasets.published.restricted import read_name_lists
from training.datasets.record import UNLISTED, Image, Record
from visuotactile_ros.errors import ConfigurationError

MOMENTS = ('before', 'during', 'after')
_SHARES = {'train': 0.8, 'test': 0.2}
# Source: Calandra et al. 2017; the files as Sparsh lists them. Which numbers they have is not published.
_PUBLISHED_OBJECTS, _PUBLISHED_FILES = 106, 38
_RECORDED = {'touch': 'gelsightA', 'touch_second': 'gelsightB', 'view': 'kinectA_rgb'}
_EXTRACTED = {'touch': 'touch_{moment}/{number}_A.png', 'touch_second': 'touch_{moment}/{number}_B.png',
              'view': 'vision_{moment}/{number}.png'}
# Of one grasp: object, number among its grasps, success, and its images by moment.
Grasp = tuple[str, int, int, Callable[[str], dict[str, Image]]]


class FeelingOfSuccess(PublishedDataset):
    """Three records a grasp; their clip is the grasp, and `moment` tells which one is during it."""

    name = 'feel'
    licence = 'CC BY-NC-ND 4.0 (copy at doi.org/10.25532/OPARA-700)'
    source_url = 'https://sites.google.com/view/the-feeling-of-success'
    sensors = ('gelsight',)
    labels = {'grasp_success': ('failure', 'success'), 'moment': MOMENTS}

    def split_rule(self, root: Path) -> str:
        """One split was published apart; without it, objects are divided."""
        return PUBLISHED_LISTS if _split_file(root) else object_rule(_SHARES)

    def expected(self, root: Path) -> Iterable[str]:
        """Either of the two forms."""
        return () if _recordings(root) or is_there(root / 'feel.csv') else ('calandra_corl2017_000.h5',)

    def notes(self, root: Path) -> Iterable[str]:
        """Say what was published in another number, and what that changes."""
        if not is_there(root / 'feel.csv'):
            yield from unlike_published(len(_recordings(root)), _PUBLISHED_FILES, 'recordings')
        objects = len({name for name, *_ in _grasps(root)})
        yield from unlike_published(objects, _PUBLISHED_OBJECTS, 'objects')
        if objects != _PUBLISHED_OBJECTS and _split_file(root) is None:
            yield 'only the objects that are there are divided: the whole archive is divided otherwise'

    def records(self, root: Path) -> Iterator[Record]:
        """List the grasps by object and number, each in the order of its moments."""
        grasps = list(sorted_by(lambda grasp: f'{grasp[0]}/{grasp[1]}', _grasps(root)))
        file = _split_file(root)
        if file is not None:
            splits = splits_of((name, split) for split, names in read_name_lists(file).items() for name in names)
        else:
            splits = split_by_object(self.name, (name for name, *_ in grasps), _SHARES)
        for name, number, success, images_at in grasps:
            for index, moment in enumerate(MOMENTS):
                yield Record(
                    id=f'{name}/{number}/{moment}', split=splits.get(name, UNLISTED), sensor='gelsight', object=name,
                    **images_at(moment), reference=images_at('before')['touch'] if index else None,
                    clip=f'{name}/{number}', frame_index=index, labels={'grasp_success': success, 'moment': index})


def _grasps(root: Path) -> Iterator[Grasp]:
    if is_there(root / 'feel.csv'):
        for row, (name, number, success, *_) in enumerate(read_rows(root / 'feel.csv', columns=3), start=1):
            if not number.isdecimal() or success.strip() not in ('0', '1'):
                raise ConfigurationError(
                    f'row {row} of {root / "feel.csv"} has {number!r} for a number and {success!r} for a success',
                    'Give it rows of object, number and 0 or 1 without a header, or download it again')
            yield name, int(number), int(success), partial(_extracted_images, root / name, number)
        return
    counts: defaultdict[str, int] = defaultdict(int)
    for path in _recordings(root):
        try:
            with h5py.File(path) as file:
                # deepdish writes a list as a group of i0, i1, …, and what is no array as an attribute.
                for place in sorted_by(str, file['data']):
                    attributes = file['data'][place].attrs
                    name = np.asarray(attributes['object_name']).astype(str).item()
                    yield name, counts[name], int(attributes['is_gripping']), partial(_recorded_images, path, place)
                    counts[name] += 1
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f'{path} is no recording of grasps ({error})', 'Download it again') from error


def _extracted_images(folder: Path, number: str, moment: str) -> dict[str, Image]:
    return {field: folder / name.format(moment=moment, number=number) for field, name in _EXTRACTED.items()}


def _recorded_images(path: Path, place: str, moment: str) -> dict[str, Image]:
    return {field: partial(_read_array, path, f'data/{place}/{name}_{moment}') for field, name in _RECORDED.items()}


def _read_array(path: Path, name: str) -> np.ndarray:
    try:
        with h5py.File(path) as file:
            return np.ascontiguousarray(file[name][()], np.uint8)
    except (OSError, KeyError) as error:
        raise ConfigurationError(f'{path} has no image {name}',
                                 'Download it again, or leave its record out with --skip-unreadable') from error


def _recordings(root: Path) -> list[Path]:
    return [root / name for name in names_in(root) if name.startswith('calandra_corl2017_') and name.endswith('.h5')]


def _split_file(root: Path) -> Path | None:
    names = [name for name in names_in(root) if name.startswith('split_') and name.endswith('.npy')]
    if len(names) > 1:
        raise ConfigurationError(f'{root} has the splits {", ".join(names)}', 'Leave there the one that is to be used')
    return root / names[0] if names else None
