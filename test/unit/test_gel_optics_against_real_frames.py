"""The fitted optics against real presses that the fit has never seen; the bounds are those the project promises."""

import csv
from pathlib import Path

import numpy as np
import pytest

from training.evaluation.bench_optics import ball_press_errors, tip_press_errors
from training.fit_gel_optics import FRAMES, fit_ball_response, read_frame, read_presses, split
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.photometry import load_optics_table
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

REAL_FRAMES = Path(__file__).parents[2] / FRAMES


def test_held_out_presses_are_predicted_within_the_bounds():
    ball, tip = ball_press_errors(REAL_FRAMES), tip_press_errors(REAL_FRAMES)
    print('\nmean absolute error, grey levels   in contact   change   around contact')
    print(f'GelSight       {ball["presses"]:3} presses         {ball["error_in_contact"]:6.2f}   '
          f'{ball["change_in_contact"]:6.2f}   {ball["error_around_contact"]:6.2f}')
    print(f'GelSight Mini  {tip["presses"]:3} presses         {tip["error_in_contact"]:6.2f}   '
          f'{tip["change_in_contact"]:6.2f}')
    assert ball['error_in_contact'] <= 5.0 and ball['change_in_contact'] > 20.0
    assert tip['error_in_contact'] <= 10.0 and tip['change_in_contact'] > 20.0


def test_simulated_shadows_bring_the_surroundings_nearer_to_the_real_ones():
    ball = ball_press_errors(REAL_FRAMES)
    assert ball['error_around_contact'] < 0.95 * ball['error_around_contact_without_shadows']


def test_the_stored_table_is_the_fit_of_the_stored_frames():
    presses = read_presses(REAL_FRAMES, 'gelsight')
    assert np.allclose(load_optics_table('gelsight').response, fit_ball_response(split(presses)[0]), atol=1e-2)


@pytest.mark.parametrize('kind', ['gelsight', 'gelsight_mini', 'digit'])
def test_the_background_is_that_of_the_real_sensor(kind):
    real = read_frame(REAL_FRAMES / f'{kind}_background.jpg')
    units = [GelRenderer(SENSOR_PROFILES[kind], seed).render_clean(ContactState()) for seed in range(3)]
    assert np.abs(np.mean(units, axis=0) - real).mean() < 8.0


def test_every_labelled_frame_is_there():
    with (REAL_FRAMES / 'labels.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 72
    for row in rows:
        assert (REAL_FRAMES / row['file']).is_file()
        assert 0 <= float(row['x_px']) < 320 and 0 <= float(row['y_px']) < 240
