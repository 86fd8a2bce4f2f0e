"""Fill an RSS table: `python -m training.evaluation.rss robustness --recipe … --output …/rss_robustness.json`.

What is there already is not computed again. Interrupted by Ctrl-C or --max-minutes, the table is written with what is
there, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from training.base_clip import REPORT_FILE, BaseClipRecipe, train_base_clip
from training.evaluation.rss.benchmark import Benchmark
from training.evaluation.rss.cell import Laboratory
from training.evaluation.rss.pictures import draw_table
from training.evaluation.rss.published import PublishedBenchmark
from training.evaluation.rss.recipe import RssRecipe
from training.evaluation.rss.simulated import SimulatedBenchmark
from training.evaluation.rss.tables import TABLES, Entry, read_rates, read_table
from training.networks.clip_folder import read_clip_config
from training.recipe import load_recipe, recipe_as_dict
from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.files import write_atomically


class _OutOfTime(KeyboardInterrupt):
    """The time of --max-minutes is over; ends what runs as Ctrl-C does."""


def fill_table(name: str, recipe: RssRecipe, output: Path, only_methods: Sequence[str] = ()) -> bool:
    """Compute what a table lacks, and write it with its pictures.

    Args:
        name: One of TABLES.
        recipe: Recipe of the tables.
        output: JSON file; pictures go beside it.
        only_methods: Rows to compute; empty for all. The table shows all that are there.

    Returns:
        Whether the table is complete.

    Raises:
        KeyboardInterrupt: It was interrupted; the table has been written with what is there.
    """
    if recipe.base_recipe and not (Path(recipe.base) / REPORT_FILE).is_file():
        train_base_clip(load_recipe(Path(recipe.base_recipe), BaseClipRecipe), Path(recipe.base))
    laboratory = Laboratory(recipe, _benchmark(recipe))
    entries = list(TABLES[name](laboratory))
    if not entries:
        raise ConfigurationError(f'no method of the recipe has a row in the table {name}',
                                 'Name at least one that trains under methods')
    rows = {entry.row for entry in entries}
    unknown = sorted({*only_methods} - rows)
    if unknown:
        raise ConfigurationError(f'the table has no row {unknown[0]!r}', f'Choose from {", ".join(sorted(rows))}')
    try:
        for entry in entries:
            if not entry.is_done and (not only_methods or entry.row in only_methods):
                _compute(entry, entries)
    finally:
        found = read_rates(laboratory, entries) if name == 'rates' else read_table(name, laboratory, entries)
        result = found | {'recipe': recipe_as_dict(recipe)}
        report = Path(recipe.base) / REPORT_FILE
        if report.is_file():
            result['base'] = json.loads(report.read_text())
        if result['entries_done']:
            result['pictures'] = draw_table(result, entries, output)
            write_atomically(output, json.dumps(result, indent=1) + '\n')
    return result['complete']


def _benchmark(recipe: RssRecipe) -> Benchmark:
    if recipe.benchmark == 'simulated':
        return SimulatedBenchmark(recipe)
    return PublishedBenchmark(recipe, read_clip_config(Path(recipe.base)).vision_config.image_size)


def _compute(entry: Entry, entries: Sequence[Entry]) -> None:
    place = f'{entries.index(entry) + 1}/{len(entries)}: {entry.row}, {entry.group}, seed {entry.seed}'
    print(place, file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        for task, tower in entry.probes + entry.asides:
            entry.cell.probe(task, tower)
    finally:
        entry.cell.release()
    print(f'{place}: {(time.monotonic() - start) / 60:.1f} minutes', file=sys.stderr, flush=True)


@contextmanager
def _time_limit(minutes: float | None) -> Iterator[None]:
    """Interrupt what runs within after some minutes; None never does."""
    def interrupt(*_) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0 if minutes is None else 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; exit code 0 also when the time is over."""
    parser = argparse.ArgumentParser(prog='python -m training.evaluation.rss', description=__doc__.splitlines()[0])
    parser.add_argument('table', choices=TABLES)
    parser.add_argument('--recipe', type=Path, required=True)
    parser.add_argument('--output', type=Path, required=True, help='JSON file to write; pictures go beside it')
    parser.add_argument('--only-method', action='append', default=[], help='compute this row alone; may be repeated')
    parser.add_argument('--max-minutes', type=float, help='stop after that long; the same command goes on')
    options = parser.parse_args(arguments)
    if options.max_minutes is not None and not options.max_minutes > 0:
        raise ConfigurationError(f'--max-minutes is {options.max_minutes}', 'Give a positive number')
    try:
        with _time_limit(options.max_minutes):
            complete = fill_table(options.table, load_recipe(options.recipe, RssRecipe), options.output,
                                  options.only_method)
    except _OutOfTime:
        print('The time is over. The same command goes on.')
        return 0
    except KeyboardInterrupt:
        raise KeyboardInterrupt('Stopped. The same command goes on.') from None
    print(f'{options.output}: {"complete" if complete else "not complete yet; the same command goes on"}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
