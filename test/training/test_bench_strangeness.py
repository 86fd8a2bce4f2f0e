"""The benchmark of the out-of-distribution alarm, small."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.evaluation import bench_strangeness as bench
from training.fit_gel_optics import FRAMES
from visuotactile_ros.inference.model_folder import write_model_folder

REAL_FRAMES = Path(__file__).parents[2] / FRAMES


def test_covariance_distance_is_the_mahalanobis_distance_with_a_floor():
    rng = np.random.default_rng(0)
    fit = rng.normal(size=(500, 4)) * [3.0, 1.0, 0.1, 0.0]
    points = rng.normal(size=(20, 4))
    covariance = np.cov(fit.T)
    covariance += bench.VARIANCE_FLOOR * np.linalg.eigvalsh(covariance).max() * np.eye(4)
    difference = points - fit.mean(axis=0)
    expected = [np.sqrt(one @ np.linalg.inv(covariance) @ one / 4) for one in difference]
    assert bench.covariance_distance(fit)(points) == pytest.approx(expected)


def test_the_command_tells_shares_and_alarms_of_every_set(tiny_encoder, tmp_path):
    write_model_folder(tmp_path / 'tiny', *tiny_encoder())
    output = tmp_path / 'strangeness.json'
    assert bench.main(['--model', str(tmp_path / 'tiny'), '--kinds', 'gelsight_mini', '--count', '10',
                       '--window-frames', '4', '--frames', str(REAL_FRAMES), '--output', str(output)]) == 0
    rows = {row['frames']: row for row in json.loads(output.read_text())['kinds']['gelsight_mini']}
    assert {'usual', 'real', 'noise', 'another kind', *bench.PARTS} <= set(rows)
    assert rows['real']['count'] == 26
    strange, usual = (rows[name]['covariance_of_kind'] for name in ('another kind', 'usual'))
    assert strange['alarm'] and strange['strange_share'] == 1.0 and strange['median_over_threshold'] > 1.0
    assert not usual['alarm'] and usual['median_over_threshold'] < 1.0
