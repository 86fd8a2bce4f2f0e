"""Markdown of the RSS tables, from their JSON alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from training.evaluation.markdown import NOTHING, table

_NAMES = {'tlv_core': 'TLV-CoRe', 'tlv_link': 'TLV-Link', 'vit_lens_2': 'ViT-Lens-2', 'anytouch': 'AnyTouch, stage 2',
          'clip': 'CLIP', 'without_modulator': '− SAM', 'without_decoupled_learning': '− L_DL',
          'without_bridging': '− UBA', 'stronger_decoupled_learning': '10 · L_DL', 'multi': 'all kinds'}
_MINUS = 'tlv_core_minus_this'
GUESSING = 'class most frequent in the fit samples'
# Name in the log of a run, and for people.
CONVERGENCE_TERMS = {
    'shared_transform_condition': 'κ(W_sh)', 'decoupled_learning_loss': 'L_DL / nat',
    'sensor_information_bits': 'I(h; s) / bit, lower bound', 'gradient_variance': 'gradient variance',
    'gradient_norm_squared': 'squared norm of the mean gradient'}


def rss_robustness(result: dict[str, Any]) -> list[str]:
    """Render the table of methods and training sets."""
    found = [(name_of(group), name_of(row), *(_range([100 * record[term] for record in records])
                                              for term in ('retrieval_top1', 'retrieval_top5')))
             for group, rows in result.get('last_validation', {}).items() for row, records in rows.items() if records]
    return [*_page(result, 'Linear probes on the touch tower, by training set and method.', 'training set'), '',
            f'{_origin(result)} Views of unseen presses that touch retrieves among those of all validation samples, at '
            'the end of training, range of the seeds:', '',
            *table(('training set', 'method', 'first / %', 'among five / %'), found)]


def rss_synergy(result: dict[str, Any]) -> list[str]:
    """Render the table of crossed modalities."""
    return _page(result, 'Touch tasks by the vision tower, and picture tasks by the touch tower.', 'training set')


def rss_stability(result: dict[str, Any]) -> list[str]:
    """Render the table of batch sizes."""
    gaps = [(name_of(row), _percent(gap['best_minus_worst']), _with_interval(gap['largest_minus_smallest']))
            for row, gap in result.get('batch_size_gap', {}).items()]
    steps = ', '.join(f'{count} of {size}' for size, count in result.get('steps', {}).items())
    return [*_page(result, f'The same number of samples in batches of different size, steps: {steps}.', 'batch size'),
            '', f'{_origin(result)} How far batch sizes are apart, in % of accuracy:', '',
            *table(('method', 'best minus worst', 'largest minus smallest'), gaps)]


def rss_ablation(result: dict[str, Any]) -> list[str]:
    """Render the table of TLV-CoRe without its parts, and the terms of convergence at the end of training."""
    lines = _page(result, 'TLV-CoRe without each of its parts.', 'training set')
    terms = [(name_of(row), *(_range([records[-1][term] for records in by_seed.values()
                                      if records and term in records[-1]]) for term in CONVERGENCE_TERMS))
             for row, by_seed in result.get('convergence', {}).items()]
    return [*lines, '', f'{_origin(result)} Terms of convergence at the end of training, range of the seeds:', '',
            *table(('variant', *CONVERGENCE_TERMS.values()), terms)]


def rss_rates(result: dict[str, Any]) -> list[str]:
    """Render the accuracy by learning rate on validation samples."""
    rows = [(name_of(row), *(_percent(values['by_rate'][rate]['mean']) if rate in values['by_rate'] else NOTHING
                             for rate in result['groups']), str(values.get('best', NOTHING)))
            for row, values in result['methods'].items()]
    if 'chosen' in result:
        rows.append(('all', *(_percent(result['mean_of_methods'][rate]) for rate in result['groups']),
                     str(result['chosen'])))
    return [f'{_origin(result)} Mean accuracy of the six touch tasks in %, one seed, linear probes **on validation '
            f'samples**; test samples are not looked at. The other tables train all methods at the rate that is '
            f'best for the mean of all.{_state(result)}',
            '', *table(('method', *result['groups'], 'best'), rows), '', *_pictures(result)]


def rss_base(result: dict[str, Any]) -> list[str]:
    """Render what the base knows before any method."""
    lines = _page(result, 'Linear probes on the image tower of the base, which no method has touched.', 'images')
    base = result.get('base')
    if base is None:
        return lines
    found = ', '.join(f'{name} {_percent(value)} %' for name, value in base['validation'].items())
    return [*lines, '', f'The base: {base["parameters"]["all"]:,} parameters, {base["views"]:,} simulated views, '
                        f'{base["minutes"]:.3g} minutes of training; {found} of unseen samples.']


def caption_of(result: dict[str, Any]) -> str:
    """Say where the numbers of a table come from; every table and picture carries it."""
    seeds, limit = result['recipe']['seeds'], '' if result['complete'] else 'up to '
    return (f'{_origin(result)} Accuracy in %, mean of {limit}{seeds} seed{"s" if seeds != 1 else ""} and 95 % '
            'interval over seeds and tested objects; rate chosen on validation samples, last epoch. Under "papers": '
            'their rate, fitted on validation samples too, the epoch that is best on the '
            f'test.{_state(result)}')


def name_of(key: str) -> str:
    """Give the name of a row or group as people write it."""
    first, colon, rest = key.partition(':')
    return _NAMES.get(first, first) + colon + rest


def _page(result: dict[str, Any], what: str, group_title: str) -> list[str]:
    lines = [f'{what} {caption_of(result)}', '']
    asides = list(result.get('aside_tasks', ()))
    for tasks, groups in _blocks(result):
        rows = [row for group in groups for row in _rows(result, group, tasks)]
        if rows:
            rows.append(_guessing(result, tasks))
            lines += [*table((group_title, 'method', 'mean', 'TLV-CoRe minus this', *tasks, 'papers: mean',
                              'papers: TLV-CoRe minus this', *(f'*{aside}*' for aside in asides),
                              '*cosine with CLIP*', 'minutes a cell'), rows),
                      '']
    stand_ins = [f'{task} for {values["stands_for"]}' for task, values in result['tasks'].items()
                 if values['stands_for'] not in ('', task)]
    if stand_ins:
        lines += [f'Columns stand for published ones: {", ".join(stand_ins)}.', '']
    lines += [f'- {note}' for note in result['notes']]
    return [*lines, '', *_pictures(result)]


def _origin(result: dict[str, Any]) -> str:
    return ('**Simulated**: rendered touch, views and captions; never to be set beside published numbers.'
            if result['simulated'] else 'Published data.')


def _state(result: dict[str, Any]) -> str:
    return '' if result['complete'] else f' Not complete: {result["entries_done"]} of {result["entries"]} entries.'


def _pictures(result: dict[str, Any]) -> list[str]:
    return [f'![{picture["caption"]}]({picture["file"]})' for picture in result.get('pictures', [])]


def _blocks(result: dict[str, Any]) -> Iterable[tuple[list[str], list[str]]]:
    """Groups with the same tasks make one table."""
    blocks: dict[tuple[str, ...], list[str]] = {}
    for group, content in result['protocols']['honest'].items():
        for values in list(content['methods'].values())[:1]:
            blocks.setdefault(tuple(values['per_task']), []).append(group)
    return [(list(tasks), groups) for tasks, groups in blocks.items()]


def _rows(result: dict[str, Any], group: str, tasks: Sequence[str]) -> Iterable[list[str]]:
    for row, values in result['protocols']['honest'][group]['methods'].items():
        papers = result['protocols']['papers'][group]['methods'][row]
        found = result.get('asides', {}).get(group, {}).get(row)
        minutes = result['cost_minutes'][group][row]
        yield [name_of(group), name_of(row), _with_interval(values), _minus(values),
               *(_with_interval(values['per_task'][task]) for task in tasks),
               _with_interval(papers), _minus(papers),
               *(_with_interval(found[aside]) for aside in result.get('aside_tasks', ())),
               _range(result.get('cosine_with_base', {}).get(group, {}).get(row, ())),
               f'{sum(minutes) / len(minutes):.3g}']


def _guessing(result: dict[str, Any], tasks: Sequence[str]) -> list[str]:
    shares, asides = ([columns[name]['guessing'] for name in names] for columns, names in (
        (result['tasks'], tasks), (result.get('aside_tasks', {}), result.get('aside_tasks', ()))))
    return [NOTHING, GUESSING, _percent(sum(shares) / len(shares)), NOTHING, *map(_percent, shares), NOTHING,
            NOTHING, *map(_percent, asides), NOTHING, NOTHING]


def _minus(values: dict[str, Any]) -> str:
    return _with_interval(values[_MINUS]) if _MINUS in values else NOTHING


def _range(values: Sequence[float]) -> str:
    found = list(dict.fromkeys(f'{value:.3g}' for value in sorted(values)))
    return NOTHING if not found else found[0] if len(found) == 1 else f'{found[0]} to {found[-1]}'


def _with_interval(values: dict[str, Any]) -> str:
    low, high = values['ci95']
    return f'{_percent(values["mean"])} [{_percent(low)}, {_percent(high)}]'


def _percent(share: float) -> str:
    return f'{100 * share:.1f}'
