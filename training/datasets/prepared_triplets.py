"""PreparedTriplets: batches of touch, view and caption from prepared data sets, some of which lack one or the other."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.datasets.prepared import PreparedDataset
from training.datasets.record import Record, decode_image
from training.interface import Batch
from training.networks.clip_folder import ClipTokenizer
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.inference.encoder import resize_for_model

TRAIN, VALIDATION = 'train', 'validation'
NO_PAIR = -1
# Of the recordings, where a data set publishes no validation split.
VALIDATION_SHARE = 0.02


class PreparedTriplets:
    """Samples of one split of several prepared data sets, one after the other.

    Where a data set publishes no validation split, a share of the recordings of its training split is kept for it.

    Args:
        folders: What `python -m training.prepare` wrote.
        split: TRAIN or VALIDATION.
        tokenizer: Encodes captions; data sets that publish token ids only give those.
        context_length: Most tokens of a caption.
        image_size_px: Height and width of the images.
        sensor_kinds: The position is the sensor id; every other kind gets their number.
        validation_share: Share of recordings, 0..1, see above.

    Raises:
        ConfigurationError: A folder holds no prepared data set, or none of them has samples of the split.
    """

    def __init__(self, folders: Sequence[Path | str], split: str, tokenizer: ClipTokenizer, context_length: int,
                 image_size_px: int, sensor_kinds: Sequence[str], validation_share: float = VALIDATION_SHARE):
        self._sets = [PreparedDataset(folder) for folder in folders]
        self._tokenizer, self._context_length = tokenizer, context_length
        self._size_px, self._sensor_kinds = image_size_px, tuple(sensor_kinds)
        rows = [_rows_of(prepared, split, validation_share) for prepared in self._sets]
        self._set_of = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        self._row_of = np.concatenate(rows)
        contacts = [(number, name) for number, (prepared, part) in enumerate(zip(self._sets, rows, strict=True))
                    for name in np.array(prepared.names('pair'), object)[part]]
        numbers = {contact: number for number, contact in enumerate(dict.fromkeys(contacts))}
        self._pair = np.array([numbers[contact] if contact[1] else NO_PAIR for contact in contacts], np.int64)
        if len(self._row_of) == 0:
            raise ConfigurationError(f'{", ".join(map(str, folders))} hold no samples for {split}',
                                     'Name other data sets, or larger ones: where no validation split is published, '
                                     f'{validation_share:.0%} of the recordings are kept for it')

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def unlisted_kinds(self) -> list[str]:
        """Sensor kinds of the data that have no id of their own, in alphabetical order."""
        kinds = {kind for prepared in self._sets for kind in prepared.manifest['sensors'] if kind}
        return sorted(kinds - {*self._sensor_kinds})

    def labels(self) -> Batch:
        """Tell what all samples have, as `batch` does without an image: sensor_id, has_touch, has_view, has_text."""
        parts = []
        for number, prepared in enumerate(self._sets):
            sensor_id = np.array([self._sensor_id(kind) for kind in prepared.names('sensor')])
            parts.append(np.column_stack([sensor_id, prepared.modalities()])[self._row_of[self._set_of == number]])
        sensor_id, *present = torch.from_numpy(np.concatenate(parts)).unbind(dim=1)
        return {'sensor_id': sensor_id,
                **{name: column.bool() for name, column in zip(('has_touch', 'has_view', 'has_text'), present)}}

    def batch(self, indices: np.ndarray) -> Batch:
        """Give samples as one batch.

        Args:
            indices: int64 [N].

        Returns:
            touch, view: uint8 [N, 1, H, W, 3] RGB; tokens int64 [N, L] and lengths int64 [N]; sensor_id int64 [N];
            has_touch, has_view, has_text: bool [N], what is absent is zeros; pair int64 [N], the same for one contact
            on several sensors, NO_PAIR without.
        """
        records = self._records(indices)
        tokens, lengths = self._tokens(records)
        return {
            'touch': self._images([record.touch for record in records]),
            'view': self._images([record.view for record in records]),
            'tokens': torch.from_numpy(tokens), 'lengths': torch.from_numpy(lengths),
            'sensor_id': torch.tensor([self._sensor_id(record.sensor) for record in records]),
            'has_touch': torch.tensor([record.touch is not None for record in records]),
            'has_view': torch.tensor([record.view is not None for record in records]),
            'has_text': torch.tensor([record.text != '' or record.tokens is not None for record in records]),
            'pair': torch.from_numpy(self._pair[indices])}

    def _records(self, indices: np.ndarray) -> list[Record]:
        records: list[Record | None] = [None] * len(indices)
        for number, prepared in enumerate(self._sets):
            places = np.flatnonzero(self._set_of[indices] == number)
            found = prepared.read(self._row_of[indices[places]], images=('touch', 'view'))
            for place, record in zip(places, found, strict=True):
                records[place] = record
        return records

    def _images(self, contents: Sequence[bytes | None]) -> Tensor:
        images = np.zeros((len(contents), 1, self._size_px, self._size_px, 3), np.uint8)
        for row, content in enumerate(contents):
            if content is not None:
                images[row, 0] = resize_for_model(decode_image(content), self._size_px, self._size_px)
        return torch.from_numpy(images)

    def _tokens(self, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
        tokens, lengths = self._tokenizer.encode_batch([record.text for record in records], self._context_length)
        for row, record in enumerate(records):
            if record.tokens is not None:
                published = np.asarray(record.tokens, np.int64)[:self._context_length]
                # Reading a caption ends at its last token, so that must be the end of text.
                published[-1] = record.tokens[-1]
                tokens[row, len(published):], tokens[row, :len(published)] = 0, published
                lengths[row] = len(published)
        return tokens, lengths

    def _sensor_id(self, kind: str) -> int:
        return self._sensor_kinds.index(kind) if kind in self._sensor_kinds else len(self._sensor_kinds)


def _rows_of(prepared: PreparedDataset, split: str, validation_share: float) -> np.ndarray:
    splits = prepared.manifest['splits']
    if VALIDATION in splits:
        return prepared.select(split=split) if split in splits else np.empty(0, np.int64)
    rows = prepared.select(split=TRAIN) if TRAIN in splits else np.empty(0, np.int64)
    # Frames of one recording look alike: a recording is kept as a whole. A single image is one of its own.
    clips, pairs = (prepared.names(name) for name in ('clip', 'pair'))
    held = [_share_of(pairs[row] or clips[row] or str(row)) < validation_share for row in rows]
    return rows[np.array(held, bool) == (split == VALIDATION)]


def _share_of(name: str) -> float:
    """Spread names evenly over 0..1, the same everywhere."""
    return zlib.crc32(name.encode()) / 2 ** 32
