"""Reading the lists of published data sets, and where their files lie."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from training.datasets.record import Image, VideoFrame
from visuotactile_ros.errors import ConfigurationError

Understood = TypeVar('Understood')
_DOWNLOAD_AGAIN = 'Download it again'
# Where people put the captions that were published apart from their data sets.
TEXT_FOLDERS = ('text', 'text_tacquad', '.')


def natural_order(name: str) -> list:
    """Key of an order in which frame_2 comes before frame_10; upper and lower case are told apart."""
    return [(0, int(part), '') if part.isdecimal() else (1, 0, part) for part in re.split('([0-9]+)', name) if part]


@lru_cache(maxsize=4096)
def names_in(folder: Path) -> tuple[str, ...]:
    """List a folder in natural order, without hidden files; nothing where there is no such folder."""
    try:
        return tuple(sorted((name for name in os.listdir(folder) if not name.startswith('.')), key=natural_order))
    except (FileNotFoundError, NotADirectoryError):
        return ()


@lru_cache(maxsize=4096)
def _name_set(folder: Path) -> frozenset[str]:
    return frozenset(names_in(folder))


def is_there(path: Path) -> bool:
    """Say whether a file or folder exists, asking the disk once a folder."""
    return path.name in _name_set(path.parent)


def within(root: Path, path: Path) -> Path:
    """Give a path back that does not leave the archive at `root`; links that lie in it may lead anywhere.

    Raises:
        ConfigurationError: It does, whether there is such a file or not.
    """
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise ConfigurationError(f'{path} leads out of {root}', 'Correct the list that names it')
    return path


def forget_listings() -> None:
    """Ask the disk again from now on."""
    names_in.cache_clear()
    _name_set.cache_clear()


def folders_in(folder: Path) -> list[str]:
    """List the folders of a folder in natural order."""
    return [name for name in names_in(folder) if (folder / name).is_dir()]


def numbered_files(folder: Path, *suffixes: str) -> Iterator[tuple[int, str]]:
    """List the files called by a number, e.g. 0012.png, in their order; whatever else lies there is no frame."""
    for name in names_in(folder):
        stem, _, suffix = name.partition('.')
        if stem.isdecimal() and suffix in suffixes:
            yield int(stem), name


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that hold anything; the last may lack its end."""
    try:
        # Spreadsheets begin their files with a mark that would else be part of the first cell.
        return [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f'{path} cannot be read: {error}', _DOWNLOAD_AGAIN) from error


def read_rows(path: Path, columns: int) -> list[list[str]]:
    """Read a CSV file whose rows have at least `columns` cells.

    Raises:
        ConfigurationError: It cannot be read, a quote is not closed, or a row is shorter.
    """
    try:
        rows = list(csv.reader(read_lines(path), strict=True))
    except csv.Error as error:
        raise ConfigurationError(f'{path} is no CSV file ({error})',
                                 'Close its quotes, or download it again') from error
    for number, row in enumerate(rows, start=1):
        if len(row) < columns:
            raise ConfigurationError(f'row {number} of {path} has {len(row)} of {columns} columns', _DOWNLOAD_AGAIN)
    return rows


def read_json(path: Path, understand: Callable[[Any], Understood]) -> Understood:
    """Read a JSON file.

    Args:
        path: The file.
        understand: Takes what is needed out of its content.

    Raises:
        ConfigurationError: It cannot be read, is no JSON, or `understand` finds something else than was published.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f'{path} cannot be read: {error}', _DOWNLOAD_AGAIN) from error
    try:
        return understand(content)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(f'{path} is not as published ({type(error).__name__}: {error})',
                                 _DOWNLOAD_AGAIN) from error


def frame(folder: Path, name: str, video: Path, index: int) -> Image:
    """Give an extracted frame, or the frame of the video where nobody extracted any."""
    extracted = any(numbered_files(folder, name.partition('.')[2]))
    return VideoFrame(video, index) if not extracted and is_there(video) else folder / name


def caption_tokens(root: Path, name: str) -> Path | None:
    """Give the file with the tokens of a caption, e.g. `tag_12.pt`, where the captions were downloaded too."""
    return next((root / folder / name for folder in TEXT_FOLDERS if is_there(root / folder / name)), None)


def caption_list(root: Path, name: str, kind: str) -> dict[str, Path | None]:
    """Read which caption belongs to which image, where the captions were downloaded too.

    Args:
        root: Where the data set lies.
        name: A list without header: path of the image, …, number of the caption.
        kind: Begin of the names of the files with the tokens.

    Returns:
        The file with the tokens, by path of the image.
    """
    rows = read_rows(root / name, columns=2) if is_there(root / name) else []
    return {row[0]: caption_tokens(root, f'{kind}_{row[-1]}.pt') for row in rows}


def contact_list(root: Path, name: str) -> frozenset[str] | None:
    """Read which images show contact; None where that list was not downloaded."""
    return frozenset(row[0] for row in read_rows(root / name, columns=1)) if is_there(root / name) else None


def splits_of(listed: Iterable[tuple[Any, str]]) -> dict[Any, str]:
    """Give the split of every name, or all of its splits where published lists overlap.

    Args:
        listed: Names, each with the split of a list that holds it.

    Returns:
        The splits by name, those of one name in the order of their lists with a space between.
    """
    splits: defaultdict[Any, dict[str, None]] = defaultdict(dict)
    for name, split in listed:
        splits[name][split] = None
    return {name: ' '.join(found) for name, found in splits.items()}


def sorted_by(key: Callable[[Any], str], items: Iterable[Any]) -> Iterator[Any]:
    """Sort in natural order of a key."""
    return iter(sorted(items, key=lambda item: natural_order(key(item))))


def object_rule(shares: Mapping[str, float]) -> str:
    """Say in words what `split_by_object` does."""
    parts = ', '.join(f'{100 * share:.0f} % {split}' for split, share in shares.items())
    return f'by object, in the order of the SHA-256 of their names: {parts}'


def split_by_object(name: str, objects: Iterable[str], shares: Mapping[str, float]) -> dict[str, str]:
    """Divide objects among splits: the same on every machine, and no object in two of them.

    Args:
        name: Name of the data set, so that one object falls differently in different sets.
        objects: The objects; how often and in which order each comes has no influence.
        shares: Share of every split, in the order in which they are filled; they sum to 1.

    Returns:
        The split of every object: their order by SHA-256 is cut at the shares.
    """
    ranked = sorted(set(objects), key=lambda item: hashlib.sha256(f'{name}/{item}'.encode()).digest())
    splits, filled, begin = {}, 0.0, 0
    for split, share in shares.items():
        filled += share
        end = round(filled * len(ranked))
        splits |= dict.fromkeys(ranked[begin:end], split)
        begin = end
    return splits
