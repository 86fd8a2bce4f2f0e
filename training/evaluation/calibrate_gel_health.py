"""Gel health and touch at the start: thresholds from simulated damage, checked on real frames.

    python -m training.evaluation.calibrate_gel_health --output docs/results/gel_health.json

Half of the simulated units propose the thresholds. The other half and real frames tell what those in use
(`GelHealthLimits`) do to the score, and what the proposed ones do to references taken in contact. Undamaged sessions
drift as real ones do; the real no-contact frames are presses whose surroundings are real and whose contact is filled
with the background. Every second real session proposes and the others check, so the two halves show the same units.
Damage comes at once, so a start may refuse it as a touch: how often is told beside its score.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.fit_gel_optics import FRAMES, read_frame, read_presses
from visuotactile_ros.command_line import command
from visuotactile_ros.files import write_atomically
from visuotactile_ros.parameters.definition import build_parameters, load_parameter_yaml
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.resources import resource_path
from visuotactile_ros.sensors.gel_health import GelChange, GelHealth, GelHealthLimits, gel_change, score_change
from visuotactile_ros.sensors.reference_frame import (
    NoContactStatistics,
    change_level,
    imprint_level,
    no_contact_statistics,
    robust_mean,
)
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_damage import DamageSeverity, GelDamage
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.objects import sample_object
from visuotactile_ros.simulation.photometry import image_grid, place_terms
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

PARTS = tuple(field.name for field in dataclasses.fields(GelHealth))
SEVERITIES = (0.25, 0.5, 1.0)
# Fewer than the sensor node takes, hence noisier: on the safe side.
REFERENCE_FRAMES = 6
FIRST_UNIT = 5000
# Damage on the laboratory GelSight is kept for the check, the clear skin is a stand-in.
CALIBRATED_KINDS = ('gelsight_mini', 'gelsight_mini_markers', 'digit')
NO_CONTACT = ContactState()
FORCES_N = (0.5, 1.0, 2.0, 5.0)
CONTACTS_A_FORCE = 2
# Untouched references stay below their limits by this factor; simulated changes by twice as much, for they know nothing
# of warm-up, focus and creep of the gel.
TOUCH_MARGIN = 1.5
PRESS_REACH_PX = {'gelsight': 70.0, 'gelsight_mini': 60.0}
REAL_FRAMES_A_REFERENCE = 6
# Real sessions, by their number.
PROPOSING, CHECKING = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True)
class Measured:
    """What differs between a reference and the one before it, which is that of the new gel.

    Attributes:
        change: For the score.
        change_level: For the question whether something touches, grey levels.
    """

    change: GelChange
    change_level: float


def real_sessions(folder: Path, kind: str) -> list[np.ndarray]:
    """No-contact references of a real sensor: presses, six a reference, their contact filled with the background.

    Returns:
        uint8 [240, 320, 3] each, RGB.
    """
    background, (x, y), untouched = read_frame(folder / f'{kind}_background.jpg'), image_grid(), []
    for press in read_presses(folder, kind):
        inside = np.hypot(x - press.x_px, y - press.y_px) < PRESS_REACH_PX[kind]
        inside = cv2.GaussianBlur(inside.astype(np.float64), (0, 0), 6.0)[..., None]
        untouched.append(np.rint(background + (1.0 - inside) * press.change).astype(np.uint8))
    return [robust_mean(untouched[first:first + REAL_FRAMES_A_REFERENCE])
            for first in range(0, len(untouched), REAL_FRAMES_A_REFERENCE)]


def session_drifts(folder: Path, half: slice) -> np.ndarray:
    """Drift of the light in real sessions, coefficients of `place_terms`, grey levels: float64 [sessions, 6, 3].

    Args:
        folder: Folder of real frames.
        half: `PROPOSING` or `CHECKING`.
    """
    terms, drifts = place_terms(*image_grid()).reshape(6, -1).T, []
    for kind in PRESS_REACH_PX:
        background = read_frame(folder / f'{kind}_background.jpg')
        drifts += [np.linalg.lstsq(terms, (image - background).reshape(-1, 3), rcond=None)[0]
                   for image in real_sessions(folder, kind)[half]]
    return np.stack(drifts)


class SimulatedSessions:
    """References of one simulated unit in session after session; each drifts like a real one, by -1 to 1 times as much.

    Args:
        kind: Kind of sensor.
        unit: Seed of the unit.
        drifts: From `session_drifts`.
    """

    def __init__(self, kind: str, unit: int, drifts: np.ndarray):
        self.renderer, self.rng = GelRenderer(SENSOR_PROFILES[kind], unit), np.random.default_rng(unit)
        self._drifts, self._terms = drifts, place_terms(*image_grid())
        self.first, self.statistics = self._reference(np.zeros((240, 320, 3)), NO_CONTACT)

    def next_reference(self, contact: ContactState = NO_CONTACT) -> np.ndarray:
        """Take the reference of the next session: uint8 [240, 320, 3], RGB."""
        drift = self._drifts[self.rng.integers(len(self._drifts))] * self.rng.uniform(-1.0, 1.0)
        return self._reference(np.einsum('pc,phw->hwc', drift, self._terms), contact)[0]

    def _reference(self, change, contact):
        frames = [self.renderer.render(contact, self.rng) + change for _ in range(REFERENCE_FRAMES)]
        frames = [np.clip(np.rint(frame), 0, 255).astype(np.uint8) for frame in frames]
        return robust_mean(frames), no_contact_statistics(frames)


def damaged(reference: np.ndarray, kind: str, part: str, severity: float, seed: int) -> np.ndarray:
    """A reference with one simulated damage: uint8 [240, 320, 3], RGB."""
    return GelDamage(SENSOR_PROFILES[kind], DamageSeverity(**{part: severity}), seed).apply(reference)


def measure_simulated(kinds: Sequence[str], units: Sequence[int], sessions: int, drifts: np.ndarray) -> dict:
    """Changes of simulated gels: `{('none', 0.0) or (part, severity): [Measured, …]}`."""
    changes = {('none', 0.0): [], **{(part, severity): [] for part in PARTS for severity in SEVERITIES}}
    for kind in kinds:
        for unit in units:
            simulated = SimulatedSessions(kind, unit, drifts)
            later = [simulated.next_reference() for _ in range(sessions)]
            changes['none', 0.0] += [_measured(image, simulated.first, simulated.statistics) for image in later]
            for part, severity in list(changes)[1:]:
                image = damaged(later[0], kind, part, severity, unit)
                changes[part, severity].append(_measured(image, simulated.first, simulated.statistics))
    return changes


def _measured(image, first, statistics):
    change = gel_change(image, first, statistics, GelHealthLimits().smallest_contrast_level)
    return Measured(change, change_level(image, first))


def measure_real(folder: Path, kind: str, damage_seeds: Sequence[int]) -> dict:
    """The same for the checking real references, with simulated damage; a kind of one frame has no later session."""
    background = _background(folder, kind)
    later = real_sessions(folder, kind)[CHECKING] if kind in PRESS_REACH_PX else []
    # The noise of the simulated sensor, which was fitted to these frames.
    statistics = NoContactStatistics(REAL_FRAMES_A_REFERENCE, 1.0)
    changes = {('none', 0.0): [_measured(image, background, statistics) for image in later]}
    for part in PARTS:
        for severity in SEVERITIES:
            changes[part, severity] = [
                _measured(damaged((later or [background])[seed % max(len(later), 1)], kind, part, severity, seed),
                          background, statistics) for seed in damage_seeds]
    return changes


def propose_limits(changes: dict) -> dict[str, dict[str, float]]:
    """Thresholds by part: what 99.5 % of the undamaged sessions stay below, and the median of the full damage."""
    def values(case, part):
        return [getattr(measured.change, part) for measured in changes[case]]
    return {'as_new': {part: float(np.quantile(values(('none', 0.0), part), 0.995)) for part in PARTS},
            'worn_out': {part: float(np.median(values((part, 1.0), part))) for part in PARTS}}


def touched_change_level(kind: str) -> float:
    """Limit in use of a kind of sensor, grey levels."""
    path = resource_path(f'config/{kind}.yaml')
    return build_parameters(SensorParameters, load_parameter_yaml(path), str(path)).touched_change_level


def rates(changes: dict, limits: GelHealthLimits, touched_level: float) -> list[dict]:
    """What the limits in use make of measured changes, one row a damage and severity.

    Args:
        changes: From `measure_simulated` or `measure_real`.
        limits: Of the score.
        touched_level: From `touched_change_level`.
    """
    rows = []
    for (part, severity), measured in changes.items():
        if not measured:
            continue
        health = [score_change(one.change, limits) for one in measured]
        named_right = [part != 'none' and 0.0 < getattr(one, part) == max(dataclasses.astuple(one)) for one in health]
        rows.append({'damage': part, 'severity': severity, 'sessions': len(health),
                     'median_score': float(np.median([one.score for one in health])),
                     'lowest_score': min(one.score for one in health),
                     'below_1_share': float(np.mean([one.score < 1.0 for one in health])),
                     'worn_share': float(np.mean([one.score < limits.worn_below_score for one in health])),
                     'refused_as_touched_share': float(np.mean([one.change_level > touched_level for one in measured])),
                     'named_right_share': None if part == 'none' else float(np.mean(named_right))})
    return rows


def touch_at_start(folder: Path, kind: str, units: Sequence[int], sessions: int) -> dict:
    """Limits proposed from half of the untouched references, and what they refuse of the others and of touched ones."""
    untouched, touched, half = [], {force: [] for force in FORCES_N}, len(units) // 2
    drifts = [session_drifts(folder, PROPOSING)] * half + [session_drifts(folder, CHECKING)] * half
    for unit, drift in zip(units, drifts):
        simulated = SimulatedSessions(kind, unit, drift)
        untouched.append([_levels(simulated.next_reference(), simulated.first) for _ in range(sessions)])
        for force in [force for force in FORCES_N for _ in range(CONTACTS_A_FORCE)]:
            contact = ContactState(force, offset_mm=tuple(simulated.rng.uniform(-3.0, 3.0, 2)),
                                   orientation_deg=simulated.rng.uniform(0.0, 180.0),
                                   object=sample_object(simulated.rng))
            touched[force].append(_levels(simulated.next_reference(contact), simulated.first))
    background = _background(folder, kind)
    real = [_levels(image, background) for image in real_sessions(folder, kind)] if kind in PRESS_REACH_PX else []
    imprint, change = np.max([np.max(untouched[:half], axis=(0, 1)) * [1.0, 2.0], *real[PROPOSING]], axis=0)
    limits = math.ceil(TOUCH_MARGIN * imprint), math.ceil(TOUCH_MARGIN * change)
    result = {'proposed_imprint_level': limits[0], 'proposed_change_level': limits[1],
              'untouched': _refused(np.concatenate(untouched[half:]), limits),
              'touched_by_force_n': {force: _refused(np.array(levels), limits) for force, levels in touched.items()}}
    if background is not None:
        result['real_untouched'] = _refused(np.array([_levels(background, background), *real[CHECKING]]), limits)
    if kind in PRESS_REACH_PX:
        presses = [read_frame(folder / press.file).astype(np.uint8) for press in read_presses(folder, kind)]
        result['real_presses'] = _refused(np.array([_levels(image, background) for image in presses]), limits)
    return result


def _background(folder, kind):
    path = folder / f'{kind}_background.jpg'
    return read_frame(path).astype(np.uint8) if path.is_file() else None


def _levels(image, stored):
    return imprint_level(image), change_level(image, stored)


def _refused(levels, limits):
    """Shares of references that are refused, and the levels that were measured (smallest, largest)."""
    shares = (levels > limits).mean(axis=0)
    return {'references': len(levels), 'refused_as_first': float(shares[0]), 'refused_with_stored': float(shares[1]),
            'imprint_level': [float(levels[:, 0].min()), float(levels[:, 0].max())],
            'change_level': [float(levels[:, 1].min()), float(levels[:, 1].max())]}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, help='JSON file to write')
    parser.add_argument('--frames', type=Path, default=FRAMES, help='folder of real frames')
    parser.add_argument('--units', type=int, default=8, help='simulated units of each kind, an even number')
    parser.add_argument('--sessions', type=int, default=6, help='later sessions of each unit')
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    units, half = range(FIRST_UNIT, FIRST_UNIT + options.units), options.units // 2
    limits, checking_drifts = GelHealthLimits(), session_drifts(options.frames, CHECKING)
    proposing = measure_simulated(CALIBRATED_KINDS, units[:half], options.sessions,
                                  session_drifts(options.frames, PROPOSING))
    checking = {kind: measure_simulated([kind], units[half:], options.sessions, checking_drifts)
                for kind in SENSOR_PROFILES}
    real_kinds = [kind for kind in SENSOR_PROFILES if _background(options.frames, kind) is not None]
    result = {
        'simulated': True,
        'units_of_each_kind': options.units, 'sessions_of_each_unit': options.sessions,
        'limits_in_use': dataclasses.asdict(limits),
        'touched_change_level_in_use': {kind: touched_change_level(kind) for kind in SENSOR_PROFILES},
        'proposed_limits': propose_limits(proposing),
        'simulated_gels': {kind: rates(changes, limits, touched_change_level(kind))
                           for kind, changes in checking.items()},
        'real_frames_with_simulated_damage': {
            kind: rates(measure_real(options.frames, kind, units), limits, touched_change_level(kind))
            for kind in real_kinds},
        'touch_at_start': {kind: touch_at_start(options.frames, kind, units, options.sessions)
                           for kind in SENSOR_PROFILES}}
    if options.output is not None:
        write_atomically(options.output, json.dumps(result, indent=2) + '\n')
    print(json.dumps(result['proposed_limits'], indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
