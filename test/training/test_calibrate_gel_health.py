"""The calibration of gel health and of the touch at the start, small, and its JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.evaluation import calibrate_gel_health as calibration
from training.fit_gel_optics import FRAMES, read_frame
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.gel_health import GelChange, GelHealthLimits
from visuotactile_ros.sensors.reference_frame import ReferenceFrame, mean_difference

REAL_FRAMES = Path(__file__).parents[2] / FRAMES
LIMIT = 4.0


def measured(value, change_level=0.0):
    return calibration.Measured(GelChange(value, value, value, value), change_level)


def test_real_sessions_show_no_press_but_the_drift_around_it():
    background = read_frame(REAL_FRAMES / 'gelsight_background.jpg').astype(np.uint8)
    sessions = calibration.real_sessions(REAL_FRAMES, 'gelsight')
    assert len(sessions) == 8
    for image in sessions:
        assert 0.3 < mean_difference(image, background) < 4.0
        assert np.abs(image.astype(float) - background)[60:180, 80:240].max() < 40.0


def test_real_sessions_propose_or_check_and_none_does_both():
    proposing, checking = (calibration.session_drifts(REAL_FRAMES, half)
                           for half in (calibration.PROPOSING, calibration.CHECKING))
    assert proposing.shape == checking.shape == (6, 6, 3)
    assert np.abs([proposing, checking]).max() < 15.0
    assert len({drift.tobytes() for drift in (*proposing, *checking)}) == 12
    checked = calibration.measure_real(REAL_FRAMES, 'gelsight', [])['none', 0.0]
    assert len(checked) == len(calibration.real_sessions(REAL_FRAMES, 'gelsight')) // 2


@pytest.mark.parametrize('kind', ['gelsight', 'gelsight_mini'])
def test_real_light_that_has_drifted_is_mended_by_a_new_reference(kind):
    background = read_frame(REAL_FRAMES / f'{kind}_background.jpg').astype(np.uint8)
    for image in calibration.real_sessions(REAL_FRAMES, kind):
        reference = ReferenceFrame(kind, 3, 0.5, 0.2, 0.1, touched_change_level=calibration.touched_change_level(kind))
        for _ in range(3):
            reference.update(background)
        reference.update(image)
        assert reference.in_contact
        reference.request()
        for _ in range(3):
            reference.update(image)
        assert not reference.in_contact and not reference.is_collecting


def test_a_simulated_session_drifts_like_a_real_one(monkeypatch):
    brighter = np.zeros((1, 6, 3))
    brighter[0, 0] = 4.0
    simulated = calibration.SimulatedSessions('gelsight_mini', 1, brighter)
    monkeypatch.setattr(simulated, 'rng', FixedFactor(1))
    difference = simulated.next_reference().astype(float) - simulated.first
    assert difference.mean() == pytest.approx(4.0, abs=0.2)


class FixedFactor:
    """A generator whose session drifts fully."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def uniform(self, *_):
        return 1.0

    def __getattr__(self, name):
        return getattr(self._rng, name)


def test_proposed_limits_lie_at_the_rim_of_the_undamaged_and_the_middle_of_the_damaged():
    changes = {('none', 0.0): [measured(value) for value in np.linspace(0.0, 1.0, 201)],
               **{(part, 1.0): [measured(value) for value in (2.0, 3.0, 7.0)] for part in calibration.PARTS}}
    limits = calibration.propose_limits(changes)
    assert limits['as_new'] == pytest.approx(dict.fromkeys(calibration.PARTS, 0.995))
    assert limits['worn_out'] == dict.fromkeys(calibration.PARTS, 3.0)


def test_rates_count_alarms_and_names():
    limits = GelHealthLimits()
    worn = calibration.Measured(GelChange(limits.worn_out.scratches, 0.0, 0.0, 0.0), LIMIT + 1.0)
    as_new = measured(0.0, LIMIT)
    none, scratched, bubbled = calibration.rates(
        {('none', 0.0): [as_new] * 4, ('scratches', 1.0): [worn, as_new], ('bubbles', 1.0): [worn]}, limits, LIMIT)
    assert (none['worn_share'], none['below_1_share'], none['named_right_share']) == (0.0, 0.0, None)
    assert (scratched['worn_share'], scratched['named_right_share'], scratched['lowest_score']) == (0.5, 0.5, 0.0)
    assert (bubbled['worn_share'], bubbled['named_right_share']) == (1.0, 0.0)
    assert [row['refused_as_touched_share'] for row in (none, scratched, bubbled)] == [0.0, 0.5, 1.0]


def test_the_limit_in_use_is_that_of_the_preset():
    assert calibration.touched_change_level('gelsight') == 7.0
    assert calibration.touched_change_level('digit') == SensorParameters().touched_change_level


def test_touched_real_references_are_refused_by_the_proposed_limits():
    result = calibration.touch_at_start(REAL_FRAMES, 'gelsight_mini', range(2), 1)
    assert result['real_presses']['references'] == 24
    for group, share in (('real_presses', 1.0), ('real_untouched', 0.0), ('untouched', 0.0)):
        assert (result[group]['refused_as_first'], result[group]['refused_with_stored']) == (share, share)


def test_the_command_writes_its_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibration, 'SENSOR_PROFILES', {'digit': calibration.SENSOR_PROFILES['digit']})
    monkeypatch.setattr(calibration, 'CALIBRATED_KINDS', ('digit',))
    output = tmp_path / 'gel_health.json'
    assert calibration.main(['--frames', str(REAL_FRAMES), '--units', '2', '--sessions', '1', '--output',
                             str(output)]) == 0
    result = json.loads(output.read_text())
    assert list(result['simulated_gels']) == ['digit']
    assert json.loads(capsys.readouterr().out) == result['proposed_limits']
    rows = {(row['damage'], row['severity']): row for row in result['simulated_gels']['digit']}
    assert rows['none', 0.0]['worn_share'] == 0.0 and rows['scratches', 1.0]['worn_share'] == 1.0
