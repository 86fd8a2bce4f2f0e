"""ObjectFolder 1.0 and 2.0: touch simulated on scanned objects, as the material benchmark rendered it (Gao et al.)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from training.datasets.published.files import names_in, natural_order, read_json
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record

_LAST_OBJECT_OF_1 = 100
_SPLITS = {'train': 'train', 'validation': 'val', 'test': 'test'}


class _SimulatedObjects(PublishedDataset):
    """Both share one list of splits and one of labels; they differ in objects, folder and simulator."""

    licence = 'CC BY 4.0 (stated for the objects)'
    # Their order is not published with the numbers.
    labels = {'material': tuple(f'class {number}' for number in range(7))}
    index_files = ('label.json', 'split.json')
    touch_folder: str

    def holds(self, number: int) -> bool:
        """Say whether an object belongs to this version."""
        raise NotImplementedError

    def notes(self, root: Path) -> Iterable[str]:
        """Say what is not known."""
        yield 'the names of the seven materials are published, which number is which is not'

    def records(self, root: Path) -> Iterator[Record]:
        """List the images of split.json by split, object and number."""
        labels, has_views = read_json(root / 'label.json', _labels), bool(names_in(root / 'vision'))
        for split, images in read_json(root / 'split.json', _images).items():
            for name, image in images:
                if self.holds(int(name)):
                    yield Record(
                        id=f'{name}/{image}', split=split, sensor=self.sensors[0], object=name,
                        touch=root / self.touch_folder / name / f'{image}.png',
                        view=root / 'vision' / name / f'{image}.png' if has_views else None,
                        labels=labels.get(name, {}))


def _labels(content: Mapping[str, int | str]) -> dict[str, dict[str, int]]:
    return {name: {'material': int(number)} for name, number in content.items()}


def _images(content: Mapping[str, Iterable]) -> dict[str, list[tuple[str, str]]]:
    """Give object, called by its number, and name of the image by split, in natural order."""
    return {split: sorted({(str(name), str(image)) for name, image in content.get(key, [])},
                          key=lambda entry: (int(entry[0]), *map(natural_order, entry)))
            for split, key in _SPLITS.items()}


class ObjectFolder1(_SimulatedObjects):
    """Objects 1 to 100, felt with TACTO."""

    name = 'objectfolder_1'
    source_url = 'https://huggingface.co/datasets/xxuan01/TacQuad (obj1.0.zip); lists as for objectfolder_2'
    sensors = ('tacto',)
    touch_folder = 'obj1.0'

    def holds(self, number: int) -> bool:
        """Say whether an object belongs to this version."""
        return number <= _LAST_OBJECT_OF_1


class ObjectFolder2(_SimulatedObjects):
    """The other objects, felt with Taxim."""

    name = 'objectfolder_2'
    source_url = 'https://github.com/objectfolder/material-classification (DATA_new)'
    sensors = ('taxim',)
    touch_folder = 'touch'

    def holds(self, number: int) -> bool:
        """Say whether an object belongs to this version."""
        return number > _LAST_OBJECT_OF_1
