"""The plots of a run's report: each function draws one PNG; colours and sizes stand here once."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import numpy as np

matplotlib.use('Agg')

from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)
from matplotlib.axes import Axes  # noqa: E402

from visuotactile_ros.run_record import ACTIONS, RunRecord, percentiles_ms, rate_over_time  # noqa: E402

INK, FAINT, ACCENT = '#1b2733', '#8a97a5', '#0b7285'
SERIES = ('#0b7285', '#e8590c', '#5f3dc4', '#2b8a3e')
ACTION_COLOURS = {'pour': '#0b7285', 'wait': '#adb5bd', 'retract': '#e8590c'}
PHASE_COLOURS = {'baseline': '#f1f3f5', 'approach': '#e7f5ff', 'pour': '#e6fcf5', 'retract': '#fff4e6'}
WIDTH_IN, HEIGHT_IN, DPI = 9.0, 2.9, 130
STRIP_COLUMNS = 8


def draw_plots(record: RunRecord, folder: Path) -> list[tuple[str, str]]:
    """Draw every plot of a run into a folder.

    Args:
        record: What was seen of the run; a plot without data says so instead of being left out.
        folder: Where the PNG files go.

    Returns:
        (file name, caption) of each plot, in the order of the report.
    """
    plots = [('mass.png', 'Poured mass', _draw_mass), ('tilt.png', 'Measured tilt', _draw_tilt),
             ('action.png', 'Decisions of the policy', _draw_actions),
             ('embedding_rate.png', 'Embeddings a second', _draw_embedding_rate),
             ('latency.png', 'From the stamp of a frame to its published embedding', _draw_latency)]
    drawn = []
    with pyplot.rc_context({'font.family': 'sans-serif', 'font.size': 10, 'axes.edgecolor': FAINT,
                            'axes.labelcolor': INK, 'xtick.color': FAINT, 'ytick.color': FAINT,
                            'axes.spines.top': False, 'axes.spines.right': False, 'legend.frameon': False}):
        for name, caption, draw in plots:
            figure, axes = pyplot.subplots(figsize=(WIDTH_IN, HEIGHT_IN), layout='constrained')
            draw(record, axes)
            if record.simulated:
                figure.text(0.998, 0.01, 'simulated', ha='right', va='bottom', color=FAINT, fontsize=8)
            figure.savefig(folder / name, dpi=DPI)
            pyplot.close(figure)
            drawn.append((name, caption))
        _draw_overview(record, folder / 'overview.png')
    if record.frames:
        cv2.imwrite(str(folder / 'tactile_strip.png'), cv2.cvtColor(_tactile_strip(record), cv2.COLOR_RGB2BGR))
        drawn.append(('tactile_strip.png', 'What the fingertips saw, one row a sensor, evenly over the run'))
    return drawn


def _draw_overview(record: RunRecord, path: Path) -> None:
    """Draw the run as one picture to show around; it is no part of the report's page."""
    rows = ((_draw_mass, 2.4), (_draw_tilt, 1.6), (_draw_actions, 1.3), (_draw_strip, 2.0))
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(WIDTH_IN, sum(height for _, height in rows) + 0.3),
                                   height_ratios=[height for _, height in rows], layout='constrained')
    for axis, (draw, _) in zip(axes, rows):
        draw(record, axis)
    for axis in axes[:2]:
        axis.set_xlabel('')
    for axis in axes[1:3]:
        for text in list(axis.texts):
            if text.get_text() in PHASE_COLOURS:
                text.remove()
    if record.simulated:
        figure.suptitle('Simulated pour', x=0.005, ha='left', color=FAINT, fontsize=9)
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)


def _draw_strip(record: RunRecord, axes: Axes) -> None:
    if not record.frames:
        _say_empty(axes, 'no tactile images')
        return
    axes.imshow(_tactile_strip(record), interpolation='antialiased')
    axes.set_axis_off()


def _say_empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha='center', va='center', color=FAINT, transform=axes.transAxes)
    axes.set_axis_off()


def _shade_phases(record: RunRecord, axes: Axes) -> None:
    start = 0
    for index in range(1, len(record.samples) + 1):
        if index < len(record.samples) and record.samples[index].phase == record.samples[start].phase:
            continue
        first, last = record.samples[start], record.samples[min(index, len(record.samples) - 1)]
        if first.phase in PHASE_COLOURS:
            left, right = record.seconds([first.stamp_ns, last.stamp_ns])
            axes.axvspan(left, right, color=PHASE_COLOURS[first.phase], lw=0)
            if right - left > 1.5:
                axes.text((left + right) / 2, 1.01, first.phase, ha='center', va='bottom', color=FAINT, fontsize=8,
                          transform=axes.get_xaxis_transform())
        start = index
    _set_time_axis(record, axes)


def _set_time_axis(record: RunRecord, axes: Axes) -> None:
    """The same on every plot, so that one can be read above the other."""
    end_s = record.seconds(record.samples[-1].stamp_ns) if record.samples else 1.0
    axes.set_xlim(0.0, max(float(end_s), 1.0))
    axes.set_xlabel('time (s)')


