"""The RSS tables: which cells each of them needs, and what it says about those that are there.

Source: TLV-CoRe, section 5: robustness (table 1), synergy (table 2), stability (figure 3), ablation (figure 4).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation.rss.benchmark import UNKNOWN_LABEL, Benchmark, Task, labels_of
from training.evaluation.rss.cell import Cell, Laboratory
from training.evaluation.rss.pages import CONVERGENCE_TERMS
from training.evaluation.rss.probe import HONEST, PROTOCOLS
from training.evaluation.rss.statistics import Accuracies, average, difference, rounded
from training.objectives.methods import METHODS

OURS, BASE = 'tlv_core', 'clip'
# Rows of the ablation table: what is switched off, and ten times the paper's weight of L_DL.
ABLATIONS = {OURS: {}, 'without_modulator': {'modulator': False},
             'without_decoupled_learning': {'decoupled_learning_weight': 0.0}, 'without_bridging': {'bridging': False},
             'stronger_decoupled_learning': {'decoupled_learning_weight': 1.0}}

Probes = tuple[tuple[Task, str], ...]


@dataclass(frozen=True)
class Entry:
    """One cell of a table and what is asked of it.

    Attributes:
        group: Block of the table: a training set, one with a direction, or a batch size.
        row: Row of the block: a method or a variant.
        seed: Its seed.
        cell: The cell.
        probes: Tasks, each with the tower that is asked.
        asides: What is asked as well and no mean holds.
    """

    group: str
    row: str
    seed: int
    cell: Cell
    probes: Probes
    asides: Probes = ()

    @property
    def is_done(self) -> bool:
        """Whether every probe has been computed."""
        return all(self.cell.result(task, tower) is not None for task, tower in self.probes + self.asides)

    @property
    def minutes(self) -> float:
        """What all of it cost to compute."""
        return self.cell.minutes(self.probes + self.asides)


def robustness(laboratory: Laboratory) -> Iterator[Entry]:
    """Every method on every training set: touch tasks by the touch tower, and what is asked aside."""
    probes, asides = _touch_questions(laboratory)
    yield from _of_methods(laboratory, laboratory.recipe.training_sets, {'': probes}, asides)


def synergy(laboratory: Laboratory) -> Iterator[Entry]:
    """Touch tasks by the vision tower, picture tasks by the touch tower."""
    benchmark = laboratory.benchmark
    directions = {': touch tasks by vision': _asked(benchmark.synergy_tasks, 'vision'),
                  ': picture tasks by touch': _asked(benchmark.image_tasks, 'touch')}
    yield from _of_methods(laboratory, laboratory.recipe.synergy_training_sets, directions)


def stability(laboratory: Laboratory) -> Iterator[Entry]:
    """Every method with every batch size, short trainings; all see the same number of samples."""
    recipe, probes = laboratory.recipe, _asked(laboratory.benchmark.synergy_tasks, 'touch')
    for seed in _seeds(laboratory):
        for size in sorted(recipe.batch_sizes):
            for method in recipe.methods:
                changes = recipe.shortened(method, size, recipe.stability_share)
                cell = laboratory.cell(method, recipe.shared_training_set, seed, **changes)
                yield Entry(str(size), method, seed, cell, probes)


def rates(laboratory: Laboratory) -> Iterator[Entry]:
    """Every method that trains at every learning rate, one short training each: by it, the rate of all is chosen."""
    recipe, probes = laboratory.recipe, _asked(laboratory.benchmark.touch_tasks, 'touch')
    for rate in sorted(recipe.learning_rates):
        for method in recipe.methods:
            if METHODS[method].trains:
                changes = recipe.shortened(method, recipe.batch_size, recipe.rates_share) | {'learning_rate': rate}
                cell = laboratory.cell(method, recipe.shared_training_set, recipe.seed, **changes)
                yield Entry(f'{rate:g}', method, recipe.seed, cell, probes)


def ablation(laboratory: Laboratory) -> Iterator[Entry]:
    """TLV-CoRe without each of its parts."""
    training_set, (probes, asides) = laboratory.recipe.shared_training_set, _touch_questions(laboratory)
    for seed in _seeds(laboratory):
        for row, changes in ABLATIONS.items():
            cell = laboratory.cell(OURS, training_set, seed, **changes)
            yield Entry(training_set, row, seed, cell, probes, asides)


def base(laboratory: Laboratory) -> Iterator[Entry]:
    """What the base knows before any method: picture and touch tasks by its one image tower."""
    benchmark, training_set = laboratory.benchmark, laboratory.recipe.training_sets[0]
    for seed in _seeds(laboratory):
        for group, tasks in (('pictures', benchmark.image_tasks), ('touch', benchmark.touch_tasks)):
            if tasks:
                yield Entry(group, BASE, seed, laboratory.cell(BASE, training_set, seed), _asked(tasks, 'touch'))


TABLES: dict[str, Callable[[Laboratory], Iterator[Entry]]] = {
    'robustness': robustness, 'synergy': synergy, 'stability': stability, 'ablation': ablation, 'base': base,
    'rates': rates}


def read_table(name: str, laboratory: Laboratory, entries: Sequence[Entry]) -> dict[str, Any]:
    """Say what the cells that are done say.

    Args:
        name: One of TABLES.
        laboratory: What the cells share.
        entries: All entries of the table.

    Returns:
        `methods.<row>.{mean, ci95, per_task, tlv_core_minus_this}`: the honest protocol over all groups, for rows that
        have all of them; `protocols.<protocol>.<group>.methods.<row>`: the same of every group, with every seed;
        `asides.<group>.<row>.<task>` for what no mean holds; `tasks` and `aside_tasks`; `parameters.<row>`;
        `cosine_with_base.<group>.<row>` and `cost_minutes.<group>.<row>`, a value a seed. Robustness has
        `last_validation.<group>.<row>`, a record a seed; ablation `convergence.<row>.<seed>`, a record a validation;
        stability `steps.<group>`, and `batch_size_gap.<row>` of rows that have all batch sizes.
    """
    result, done = _begin(name, laboratory, entries)
    groups, rows = result['groups'], result['rows']
    found = {protocol: _accuracies(done, protocol) for protocol in PROTOCOLS}

    def per_seed(give: Callable[[Entry], Any]) -> dict[str, dict[str, list[Any]]]:
        # A value a seed; none where an entry has none to give.
        return {group: {row: [value for entry in done if (entry.group, entry.row) == (group, row)
                              and (value := give(entry)) is not None] for row in rows} for group in groups}
    result |= {
        'tasks': {name: _facts_of(task, tower, laboratory.benchmark) for name, (task, tower) in {
            task.name: (task, tower) for entry in entries for task, tower in entry.probes}.items()},
        'notes': list(laboratory.benchmark.notes),
        'methods': {row: average([found[HONEST][group, row] for group in groups])
                    | _against_ours(found[HONEST], groups, row)
                    for row in rows if all((group, row) in found[HONEST] for group in groups)},
        'protocols': {protocol: {group: {'methods': {
            row: accuracies.summary() | _against_ours(by_place, [group], row)
            for (other, row), accuracies in by_place.items() if other == group}} for group in groups}
            for protocol, by_place in found.items()},
        'cosine_with_base': {group: {row: rounded(cosines) for row, cosines in by_row.items() if cosines}
                             for group, by_row in per_seed(
                                 lambda entry: None if entry.row == BASE else _cosine_with_base(entry, done)).items()},
        'parameters': {entry.row: {key: description[key] for key in ('trained_parameters', 'parameters')}
                       for entry in done if (description := entry.cell.description())},
        'cost_minutes': per_seed(lambda entry: round(entry.minutes, 3))}
    if entries[0].asides:
        asides = _accuracies(done, HONEST, of_asides=True)
        result['aside_tasks'] = {task.name: _facts_of(task, tower, laboratory.benchmark)
                                 for task, tower in entries[0].asides}
        result['asides'] = {group: {row: asides[group, row].summary()['per_task'] for row in rows
                                    if (group, row) in asides} for group in groups}
    if name == 'robustness':
        result['last_validation'] = per_seed(lambda entry: next(reversed(_validations(entry.cell)), None))
    elif name == 'ablation':
        result['convergence'] = {row: {str(entry.seed): [
            {key: record[key] for key in ('step', *CONVERGENCE_TERMS) if key in record}
            for record in _validations(entry.cell)] for entry in done if entry.row == row} for row in result['methods']}
    elif name == 'stability':
        result['steps'] = {entry.group: entry.cell.recipe.steps for entry in entries}
        result['batch_size_gap'] = {row: _batch_size_gap([found[HONEST][group, row] for group in groups])
                                    for row in result['methods']}
    return result


def read_rates(laboratory: Laboratory, entries: Sequence[Entry]) -> dict[str, Any]:
    """Say which learning rate serves the methods, by probes of validation samples; test samples are not looked at.

    Args:
        laboratory: What the cells share.
        entries: All entries of the rates table.

    Returns:
        `methods.<row>.by_rate.<rate>.{mean, per_task}`: share of the validation samples that is right;
        `mean_of_methods.<rate>`; where all are done, `chosen`, the rate with the highest mean of methods, and
        `methods.<row>.best`, that of the method; the lowest of equals.
    """
    result, done = _begin('rates', laboratory, entries)
    methods: dict[str, dict[str, Any]] = {}
    for entry in done:
        found = {task.name: entry.cell.result(task, tower)['protocols'][HONEST]['validation_accuracy']
                 for task, tower in entry.probes}
        methods.setdefault(entry.row, {'by_rate': {}})['by_rate'][entry.group] = {
            'mean': rounded(np.mean(list(found.values()))), 'per_task': {task: rounded(found[task]) for task in found}}
    result['methods'] = methods
    if result['complete']:
        means = {row: {rate: values['by_rate'][rate]['mean'] for rate in result['groups']}
                 for row, values in methods.items()}
        for row, values in methods.items():
            values['best'] = float(max(means[row], key=means[row].get))
        common = {rate: rounded(np.mean([by_rate[rate] for by_rate in means.values()])) for rate in result['groups']}
        result |= {'mean_of_methods': common, 'chosen': float(max(common, key=common.get))}
    return result


def _begin(name: str, laboratory: Laboratory, entries: Sequence[Entry]) -> tuple[dict[str, Any], list[Entry]]:
    """Give what the JSON of every table says, and the entries that are done."""
    done = [entry for entry in entries if entry.is_done]
    groups, rows = (list(dict.fromkeys(getattr(entry, place) for entry in entries)) for place in ('group', 'row'))
    return {'simulated': laboratory.benchmark.simulated, 'table': name, 'complete': len(done) == len(entries),
            'entries_done': len(done), 'entries': len(entries), 'groups': groups, 'rows': rows}, done


def _facts_of(task: Task, tower: str, benchmark: Benchmark) -> dict[str, Any]:
    """Give what a reader of a column has to know; `guessing` is the test share of the class most frequent in fit."""
    fit, test = (labels[labels != UNKNOWN_LABEL] for labels in (
        np.concatenate(labels_of(benchmark, task, part)) for part in ('fit', 'test')))
    return {'stands_for': task.stands_for, 'classes': len(task.classes), 'tower': tower,
            'guessing': rounded((test == np.bincount(fit).argmax()).mean())}


def _asked(tasks: Sequence[Task], tower: str) -> Probes:
    return tuple((task, tower) for task in tasks)


def _touch_questions(laboratory: Laboratory) -> tuple[Probes, Probes]:
    benchmark = laboratory.benchmark
    return _asked(benchmark.touch_tasks, 'touch'), _asked(benchmark.aside_tasks, 'touch')


def _seeds(laboratory: Laboratory) -> range:
    return range(laboratory.recipe.seed, laboratory.recipe.seed + laboratory.recipe.seeds)


def _of_methods(laboratory: Laboratory, training_sets: Sequence[str], directions: Mapping[str, Probes],
                asides: Probes = ()) -> Iterator[Entry]:
    # A seed after the other, so that a table that is not finished has all of its rows.
    for seed in _seeds(laboratory):
        for training_set in training_sets:
            for method in laboratory.recipe.methods:
                cell = laboratory.cell(method, training_set, seed)
                for direction, probes in directions.items():
                    if probes:
                        yield Entry(training_set + direction, method, seed, cell, probes, asides)


def _accuracies(done: Sequence[Entry], protocol: str, of_asides: bool = False) -> dict[tuple[str, str], Accuracies]:
    results: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    tests, trainings = {}, {}
    for entry in done:
        # Two groups that ask the same trainings draw the same of them.
        trainings[entry.group, entry.row] = entry.cell.series
        for task, tower in entry.asides if of_asides else entry.probes:
            by_task = results.setdefault((entry.group, entry.row), {}).setdefault(entry.seed, {})
            by_task[task.name] = entry.cell.result(task, tower)
            # Tasks about the same frames draw the same objects.
            tests.setdefault((entry.group, entry.row), {})[task.name] = ' '.join(task.sources)
    return {key: Accuracies(by_seed, protocol, trainings[key], tests[key]) for key, by_seed in results.items()}


def _against_ours(found: Mapping[tuple[str, str], Accuracies], groups: Sequence[str], row: str) -> dict[str, Any]:
    if row == OURS or not all((group, OURS) in found for group in groups):
        return {}
    return {f'{OURS}_minus_this': difference([found[group, OURS] for group in groups],
                                             [found[group, row] for group in groups])}


def _cosine_with_base(entry: Entry, done: Sequence[Entry]) -> float | None:
    """Give the mean cosine of embeddings of tested images with those of the base; None where they are not kept."""
    base = next((other.cell for other in done if other.row == BASE), None)
    images = dict.fromkeys((source, 'test', picture, tower) for task, tower in entry.probes
                           for source in task.sources for picture in task.pictures)
    pairs = [(entry.cell.kept_features(*image), base and base.kept_features(*image)) for image in images]
    if any(own is None or other is None for own, other in pairs):
        return None
    # Features have root mean square 1, so that the mean product is the mean cosine.
    return float(np.mean(np.concatenate([(own * other).mean(axis=1) for own, other in pairs])))


def _batch_size_gap(by_size: Sequence[Accuracies]) -> dict[str, Any]:
    """Give how far the batch sizes of a row, in rising order, are apart."""
    means = [accuracies.by_seed.mean() for accuracies in by_size]
    return {'best_minus_worst': rounded(max(means) - min(means)),
            'largest_minus_smallest': difference(by_size[-1:], by_size[:1])}


def _validations(cell: Cell) -> list[dict[str, float]]:
    """Read what the validations of a run logged, a record each; none where the log was deleted."""
    records, log = [], cell.run_folder / 'log.jsonl'
    for line in log.read_text().splitlines() if log.is_file() else ():
        record = json.loads(line)
        found = {name.removeprefix('validation/'): record[name] for name in record if name.startswith('validation/')}
        if found:
            records.append({'step': record['step']} | found)
    return records
