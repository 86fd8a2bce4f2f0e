"""Folders of images with a table: for ViTacTip, whose six data sets are promised but not public, and for your own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from training.datasets.published.files import object_rule, read_rows, split_by_object
from training.datasets.published.interface import PUBLISHED_LISTS, PublishedDataset
from training.datasets.record import Record
from visuotactile_ros.errors import ConfigurationError

TABLE = 'labels.csv'
_SHARES = {'train': 0.7, 'validation': 0.15, 'test': 0.15}
_IMAGES = ('touch', 'touch_second', 'view', 'reference')
_TEXTS = ('id', 'split', 'sensor', 'object', 'text', 'clip', 'pair')
_DEFAULT_SENSOR = 'vitactip'


class ImageTable(PublishedDataset):
    """One row a record, with a header.

    The columns touch, touch_second, view and reference hold paths below the root; id, split, sensor, object, text,
    clip, frame_index and pair are what `Record` says; every other column is a label: quantities where all of its cells
    are numbers, else classes in alphabetical order. Only `touch` or `view` is needed; empty cells are unknown. Where no
    split is given, objects are divided; an object without a name is the folder of its image.
    """

    name = 'vitactip'
    licence = 'that of your data'
    source_url = 'your own; no data set of ViTacTip is public'
    sensors = (_DEFAULT_SENSOR,)
    index_files = (TABLE,)

    def split_rule(self, root: Path) -> str:
        """The column `split`, where there is one."""
        return PUBLISHED_LISTS if 'split' in _read_table(root)[0] else object_rule(_SHARES)

    def label_classes(self, root: Path) -> Mapping[str, tuple[str, ...]]:
        """Give the classes of every column that is a label."""
        rows = _read_table(root)
        labels = [name for name in rows[0] if name not in (*_IMAGES, *_TEXTS, 'frame_index')]
        values = {name: sorted({row[name] for row in rows if row[name] != ''}) for name in labels}
        return {name: () if all(_is_number(value) for value in texts) else tuple(texts)
                for name, texts in values.items()}

    def records(self, root: Path) -> Iterator[Record]:
        """List the rows of the table."""
        rows, classes = _read_table(root), self.label_classes(root)
        splits = split_by_object(self.name, map(_object_of, rows), _SHARES)
        for row in rows:
            labels = {name: float(row[name]) if not texts else texts.index(row[name])
                      for name, texts in classes.items() if row[name] != ''}
            yield Record(
                id=row.get('id') or row.get('touch') or row['view'], split=row.get('split') or splits[_object_of(row)],
                sensor=row.get('sensor') or (_DEFAULT_SENSOR if row.get('touch') else ''), object=_object_of(row),
                **{name: root / row[name] for name in _IMAGES if row.get(name)}, text=row.get('text', ''),
                clip=row.get('clip', ''), frame_index=int(row.get('frame_index') or 0), pair=row.get('pair', ''),
                labels=labels)


def _read_table(root: Path) -> list[dict[str, str]]:
    header, *lines = read_rows(root / TABLE, columns=1) or [[]]
    rows = [dict(zip(header, cells)) for cells in lines]
    for number, (cells, row) in enumerate(zip(lines, rows), start=2):
        if len(cells) != len(header) or not (row.get('touch') or row.get('view')):
            raise ConfigurationError(f'line {number} of {root / TABLE} lacks cells, or names no image',
                                     'Give every row a touch or a view, and as many cells as the header')
        if row.get('frame_index') and not row['frame_index'].isdigit():
            raise ConfigurationError(f'line {number} of {root / TABLE} has frame_index {row["frame_index"]!r}',
                                     'Write a whole number from 0')
    if not rows:
        raise ConfigurationError(f'{root / TABLE} has no row', 'Write a header and one row a record')
    return rows


def _object_of(row: Mapping[str, str]) -> str:
    return row.get('object') or str(Path(row.get('touch') or row['view']).parent)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
