"""The report of a run: `report.json`, PNG plots and a self-contained `report.html`."""

from __future__ import annotations

import base64
import contextlib
import html
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from visuotactile_ros.files import write_atomically
from visuotactile_ros.run_record import RunRecord, summarise

REPORT_FORMAT = 1
_STYLE = """
body { margin: 0; background: #f4f6f8; color: #1b2733; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 960px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 30px; margin: 0 } h2 { font-size: 17px; margin: 0 0 8px; font-weight: 600 }
.sub { color: #5c6b7a; margin: 4px 0 22px }
.tag { display: inline-block; padding: 3px 10px; border-radius: 999px; font-size: 13px; font-weight: 600;
  letter-spacing: .04em; margin-right: 8px }
.simulated { background: #e5dbff; color: #5f3dc4 } .good { background: #d3f9d8; color: #2b8a3e }
.bad { background: #ffe3e3; color: #c92a2a }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 }
.card, figure { background: #fff; border-radius: 12px; box-shadow: 0 1px 3px rgba(27, 39, 51, .1) }
.card { padding: 14px 16px; flex: 1 1 170px }
.card b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650 }
.card span { color: #5c6b7a; font-size: 13px }
figure { margin: 0 0 14px; padding: 16px 18px } img { width: 100%; display: block }
ul { margin: 0; padding-left: 20px } .faults { background: #fff5f5; border-radius: 12px; padding: 14px 18px;
  margin-bottom: 14px }
"""


def new_run_folder(parent: Path) -> Path:
    """Make and return a folder named by the time of this moment.

    Raises:
        OSError: It cannot be made.
    """
    name = datetime.now().strftime('%Y-%m-%d_%H-%M-%S')
    for suffix in ('', *(f'_{number}' for number in range(2, 100))):
        folder = parent / f'{name}{suffix}'
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise FileExistsError(f'{folder} exists already')


def write_report_json(folder: Path, record: RunRecord, outcome: dict[str, Any]) -> Path:
    """Write `report.json`: the figures of the run, its outcome and the series behind the plots.

    Args:
        folder: Folder of the run.
        record: What was seen.
        outcome: `state` ('running', 'completed', 'failed' or 'interrupted'), `reason`, `safety_rules_broken`.

    Returns:
        Path of the file.
    """
    samples = list(record.samples)
    content = {
        'format': REPORT_FORMAT,
        'started': datetime.fromtimestamp(record.started_ns / 1e9, timezone.utc).isoformat(timespec='seconds'),
        'outcome': outcome,
        **summarise(record),
        'series': {
            'time_s': [round(float(record.seconds(sample.stamp_ns)), 3) for sample in samples],
            'tilt_deg': [round(sample.tilt_deg, 4) for sample in samples],
            'poured_g': [None if sample.poured_g is None else round(sample.poured_g, 3) for sample in samples],
            'action': [sample.action for sample in samples],
            'phase': [sample.phase for sample in samples],
        },
    }
    path = folder / 'report.json'
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + '\n')
    return path


def write_report(folder: Path, record: RunRecord, outcome: dict[str, Any]) -> Path:
    """Write the whole report; `report.json` first, so that it stands even when drawing is interrupted.

    Returns:
        Path of `report.html`.
    """
    write_report_json(folder, record, outcome)
    from visuotactile_ros.report_plots import draw_plots  # matplotlib takes a second to import: not before the run
    plots = draw_plots(record, folder)
    path = folder / 'report.html'
    write_atomically(path, _render_html(folder, summarise(record), outcome, plots))
    return path


def _render_html(folder: Path, summary: dict[str, Any], outcome: dict[str, Any], plots: list[tuple[str, str]]) -> str:
    simulated = summary['simulated']
    tags = [('simulated', 'SIMULATED')] if simulated else []
    tags.append(('good' if outcome['state'] == 'completed' else 'bad', outcome['state'].upper()))
    if outcome['safety_rules_broken']:
        tags.append(('bad', 'SAFETY RULE BROKEN'))
    latency_ms = summary['stamp_to_published_ms']['p99']
    cards = [
        (_number(summary['poured_g'], '.1f', 'g'), f'poured of {summary["target_g"]:g} g asked for'),
        (_number(summary['error_g'], '+.1f', 'g'), 'error'),
        (_number(summary['duration_s'], '.0f', 's'), 'duration'),
        (_number(summary['policy_hz'], '.2f', 'Hz'), f'policy, {summary["missed_deadlines"]} deadlines missed'),
        *[(_number(hz, '.1f', 'Hz'), f'embeddings, {name}') for name, hz in summary['embeddings_hz'].items()],
        (_number(latency_ms, '.1f', 'ms'), 'stamp to embedding, p99'),
    ]
    seed = '' if summary['seed'] is None else f' · seed {summary["seed"]}'
    body = [f'<h1>Pouring by touch</h1><p class="sub">{html.escape(folder.name)}{seed} · '
            f'{html.escape(outcome["reason"])}</p>',
            *[f'<span class="tag {kind}">{html.escape(text)}</span>' for kind, text in tags],
            '<div class="cards">', *[f'<div class="card"><b>{value}</b><span>{html.escape(label)}</span></div>'
                                     for value, label in cards], '</div>']
    if simulated:
        body.append('<p class="sub">Sensors, vessel, beads, scale and arm are simulated: grams on this page are not '
                    'comparable with measured ones.</p>')
    problems = [*outcome['safety_rules_broken'], *summary['faults']]
    if problems:
        body.append(f'<div class="faults"><h2>What went wrong</h2><ul>'
                    f'{"".join(f"<li>{html.escape(text)}</li>" for text in problems)}</ul></div>')
    for name, caption in plots:
        data = base64.b64encode((folder / name).read_bytes()).decode()
        body.append(f'<figure><h2>{html.escape(caption)}</h2><img alt="{html.escape(caption)}" '
                    f'src="data:image/png;base64,{data}"></figure>')
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><title>Pour {html.escape(folder.name)}</title><style>{_STYLE}</style></head>'
            f'<body><main>{"".join(body)}</main></body></html>\n')


def _number(value: float | None, style: str, unit: str) -> str:
    return '–' if value is None else f'{value:{style}} {unit}'
