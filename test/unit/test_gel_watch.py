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


SUMMER_2025_NS = 175 * 10 ** 16


class Gel:
    """One rendered gel whose frames go into a watch."""

    def __init__(self, serial='2BNN4ZE7'):
        self._sensor, self._renderer = SensorIdentity('left', KIND, serial), GelRenderer(PROFILE, 5)
        self._rng, self._sequence = np.random.default_rng(0), 0
        self.damage, self.clock_ns = None, SUMMER_2025_NS

    def wear(self, **severity):
        self.damage = GelDamage(PROFILE, DamageSeverity(**severity), 0)

    def show(self, watch, contact=UNTOUCHED, frames=5):
        for _ in range(frames):
            image = self._renderer.render(contact, self._rng)
            image = image if self.damage is None else self.damage.apply(image)
            self._sequence += 1
            watch.update(Frame(image, self.clock_ns + self._sequence * 10 ** 9, self._sensor, self._sequence))


@pytest.fixture
def settings(tmp_path):
    return SensorParameters(kind=KIND, source='device', reference_frames=5,
                            reference_folder=str(tmp_path / 'references'))


def test_contact_is_known_once_there_is_a_reference(settings):
    watch, gel = GelWatch(settings), Gel()
    assert watch.in_contact is None and 'no reference yet' in watch.warning and watch.values() == {}
    gel.show(watch)
    assert watch.in_contact is False
    gel.show(watch, PRESSED, 1)
    assert watch.in_contact is True and watch.values()['difference_level'] > settings.contact_on_level
    watch.request_reference()
    with pytest.raises(SensorError, match='Take the object off'):
        gel.show(watch, PRESSED)
    assert watch.in_contact is True and watch.warning == ''
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


def session(settings, gel, frames=5):
    """Start with this gel, and end once its reference is judged."""
    watch = GelWatch(settings)
    gel.show(watch, frames=frames)
    watch.close()
    return watch


def test_sudden_damage_is_told_apart_from_no_reference_and_leaves_the_first_session_the_first(settings, tmp_path):
    gel = Gel()
    assert session(settings, gel).values()['gel_score'] == pytest.approx(1.0)
    stored = sorted(tmp_path.rglob('*.json'))
    gel.wear(scratches=1.0)
    watch = GelWatch(settings)
    with pytest.raises(SensorError) as refusal:
        gel.show(watch)
    assert 'left is touched' in refusal.value.problem
    assert 'or the gel is damaged (score 0.' in refusal.value.problem and ', scratches)' in refusal.value.problem
    assert refusal.value.remedy.startswith('Take the object off the gel; if nothing touches it, clean it with ')
    assert watch.warning == str(refusal.value) and watch.in_contact is None and watch.values() == {}
    assert sorted(tmp_path.rglob('*.json')) == stored
    gel.damage = None
    gel.show(watch)
    watch.close()
    assert watch.in_contact is False and watch.warning == ''


def test_a_gel_that_was_said_to_be_free_is_judged_against_its_first_session(settings):
    gel = Gel()
    session(settings, gel)
    gel.wear(scratches=1.0)
    watch = session(dataclasses.replace(settings, touched_change_level=255.0), gel)
    assert watch.values()['gel_score'] < 0.5 and 'no longer looks as new' in watch.warning
    # The limit is the usual one again, and the gel is still not called new.
    assert session(settings, gel).values()['gel_score'] < 0.5


@pytest.mark.parametrize(('part', 'remedy'), [('lost_light', 'check LEDs'), ('colour_shift', 'lock the white balance')])
def test_the_remedy_is_that_of_the_worst_damage(settings, part, remedy):
    gel = Gel()
    session(settings, gel)
    gel.wear(**{part: 1.0})
    watch = session(dataclasses.replace(settings, touched_change_level=255.0), gel)
    assert f'{part.replace("_", " ")}): {remedy}' in watch.warning


def test_a_start_before_the_clock_is_set_is_judged_and_not_stored(settings, tmp_path):
    gel = Gel()
    session(settings, gel)
    stored = sorted(tmp_path.rglob('*.json'))
    gel.clock_ns = 0
    gel.wear(colour_shift=1.0)
    watch = session(settings, gel)
    assert sorted(tmp_path.rglob('*.json')) == stored
    assert watch.values()['gel_score'] < 0.5
    assert 'lock the white balance' in watch.warning and 'Set the clock' in watch.warning
    gel.clock_ns = SUMMER_2025_NS
    watch.request_reference()
    gel.show(watch)
    watch.close()
    assert len(list(tmp_path.rglob('*.json'))) == len(stored) + 1 and 'Set the clock' not in watch.warning


@pytest.mark.parametrize('source', ['simulated', 'replay'])
def test_pictures_that_are_not_of_the_sensor_are_no_session_of_it(settings, tmp_path, source):
    watch = session(dataclasses.replace(settings, source=source, replay_path='folder'), Gel())
    assert watch.in_contact is False and 'gel_score' not in watch.values()
    assert not (tmp_path / 'references').exists()


def test_a_damaged_file_is_named_until_it_is_removed(settings, tmp_path):
    gel = Gel()
    session(settings, gel)
    damaged, = tmp_path.rglob('*.json')
    damaged.write_text('{')
    watch = session(settings, gel)
    assert watch.warning == f'{damaged} is no stored reference. Remove it.'
    damaged.unlink()
    watch.request_reference()
    gel.show(watch)
    watch.close()
    assert watch.warning == ''


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
