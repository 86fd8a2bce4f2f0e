"""PhysiCLeAR, the tactile videos of Octopi: a GelSight Mini pressed and turned on everyday objects (Yu et al. 2024)."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from training.datasets.published.files import caption_list, folders_in, names_in, numbered_files, read_json, splits_of
from training.datasets.published.interface import PublishedDataset, unlike_published
from training.datasets.published.videos import frames_of
from training.datasets.record import UNLISTED, Image, Record, VideoFrame
from visuotactile_ros.errors import ConfigurationError

# Of every video, the frames that differ most from the one before. Source: Yu et al. 2024, their frame extraction.
KEPT_SHARE, FEWEST_FRAMES = 0.3, 5
_PROPERTIES = ('hardness', 'roughness', 'texture')
_SPLITS = {'train': 'TRAIN_OBJECTS', 'validation': 'VAL_OBJECTS', 'test': 'TEST_OBJECTS'}
# Source: the repository clear-nus/octopi, counted.
_PUBLISHED_VIDEOS, _PUBLISHED_OBJECTS = 476, {'train': 60, 'validation': 7, 'test': 7}
_PREFIX = 'physiclear_'
_CONSTANTS = 'utils/constants.py'


class PhysiClear(PublishedDataset):
    """Frames of the videos, or those that were extracted to the folder `processed`."""

    name = 'octopi'
    licence = 'not stated'
    source_url = 'https://github.com/clear-nus/octopi'
    sensors = ('gelsight_mini',)
    index_files = (_CONSTANTS,)

    def label_classes(self, root: Path) -> Mapping[str, tuple[str, ...]]:
        """Read the names of the ranks."""
        constants = _read_constants(root / _CONSTANTS)
        return {name: tuple(text for _, text in sorted(constants[f'{name.upper()}_MAP'].items()))
                for name in _PROPERTIES}

    def expected(self, root: Path) -> Iterable[str]:
        """Every object of a list has at least the recording 0; a list of extracted recordings names all of them."""
        constants, processed = _read_constants(root / _CONSTANTS), root / 'processed'
        for name in (name for key in _SPLITS.values() for name in constants[key]):
            yield f'processed/{name}_0' if folders_in(processed) else f'dataset/{name.removeprefix(_PREFIX)}_0.mov'
        yield from (f'processed/{name}' for name in _published_samples(processed))

    def without_frames(self, root: Path) -> Iterable[str]:
        """Folders without a frame, or videos that cannot be read; one that is merely too short is left out."""
        folders = folders_in(root / 'processed')
        if folders:
            return (f'processed/{name}' for name in folders if not any(_extracted(root, name)))
        return (f'dataset/{path.name}' for path in _videos(root) if _most_changing(path) is None)

    def notes(self, root: Path) -> Iterable[str]:
        """Name the objects that no list and no label knows, and what was published in another number."""
        constants = _read_constants(root / _CONSTANTS)
        for split, published in _PUBLISHED_OBJECTS.items():
            yield from unlike_published(len(set(constants[_SPLITS[split]])), published, f'objects in {split}')
        if not folders_in(root / 'processed'):
            yield from unlike_published(len(_videos(root)), _PUBLISHED_VIDEOS, 'videos')
        unknown = sorted({record.object for record in self.records(root) if not record.labels})
        if unknown:
            yield f'{len(unknown)} objects have no label: {", ".join(unknown)}'

    def records(self, root: Path) -> Iterator[Record]:
        """List the frames of every recording; their numbers have gaps."""
        constants = _read_constants(root / _CONSTANTS)
        splits = splits_of((name, split) for split, key in _SPLITS.items() for name in constants[key])
        captions = caption_list(root, 'contact_text_octopi.csv', 'octopi')
        folders = folders_in(root / 'processed')
        if folders:
            splits |= _published_samples(root / 'processed')
        videos = {} if folders else {_PREFIX + path.stem: path for path in _videos(root)}
        for recording in folders or videos:
            name = recording.rpartition('_')[0]
            labels = {key: constants[f'{key.upper()}_RANK'][name] for key in _PROPERTIES
                      if name in constants[f'{key.upper()}_RANK']}
            frames = _extracted(root, recording) if folders else _chosen(videos[recording])
            for index, image in frames:
                yield Record(
                    id=f'{recording}/{index:010d}', split=splits.get(recording, splits.get(name, UNLISTED)),
                    sensor='gelsight_mini', object=name.removeprefix(_PREFIX), touch=image,
                    text=constants['DESCRIPTIONS'].get(name, [''])[0],
                    tokens=captions.get(f'processed/{recording}/{index:010d}.jpg'), clip=recording, frame_index=index,
                    labels=labels)


def _read_constants(path: Path) -> dict:
    """Read the tables of a Python file; it is parsed, never run."""
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'))
        found = {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                try:
                    found[node.targets[0].id] = ast.literal_eval(node.value)
                except ValueError:
                    continue  # no table of plain values
        for key in (*_SPLITS.values(), 'DESCRIPTIONS', *(f'{name.upper()}_{kind}' for name in _PROPERTIES
                                                         for kind in ('RANK', 'MAP'))):
            found[key]
        return found
    except (OSError, SyntaxError, UnicodeDecodeError, KeyError) as error:
        raise ConfigurationError(f'{path} lacks the lists and labels ({error})', 'Download it again') from error


def _published_samples(processed: Path) -> dict[str, str]:
    """Read {train,val,test}_samples.json, which name the folders of every object, if they were written."""
    return splits_of((name, split)
                     for split, list_name in (('train', 'train'), ('validation', 'val'), ('test', 'test'))
                     if f'{list_name}_samples.json' in names_in(processed)
                     for name in read_json(processed / f'{list_name}_samples.json', lambda objects: [
                         Path(folder).name for folders in objects.values() for folder in folders]))


def _videos(root: Path) -> list[Path]:
    return [root / 'dataset' / name for name in names_in(root / 'dataset') if name.lower().endswith('.mov')]


def _extracted(root: Path, recording: str) -> Iterator[tuple[int, Image]]:
    folder = root / 'processed' / recording
    for number, name in numbered_files(folder, 'jpg', 'png'):
        yield number, folder / name


def _chosen(path: Path) -> Iterator[tuple[int, Image]]:
    for index in _most_changing(path) or ():
        yield index, VideoFrame(path, index)


@lru_cache(maxsize=1024)
def _most_changing(path: Path) -> tuple[int, ...] | None:
    """Give the numbers of the frames that are kept of a video; () where they are too few, None where it has none."""
    changed, previous = [], None
    for frame_bgr in frames_of(path):
        gray = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2GRAY)
        changed.append(-1 if previous is None else int(np.count_nonzero(gray != previous)))
        previous = gray
    if previous is None:
        return None
    order = sorted(range(1, len(changed)), key=lambda index: -changed[index])
    kept = order[:int(KEPT_SHARE * len(changed))]
    return tuple(sorted(kept)) if len(kept) >= FEWEST_FRAMES else ()
