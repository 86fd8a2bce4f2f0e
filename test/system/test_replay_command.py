"""`make replay` as a user runs it: real frames through sensor, topics and encoder, every one answered."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from visuotactile_ros import replay_frames
from visuotactile_ros.ros_interface.bag_writer import BagWriter

ROOT = Path(__file__).parents[2]
FRAMES = sorted((ROOT / 'test' / 'data' / 'real_frames').glob('gelsight_mini_*.jpg'))[:6]


def replay(*arguments):
    return subprocess.run([sys.executable, '-m', 'visuotactile_ros.replay_frames', *map(str, arguments)], cwd=ROOT,
                          capture_output=True, text=True, timeout=120)


def test_every_real_frame_gets_its_embedding_and_predictions(tmp_path):
    recording = tmp_path / 'frames'
    recording.mkdir()
    for frame in FRAMES:
        shutil.copy(frame, recording)
    done = replay(recording, '--output', tmp_path / 'replay.json')
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(FRAMES) == 6
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith('frame')] == \
        [['frame', str(number)] for number in range(1, 7)]
    result = json.loads((tmp_path / 'replay.json').read_text())
    assert result['complete'] and result['problem'] == ''
    assert result['frames_recorded'] == result['frames_published'] == len(result['embeddings']) == 6
    stamps = [entry['stamp_ns'] for entry in result['embeddings']]
    assert stamps == sorted(set(stamps))
    for entry in result['embeddings']:
        assert entry['sensor'] == 'replay'
        assert np.linalg.norm(entry['embedding']) == pytest.approx(1.0, abs=1e-3)
        assert {'material', 'hardness', 'roughness', 'grasp_success'} == set(entry['predictions'])
        for probabilities in entry['predictions'].values():
            assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-3)
    embeddings = np.array([entry['embedding'] for entry in result['embeddings']])
    assert np.ptp(embeddings, axis=0).max() > 1e-3, 'six different frames have one embedding'


@pytest.mark.parametrize('options, pacing', [
    ([], {'timing': 'lockstep'}),
    (['--rate-hz', '4'], {'timing': 'steady', 'rate_hz': 4.0}),
    (['--timing', 'recorded'], {'timing': 'recorded'}),
    (['--timing', 'lockstep', '--rate-hz', '60'], {'timing': 'lockstep', 'rate_hz': 60.0}),
])
def test_no_frame_is_skipped_unless_a_timing_or_a_rate_is_asked_for(tmp_path, monkeypatch, options, pacing):
    asked = {}

    def stand_in(path, say, **graph_arguments):
        asked.update(graph_arguments)
        return {'embeddings': [], 'frames_recorded': 0, 'complete': True}
    monkeypatch.setattr(replay_frames, 'replay', stand_in)
    monkeypatch.setattr(replay_frames.signal, 'signal', lambda *_: None)
    assert replay_frames.main([str(tmp_path), '--output', str(tmp_path / 'replay.json'), *options]) == 0
    assert {name: asked[name] for name in ('timing', 'rate_hz') if name in asked} == pacing


def test_a_recording_of_which_a_part_is_damaged_is_not_complete_and_black_pictures_are_encoded_too(tmp_path):
    recording, black = tmp_path / 'frames', np.zeros((240, 320, 3), np.uint8)
    recording.mkdir()
    for number in range(7):
        cv2.imwrite(str(recording / f'{number}.png'), black)
    (recording / '3.png').write_bytes((recording / '3.png').read_bytes()[:100])
    done = replay(recording, '--output', tmp_path / 'replay.json')
    assert done.returncode == 1, done.stdout + done.stderr
    assert '6 of 7 frames encoded' in done.stdout and '3.png is not a readable image' in done.stdout
    assert 'of 7 recorded frames 6 were published and 6 encoded. Look' in done.stderr
    result = json.loads((tmp_path / 'replay.json').read_text())
    assert not result['complete'] and result['problem'] in done.stderr


def test_a_bag_that_is_cut_off_is_encoded_as_far_as_it_goes_and_the_damage_is_told(tmp_path):
    bag = BagWriter(tmp_path / 'bag')
    bag.add_topic('/camera/image/compressed', 'sensor_msgs/msg/CompressedImage')
    types = get_typestore(Stores.ROS2_JAZZY)
    header = types.types['std_msgs/msg/Header'](types.types['builtin_interfaces/msg/Time'](5, 0), 'gel')
    for number, frame in enumerate(FRAMES[:3]):
        image = types.types['sensor_msgs/msg/CompressedImage'](header, 'jpeg', np.fromfile(frame, np.uint8))
        content = bytes(types.serialize_cdr(image, 'sensor_msgs/msg/CompressedImage'))
        bag.write('/camera/image/compressed', content, 1000 + number, 1000 + number)
        bag.flush()
    done = replay(tmp_path / 'bag', '--output', tmp_path / 'replay.json')
    assert done.returncode == 1, done.stdout + done.stderr
    assert '3 of 3 frames encoded' in done.stdout and 'is damaged after 3 images' in done.stderr
    assert 'was not replayed whole' in done.stdout


@pytest.mark.parametrize('kind', ['absent', 'empty folder', 'text file'])
def test_a_path_without_frames_is_one_clear_line(tmp_path, kind):
    path = tmp_path / 'nothing'
    if kind == 'empty folder':
        path.mkdir()
    elif kind == 'text file':
        path.write_text('no frame')
    done = replay(path, '--output', tmp_path / 'replay.json')
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr.count('\n') == 1 and str(path) in done.stderr
    assert not (tmp_path / 'replay.json').exists()


def test_a_missing_model_is_told(tmp_path):
    done = replay(FRAMES[0], '--model', tmp_path / 'nothing', '--output', tmp_path / 'replay.json')
    assert done.returncode == 1 and 'Traceback' not in done.stdout + done.stderr
    assert 'nothing' in done.stderr and '/tactile/perception' in done.stderr
