"""Tables in Markdown, for the pages that are generated from JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

NOTHING = '–'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return the lines of a table without the columns that hold NOTHING; numbers have three significant digits."""
    written = [[cell(value) for value in row] for row in rows]
    kept = [number for number in range(len(header))
            if not written or any(row[number] != NOTHING for row in written)]
    return [f'| {" | ".join(cells[number] for number in kept)} |'
            for cells in (header, ['---'] * len(header), *written)]


def cell(value: Any) -> str:
    """Return what stands in a table for a value; of a list, its items."""
    if isinstance(value, float):
        return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'
    if isinstance(value, (list, tuple)):
        return ' … '.join(cell(item) for item in value)
    return str(value)
