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

OURS = 'tlv_core'
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
        for size in recipe.batch_sizes:
            for method in recipe.methods:
                changes = recipe.shortened(method, size, recipe.stability_share)
                cell = laboratory.cell(method, recipe.shared_training_set, seed, **changes)
                yield Entry(str(size), method, seed, cell, probes)


def rates(laboratory: Laboratory) -> Iterator[Entry]:
    """Every method that trains at every learning rate, one short training each: by it, that of the recipe is chosen."""
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
                yield Entry(group, 'clip', seed, laboratory.cell('clip', training_set, seed), _asked(tasks, 'touch'))


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
        `asides.<group>.<row>.<task>` for what no mean holds; `tasks` and `aside_tasks`; `convergence.<row>`,
        `parameters.<row>` and `cost_minutes.<group>.<row>`.
    """
    result, done = _begin(name, laboratory, entries)
    groups, rows = result['groups'], result['rows']
    found = {protocol: _accuracies(done, protocol) for protocol in PROTOCOLS}
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
        'parameters': {entry.row: {key: description[key] for key in ('trained_parameters', 'parameters')}
                       for entry in done if (description := entry.cell.description())},
        'cost_minutes': {group: {row: [round(entry.minutes, 3) for entry in done
                                       if (entry.group, entry.row) == (group, row)] for row in rows}
                         for group in groups}}
    if entries[0].asides:
        asides = _accuracies(done, HONEST, of_asides=True)
        result['aside_tasks'] = {task.name: _facts_of(task, tower, laboratory.benchmark)
                                 for task, tower in entries[0].asides}
        result['asides'] = {group: {row: asides[group, row].summary()['per_task'] for row in rows
                                    if (group, row) in asides} for group in groups}
    if name == 'ablation':
        result['convergence'] = {entry.row: _convergence(entry.cell) for entry in done if entry.seed == done[0].seed}
    return result


def read_rates(laboratory: Laboratory, entries: Sequence[Entry]) -> dict[str, Any]:
    """Say which learning rate each method takes, by probes of validation samples; test samples are not looked at.

    Args:
        laboratory: What the cells share.
        entries: All entries of the rates table.

    Returns:
        `methods.<row>.by_rate.<rate>.{mean, per_task}`: share of the validation samples that is right;
        `methods.<row>.chosen`: the rate with the highest mean, the lowest of equals, where all are done.
    """
    result, done = _begin('rates', laboratory, entries)
    methods: dict[str, dict[str, Any]] = {}
    for entry in done:
        found = {task.name: entry.cell.result(task, tower)['protocols'][HONEST]['validation_accuracy']
                 for task, tower in entry.probes}
        methods.setdefault(entry.row, {'by_rate': {}})['by_rate'][entry.group] = {
            'mean': rounded(np.mean(list(found.values()))), 'per_task': {task: rounded(found[task]) for task in found}}
    for values in methods.values():
        if len(values['by_rate']) == len(result['groups']):
            values['chosen'] = float(max(result['groups'], key=lambda rate: values['by_rate'][rate]['mean']))
    return result | {'methods': methods}


def _begin(name: str, laboratory: Laboratory, entries: Sequence[Entry]) -> tuple[dict[str, Any], list[Entry]]:
    """Give what the JSON of every table says, and the entries that are done."""
    done = [entry for entry in entries if entry.is_done]
    groups, rows = (list(dict.fromkeys(getattr(entry, place) for entry in entries)) for place in ('group', 'row'))
    return {'simulated': laboratory.benchmark.simulated, 'table': name, 'complete': len(done) == len(entries),
            'entries_done': len(done), 'entries': len(entries), 'groups': groups, 'rows': rows}, done


def _facts_of(task: Task, tower: str, benchmark: Benchmark) -> dict[str, Any]:
    """Give what a reader of a column has to know; `most_frequent_class` is the share of it, what guessing attains."""
    labels = np.concatenate(labels_of(benchmark, task, 'test'))
    counts = np.bincount(labels[labels != UNKNOWN_LABEL])
    return {'stands_for': task.stands_for, 'classes': len(task.classes), 'tower': tower,
            'most_frequent_class': round(counts.max() / counts.sum(), 4)}


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


def _convergence(cell: Cell) -> list[dict[str, float]]:
    """Read the terms of convergence from the log of a run, a record a validation; none where it was deleted."""
    records, log = [], cell.run_folder / 'log.jsonl'
    for line in log.read_text().splitlines() if log.is_file() else ():
        record = json.loads(line)
        terms = {name: record[f'validation/{name}'] for name in CONVERGENCE_TERMS if f'validation/{name}' in record}
        if terms:
            records.append({'step': record['step']} | terms)
    return records
