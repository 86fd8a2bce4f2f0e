"""Markdown of the RSS tables, from their JSON alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from training.evaluation.markdown import NOTHING, table

_NAMES = {'tlv_core': 'TLV-CoRe', 'tlv_link': 'TLV-Link', 'vit_lens_2': 'ViT-Lens-2', 'anytouch': 'AnyTouch, stage 2',
          'clip': 'CLIP', 'without_modulator': '− SAM', 'without_decoupled_learning': '− L_DL',
          'without_bridging': '− UBA', 'stronger_decoupled_learning': '10 · L_DL', 'multi': 'all kinds'}
_MINUS = 'tlv_core_minus_this'
GUESSING = 'most frequent class'
# Name in the log of a run, and for people.
CONVERGENCE_TERMS = {
    'shared_transform_condition': 'κ(W_sh)', 'decoupled_learning_loss': 'L_DL / nat',
    'sensor_information_bits': 'I(h; s) / bit, lower bound', 'gradient_variance': 'gradient variance',
    'gradient_norm_squared': 'squared norm of the mean gradient'}


def rss_robustness(result: dict[str, Any]) -> list[str]:
    """Render the table of methods and training sets."""
    return _page(result, 'Linear probes on the touch tower, by training set and method.', 'training set')


def rss_synergy(result: dict[str, Any]) -> list[str]:
    """Render the table of crossed modalities."""
    return _page(result, 'Touch tasks by the vision tower, and picture tasks by the touch tower.', 'training set')


def rss_stability(result: dict[str, Any]) -> list[str]:
    """Render the table of batch sizes."""
    spread = [(name_of(row), _percent(_spread(result, row))) for row in result['rows'] if _spread(result, row)]
    return [*_page(result, 'The same number of samples, in batches of different size.', 'batch size'),
            '', *table(('method', 'best minus worst batch size / %'), spread)]


def rss_ablation(result: dict[str, Any]) -> list[str]:
    """Render the table of TLV-CoRe without its parts, and the terms of convergence at the end of training."""
    lines = _page(result, 'TLV-CoRe without each of its parts.', 'training set')
    terms = [(name_of(row), *(f'{records[-1][term]:.3g}' if term in records[-1] else NOTHING
                              for term in CONVERGENCE_TERMS))
             for row, records in result.get('convergence', {}).items() if records]
    return [*lines, '', 'At the end of training, first seed:', '',
            *table(('variant', *CONVERGENCE_TERMS.values()), terms)]


def rss_rates(result: dict[str, Any]) -> list[str]:
    """Render the accuracy by learning rate on validation samples."""
    rows = [(name_of(row), *(_percent(values['by_rate'][rate]['mean']) if rate in values['by_rate'] else NOTHING
                             for rate in result['groups']), str(values.get('chosen', NOTHING)))
            for row, values in result['methods'].items()]
    return [f'{_origin(result)} Mean accuracy of the six touch tasks in %, one seed, linear probes **on validation '
            f'samples**; test samples are not looked at. The other tables train at the rate that their recipe '
            f'says.{_state(result)}',
            '', *table(('method', *result['groups'], 'chosen'), rows), '', *_pictures(result)]


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
    seeds = result['recipe']['seeds']
    return (f'{_origin(result)} Accuracy in %, mean of {seeds} seed{"s" if seeds != 1 else ""} and 95 % interval over '
            f'seeds and tested objects; rate chosen on validation samples, last epoch.{_state(result)}')


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
            lines += [*table((group_title, 'method', 'mean', *tasks, 'mean, best epoch on the test',
                              'TLV-CoRe minus this', *(f'*{aside}*' for aside in asides), 'minutes a cell'), rows),
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
        best = result['protocols']['papers'][group]['methods'][row]['mean']
        found = result.get('asides', {}).get(group, {}).get(row)
        minutes = result['cost_minutes'][group][row]
        yield [name_of(group), name_of(row), _with_interval(values),
               *(_with_interval(values['per_task'][task]) for task in tasks), _percent(best),
               _with_interval(values[_MINUS]) if _MINUS in values else NOTHING,
               *(_with_interval(found[aside]) for aside in result.get('aside_tasks', ())),
               f'{sum(minutes) / len(minutes):.3g}']


def _guessing(result: dict[str, Any], tasks: Sequence[str]) -> list[str]:
    shares, asides = ([columns[name]['most_frequent_class'] for name in names] for columns, names in (
        (result['tasks'], tasks), (result.get('aside_tasks', {}), result.get('aside_tasks', ()))))
    return [NOTHING, GUESSING, _percent(sum(shares) / len(shares)), *map(_percent, shares), NOTHING,
            NOTHING, *map(_percent, asides), NOTHING]


def _spread(result: dict[str, Any], row: str) -> float | None:
    means = [content['methods'][row]['mean'] for content in result['protocols']['honest'].values()
             if row in content['methods']]
    return max(means) - min(means) if len(means) > 1 else None


def _with_interval(values: dict[str, Any]) -> str:
    low, high = values['ci95']
    return f'{_percent(values["mean"])} [{_percent(low)}, {_percent(high)}]'


def _percent(share: float) -> str:
    return f'{100 * share:.1f}'
