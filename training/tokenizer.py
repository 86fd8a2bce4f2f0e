"""Byte-pair encoding of captions: learned from the training captions, stored as JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from visuotactile_ros.errors import ModelError

PADDING, END_OF_TEXT, FIRST_BYTE = 0, 1, 2
_WORD = re.compile(rb' ?[a-z]+| ?[0-9]+| ?[^\sa-z0-9]+|\s+')


class Tokenizer:
    """Turns text into token ids and back.

    Text is lower-cased and read as UTF-8 bytes, so that no text is unknown. Ids: 0 padding, 1 end of text,
    2..257 the bytes, then one id for every merge in the order in which it was learned.

    Args:
        merges: Pairs of ids; pair i becomes the id 258 + i.
    """

    def __init__(self, merges: Sequence[tuple[int, int]]):
        self.merges = [(int(left), int(right)) for left, right in merges]
        self._rank = {pair: index for index, pair in enumerate(self.merges)}
        self._bytes = [b'', b''] + [bytes([value]) for value in range(256)]
        for left, right in self.merges:
            self._bytes.append(self._bytes[left] + self._bytes[right])
        self._cache: dict[bytes, list[int]] = {}

    @property
    def vocabulary_size(self) -> int:
        """Number of ids."""
        return len(self._bytes)

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
        """Learn merges: the most frequent neighbouring pair first, ties broken by the smaller ids.

        Args:
            texts: The captions.
            vocabulary_size: Upper limit of the number of ids; at least 258.

        Source: Sennrich, Haddow and Birch 2016, algorithm 1.
        """
        counts = Counter(word for text in texts for word in _WORD.findall(text.lower().encode()))
        words = [([FIRST_BYTE + value for value in word], count) for word, count in sorted(counts.items())]
        merges: list[tuple[int, int]] = []
        while FIRST_BYTE + 256 + len(merges) < vocabulary_size:
            pairs: Counter = Counter()
            for ids, count in words:
                for pair in zip(ids, ids[1:]):
                    pairs[pair] += count
            if not pairs:
                break
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            new_id = FIRST_BYTE + 256 + len(merges)
            words = [(_merge(ids, best, new_id), count) for ids, count in words]
            merges.append(best)
        return cls(merges)

    def encode(self, text: str) -> list[int]:
        """Turn text into ids, without padding or end of text."""
        return [token for word in _WORD.findall(text.lower().encode()) for token in self._encode_word(word)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Turn ids back into the lower-cased text."""
        return b''.join(self._bytes[token] for token in tokens).decode('utf-8', errors='replace')

    def encode_batch(self, texts: Sequence[str], context_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Encode captions side by side.

        Args:
            texts: N captions.
            context_length: L; longer captions are cut.

        Returns:
            int64 [N, L] ids, each row ended by END_OF_TEXT and padded; int64 [N] their lengths with END_OF_TEXT.
        """
        tokens = np.full((len(texts), context_length), PADDING, dtype=np.int64)
        lengths = np.empty(len(texts), dtype=np.int64)
        for row, text in enumerate(texts):
            ids = self.encode(text)[:context_length - 1] + [END_OF_TEXT]
            tokens[row, :len(ids)] = ids
            lengths[row] = len(ids)
        return tokens, lengths

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        path.write_text(json.dumps({'format': 1, 'merges': self.merges}) + '\n')

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a vocabulary.

        Raises:
            ModelError: The file is missing or is not a vocabulary.
        """
        try:
            content = json.loads(path.read_text())
            return cls(content['merges'])
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ModelError(f'{path} is not a vocabulary: {error}',
                             'Take it from the folder of the checkpoint') from error

    def _encode_word(self, word: bytes) -> list[int]:
        if word not in self._cache:
            ids = [FIRST_BYTE + value for value in word]
            while len(ids) > 1:
                best = min(zip(ids, ids[1:]), key=lambda pair: self._rank.get(pair, len(self._rank)))
                if best not in self._rank:
                    break
                ids = _merge(ids, best, FIRST_BYTE + 256 + self._rank[best])
            self._cache[word] = ids
        return self._cache[word]


def _merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    merged, index = [], 0
    while index < len(ids):
        if index + 1 < len(ids) and (ids[index], ids[index + 1]) == pair:
            merged.append(new_id)
            index += 2
        else:
            merged.append(ids[index])
            index += 1
    return merged
