"""Pictures of the RSS tables: bars, curves over batch sizes, terms of convergence, and maps of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from sklearn.manifold import TSNE

from training.evaluation.rss.benchmark import SENSOR_LABEL
from training.evaluation.rss.pages import CONVERGENCE_TERMS, GUESSING, name_of
from training.evaluation.rss.tables import Entry

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402 (a machine without a display needs the backend first)

_FRAMES_A_SENSOR = 150
_CLASSES = 'material'
_DOTS_PER_INCH = 110


def draw_table(result: dict[str, Any], entries: Sequence[Entry], output: Path) -> list[dict[str, str]]:
    """Draw what belongs to a table.

    Args:
        result: What `read_table` gave.
        entries: Its entries; embeddings are read from the cells of those that are done.
        output: JSON file of the table; pictures are named after it.

    Returns:
        File name and caption of every picture.
    """
    pictures, name = [], result['table']

    def save(figure: Any, kind: str, what: str) -> None:
        caption = f'{"Simulated. " if result["simulated"] else ""}{what}'
        figure.suptitle(caption, fontsize=9)
        figure.tight_layout()
        path = output.with_name(f'{output.stem}{kind}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DOTS_PER_INCH)
        plt.close(figure)
        pictures.append({'file': path.name, 'caption': caption})

    if name == 'rates':
        save(_rate_curves(result), '', 'Mean accuracy on validation samples by learning rate, one seed.')
    elif name == 'stability':
        save(_curves(result), '', 'Mean accuracy with 95 % intervals by batch size.')
    else:
        save(_bars(result), '', f'Mean accuracy with 95 % intervals, {name}.')
    if name == 'robustness':
        group = result['groups'][-1]
        cells = {entry.row: entry for entry in reversed(entries) if entry.group == group and entry.is_done}
        sources = [task.sources for task in cells and entries[0].cell.laboratory.benchmark.aside_tasks
                   if task.label == SENSOR_LABEL]
        if sources:
            save(_maps(cells, sources[0]), '_tsne', f't-SNE of touch embeddings, trained on {name_of(group)}.')
    if any(any(by_seed.values()) for by_seed in result.get('convergence', {}).values()):
        save(_convergence(result), '_convergence', 'Terms of convergence while TLV-CoRe trains.')
    return pictures


def _bars(result: dict[str, Any]) -> Any:
    groups, rows = result['groups'], result['rows']
    figure, axes = plt.subplots(figsize=(2.5 + 1.8 * len(groups), 3.6))
    for number, row in enumerate(rows):
        present = [(place, result['protocols']['honest'][group]['methods'][row]) for place, group in enumerate(groups)
                   if row in result['protocols']['honest'][group]['methods']]
        if present:
            places, values = np.array([place for place, _ in present]), [value for _, value in present]
            means, errors = _means_and_errors(values)
            axes.bar(places + 0.8 * (number - (len(rows) - 1) / 2) / len(rows), means, 0.75 / len(rows), yerr=errors,
                     capsize=2, color=f'C{number}', label=name_of(row))
    for place, group in enumerate(groups):
        guessed = _guessed(result, group)
        if guessed is not None:
            axes.hlines(guessed, place - 0.45, place + 0.45, 'black', 'dotted', label=None if place else GUESSING)
    axes.set_xticks(range(len(groups)), [name_of(group).replace(': ', ':\n') for group in groups], fontsize=8)
    axes.set_ylabel('accuracy / %')
    axes.legend(fontsize=7, loc='upper left', bbox_to_anchor=(1.0, 1.0))
    return figure


def _curves(result: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(5.5, 3.8))
    for number, row in enumerate(result['rows']):
        present = [(int(group), content['methods'][row]) for group, content in result['protocols']['honest'].items()
                   if row in content['methods']]
        if present:
            means, errors = _means_and_errors([value for _, value in present])
            # Beside each other, so that intervals can be told apart.
            shift = 1 + 0.03 * (number - (len(result['rows']) - 1) / 2)
            axes.errorbar([size * shift for size, _ in present], means, errors, fmt=f'C{number}o-', capsize=3,
                          label=name_of(row))
    guessed = _guessed(result, result['groups'][0])
    if guessed is not None:
        axes.axhline(guessed, color='black', linestyle='dotted', label=GUESSING)
    axes.set_xscale('log', base=2)
    axes.set_xticks([int(group) for group in result['groups']], result['groups'])
    axes.set_xlabel('batch size')
    axes.set_ylabel('accuracy / %')
    axes.legend(fontsize=7, loc='upper left', bbox_to_anchor=(1.0, 1.0))
    return figure


def _rate_curves(result: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(5.5, 3.8))
    for number, (row, values) in enumerate(result['methods'].items()):
        axes.semilogx([float(rate) for rate in values['by_rate']],
                      [100 * found['mean'] for found in values['by_rate'].values()], f'C{number}o-', label=name_of(row))
    axes.set_xlabel('learning rate')
    axes.set_ylabel('accuracy / %')
    axes.legend(fontsize=7, loc='upper left', bbox_to_anchor=(1.0, 1.0))
    return figure


def _convergence(result: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(1, len(CONVERGENCE_TERMS), figsize=(3.2 * len(CONVERGENCE_TERMS), 3.2))
    for term, place in zip(CONVERGENCE_TERMS, axes):
        for number, (row, by_seed) in enumerate(result['convergence'].items()):
            runs = [known for records in by_seed.values()
                    if (known := [(record['step'], record[term]) for record in records if term in record])]
            for run, known in enumerate(runs):
                place.plot(*zip(*known), f'C{number}.-', linewidth=0.8, label=None if run else name_of(row))
        place.set_title(term.replace('_', ' '), fontsize=8)
        place.set_xlabel('step')
    # A variant without W_sh is missing in the first.
    axes[1].legend(fontsize=7)
    return figure


def _maps(cells: dict[str, Entry], sources: Sequence[str]) -> Any:
    """One column a method: its embeddings of tested frames, coloured by class above and by sensor below."""
    figure, axes = plt.subplots(2, len(cells), figsize=(2.6 * len(cells), 5.2), squeeze=False)
    for column, (row, entry) in zip(axes.T, reversed(cells.items())):
        benchmark = entry.cell.laboratory.benchmark
        found, sensors, classes = [], [], []
        for number, source in enumerate(sources):
            frame_set = benchmark.frame_set(source, 'test')
            chosen = np.linspace(0, len(frame_set) - 1, min(len(frame_set), _FRAMES_A_SENSOR)).astype(int)
            found.append(entry.cell.features(source, 'test', 'touch', 'touch', names_sensor=False)[chosen])
            sensors.append(np.full(len(chosen), number))
            classes.append(frame_set.labels.get(_CLASSES, np.zeros(len(frame_set), int))[chosen])
        points = np.concatenate(found)
        places = TSNE(init='pca', perplexity=min(30.0, (len(points) - 1) / 3), random_state=0).fit_transform(points)
        for axis, colours, what in zip(column, (classes, sensors), (_CLASSES, 'sensor')):
            axis.scatter(*places.T, c=np.concatenate(colours), s=4, cmap='tab10')
            axis.set_title(f'{name_of(row)}: {what}', fontsize=8)
            axis.set_axis_off()
    return figure


def _guessed(result: dict[str, Any], group: str) -> float | None:
    """Return what guessing attains on average in a group, in %; None where nothing is done."""
    for values in result['protocols']['honest'][group]['methods'].values():
        return 100 * float(np.mean([result['tasks'][task]['guessing'] for task in values['per_task']]))
    return None


def _means_and_errors(values: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Give means [N] and the lengths of the intervals below and above them [2, N], in %."""
    means, intervals = np.array([value['mean'] for value in values]), np.array([value['ci95'] for value in values]).T
    return 100 * means, 100 * np.abs(intervals - means)
