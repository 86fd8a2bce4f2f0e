"""PublishedDataset: what an adapter of a published data set gives, and how its archive is verified."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from training.datasets.published.files import forget_listings, is_there, within
from training.datasets.record import UNLISTED, Record, VideoFrame
from visuotactile_ros.errors import ConfigurationError

PUBLISHED_LISTS = 'the lists of the data set'
# In this order: what is trained on comes first.
_STAGES = ('train', 'validation', 'test')


@dataclass
class Tally:
    """What records were counted.

    Attributes:
        records: How many there are.
        splits: Records by split; a record in two splits counts in both.
        sensors: Records by sensor kind.
        modalities: Records that have each of MODALITIES.
        labels: By label and split, records by value.
        objects: Objects by split.
    """

    records: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    sensors: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    labels: dict[str, dict[str, Counter[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Counter)))
    objects: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _together: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, split: str, sensor: str, object_name: str, labels: Mapping[str, float],
            modalities: Iterable[str] = ()) -> None:
        """Count one record."""
        self.records += 1
        self.sensors[sensor] += 1
        self.modalities.update(modalities)
        splits = split.split()
        self._together.update(combinations(sorted(splits, key=_stage), 2))
        for name in splits:
            self.splits[name] += 1
            for label, value in labels.items():
                self.labels[label][name][value] += 1
            if object_name:
                self.objects[name].add(object_name)

    def leakage(self) -> list[str]:
        """Say which objects and records of a later stage are in an earlier one too."""
        found = []
        for first, second in combinations(sorted(self.splits, key=_stage), 2):
            if UNLISTED in (first, second) or _stage(first)[0] == _stage(second)[0]:
                continue
            shared = self.objects[first] & self.objects[second]
            if shared:
                found.append(f'{len(shared)} of {len(self.objects[second])} objects of {second} are also in {first}')
            if records := self._together[first, second]:
                found.append(f'{records} of {self.splits[second]} records of {second} are also in {first}')
        return found


def _stage(split: str) -> tuple[int, str]:
    return next((i for i, stage in enumerate(_STAGES) if split.startswith(stage)), len(_STAGES)), split


@dataclass(frozen=True)
class Verification:
    """What an archive holds.

    Attributes:
        tally: What was counted, whether its images are there or not.
        missing: Files and folders that should be there or hold no frame, one line a folder.
        notes: What a user of this data has to know.
    """

    tally: Tally
    missing: tuple[str, ...]
    notes: tuple[str, ...]


class PublishedDataset(ABC):
    """A data set as its authors published it. An adapter states the attributes and lists records; it reads no image.

    Attributes:
        name: What `python -m training.prepare` calls it.
        licence: Licence of the data, or that none is stated.
        source_url: Where to get it.
        sensors: Kinds of its tactile sensors.
        adapter_version: Raised when the adapter would list other records.
        labels: Class names by label, in the order of their numbers; () where the numbers are quantities, or their
            names are not known.
        index_files: Files without which no record can be listed, below the root.
        published_records: Records by split in the publication, where known.
    """

    name: str
    licence: str
    source_url: str
    sensors: tuple[str, ...]
    adapter_version: int = 1
    labels: Mapping[str, tuple[str, ...]] = {}
    index_files: tuple[str, ...] = ()
    published_records: Mapping[str, int] = {}

    @abstractmethod
    def records(self, root: Path) -> Iterator[Record]:
        """List all records, in an order that only the published files decide."""

    def label_classes(self, root: Path) -> Mapping[str, tuple[str, ...]]:
        """Give `labels`, where they depend on files of the data set."""
        return self.labels

    def split_rule(self, root: Path) -> str:
        """Say where the splits come from: PUBLISHED_LISTS, or a rule of ours; the manifest then lists the objects."""
        return PUBLISHED_LISTS

    def expected(self, root: Path) -> Iterable[str]:
        """List files and folders, below the root, that must be there though no list names them."""
        return ()

    def without_frames(self, root: Path) -> Iterable[str]:
        """List videos and folders, below the root, that are there but hold no frame, so that no record names them."""
        return ()

    def notes(self, root: Path) -> Iterable[str]:
        """Say what a user of this data has to know, beside leakage, which is counted."""
        return ()

    def verify(self, root: Path) -> Verification:
        """Count the records and look for every file they name.

        Raises:
            ConfigurationError: The root or an index file is missing, so that nothing can be listed; or a list is
                damaged, gives a class that has no name, or leads out of the root.
        """
        forget_listings()
        absent = [name for name in self.index_files if not is_there(root / name)]
        if absent or not root.is_dir():
            raise ConfigurationError(f'{root} has no {", ".join(absent) or "folder"}',
                                     f'Lay out {self.name} as docs/datasets.md says; it comes from {self.source_url}')
        missing: dict[Path, list[str]] = defaultdict(list)
        for name in self.expected(root):
            if not is_there(root / name):
                missing[root / name] = []
        tally, ids, classes = Tally(), set(), self.label_classes(root)
        for record in self.records(root):
            if record.id in ids:
                raise ConfigurationError(f'two records of {self.name} are called {record.id}', 'Check its lists')
            ids.add(record.id)
            self._check_labels(record, classes)
            tally.add(record.split, record.sensor, record.object, record.labels, record.modalities)
            for image in [*record.images.values(), record.tokens]:
                path = image.path if isinstance(image, VideoFrame) else image
                if isinstance(path, Path) and not is_there(within(root, path)):
                    missing[path.parent].append(path.name)
        notes = [*self.notes(root), *tally.leakage()]
        for split, count in self.published_records.items():
            notes += unlike_published(tally.splits[split], count, f'records in {split}')
        without_frames = (f'{name}: not a single frame' for name in self.without_frames(root))
        return Verification(tally, (*_describe_missing(root, missing), *without_frames), tuple(notes))

    def _check_labels(self, record: Record, classes: Mapping[str, tuple[str, ...]]) -> None:
        for label, value in record.labels.items():
            names = classes.get(label, ())
            if names and value not in range(len(names)):
                raise ConfigurationError(
                    f'the record {record.id} of {self.name} has the {label} {value}, which is none of 0 to '
                    f'{len(names) - 1}', 'Correct the list that says so, or download it again')


def unlike_published(found: int, published: int, what: str) -> Iterator[str]:
    """Say that a number is not the published one, if it is not; a part of an archive is no error."""
    if found != published:
        yield f'{found} {what}, where {published} were published'


def _describe_missing(root: Path, missing: Mapping[Path, list[str]]) -> Iterator[str]:
    for folder, names in sorted(missing.items()):
        place = os.path.relpath(folder, root)
        if not folder.exists():
            yield place + (f' ({len(set(names))} files)' if names else '')
        elif names:
            yield f'{place}: {len(set(names))} files, the first is {min(names)}'
