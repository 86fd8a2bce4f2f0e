"""Settings of the pouring task: how much, how fast, and when to give up."""

from __future__ import annotations

from dataclasses import dataclass

from visuotactile_ros.parameters.definition import check_settings, setting


@dataclass(frozen=True)
class PouringTaskParameters:
    """The task of AnyTouch A.8: pour 60 g out of 100 g of beads by steps of a quarter of a degree at 5 Hz."""

    target_mass_g: float = setting(
        60.0, 'Mass to pour; a policy was trained for one target and refuses another', unit='g', minimum=1.0,
        maximum=1000.0)
    policy_rate_hz: float = setting(5.0, 'Decisions a second', unit='Hz', minimum=0.5, maximum=50.0)
    step_deg: float = setting(0.25, 'Tilt of one step', unit='deg', minimum=0.01, maximum=2.0)
    baseline_decisions: int = setting(
        5, 'Observations averaged upright, and again at the approach tilt', minimum=1, maximum=100)
    approach_tilt_deg: float = setting(
        45.0, 'Tilt reached at the approach speed; no simulated episode flows below 60', unit='deg', minimum=0.0,
        maximum=90.0)
    retract_decisions: int = setting(
        3, 'Consecutive decisions to retract that end the pour', minimum=1, maximum=50)
    maximum_tilt_deg: float = setting(
        115.0, 'Tilt at which the pour is given up', unit='deg', minimum=1.0, maximum=150.0)
    maximum_duration_s: float = setting(
        120.0, 'Time after the approach in which the pour is given up', unit='s', minimum=1.0, maximum=3600.0)
    maximum_embedding_age_s: float = setting(
        0.3, 'An older embedding is not used', unit='s', minimum=0.01, maximum=10.0)
    maximum_embedding_skew_s: float = setting(
        0.2, 'Two fingers further apart in time are not used', unit='s', minimum=0.001, maximum=10.0)
    maximum_unusable_decisions: int = setting(
        2, 'Consecutive decisions without usable embeddings that end the pour', minimum=1, maximum=50)

    def __post_init__(self):
        check_settings(self)