def _draw_mass(record: RunRecord, axes: Axes) -> None:
    weighed = [sample for sample in record.samples if sample.poured_g is not None]
    if not weighed:
        _say_empty(axes, 'no scale')
        return
    times_s = record.seconds([sample.stamp_ns for sample in weighed])
    mass_g = [sample.poured_g for sample in weighed]
    _shade_phases(record, axes)
    axes.axhline(record.target_g, color=FAINT, ls=(0, (4, 3)), lw=1)
    axes.text(times_s[0], record.target_g, f' target {record.target_g:g} g', color=FAINT, va='bottom', fontsize=9)
    axes.plot(times_s, mass_g, color=ACCENT, lw=2)
    axes.fill_between(times_s, mass_g, color=ACCENT, alpha=0.12, lw=0)
    axes.annotate(f'{mass_g[-1]:.1f} g', (times_s[-1], mass_g[-1]), xytext=(-6, -14), textcoords='offset points',
                  ha='right', color=INK, weight='bold')
    axes.set_ylim(0, max(record.target_g, *mass_g) * 1.18)
    axes.set_ylabel('poured (g)')


def _draw_tilt(record: RunRecord, axes: Axes) -> None:
    if not record.samples:
        _say_empty(axes, 'no measured tilt')
        return
    _shade_phases(record, axes)
    axes.plot(record.seconds([sample.stamp_ns for sample in record.samples]),
              [sample.tilt_deg for sample in record.samples], color=SERIES[2], lw=2)
    axes.set_ylabel('tilt (°)')
    axes.set_ylim(bottom=min(0.0, *(sample.tilt_deg for sample in record.samples)))


def _draw_actions(record: RunRecord, axes: Axes) -> None:
    decided = [sample for sample in record.samples if sample.action in ACTIONS]
    if not decided:
        _say_empty(axes, 'no decisions')
        return
    _shade_phases(record, axes)
    for row, action in enumerate(reversed(ACTIONS)):
        times_s = record.seconds([sample.stamp_ns for sample in decided if sample.action == action])
        axes.vlines(times_s, row - 0.34, row + 0.34, color=ACTION_COLOURS[action], lw=1.8)
        axes.text(1.005, row, f'{len(times_s)}', va='center', color=FAINT, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(ACTIONS)), reversed(ACTIONS))
    axes.tick_params(axis='y', length=0, labelcolor=INK)
    axes.set_ylim(-0.6, len(ACTIONS) - 0.4)


def _draw_embedding_rate(record: RunRecord, axes: Axes) -> None:
    top_hz = 0.0
    for colour, (sensor, times) in zip(SERIES, sorted(record.embedding_times_ns.items())):
        centres_s, rates_hz = rate_over_time(record.seconds([published for _, published in times]))
        if len(centres_s):
            axes.plot(centres_s, rates_hz, color=colour, lw=1.8, label=sensor)
            top_hz = max(top_hz, rates_hz.max())
    if top_hz == 0.0:
        _say_empty(axes, 'no embeddings')
        return
    axes.set_ylim(0, top_hz * 1.25)
    axes.set_ylabel('rate (Hz)')
    _set_time_axis(record, axes)
    axes.legend(ncols=len(SERIES), loc='lower right', labelcolor=INK)


def _draw_latency(record: RunRecord, axes: Axes) -> None:
    latencies_ms = record.latencies_ms()
    if len(latencies_ms) == 0:
        _say_empty(axes, 'no embeddings')
        return
    shown_to_ms = max(float(np.percentile(latencies_ms, 99.5)), 1.0) * 1.05
    axes.hist(latencies_ms, bins=np.linspace(0, shown_to_ms, 61), color=ACCENT, alpha=0.85)
    for alignment, (name, value_ms) in zip(('center', 'right', 'left'), percentiles_ms(latencies_ms).items()):
        axes.axvline(value_ms, color=SERIES[1], lw=1)
        axes.text(value_ms, 1.01, f' {name} {value_ms:.1f} ms ', va='bottom', ha=alignment, fontsize=8,
                  color=SERIES[1], transform=axes.get_xaxis_transform())
    axes.set_xlim(0, shown_to_ms)
    axes.set_xlabel('milliseconds')
    axes.set_ylabel('embeddings')


def _tactile_strip(record: RunRecord) -> np.ndarray:
    """Return uint8 [H, W, 3] RGB: one row a sensor, STRIP_COLUMNS moments evenly over the run."""
    gap_px = 6
    rows = []
    for sensor in sorted({frame.sensor for frame in record.frames}):
        frames = [frame for frame in record.frames if frame.sensor == sensor]
        chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, STRIP_COLUMNS).round().astype(int)]
        tiles = []
        for frame in chosen:
            tile = cv2.resize(frame.image_hwc, (160, 120), interpolation=cv2.INTER_AREA)
            label = f'{sensor}  {float(record.seconds(frame.stamp_ns)):.0f} s'
            cv2.putText(tile, label, (6, 113), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3, cv2.LINE_AA)
            cv2.putText(tile, label, (6, 113), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
            tiles.append(cv2.copyMakeBorder(tile, 0, gap_px, 0, gap_px, cv2.BORDER_CONSTANT, value=(255, 255, 255)))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)
