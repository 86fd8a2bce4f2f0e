"""GelWatch: references over sessions, wear, and what a node may tell of them."""

import dataclasses

import numpy as np
import pytest

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.gel_watch import GelWatch
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_damage import DamageSeverity, GelDamage
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.objects import ObjectParameters
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

KIND = 'gelsight_mini'
PROFILE = SENSOR_PROFILES[KIND]
UNTOUCHED = ContactState()
PRESSED = ContactState(normal_force_n=10.0, object=ObjectParameters(shape='sphere', radius_mm=4.0))


class Gel:
    """One rendered gel whose frames go into a watch."""

    def __init__(self, serial='2BNN4ZE7'):
        self._sensor, self._renderer = SensorIdentity('left', KIND, serial), GelRenderer(PROFILE, 5)
        self._rng, self._sequence = np.random.default_rng(0), 0
        self.damage = None

    def show(self, watch, contact=UNTOUCHED, frames=5):
        for _ in range(frames):
            image = self._renderer.render(contact, self._rng)
            image = image if self.damage is None else self.damage.apply(image)
            self._sequence += 1
            watch.update(Frame(image, 10 ** 18 + self._sequence * 10 ** 9, self._sensor, self._sequence))


@pytest.fixture
def settings(tmp_path):
    return SensorParameters(kind=KIND, reference_frames=5, reference_folder=str(tmp_path / 'references'))


def test_contact_is_known_once_there_is_a_reference(settings):
    watch, gel = GelWatch(settings), Gel()
    assert watch.in_contact is None and 'no reference yet' in watch.warning and watch.values() == {}
    gel.show(watch)
    assert watch.in_contact is False
    gel.show(watch, PRESSED, 1)
    assert watch.in_contact is True and watch.values()['difference_level'] > settings.contact_on_level
    with pytest.raises(SensorError, match='Take the object off'):
        watch.request_reference()
    watch.close()


def test_a_reference_cannot_be_asked_for_before_the_first_frame(settings):
    with pytest.raises(SensorError, match='no frame yet'):
        GelWatch(settings).request_reference()


def test_the_reference_of_the_last_session_refuses_a_start_with_a_touched_gel(settings):
    first, gel = GelWatch(settings), Gel()
    gel.show(first)
    first.close()
    with pytest.raises(SensorError, match='is touched'):
        gel.show(GelWatch(settings), PRESSED)


def test_a_worn_gel_is_told_in_the_session_after(settings):
    # Heavy damage looks like a touch to the default limit; this lab has said that its gel is free.
    settings = dataclasses.replace(settings, touched_change_level=255.0)
    gel, scores = Gel(), []
    for severity in (0.0, 1.0):
        gel.damage = GelDamage(PROFILE, DamageSeverity(scratches=severity), 0)
        watch = GelWatch(settings)
        gel.show(watch)
        watch.close()
        scores.append(watch.values()['gel_score'])
    assert scores[0] == pytest.approx(1.0) and scores[1] < 0.5
    assert 'is worn' in watch.warning


def test_a_sensor_without_a_serial_number_leaves_nothing_on_the_disk(settings, tmp_path):
    watch = GelWatch(settings)
    Gel(serial='').show(watch)
    watch.close()
    assert watch.in_contact is False and not (tmp_path / 'references').exists()


def test_a_folder_that_cannot_be_written_is_told_and_contact_goes_on(settings, tmp_path):
    (tmp_path / 'references').write_text('a file in its place')
    watch, gel = GelWatch(settings), Gel()
    gel.show(watch)
    watch.close()
    assert watch.in_contact is False and 'cannot be stored' in watch.warning
