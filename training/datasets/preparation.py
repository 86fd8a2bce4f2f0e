"""Preparation: writes the records of a published data set as Parquet shards and a manifest.

Every shard is written under another name and renamed when it is whole, so that a run that was interrupted goes on with
its next shard; the manifest comes last.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import datasets
import numpy as np
import pyarrow.parquet as pq

from training.datasets.prepared import (
    FORMAT,
    LABEL_PREFIX,
    MANIFEST_FILE,
    ROWS_PER_GROUP,
    UNFINISHED_FILE,
)
from training.datasets.published.files import within
from training.datasets.published.interface import PUBLISHED_LISTS, PublishedDataset, Tally, Verification
from training.datasets.published.restricted import read_token_pair
from training.datasets.published.videos import VideoReader
from training.datasets.record import (
    IMAGE_FIELDS,
    LONGEST_SIDE_PX,
    MODALITIES,
    Image,
    Record,
    VideoFrame,
    stored_image,
)
from training.digest import sha256_of
from visuotactile_ros.errors import ConfigurationError, VisuotactileError
from visuotactile_ros.files import write_atomically

RECORDS_PER_SHARD = 4096
MISSING_FILE = 'missing.txt'
# As many images wait in memory at once; a raw video frame is a megabyte.
_CHUNK = 4 * ROWS_PER_GROUP
_LINE_PERIOD_S, _BAR_PERIOD_S = 10.0, 0.2
_UNREADABLE_REMEDY = 'Download it again, or leave its record out with --skip-unreadable'


class Preparation:
    """Writes a published data set into a folder.

    Args:
        adapter: The data set.
        source: Where its archive lies.
        destination: Where the shards go; empty, or left by an interrupted run of the same.
        limit: Number of records, from the first; None for all.
        skip_unreadable: Leave out records with missing or damaged files, and list them in the manifest.

    Raises:
        ConfigurationError: The destination holds anything else.
    """

    def __init__(self, adapter: PublishedDataset, source: Path, destination: Path, limit: int | None = None,
                 skip_unreadable: bool = False):
        self.adapter, self.source, self.destination = adapter, source, destination
        self.limit, self.skip_unreadable = limit, skip_unreadable
        self._what = {'format': FORMAT, 'dataset': adapter.name, 'adapter_version': adapter.adapter_version,
                      'limit': limit, 'records_per_shard': RECORDS_PER_SHARD, 'rows_per_group': ROWS_PER_GROUP,
                      'longest_side_px': LONGEST_SIDE_PX}
        self.is_finished, self._shards = self._read_state()
        self._videos = VideoReader()

    def _read_state(self) -> tuple[bool, list[dict[str, Any]]]:
        for name in (MANIFEST_FILE, UNFINISHED_FILE):
            path = self.destination / name
            if path.is_file():
                try:
                    state = json.loads(path.read_text())
                    shards = state['shards']
                except (KeyError, TypeError, ValueError) as error:
                    raise ConfigurationError(f'{path} is damaged', 'Delete its folder and begin again') from error
                other = [key for key, value in self._what.items() if state.get(key) != value]
                if other:
                    raise ConfigurationError(f'{self.destination} holds the data set {state.get("dataset")} with other '
                                             f'settings ({", ".join(other)})', 'Name another folder')
                return name == MANIFEST_FILE, shards
        if self.destination.exists() and (not self.destination.is_dir() or any(
                path.name != MISSING_FILE for path in self.destination.iterdir())):
            raise ConfigurationError(f'{self.destination} is not an empty folder', 'Name another folder')
        return False, []

    def write_missing(self, verification: Verification) -> Path:
        """Write every place that lacks files to a file of the destination, one a line, and give its path."""
        self.destination.mkdir(parents=True, exist_ok=True)
        path = self.destination / MISSING_FILE
        write_atomically(path, '\n'.join(verification.missing) + '\n')
        return path

    def run(self, verification: Verification, workers: int, stream: TextIO) -> None:
        """Write all shards that are not there yet, then the manifest.

        Args:
            verification: What `adapter.verify` found.
            workers: Threads that shrink images.
            stream: Where progress goes.

        Raises:
            ConfigurationError: The archive changed since the run that was interrupted, or holds no record.
            SensorError: A file is missing or damaged, and `skip_unreadable` is off.
        """
        self.destination.mkdir(parents=True, exist_ok=True)
        (self.destination / MISSING_FILE).unlink(missing_ok=True)
        self._write_state()
        total = min(verification.tally.records, self.limit or verification.tally.records)
        records = islice(self.adapter.records(self.source), total)
        for shard in self._shards:
            if self._digest_of(islice(records, RECORDS_PER_SHARD)) != shard.get('records_sha256'):
                raise ConfigurationError(f'{self.source} is not what {self.destination} was begun with',
                                         'Delete the destination and begin again')
        features = _features(list(self.adapter.label_classes(self.source).items()))
        progress = _Progress(total, len(self._shards) * RECORDS_PER_SHARD, stream)
        with ThreadPoolExecutor(workers) as pool:
            while some := list(islice(records, RECORDS_PER_SHARD)):
                self._write_shard(some, features, pool, progress)
        if not self._shards:
            raise ConfigurationError(f'{self.source} holds no record of {self.adapter.name}',
                                     'Check its layout in docs/datasets.md')
        progress.end()
        self._write_manifest(verification)

    def _write_shard(self, records: list[Record], features: datasets.Features, pool: ThreadPoolExecutor,
                     progress: _Progress) -> None:
        columns: dict[str, list] = {name: [] for name in features}
        left_out, modalities = [], Counter()
        for begin in range(0, len(records), _CHUNK):
            for record, content in self._contents(records[begin:begin + _CHUNK], pool):
                if isinstance(content, VisuotactileError):
                    if not self.skip_unreadable:
                        raise content
                    left_out.append(record.id)
                    continue
                modalities.update(record.modalities)
                for name, value in _row(record, content, features).items():
                    columns[name].append(value)
            progress.add(min(_CHUNK, len(records) - begin))
        name = f'shard-{len(self._shards):05d}.parquet'
        unfinished = self.destination / f'{name}.unfinished'
        table = datasets.Dataset.from_dict(columns, features=features).data.table
        # Images of a clip share their reference: a dictionary keeps it once a row group.
        shared = ['split', 'sensor', 'object', 'clip', 'pair', 'text', 'reference.bytes']
        pq.write_table(table, unfinished, row_group_size=ROWS_PER_GROUP, use_dictionary=shared, compression='none')
        unfinished.replace(self.destination / name)
        self._shards.append({'name': name, 'records': len(table), 'sha256': sha256_of(self.destination / name),
                             'records_sha256': self._digest_of(records), 'modalities': modalities,
                             'left_out': left_out})
        self._write_state()

    def _write_state(self) -> None:
        write_atomically(self.destination / UNFINISHED_FILE, json.dumps({**self._what, 'shards': self._shards}))

    def _contents(self, records: Sequence[Record], pool: ThreadPoolExecutor
                  ) -> Iterator[tuple[Record, dict[str, Any] | VisuotactileError]]:
        """Give what is stored of every record, or why it cannot be; videos are read in order, by this thread."""
        waiting = []
        for record in records:
            try:
                raw = {name: self._raw(image) for name, image in record.images.items()}
                tokens = read_token_pair(within(self.source, record.tokens)) if isinstance(record.tokens, Path) \
                    else record.tokens
                waiting.append((record, pool.submit(_stored, record, raw, tokens)))
            except VisuotactileError as error:
                waiting.append((record, error))
        for record, stored in waiting:
            yield record, stored if isinstance(stored, VisuotactileError) else stored.result()

    def _raw(self, image: Image) -> bytes | np.ndarray:
        if isinstance(image, VideoFrame):
            return self._videos.read(within(self.source, image.path), image.index)
        if isinstance(image, Path):
            try:
                return within(self.source, image).read_bytes()
            except OSError as error:
                raise ConfigurationError(f'{image} cannot be read: {error.strerror}', _UNREADABLE_REMEDY) from error
        return image if isinstance(image, bytes) else image()

    def _digest_of(self, records: Iterable[Record]) -> str:
        """Digest what the lists of an archive say of records; optional ones change all but their ids."""
        digest = hashlib.sha256()
        for record in records:
            labels = sorted((name, float(value)) for name, value in record.labels.items())
            tokens = self._place(record.tokens) if isinstance(record.tokens, Path) else list(record.tokens or ())
            images = {name: self._place(image) for name, image in record.images.items()}
            digest.update(json.dumps([record.id, record.split, record.object, record.pair, labels, record.text,
                                      tokens, images]).encode())
        return digest.hexdigest()

    def _place(self, image: Image) -> str:
        """Say where an image lies below the source, '' where it is made in memory."""
        path = image.path if isinstance(image, VideoFrame) else image
        return os.path.relpath(path, self.source) if isinstance(path, Path) else ''

    def _write_manifest(self, verification: Verification) -> None:
        classes, split_rule = self.adapter.label_classes(self.source), self.adapter.split_rule(self.source)
        tally = _tally_of([self.destination / shard['name'] for shard in self._shards], list(classes))
        names = {label: {split: {str(value): count for value, count in sorted(counts.items())}
                         for split, counts in sorted(tally.labels[label].items())} for label in classes}
        manifest = {
            **self._what, 'licence': self.adapter.licence, 'source_url': self.adapter.source_url,
            'created': datetime.date.today().isoformat(), 'records': tally.records,
            'splits': dict(sorted(tally.splits.items())), 'sensors': dict(sorted(tally.sensors.items())),
            'modalities': {name: sum(shard['modalities'].get(name, 0) for shard in self._shards)
                           for name in MODALITIES},
            'split_rule': split_rule,
            'labels': {label: {'classes': list(classes[label]), 'counts': names[label]} for label in classes},
            'protocol_notes': list(verification.notes), 'missing': list(verification.missing),
            'left_out': [record for shard in self._shards for record in shard['left_out']], 'shards': self._shards}
        if split_rule != PUBLISHED_LISTS:
            manifest['objects'] = {split: sorted(names) for split, names in sorted(tally.objects.items())}
        write_atomically(self.destination / MANIFEST_FILE, json.dumps(manifest, indent=1) + '\n')
        (self.destination / UNFINISHED_FILE).unlink()


def _features(labels: list[tuple[str, Sequence[str]]]) -> datasets.Features:
    text = datasets.Value('string')
    return datasets.Features({
        'id': text, 'split': text, 'sensor': text, 'object': text,
        **{name: datasets.Image() for name in IMAGE_FIELDS},
        'text': text, 'tokens': datasets.List(datasets.Value('int32')), 'clip': text,
        'frame_index': datasets.Value('int32'), 'pair': text,
        **{LABEL_PREFIX + name: datasets.ClassLabel(names=list(classes)) if classes else datasets.Value('float64')
           for name, classes in labels}})


def _stored(record: Record, raw: dict[str, Any], tokens: Sequence[int] | None) -> dict[str, Any] | VisuotactileError:
    stored: dict[str, Any] = {'tokens': tokens}
    for name, content in raw.items():
        try:
            stored[name] = {'bytes': stored_image(content), 'path': None}
        except VisuotactileError as error:
            image = getattr(record, name)
            place = image if isinstance(image, Path) else f'the {name} of {record.id}'
            return ConfigurationError(f'{place} is {error.problem}', _UNREADABLE_REMEDY)
    return stored


def _row(record: Record, stored: dict[str, Any], features: datasets.Features) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in features
              if name not in IMAGE_FIELDS and not name.startswith(LABEL_PREFIX)}
    labels = {name: record.labels.get(name.removeprefix(LABEL_PREFIX)) for name in features
              if name.startswith(LABEL_PREFIX)}
    return {**values, **dict.fromkeys(IMAGE_FIELDS), **labels, **stored}


def _tally_of(shards: Sequence[Path], labels: Sequence[str]) -> Tally:
    tally = Tally()
    columns = ['split', 'sensor', 'object', *(LABEL_PREFIX + name for name in labels)]
    for shard in shards:
        for row in pq.read_table(shard, columns=columns, memory_map=True).to_pylist():
            known = {name: row[LABEL_PREFIX + name] for name in labels if row[LABEL_PREFIX + name] is not None}
            tally.add(row['split'], row['sensor'], row['object'], known)
    return tally


class _Progress:
    """Records done, records a second and time left: a bar on a terminal, plain lines otherwise."""

    def __init__(self, total: int, done: int, stream: TextIO):
        self._total, self._done, self._before, self._stream = total, done, done, stream
        self._begin_s = self._last_s = time.monotonic()
        self._is_terminal = stream.isatty()

    def add(self, records: int) -> None:
        self._done += records
        now_s = time.monotonic()
        if now_s - self._last_s >= (_BAR_PERIOD_S if self._is_terminal else _LINE_PERIOD_S):
            self._last_s = now_s
            self._show()

    def end(self) -> None:
        self._show()
        if self._is_terminal:
            self._stream.write('\n')

    def _show(self) -> None:
        rate = (self._done - self._before) / max(time.monotonic() - self._begin_s, 1e-9)
        left = datetime.timedelta(seconds=round((self._total - self._done) / rate)) if rate else '?'
        text = f'{self._done:,}/{self._total:,} records  {rate:,.0f} records/s  {left} left'
        share = round(24 * self._done / max(self._total, 1))
        self._stream.write(f'\r▕{"█" * share:24}▏ {text:<72}' if self._is_terminal else f'{text}\n')
        self._stream.flush()
