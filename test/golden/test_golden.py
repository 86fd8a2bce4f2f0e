"""Every shipped model computes its golden outputs on this machine; a missing model or file is a failure.

Golden inputs are rendered frames, golden outputs come from torch at the export. They are written by
`ros2 run visuotactile_ros export_onnx`; to change them, train or export again, never edit them.
"""

from pathlib import Path

import numpy as np
import pytest

from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.inference.heads import calibrated_probabilities
from visuotactile_ros.inference.model_folder import GOLDEN_FILE, load_model_folder
from visuotactile_ros.parameters.perception import PerceptionParameters
from visuotactile_ros.parameters.pouring_node import PouringNodeParameters

MODELS = Path(__file__).resolve().parents[2] / 'models'
DEFAULTS = {PerceptionParameters().model, PerceptionParameters().camera_model, PouringNodeParameters().policy}
# The default models are listed by name, so that one that is missing fails instead of leaving the list.
NAMES = sorted(DEFAULTS | {path.name for path in MODELS.glob('*') if path.is_dir()})
LARGEST_TOGETHER_BYTES = 25e6


@pytest.fixture(scope='module', params=NAMES)
def model_folder(request):
    return load_model_folder(MODELS / request.param)


def test_the_model_has_the_name_of_its_folder(model_folder):
    assert model_folder.card.name == model_folder.path.name


def test_golden_inputs_give_the_golden_outputs(model_folder):
    differences = model_folder.model.verify_golden(model_folder.golden_inputs, model_folder.golden_outputs)
    assert differences.keys() == {output.name for output in model_folder.card.outputs}


def test_a_golden_sample_alone_gives_its_golden_output(model_folder):
    # Dynamic int8 takes the range of the whole batch: frames that happen to arrive together may not disturb each other.
    samples = len(next(iter(model_folder.golden_inputs.values())))
    for sample in range(samples):
        model_folder.model.verify_golden(
            {name: values[sample:sample + 1] for name, values in model_folder.golden_inputs.items()},
            {name: values[sample:sample + 1] for name, values in model_folder.golden_outputs.items()})


def test_the_same_input_gives_the_same_bits(model_folder):
    first, second = (model_folder.model.run(model_folder.golden_inputs) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_golden_samples_differ(model_folder):
    # A model that answers the same to everything would pass all of the above.
    for output in model_folder.card.outputs:
        golden = model_folder.golden_outputs[output.name]
        assert len(golden) >= 2 and np.ptp(golden, axis=0).max() > output.tolerance, output.name


def test_the_card_says_where_the_weights_come_from(model_folder):
    training = model_folder.card.training
    assert isinstance(training['simulated'], bool)
    assert {'data', 'recipe', 'commit'} <= training.keys()


def test_an_encoder_gives_the_golden_embedding_of_a_frame(model_folder):
    if model_folder.card.kind != 'encoder':
        return
    card = model_folder.card
    kinds = {number: kind for kind, number in card.sensor_ids.items()}
    ids = model_folder.golden_inputs.get('sensor_id', [None] * len(model_folder.golden_inputs['frames']))
    frames = [Frame(images[0], 0, SensorIdentity('left', kinds.get(number, 'a_kind_never_seen')), 0)
              for images, number in zip(model_folder.golden_inputs['frames'], ids, strict=True)]
    predictions = TactileEncoder(model_folder.path).encode(frames)
    np.testing.assert_allclose([prediction.embedding for prediction in predictions],
                               model_folder.golden_outputs['embedding'], atol=card.output('embedding').tolerance)
    for name, head in card.heads.items():
        # A difference of t in every logit moves a probability by less than t / temperature.
        np.testing.assert_allclose(
            [prediction.heads[name] for prediction in predictions],
            calibrated_probabilities(model_folder.golden_outputs[name], head.temperature),
            atol=card.output(name).tolerance / head.temperature)


def test_all_files_are_small_enough_to_be_committed():
    sizes = {str(path): path.stat().st_size for path in MODELS.rglob('*') if path.is_file()}
    assert sum(sizes.values()) <= LARGEST_TOGETHER_BYTES, sizes
    for name in NAMES:
        assert (MODELS / name / GOLDEN_FILE).is_file(), name
