"""The benchmark of the out-of-distribution alarm, small."""

import json
from pathlib import Path

from training.evaluation import bench_strangeness as bench
from training.fit_gel_optics import FRAMES
from visuotactile_ros.inference.model_folder import write_model_folder

REAL_FRAMES = Path(__file__).parents[2] / FRAMES


def test_the_command_tells_shares_and_alarms_of_every_set(tiny_encoder, tmp_path):
    write_model_folder(tmp_path / 'tiny', *tiny_encoder())
    output = tmp_path / 'strangeness.json'
    assert bench.main(['--model', str(tmp_path / 'tiny'), '--kinds', 'gelsight_mini', '--count', '10',
                       '--window-frames', '4', '--frames', str(REAL_FRAMES), '--output', str(output)]) == 0
    rows = {row['frames']: row for row in json.loads(output.read_text())['kinds']['gelsight_mini']}
    assert {'usual', 'real', 'noise', 'another kind', *bench.PARTS} <= set(rows)
    assert rows['real']['count'] == 26
    # The statistics of this model say that no vector of unit length is strange.
    assert all(row['strange_share'] == 0.0 and not row['alarm'] for row in rows.values())
    assert all(0.5 < row['median_strangeness'] < 1.0 for row in rows.values())


def test_the_shipped_model_notices_other_kinds_and_faults_and_leaves_usual_and_real_frames_alone(tmp_path):
    output = tmp_path / 'strangeness.json'
    assert bench.main(['--count', '20', '--window-frames', '10', '--frames', str(REAL_FRAMES),
                       '--output', str(output)]) == 0
    for kind, rows in json.loads(output.read_text())['kinds'].items():
        alarm = {row['frames']: row['alarm'] for row in rows}
        assert not alarm['usual'] and not alarm.get('real', False), kind
        assert alarm['even'] and alarm['another kind'], kind
