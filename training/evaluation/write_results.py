"""Write docs/results/README.md from the JSON files beside it, so that no number stands there without its file.

Run `python -m training.evaluation.write_results`, or `make results`, after a benchmark has written its JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.evaluation.markdown import NOTHING, cell, table
from training.evaluation.rss import pages

RESULTS_FOLDER = Path(__file__).resolve().parents[2] / 'docs' / 'results'


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; with `--check`, only say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='write nothing; fail when the page is not up to date')
    check = parser.parse_args(arguments).check
    page, text = RESULTS_FOLDER / 'README.md', render_page(RESULTS_FOLDER)
    if check:
        if not page.is_file() or page.read_text() != text:
            print(f'{page} differs from the JSON beside it. Run make results.')
            return 1
        return 0
    page.write_text(text)
    print(f'wrote {page}')
    return 0


def render_page(folder: Path) -> str:
    """Return the Markdown page for every known JSON file in `folder`."""
    parts = ['# Results', '',
             'Generated from the JSON files beside this page by `make results`. Grams, contacts and damage are '
             '**simulated**, never to be set beside measured ones; rows that say `real` are public pictures of real '
             'gels. No robot and no sensor was at hand.', '']
    for file_name, title, command, render in SECTIONS:
        parts += [f'## {title}', '']
        path = folder / file_name
        if not path.is_file():
            parts += ['Not run yet.', '']
            continue
        parts += [f'`{command}` wrote [{file_name}]({file_name}).', '', *render(json.loads(path.read_text())), '']
    return '\n'.join(parts)


def _pour_benchmark(result: dict) -> list[str]:
    keys = ('mean_abs_error_g', 'ci95_g', 'p95_abs_error_g', 'limit_violations', 'completed', 'n')
    return table(('controller', 'mean abs. error / g', '95 % interval / g', '95th percentile / g', 'limit violations',
                  'completed', 'pours'),
                 ([name, *(values[key] for key in keys)] for name, values in result['controllers'].items()))


def _realtime(result: dict) -> list[str]:
    latency = result['stamp_to_published_ms']
    rows = [[f'{name} / Hz', value] for name, value in result['streams_hz'].items()]
    rows += [['policy / Hz', result['policy_hz']], ['missed deadlines', result['missed_deadlines']]]
    rows += [[f'stamp to published, {name} / ms', latency[name]] for name in ('p50', 'p95', 'p99')]
    rows += [[f'CPU of {name} / % of one core', value] for name, value in result['cpu_percent'].items()]
    return table(('quantity', 'value'), rows)


def _probe(result: dict) -> list[str]:
    rows = []
    for encoder, splits in result['encoders'].items():
        scores = {(split, task): score for split, tasks in splits.items() if split != 'sensor_identity'
                  for task, score in tasks.items()}
        scores['held_out_objects', 'sensor identity (lower is better)'] = splits['sensor_identity']
        rows += [[encoder, *where, score['balanced_accuracy'], score['ci95'], score['chance']]
                 for where, score in scores.items()]
    return table(('encoder', 'split', 'task', 'balanced accuracy', '95 % interval', 'chance'), rows)


def _sensors(result: dict) -> list[str]:
    decoding = result['gelsight_mini_decode']
    rows = [[label, decoding[f'{name}_hz'], decoding[f'{name}_cpu_ms'],
             decoding[f'{name}_difference_from_noiseless_frame']]
            for label, name in (('ours', 'ours'), ('decode, then resize', 'decode_then_resize'))]
    cameras = [[count, label, values['frames_hz'], values['cpu_percent'],
                *(values['stamp_to_published_ms'][name] for name in ('p50', 'p95', 'p99'))]
               for count, ways in result['sensors'].items()
               for label, values in (('ours', ways['ours']), ('cv2.VideoCapture and resize', ways['plain_loop']))]
    header = ('GelSight Mini MJPG on one core', 'frames / Hz', 'CPU / ms', 'difference from the noiseless frame')
    return [*table(header, rows),
            '', f'Mean absolute difference: {cell(decoding["mean_abs_pixel_difference"])} grey levels; '
            f'{result["stand_in"]}.', '',
            *table(('cameras at once, two cores', 'way', 'frames / Hz', 'CPU / % of one core',
                    'stamp to published p50 / ms', 'p95', 'p99'), cameras)]


def _gel_health(result: dict) -> list[str]:
    rows = [[frames, kind, row['damage'], row['severity'], row['sessions'], row['median_score'], row['worn_share'],
             row['refused_as_touched_share']]
            for frames, key in (('real, simulated damage', 'real_frames_with_simulated_damage'),
                                ('simulated', 'simulated_gels'))
            for kind, entries in result[key].items() for row in entries if row['severity'] in (0.0, 0.5, 1.0)]
    return table(('frames', 'sensor', 'damage', 'severity', 'sessions', 'median score', 'share called worn',
                  'share refused as touched'), rows)


def _strangeness(result: dict) -> list[str]:
    return table(('sensor', 'frames', 'count', 'share called strange', 'alarm'),
                 ([kind, row['frames'], row['count'], row['strange_share'], row['alarm']]
                  for kind, entries in result['kinds'].items() for row in entries))


def _training_step(result: dict) -> list[str]:
    rows = []
    for name, row in result['ways'].items():
        if 'not_measured' in row:
            rows.append([name, f'not measured: {row["not_measured"]}', *[NOTHING] * 8])
            continue
        memory = row['peak_memory_bytes']
        rows.append([name, row['precision'], 1000 * row['step_s'], [1000 * value for value in row['step_s_ci95']],
                     row['images_per_s'], row.get('times_as_fast_as_plain', NOTHING), row['mfu'],
                     row['mfu_of_measured_matmul'], NOTHING if memory is None else memory / 1e9,
                     NOTHING if row['host_synchronisations'] is None else row['host_synchronisations']])
    lines = [f'- {name}: {text}' for name, text in result['meaning'].items()]
    return [f'{result["device"]}, {result["model"]["layout"]} with random weights, {result["batch_size"]} triplets a '
            f'step, {result["flops_per_step"] / 1e12:.3g} TFLOP a step. Peak: '
            f'{result["peak_flops_per_s"] / 1e12:.4g} TFLOP/s ({result["peak_source"]}); a large matmul reaches '
            f'{result["measured_matmul_flops_per_s"] / 1e12:.3g} here.', '',
            *table(('way', 'precision', 'step / ms', '95 % interval / ms', 'images/s', 'times as fast as plain', 'MFU',
                    'share of the matmul rate', 'peak memory / GB', 'host waits for device'), rows), '', *lines]


def _quantities(result: dict) -> list[str]:
    return table(('quantity', 'value'), _flat(result))


def _flat(values: dict, prefix: str = '') -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        label = f'{prefix} · {name}' if prefix else name
        if isinstance(value, dict):
            yield from _flat(value, label)
        else:
            yield label, value


SECTIONS = (
    ('pour_benchmark.json', 'Pouring 60 g out of 100 g of beads', 'make pour-benchmark SEEDS=1-40', _pour_benchmark),
    ('realtime.json', 'The full graph in real time on two cores', 'make bench-realtime', _realtime),
    ('probe.json', 'Linear probes of the default encoder', 'make bench-probe', _probe),
    ('optics.json', 'Rendered gel images against real ball presses', 'make bench-optics', _quantities),
    ('sensors.json', 'Reading cameras at full rate', 'make bench-sensors', _sensors),
    ('shear.json', 'Shear, slip and depth', 'make bench-shear', _quantities),
    ('gel_health.json', 'Health of a gel', 'make bench-gel-health', _gel_health),
    ('strangeness.json', 'The out-of-distribution alarm', 'make bench-strangeness', _strangeness),
    ('training_step.json', 'A training step on CLIP ViT-L/14', 'make bench-training-step', _training_step),
    ('rss_base.json', 'The base of the RSS tables', 'make rss-base', pages.rss_base),
    ('rss_rates.json', 'RSS: learning rates', 'make rss-rates', pages.rss_rates),
    ('rss_robustness.json', 'RSS: robustness', 'make rss-robustness', pages.rss_robustness),
    ('rss_synergy.json', 'RSS: synergy', 'make rss-synergy', pages.rss_synergy),
    ('rss_stability.json', 'RSS: stability', 'make rss-stability', pages.rss_stability),
    ('rss_ablation.json', 'RSS: ablation', 'make rss-ablation', pages.rss_ablation),
)


if __name__ == '__main__':
    raise SystemExit(main())
