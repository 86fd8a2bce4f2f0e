"""PreparedDataset: random access to what `python -m training.prepare` wrote.

A folder holds Parquet shards and a manifest. Images are read from the memory-mapped shards a few rows at a time; what
stays in memory is a handful of numbers a record, so that sets larger than the memory can be used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.datasets.record import IMAGE_FIELDS, Record
from training.digest import sha256_of
from visuotactile_ros.errors import ConfigurationError

FORMAT = 1
MANIFEST_FILE, UNFINISHED_FILE = 'manifest.json', 'unfinished.json'
LABEL_PREFIX = 'label_'
# Reading one image reads its row group: 32 rows cost 0.2 ms, and the index of 4096 records is 0.1 MB.
ROWS_PER_GROUP = 32
_MANIFEST_KEYS = {'dataset', 'labels', 'rows_per_group', 'sensors', 'shards', 'splits'}
_SHARD_KEYS = {'name', 'records', 'sha256'}
_NAME_COLUMNS = ('split', 'sensor', 'object', 'clip', 'pair')
_REMEDY = 'Prepare it again into an empty folder'


class PreparedDataset:
    """A prepared data set: records by number or id, numbers of records by split, sensor or label, clips and pairs.

    Args:
        folder: What `python -m training.prepare` wrote.
        check_sums: Whether to compare the SHA-256 of every shard, which reads all of it.

    Attributes:
        manifest: The manifest: licence, counts, class names and so on.

    Raises:
        ConfigurationError: There is no finished data set, or its shards are not those of the manifest.
    """

    def __init__(self, folder: Path | str, check_sums: bool = False):
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._shards = [self.folder / shard['name'] for shard in self.manifest['shards']]
        for path, shard in zip(self._shards, self.manifest['shards']):
            if not path.is_file() or _open_shard(path).metadata.num_rows != shard['records']:
                raise ConfigurationError(f'{path} is missing or does not hold {shard["records"]} records', _REMEDY)
            if check_sums and sha256_of(path) != shard['sha256']:
                raise ConfigurationError(f'{path} differs from its SHA-256 in {MANIFEST_FILE}', _REMEDY)
        self._first_row = np.cumsum([0, *(shard['records'] for shard in self.manifest['shards'])])
        labels = [LABEL_PREFIX + name for name in self.manifest['labels']]
        table = self._column_table([*_NAME_COLUMNS, 'frame_index', *labels])
        self._names = {name: _Names(table[name]) for name in _NAME_COLUMNS}
        self.frame_index = table['frame_index'].to_numpy()
        self._labels = {name: table[LABEL_PREFIX + name].cast(pa.float64()).to_numpy()
                        for name in self.manifest['labels']}
        self._clip_order = np.lexsort((self.frame_index, self._names['clip'].codes))
        self._clip_keys = self._clip_key(self._names['clip'].codes, self.frame_index)[self._clip_order]
        self._pair_order = np.argsort(self._names['pair'].codes, kind='stable')
        self._ids: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return int(self._first_row[-1])

    def __getitem__(self, index: int) -> Record:
        return self.read([index])[0]

    def read(self, indices: Sequence[int] | np.ndarray, images: Sequence[str] = IMAGE_FIELDS) -> list[Record]:
        """Read records; every row group that holds some of them is read once.

        Args:
            indices: Numbers of records, 0..len - 1, or negative ones from the end.
            images: The images that are wanted; the others are None.

        Returns:
            The records in the order of `indices`, images as bytes of a PNG or JPEG, see `decode_image`.

        Raises:
            IndexError: There is no such record.
        """
        rows = np.asarray(indices, np.int64)
        rows = np.where(rows < 0, rows + len(self), rows)
        if rows.size and not (0 <= rows.min() and rows.max() < len(self)):
            raise IndexError(f'{self.folder} has {len(self)} records')
        shards = np.searchsorted(self._first_row, rows, side='right') - 1
        groups, places = np.divmod(rows - self._first_row[shards], self.manifest['rows_per_group'])
        columns = ['id', *_NAME_COLUMNS, 'frame_index', 'text', 'tokens',
                   *(f'{name}.bytes' for name in images), *(LABEL_PREFIX + name for name in self.manifest['labels'])]
        records: list[Any] = [None] * len(rows)
        for shard, group in sorted(set(zip(shards.tolist(), groups.tolist()))):
            table = _open_shard(self._shards[shard]).read_row_group(group, columns=columns, use_threads=False)
            for position in np.flatnonzero((shards == shard) & (groups == group)):
                row = table.slice(places[position], 1).to_pylist()[0]
                records[position] = _record_of(row)
        return records

    def modalities(self) -> np.ndarray:
        """Tell which records have each of MODALITIES, bool [len, 3], without reading an image."""
        # A path is never written, but read without the bytes beside it, and tells as they do whether there is an image.
        columns = ['touch.path', 'view.path', 'text', 'tokens']
        table = pa.concat_tables(_open_shard(path).read(columns) for path in self._shards)
        has_text = pc.or_(pc.not_equal(table['text'], ''), table['tokens'].is_valid())
        return np.stack([table['touch'].is_valid(), table['view'].is_valid(), has_text], axis=1)

    def index_of(self, record_id: str) -> int:
        """Give the number of a record by its id.

        Raises:
            KeyError: There is no such record.
        """
        if self._ids is None:
            self._ids = self._column_table(['id'])['id']
        index = pc.index(self._ids, record_id).as_py()
        if index < 0:
            raise KeyError(f'{self.folder} has no record {record_id!r}')
        return index

    def select(self, split: str = '', sensor: str = '', **labels: float) -> np.ndarray:
        """Give the records that meet all conditions.

        Args:
            split: A split; '' any. A record of several splits is in each of them.
            sensor: A sensor kind; '' any.
            labels: Values of labels.

        Returns:
            int64 [N], ascending.

        Raises:
            ConfigurationError: The data set has no such split, sensor or label.
        """
        chosen = np.ones(len(self), bool)
        for kind, name, key in (('split', split, 'splits'), ('sensor', sensor, 'sensors')):
            if name == '':
                continue
            if name not in self.manifest[key]:
                raise ConfigurationError(f'{self.folder} has no {kind} {name!r}',
                                         f'Choose one of {", ".join(self.manifest[key])}')
            chosen &= self._names[kind].contain(name)
        for name, value in labels.items():
            if name not in self._labels:
                raise ConfigurationError(f'{self.folder} has no label {name!r}',
                                         f'Choose one of {", ".join(self._labels)}')
            chosen &= self._labels[name] == value
        return np.flatnonzero(chosen)

    def label(self, name: str) -> np.ndarray:
        """Give a label of every record, float64 [len]; NaN where it is unknown."""
        return self._labels[name]

    def names(self, column: str) -> list[str]:
        """Give `split`, `sensor`, `object`, `clip` or `pair` of every record."""
        return self._names[column].values()

    def clip(self, index: int, frames: int = 4, step: int = 1) -> np.ndarray | None:
        """Give the frames of a record's clip that end at it.

        Args:
            index: The last frame.
            frames: How many frames.
            step: Distance of neighbours, in frames.

        Returns:
            int64 [frames] in the order of time, or None where one of these frames is no record: recordings have gaps,
            and a frame is never replaced by another.
        """
        last, code = self.frame_index[index], self._names['clip'].codes[index]
        if self._names['clip'].dictionary[code] == '':
            return np.array([index]) if frames == 1 else None
        wanted = self._clip_key(code, last - step * np.arange(frames - 1, -1, -1))
        found = np.searchsorted(self._clip_keys, wanted)
        if (self._clip_keys[np.minimum(found, len(self) - 1)] != wanted).any():
            return None
        return self._clip_order[found]

    def partners(self, index: int) -> np.ndarray:
        """Give the records of the same contact on other sensors, int64 [N], ascending."""
        pairs, sensors = self._names['pair'], self._names['sensor']
        code = pairs.codes[index]
        if pairs.dictionary[code] == '':
            return np.empty(0, np.int64)
        ordered = pairs.codes[self._pair_order]
        same = self._pair_order[slice(*np.searchsorted(ordered, [code, code + 1]))]
        return same[sensors.codes[same] != sensors.codes[index]]

    @staticmethod
    def _clip_key(codes: np.ndarray, frame_index: np.ndarray) -> np.ndarray:
        return codes.astype(np.int64) * 2 ** 32 + frame_index

    def _column_table(self, columns: list[str]) -> pa.Table:
        names = [name for name in columns if name in _NAME_COLUMNS]
        return pa.concat_tables(pq.read_table(path, columns=columns, memory_map=True, read_dictionary=names)
                                for path in self._shards).unify_dictionaries()


class _Names:
    """A column of few different texts: a number a record."""

    def __init__(self, column: pa.ChunkedArray):
        chunks = [chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
                  for chunk in pa.chunked_array(column.chunks, column.type).unify_dictionaries().chunks]
        self.dictionary = chunks[0].dictionary.to_pylist() if chunks else []
        self.codes = np.concatenate([np.empty(0, np.int32), *(chunk.indices.to_numpy() for chunk in chunks)])

    def contain(self, name: str) -> np.ndarray:
        """Say of every record whether `name` is one of the words of its text, bool [N]."""
        return np.array([name in text.split() for text in self.dictionary], bool)[self.codes]

    def values(self) -> list[str]:
        return [self.dictionary[code] for code in self.codes]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a prepared data set.

    Raises:
        ConfigurationError: There is none, or none of this format.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        if (folder / UNFINISHED_FILE).is_file():
            raise ConfigurationError(f'{folder} is not finished', 'Run the same python -m training.prepare again')
        raise ConfigurationError(f'{folder} holds no prepared data set', 'Write one with python -m training.prepare')
    try:
        manifest = json.loads(path.read_text())
        if manifest['format'] != FORMAT:
            raise ConfigurationError(f'{path} has format {manifest["format"]}, this version reads {FORMAT}', _REMEDY)
        if not (_MANIFEST_KEYS <= manifest.keys() and all(_SHARD_KEYS <= shard.keys() for shard in manifest['shards'])):
            raise ValueError('it lacks keys')
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f'{path} is damaged', _REMEDY) from error
    return manifest


@lru_cache(maxsize=256)
def _open_shard(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f'{path} is damaged', _REMEDY) from error


def _record_of(row: dict[str, Any]) -> Record:
    images = {name: None if row.get(name) is None else row[name]['bytes'] for name in IMAGE_FIELDS}
    labels = {name.removeprefix(LABEL_PREFIX): value for name, value in row.items()
              if name.startswith(LABEL_PREFIX) and value is not None}
    others = {name: value for name, value in row.items()
              if name not in IMAGE_FIELDS and not name.startswith(LABEL_PREFIX)}
    return Record(**others, **images, labels=labels)
