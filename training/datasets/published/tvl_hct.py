"""HCT, the human-collected part of TVL: a DIGIT and a camera in one hand (Fu et al. 2024), original and revised."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image

from training.datasets.published.files import caption_list, is_there, names_in, read_json, read_rows
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import UNLISTED, Record
from visuotactile_ros.errors import ConfigurationError

NOT_IN_CONTACT = 'not_contact'
_PARTS = ('data1', 'data2', 'data3')
# In this order: those of contact hold the frames of the others too, and are splits only of what these do not list.
_LISTS = {'train': 'train.csv', 'test': 'test.csv', UNLISTED: 'contact.json', NOT_IN_CONTACT: 'not_contact.json'}
_TOUCH = re.compile(r'(?:.*/)?(?P<trajectory>[^/]+)/[^/]+/(?P<file>(?P<number>\d+)-[^/]+)')
_OTHER = {'tactile': 'vision', 'vision': 'tactile'}


class HumanCollectedTouch(PublishedDataset):
    """Frames of trajectories. In the original archive the two folders of some trajectories are exchanged.

    A gel looks much the same in every trajectory, a scene does not: a trajectory whose `vision` is more like the median
    of all `tactile` pictures than its own `tactile` is one of those, and its folders are put right. In the revised
    archive none is.
    """

    name = 'tvl_hct'
    licence = 'not stated for the data'
    source_url = ('https://huggingface.co/datasets/yoorhim/TVL-revise (folder hct), '
                  'or mlfu7/Touch-Vision-Language-Dataset')
    sensors = ('digit',)
    labels = {'contact': ('no', 'yes')}
    index_files = tuple(f'{part}/{name}' for part in _PARTS for name in _LISTS.values())

    def notes(self, root: Path) -> Iterable[str]:
        """Name the folders that were put right."""
        swapped = sorted(swapped_trajectories(root))
        if swapped:
            yield (f'touch and vision were exchanged in {len(swapped)} folders and are put right: '
                   f'{", ".join(swapped)}; of the revised archive none should be: look at their pictures')

    def records(self, root: Path) -> Iterator[Record]:
        """List contact frames with captions, then those of no list, then those without contact."""
        swapped = swapped_trajectories(root)
        captions = caption_list(root, 'contact_text_tvl.csv', 'tvl')
        for part in _PARTS:
            for touch, (splits, background, caption) in _entries(root / part).items():
                name = _TOUCH.fullmatch(touch)
                clip, file = f'{part}/{name["trajectory"]}', name['file']
                folders = ('vision', 'tactile') if clip in swapped else ('tactile', 'vision')
                touch_folder, view_folder = (root / clip / folder for folder in folders)
                yield Record(
                    id=f'{clip}/{file}', split=' '.join(splits), sensor='digit', object=clip, touch=touch_folder / file,
                    view=view_folder / file, reference=_reference(root / part, background, clip in swapped),
                    text=caption, tokens=captions.get(f'{part}/{touch}'), clip=clip,
                    # The number before the dash, whole: as a prefix, 16 would also be 165.
                    frame_index=int(name['number']), labels={'contact': int(NOT_IN_CONTACT not in splits)})


def _entries(part: Path) -> dict[str, tuple[dict[str, None], str, str]]:
    """Give splits, path of the background and caption, by path of the touch image."""
    entries: dict[str, tuple[dict[str, None], str, str]] = {}
    for split, name in _LISTS.items():
        for number, (touch, background, caption) in enumerate(_rows(part / name), start=1):
            if not _TOUCH.fullmatch(touch):
                raise ConfigurationError(
                    f'entry {number} of {part / name} names {touch!r}, no <trajectory>/tactile/<number>-<s>.jpg',
                    'Download it again')
            splits, *_ = entries.setdefault(touch, ({}, background, caption))
            if split in ('train', 'test') or not splits:
                splits[split] = None
    return entries


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Give paths of the touch image and the background, and the caption."""
    if path.suffix == '.csv':
        for _, touch, background, caption, *_ in read_rows(path, columns=4)[1:]:
            yield touch, background, caption
    else:
        yield from read_json(path, lambda lists: [
            (touch, background, '') for touch, background in zip(lists['tactile'], lists['background'], strict=True)])


def _reference(part: Path, background: str, is_swapped: bool) -> Path | None:
    path = part / background
    if is_swapped and path.parent.name in _OTHER:
        path = path.parent.parent / _OTHER[path.parent.name] / path.name
    if is_there(path):
        return path
    common = part / 'digit_background.png'
    return common if is_there(common) else None


def swapped_trajectories(root: Path) -> frozenset[str]:
    """Find the trajectories whose folders `tactile` and `vision` are exchanged."""
    looks = {}
    for part in _PARTS:
        for trajectory in names_in(root / part):
            folder = root / part / trajectory
            pictures = [_look(folder / kind) for kind in ('tactile', 'vision')]
            if all(picture is not None for picture in pictures):
                looks[f'{part}/{trajectory}'] = pictures
    if not looks:
        return frozenset()
    gel = np.median([touch for touch, _ in looks.values()], axis=0)
    return frozenset(name for name, (touch, view) in looks.items()
                     if np.abs(view - gel).mean() < np.abs(touch - gel).mean())


def _look(folder: Path) -> np.ndarray | None:
    """Shrink the first picture of a folder to 8 × 8 pixels, float [8, 8, 3]."""
    try:
        with PIL.Image.open(folder / names_in(folder)[0]) as image:
            return np.asarray(image.convert('RGB').resize((8, 8), PIL.Image.Resampling.BOX), float)
    except (IndexError, OSError):
        return None
