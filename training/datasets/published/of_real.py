"""ObjectFolder Real: a GelSight on a robot presses 100 household objects (Gao et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from training.datasets.published.files import (
    caption_list,
    folders_in,
    is_there,
    numbered_files,
    object_rule,
    read_rows,
    split_by_object,
)
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record
from visuotactile_ros.errors import ConfigurationError

MATERIALS = ('ceramic', 'glass', 'wood', 'plastic', 'iron', 'polycarbonate', 'steel')
_OBJECTS = tuple(str(number) for number in range(1, 101))
_SHARES = {'train': 0.6, 'validation': 0.2, 'test': 0.2}
_METADATA, _CAPTIONS = 'objectfolder_real_metadata.csv', 'contact_text_obj.csv'


class ObjectFolderReal(PublishedDataset):
    """Every tactile frame of every trial; views, captions and contact are known of the frames of one list only."""

    name = 'of_real'
    licence = 'not stated'
    source_url = 'https://objectfolder.stanford.edu/objectfolder-real-download (tactile data)'
    # The lists of captions call the sensor so; the publication calls it a GelSight.
    sensors = ('gelslim',)
    labels = {'material': MATERIALS, 'contact': ('no', 'yes')}

    def split_rule(self, root: Path) -> str:
        """The benchmark divides objects in these shares, but publishes no list."""
        return object_rule(_SHARES)

    def expected(self, root: Path) -> Iterable[str]:
        """All hundred objects."""
        return (f'{number}/tactile_data' for number in _OBJECTS)

    def without_frames(self, root: Path) -> Iterable[str]:
        """Objects without a trial, and trials without a frame."""
        for place in (name for name in self.expected(root) if is_there(root / name)):
            trials = folders_in(root / place)
            yield from (f'{place}/{trial}' for trial in trials if not any(_frames(root, f'{place}/{trial}')))
            if not trials:
                yield place

    def notes(self, root: Path) -> Iterable[str]:
        """Say which of the lists that come from elsewhere are not there."""
        if not is_there(root / _METADATA):
            yield f'no materials: {_METADATA} (Index,Name,Material) is not there'
        if not is_there(root / _CAPTIONS):
            yield f'no views, captions and contact: {_CAPTIONS} of TacQuad is not there'

    def records(self, root: Path) -> Iterator[Record]:
        """List the frames by object, trial and number."""
        splits = split_by_object(self.name, _OBJECTS, _SHARES)
        materials = _materials(root)
        captions = caption_list(root, _CAPTIONS, 'obj')
        views = {row[0]: root / row[1] for row in read_rows(root / _CAPTIONS, columns=3)} if captions else {}
        for number in (name for name in _OBJECTS if is_there(root / name)):
            for trial in folders_in(root / number / 'tactile_data'):
                for index, name in _frames(root, f'{number}/tactile_data/{trial}'):
                    labels = {}
                    if number in materials:
                        labels['material'] = materials[number]
                    if captions:
                        labels['contact'] = int(name in captions)
                    yield Record(
                        id=f'{number}/{trial}/{Path(name).name}', split=splits[number], sensor='gelslim', object=number,
                        touch=root / name, view=views.get(name), tokens=captions.get(name), clip=f'{number}/{trial}',
                        frame_index=index, labels=labels)


def _frames(root: Path, trial: str) -> Iterator[tuple[int, str]]:
    """Give number and path below the root of every frame of a trial."""
    folder = f'{trial}/0/gelsight'
    return ((index, f'{folder}/{file}') for index, file in numbered_files(root / folder, 'png'))


def _materials(root: Path) -> dict[str, int]:
    """Material of every object, from the table that comes with the FoTa data set."""
    rows = read_rows(root / _METADATA, columns=3)[1:] if is_there(root / _METADATA) else []
    unknown = {row[2] for row in rows if row[2].lower() not in MATERIALS}
    if unknown:
        raise ConfigurationError(f'{root / _METADATA} names the materials {sorted(unknown)}',
                                 f'Use one of {", ".join(MATERIALS)}')
    return {row[0]: MATERIALS.index(row[2].lower()) for row in rows}
