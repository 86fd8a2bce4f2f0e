"""Incipient slip is reported when part of a contact stays behind, and only then."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuotactile_ros.sensors.gel_motion import GelMotion
from visuotactile_ros.sensors.marker_tracking import DisplacementField
from visuotactile_ros.sensors.slip import SLIP_ON_SHARE, SlipMonitor

GRID = np.stack(np.meshgrid(np.arange(20.0, 320, 20), np.arange(20.0, 240, 20)), -1).reshape(-1, 2)
CENTRE, RADIUS_PX = np.array([160.0, 120.0]), 70.0
FROM_CENTRE = np.linalg.norm(GRID - CENTRE, axis=1)
IN_CONTACT = FROM_CENTRE < RADIUS_PX
FOLLOWING = np.exp(-0.5 * (np.maximum(FROM_CENTRE - RADIUS_PX, 0.0) / 40.0) ** 2)[:, None]


def rigid(shear, twist_deg=0.0):
    turn = np.deg2rad(twist_deg)
    return (GRID - CENTRE) @ np.array([[np.cos(turn) - 1, np.sin(turn)], [-np.sin(turn), np.cos(turn) - 1]]) + shear


class Contact:
    """A monitor that watches a contact whose markers stop where `slides` says so."""

    def __init__(self, seed=0):
        self.monitor, self._rng = SlipMonitor(), np.random.default_rng(seed)
        self._moved, self._before = np.zeros_like(GRID), np.zeros_like(GRID)

    def move(self, shear, twist_deg=0.0, slides=None, is_seen=None):
        asked = rigid(np.array(shear, float), twist_deg)
        step = FOLLOWING * (asked - self._before)
        self._moved = self._moved + (step if slides is None else np.where(slides[:, None], 0.0, step))
        self._before = asked
        seen = np.ones(len(GRID), bool) if is_seen is None else is_seen
        field = DisplacementField(GRID, self._moved + self._rng.normal(0.0, 0.08, GRID.shape), seen)
        self.monitor.update(field, GelMotion(np.array(shear, float), twist_deg, asked, 0.1))
        return self.monitor


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2 ** 31))
def test_a_contact_that_holds_is_never_reported(seed):
    rng, contact = np.random.default_rng(seed), Contact(seed)
    path = np.cumsum(rng.normal(0.0, 0.6, (60, 3)), axis=0)
    for x, y, twist_deg in path:
        assert not contact.move((x, y), 0.5 * twist_deg).is_slipping


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 2 * np.pi), st.floats(0.35, 0.85))
def test_a_rim_that_stays_behind_is_reported_with_its_share(direction, sliding_share):
    slides = IN_CONTACT & (FROM_CENTRE > RADIUS_PX * np.sqrt(1.0 - sliding_share))
    way, contact = np.array([np.cos(direction), np.sin(direction)]), Contact()
    for distance in np.arange(0.0, 4.0, 0.4):
        assert not contact.move(distance * way).is_slipping
    for distance in np.arange(4.0, 9.0, 0.4):
        monitor = contact.move(distance * way, slides=slides | ~IN_CONTACT)
    assert monitor.is_slipping and monitor.slipping_share > SLIP_ON_SHARE


def test_a_rim_that_stays_behind_a_twist_is_reported():
    contact = Contact()
    for twist_deg in np.arange(0.0, 4.0, 0.4):
        contact.move((0.0, 0.0), twist_deg)
    assert not contact.monitor.is_slipping
    for twist_deg in np.arange(4.0, 9.0, 0.4):
        contact.move((0.0, 0.0), twist_deg, slides=FROM_CENTRE > 0.75 * RADIUS_PX)
    assert contact.monitor.is_slipping


def slipping_contact():
    contact = Contact()
    for x in np.arange(0.0, 9.0, 0.4):
        contact.move((x, 0.0), slides=FROM_CENTRE > 45.0 if x > 4.0 else None)
    assert contact.monitor.is_slipping
    return contact


def test_the_report_is_held_while_nothing_moves_and_ends_when_all_follow_again():
    contact = slipping_contact()
    for _ in range(20):
        assert contact.move((8.8, 0.0)).is_slipping
    for x in np.arange(8.8, 2.0, -0.4):
        contact.move((x, 0.0))
    assert not contact.monitor.is_slipping and contact.monitor.slipping_share < 0.1


def test_a_new_contact_begins_without_slip():
    monitor = slipping_contact().monitor
    monitor.restart()
    assert not monitor.is_slipping and monitor.slipping_share == 0.0


def test_lost_markers_are_no_slip():
    contact, rng = Contact(), np.random.default_rng(1)
    for x in np.arange(0.0, 9.0, 0.4):
        assert not contact.move((x, 0.0), is_seen=rng.random(len(GRID)) > 0.3).is_slipping


@pytest.mark.parametrize('seen', [0, 3])
def test_too_few_markers_tell_nothing(seen):
    contact, is_seen = Contact(), np.arange(len(GRID)) < seen
    for x in np.arange(0.0, 9.0, 0.4):
        assert not contact.move((x, 0.0), slides=FROM_CENTRE > 45.0 if x > 4.0 else None, is_seen=is_seen).is_slipping
