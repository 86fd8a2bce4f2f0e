"""Turn a published data set into one that training reads: `python -m training.prepare DATASET SRC DST`.

The archive is verified first: everything that is missing is listed before anything is written. Then come Parquet shards
and, last of all, a manifest; a run that was interrupted goes on with its next shard.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from training.datasets.preparation import Preparation
from training.datasets.published import DATASETS
from training.datasets.published.interface import PublishedDataset, Verification
from training.datasets.record import MODALITIES
from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError

_LINES_OF_MISSING = 40


def describe(adapter: PublishedDataset, root: Path, verification: Verification,
             lines_of_missing: int | None = None) -> str:
    """Say what an archive holds, what it lacks and what to know, one thing a line.

    Args:
        adapter: The data set.
        root: Where its archive lies.
        verification: What `adapter.verify` found.
        lines_of_missing: At most so many places that lack files; None for all.
    """
    tally = verification.tally
    lines = [f'{adapter.name} in {root}: {tally.records:,} records. Licence: {adapter.licence}']
    lines += [f'  {name:20} {tally.modalities[name]:9,} of {tally.records:,} records' for name in MODALITIES]
    lines += [f'  split {split:14} {count:9,} records, {len(tally.objects[split]):5,} objects'
              for split, count in sorted(tally.splits.items())]
    for label, splits in sorted(tally.labels.items()):
        counts = ', '.join(f'{counts.total():,} in {split}' for split, counts in sorted(splits.items()))
        lines.append(f'  label {label:14} {counts}')
    lines += [f'  note: {note}' for note in verification.notes]
    shown = verification.missing[:lines_of_missing]
    lines += [f'  missing: {place}' for place in shown]
    if len(verification.missing) > len(shown):
        lines.append(f'  missing: {len(verification.missing) - len(shown)} places more')
    return '\n'.join(lines)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m training.prepare', description=__doc__.splitlines()[0])
    parser.add_argument('dataset', choices=sorted(DATASETS))
    parser.add_argument('source', type=Path, metavar='SRC', help='the archive, unpacked; docs/datasets.md shows how')
    parser.add_argument('destination', type=Path, metavar='DST', nargs='?',
                        help='an empty folder, or that of an interrupted run')
    parser.add_argument('--limit', type=int, help='only so many records, from the first')
    parser.add_argument('--verify-only', action='store_true', help='say what is there and what is missing')
    parser.add_argument('--skip-unreadable', action='store_true',
                        help='leave out records with missing or damaged files; the manifest lists them')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='threads that shrink images')
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < 1 or options.workers < 1:
        raise ConfigurationError('--limit and --workers count from 1', 'Give a positive number')
    if options.destination is None and not options.verify_only:
        raise ConfigurationError('there is no DST', 'Name the folder to write to, or add --verify-only')
    adapter = DATASETS[options.dataset]
    if not options.verify_only:
        preparation = Preparation(adapter, options.source, options.destination, options.limit, options.skip_unreadable)
        if preparation.is_finished:
            print(f'{options.destination} is finished already')
            return 0
    print(f'looking through {options.source}', file=sys.stderr, flush=True)
    verification = adapter.verify(options.source)
    # Without a folder to list the rest in, all of it is shown.
    lines_of_missing = None if options.verify_only else _LINES_OF_MISSING
    print(describe(adapter, options.source, verification, lines_of_missing), flush=True)
    if verification.missing and not options.skip_unreadable:
        place = 'above' if options.verify_only else f'in {preparation.write_missing(verification)}'
        raise ConfigurationError(f'{options.source} lacks files in {len(verification.missing)} places, listed {place}',
                                 'Download them, or leave their records out with --skip-unreadable')
    if not options.verify_only:
        try:
            preparation.run(verification, options.workers, sys.stderr)
        except KeyboardInterrupt:
            raise KeyboardInterrupt('Stopped. The same command goes on with the next shard.') from None
        print(f'{options.destination} is finished')
    return 0


if __name__ == '__main__':
    sys.exit(main())
