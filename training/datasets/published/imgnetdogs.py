"""ImgNetDogs: 120 breeds of dogs, as the Kaggle competition on dog breeds gives them (Cukierski 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from training.datasets.published.files import object_rule, read_rows, sorted_by, split_by_object
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record

_SHARES = {'train': 0.8, 'test': 0.2}


class ImgNetDogs(PublishedDataset):
    """The labelled pictures; those of the competition's test have no labels and are left out."""

    name = 'imgnetdogs'
    licence = 'rules of the Kaggle competition dog-breed-identification'
    source_url = 'https://www.kaggle.com/c/dog-breed-identification'
    sensors = ()
    index_files = ('labels.csv', 'train')

    def split_rule(self, root: Path) -> str:
        """No labelled test is published: the pictures of every breed are divided."""
        return f'within every breed {object_rule(_SHARES)}; every picture is an object'

    def label_classes(self, root: Path) -> Mapping[str, tuple[str, ...]]:
        """Give the breeds in alphabetical order."""
        return {'breed': tuple(sorted({breed for _, breed in _rows(root)}))}

    def records(self, root: Path) -> Iterator[Record]:
        """List the pictures by their names."""
        rows, breeds = _rows(root), self.label_classes(root)['breed']
        numbers = {breed: number for number, breed in enumerate(breeds)}
        splits: dict[str, str] = {}
        for breed in breeds:
            splits |= split_by_object(self.name, (name for name, other in rows if other == breed), _SHARES)
        for name, breed in sorted_by(lambda row: row[0], rows):
            yield Record(id=name, split=splits[name], object=name, view=root / 'train' / f'{name}.jpg',
                         labels={'breed': numbers[breed]})


def _rows(root: Path) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in read_rows(root / 'labels.csv', columns=2)[1:]]
