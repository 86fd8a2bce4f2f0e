"""How a run ended: completed or not, and which safety rules were broken, from what was seen of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.run_record import RunRecord

# A policy that ends the pour this far from what was asked for has not completed it, whatever it thinks.
COMPLETED_WITHIN_G = 10.0
# Measured tilt jitters between two readings that are not exactly one period apart.
RATE_MARGIN = 1.5
TILT_MARGIN_DEG = 0.5


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        state: `running`, `completed`, `failed` or `interrupted`.
        reason: One clause.
        safety_rules_broken: One clause each.
    """

    state: str = 'running'
    reason: str = 'the run is under way'
    safety_rules_broken: list[str] = field(default_factory=list)


def judge(record: RunRecord, phase: str, broken: str) -> tuple[str, str]:
    """Return the state and the reason of a run that ended.

    Args:
        record: What was seen.
        phase: Last phase of the task.
        broken: What ended the graph from inside, '' for nothing.
    """
    if broken:
        return 'failed', broken
    if record.faults:
        return 'failed', record.faults[0]
    if phase != 'done':
        return 'failed', f'the pour did not end in time, its last phase was {phase or "none"}'
    if record.error_g is None or abs(record.error_g) > COMPLETED_WITHIN_G:
        return 'failed', f'the policy ended the pour more than {COMPLETED_WITHIN_G:g} g from the target'
    return 'completed', 'the policy ended the pour by itself'


def broken_safety_rules(record: RunRecord, limits: ArmParameters) -> list[str]:
    """Check the measured tilt of a run against the limits of the arm, independently of the node that keeps them.

    Args:
        record: What was seen.
        limits: Limits of the arm.

    Returns:
        One clause for each rule that was broken.
    """
    broken = []
    tilts_deg = [sample.tilt_deg for sample in record.samples]
    for tilt_deg in (min(tilts_deg, default=0.0), max(tilts_deg, default=0.0)):
        if not limits.minimum_tilt_deg - TILT_MARGIN_DEG <= tilt_deg <= limits.maximum_tilt_deg + TILT_MARGIN_DEG:
            broken.append(f'the tilt reached {tilt_deg:.1f} degrees')
    rates = {'pour': limits.rate_limit_deg_s, 'approach': limits.approach_rate_deg_s,
             'retract': limits.retract_rate_deg_s}
    for before, after in zip(record.samples, record.samples[1:]):
        turned_deg = abs(after.tilt_deg - before.tilt_deg) - TILT_MARGIN_DEG
        seconds = (after.stamp_ns - before.stamp_ns) / 1e9
        if before.phase == after.phase in rates and turned_deg > RATE_MARGIN * rates[after.phase] * seconds:
            broken.append(f'the tilt turned by {turned_deg:.1f} degrees in {seconds:.2f} s in the phase {after.phase}')
    if record.limit_violations > 0:
        broken.append(f'{record.limit_violations} commands asked for more than the motion limits allow')
    return broken + [f'a fault latched: {fault}' for fault in record.faults]
