"""Imitation of a pour, on a stand-in for touch that needs no renderer."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from training.evaluation.pour_benchmark import parse_seeds, run, summarise, torque_weight_pour
from training.pouring.demonstrations import Demonstration, OracleTouch, record_demonstration
from training.pouring.operator import ScriptedOperator
from training.pouring.policy_network import PouringNetwork
from training.pouring.recordings import load_recording, recordings, save_recording, task_settings
from training.pouring.simulated_episode import PourTrace, RenderedTouch, TiltActuator, simulate_pour
from training.pouring.train_policy import PouringRecipe, evaluate_network, export_policy, train_network
from training.pouring.weighed_grips import WeighedGrip, record_weighed_grip
from visuotactile_ros.errors import ConfigurationError, ModelError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.inference.model_folder import write_model_folder
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.parameters.simulation import SimulationParameters
from visuotactile_ros.policy.observation import PouringObservation
from visuotactile_ros.policy.pouring_policy import ACTIONS, GripReference, PouringPolicy
from visuotactile_ros.policy.pouring_task import TaskCommand
from visuotactile_ros.policy.torque_weight_controller import TorqueWeightController
from visuotactile_ros.simulation.world import WRIST_JOINT

# Not the default: a setting that is lost on the way shows.
TASK = PouringTaskParameters(target_mass_g=55.0)


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope='module')
def demonstrations():
    return [record_demonstration(seed, {'oracle': None}, TASK, OracleTouch(seed))['oracle']
            for seed in range(10000, 10010)]


def test_operator_pours_the_target_within_a_gram():
    errors = []
    for seed in range(1, 13):
        trace = simulate_pour(seed, lambda world, seed=seed: ScriptedOperator(seed, lambda: world.poured_mass_g, 60.0),
                              OracleTouch(seed))
        assert trace.outcome == 'completed'
        assert trace.limit_violations == []
        errors.append(abs(trace.final_mass_g - 60.0))
    assert np.mean(errors) < 0.6
    assert max(errors) < 1.5


def test_nothing_flows_before_the_policy_decides():
    for seed in range(1, 40):
        trace = simulate_pour(seed, lambda world: AlwaysRetract(), OracleTouch(seed))
        assert trace.final_mass_g == 0.0
        assert trace.outcome == 'completed'


class AlwaysRetract(ScriptedOperator):
    def __init__(self):
        super().__init__(0, lambda: 100.0, 60.0)


def test_one_seed_gives_one_trace():
    first, second = (simulate_pour(5, lambda world: ScriptedOperator(5, lambda: world.poured_mass_g, 60.0),
                                   OracleTouch(5)) for _ in range(2))
    assert first.poured_mass_g == second.poured_mass_g
    assert first.action == second.action


def test_actuator_refuses_what_the_limits_forbid_and_keeps_its_rate():
    parameters = ArmParameters()
    actuator = TiltActuator(parameters)
    assert actuator.command(TaskCommand('step', step_deg=1.0), 0.0)
    assert actuator.command(TaskCommand('approach', tilt_deg=parameters.approach_limit_deg + 1.0), 0.0)
    actuator.advance(1.0)
    assert actuator.tilt_deg == 0.0
    assert actuator.command(TaskCommand('step', step_deg=0.25), 0.0) == ()
    actuator.advance(0.01)
    assert actuator.tilt_deg == pytest.approx(parameters.rate_limit_deg_s * 0.01)
    actuator.advance(1.0)
    assert actuator.tilt_deg == pytest.approx(0.25)
    assert actuator.command(TaskCommand('step', step_deg=0.25), 0.01), 'too soon after the last step'


def test_demonstrations_survive_the_file(demonstrations, tmp_path):
    save_recording(tmp_path / 'one.npz', demonstrations[1])
    loaded = load_recording(tmp_path / 'one.npz', Demonstration)
    for name, value in vars(demonstrations[1]).items():
        assert np.array_equal(getattr(loaded, name), value), name
        assert type(getattr(loaded, name)) is type(value), name


def test_an_interrupted_recording_is_not_taken_for_a_whole_one(demonstrations, tmp_path, monkeypatch):
    def killed(file, **arrays):
        file.write(b'PK')
        raise KeyboardInterrupt

    monkeypatch.setattr('training.pouring.recordings.np.savez', killed)
    with pytest.raises(KeyboardInterrupt):
        save_recording(tmp_path / 'one.npz', demonstrations[1])
    assert not (tmp_path / 'one.npz').exists()


def test_labels_say_what_was_right_after_a_wrong_stop(demonstrations):
    finals = np.array([each.final_mass_g for each in demonstrations])
    assert np.ptp(finals) > 5.0, 'some demonstrations stop at a wrong mass'
    for each in demonstrations:
        retract = each.labels == ACTIONS.index('retract')
        assert not retract[each.masses_g < 50.0].any()
        assert retract[each.masses_g > 57.0].all()


def test_weighed_grip_shows_one_vessel_at_several_loads():
    grip = record_weighed_grip(20001, {'oracle': None}, TASK, OracleTouch(20001))['oracle']
    assert grip.embeddings.shape == (6, 2, 16)
    assert grip.references.shape == (2, 2, 16)
    assert grip.motions.shape == (6, 2, 3)
    assert grip.reference_motions.shape == (2, 2, 3)
    assert np.all(np.diff(grip.masses_g) >= 0.0)
    assert grip.masses_g[-1] > grip.masses_g[0]


def test_recordings_are_made_once_by_several_processes(tiny_encoder, tmp_path):
    folder = tmp_path / 'tiny'
    write_model_folder(folder, *tiny_encoder())
    encoders = {str(folder): TactileEncoder(folder).card.sha256}
    first = recordings('grip', [20001, 20002], encoders, TASK, tmp_path / 'data', processes=2)[str(folder)]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / 'data').rglob('*.npz')}
    again = recordings('grip', [20002, 20001], encoders, TASK, tmp_path / 'data', processes=2)[str(folder)]
    assert [each.seed for each in first] == [20001, 20002]
    assert np.array_equal(again[1].embeddings, first[0].embeddings)
    alone = record_weighed_grip(20001, {'oracle': None}, TASK, OracleTouch(20001))['oracle']
    assert np.array_equal(first[0].masses_g, alone.masses_g), 'the processes know the task'
    assert len(files) == 2 and all(path.stat().st_mtime_ns == time_ns for path, time_ns in files.items())


def test_recordings_of_another_task_are_refused(tmp_path):
    grip = record_weighed_grip(20001, {'oracle': None}, TASK, OracleTouch(20001))['oracle']

    def read(task: PouringTaskParameters, data: str) -> list[WeighedGrip]:
        save_recording(tmp_path / data / 'oracle_aaaaaaaa/grip_20001.npz', grip)
        return recordings('grip', [20001], {'oracle': 'a' * 64}, task, tmp_path / data, processes=1)['oracle']

    write_atomically(tmp_path / 'told/settings.json', json.dumps(task_settings(TASK)))
    assert np.array_equal(read(TASK, 'told')[0].masses_g, grip.masses_g)
    with pytest.raises(ConfigurationError, match='another task than target_mass_g 60.0. Set another data folder'):
        read(PouringTaskParameters(), 'told')
    with pytest.raises(ConfigurationError, match='another task than target_mass_g 55.0'):
        read(TASK, 'without_settings')
    read(PouringTaskParameters(), 'without_settings')
    assert json.loads((tmp_path / 'without_settings/settings.json').read_text())['target_mass_g'] == 60.0


def test_a_recipe_without_a_task_has_the_default_one():
    assert PouringRecipe().task == PouringTaskParameters()
    changed = {'target_mass_g': 80.0, 'step_deg': 0.2, 'policy_rate_hz': 4.0, 'approach_tilt_deg': 40.0}
    assert PouringRecipe(**changed).task == PouringTaskParameters(**changed)


def test_demonstrations_pour_what_the_task_says():
    task = dataclasses.replace(TASK, target_mass_g=30.0, policy_rate_hz=4.0, approach_tilt_deg=40.0, step_deg=0.2)
    for seed in range(10000, 10004):
        made = record_demonstration(seed, {'oracle': None}, task, OracleTouch(seed))['oracle']
        assert (made.labels == ACTIONS.index('retract'))[made.masses_g > 32.0].all()
        assert np.degrees(np.arcsin(made.context[0, 2])) == pytest.approx(40.0, abs=1.0)


def test_a_task_beyond_the_limits_of_the_arm_is_not_recorded():
    with pytest.raises(ConfigurationError, match='step of 0.500 degrees is over the limit'):
        record_demonstration(10000, {'oracle': None}, dataclasses.replace(TASK, step_deg=0.5), OracleTouch(10000))


def test_network_gives_the_same_step_by_step_and_at_once():
    torch.manual_seed(0)
    network = PouringNetwork(16, 60.0).eval()
    embeddings, references = torch.randn(2, 9, 2, 16), torch.randn(2, 2, 2, 16)
    context, state = torch.rand(2, 9, 5), torch.zeros(2, network.state_size)
    with torch.no_grad():
        features = network.features(embeddings, references[:, None], context)
        logits, masses_g = network.sequence(features, context)
        for step in range(9):
            probabilities, mass_g, state = network(embeddings[:, step], references, context[:, step], state)
    assert torch.allclose(probabilities, torch.softmax(logits[:, -1], -1), atol=1e-5)
    assert torch.allclose(mass_g[:, 0], masses_g[:, -1], atol=1e-4)


@pytest.fixture(scope='module')
def network(demonstrations):
    grips = [record_weighed_grip(seed, {'oracle': None}, TASK, OracleTouch(seed))['oracle']
             for seed in range(20000, 20030)]
    recipe = PouringRecipe(target_mass_g=TASK.target_mass_g, weighing_steps=150, acting_steps=25, batch_episodes=4,
                           learning_rate=1e-2)
    return train_network(demonstrations[:8], grips, recipe)


@pytest.fixture(scope='module')
def policy_folder(tmp_path_factory):
    return tmp_path_factory.mktemp('models') / 'policy'


@pytest.fixture(scope='module')
def policy(demonstrations, network, policy_folder):
    return export_policy(network, policy_folder, demonstrations[0], TASK, ('oracle', 'a' * 64), {'simulated': True})


def test_short_training_learns_to_weigh(demonstrations, network):
    assert network.target_mass_g == TASK.target_mass_g
    masses_g = np.concatenate([each.masses_g for each in demonstrations[8:]])
    error_g = evaluate_network(network, demonstrations[8:])['mass_error_g']
    assert error_g < 0.5 * np.abs(masses_g - masses_g.mean()).mean()


def test_exported_policy_pours_within_the_limits(policy):
    trace = simulate_pour(3, lambda world: policy, OracleTouch(3))
    assert trace.limit_violations == []
    estimates = [mass for mass, action in zip(trace.estimated_mass_g, trace.action, strict=True) if action]
    assert len(estimates) > 10
    assert np.isfinite(estimates).all()


def test_policy_refuses_another_task_and_another_encoder(policy):
    policy.check_task(TASK)
    policy.check_encoder('a' * 64)
    with pytest.raises(ModelError, match='target_mass_g is 60.*whose recipe says target_mass_g: 60.*--recipe <yaml>'):
        policy.check_task(PouringTaskParameters())
    with pytest.raises(ModelError, match='trained on the encoder oracle'):
        policy.check_encoder('b' * 64)
    wrong = dict.fromkeys(('left', 'right'), np.ones(8, np.float32))
    with pytest.raises(ModelError, match='has 8 numbers, the policy takes 16'):
        policy.reset(GripReference(wrong, wrong, 45.0))


def test_policy_needs_a_reference(policy, policy_folder):
    with pytest.raises(ModelError, match='Call reset first'):
        PouringPolicy(policy_folder).decide(PouringObservation(0, {}, {}, 0.0))


def test_rendered_touch_encodes_both_fingers():
    seen = []

    def encode(frames):
        seen.extend(frames)
        return [np.array([frame.image_hwc.mean()], np.float32) for frame in frames]

    touch, worlds = RenderedTouch(1, encode), []
    simulate_pour(1, lambda world: worlds.append(world) or AlwaysRetract(), OracleTouch(1))
    embeddings = touch(worlds[0], 123)
    assert list(embeddings) == ['left', 'right']
    assert [frame.sensor.name for frame in seen] == ['left', 'right']
    assert {frame.stamp_ns for frame in seen} == {123}
    assert not np.array_equal(seen[0].image_hwc, seen[1].image_hwc)


def test_torque_controller_pours_right_when_torque_is_exact():
    exact = SimulationParameters(torque_noise_nm=0.0, torque_drift_nm=0.0, torque_friction_nm=0.0)
    for seed in range(1, 6):
        trace = simulate_pour(
            seed, lambda world: TorqueWeightController(lambda: world.joint_torque_nm()[WRIST_JOINT],
                                                       world.payload_lever_m, 60.0),
            OracleTouch(seed), simulation_parameters=exact)
        assert trace.outcome == 'completed'
        assert abs(trace.final_mass_g - 60.0) < 3.0


def test_benchmark_reports_every_key_and_is_json():
    result = json.loads(json.dumps(run([1, 2, 3], {'torque_weight': torque_weight_pour})))
    values = result['controllers']['torque_weight']
    assert result['simulated'] is True
    assert values['n'] == 3
    assert values['ci95_g'][0] <= values['mean_abs_error_g'] <= values['ci95_g'][1]
    assert {'p95_abs_error_g', 'limit_violations', 'completed'} <= set(values)


def test_summary_counts_what_went_wrong():
    good = PourTrace(1, [1.0], [90.0], outcome='completed', final_mass_g=61.0)
    bad = PourTrace(2, [1.0], [90.0], outcome='the tilt reached 115 degrees', final_mass_g=50.0,
                    limit_violations=['too far'])
    values = summarise([good, bad], 60.0)
    assert values['mean_abs_error_g'] == pytest.approx(5.5)
    assert (values['completed'], values['limit_violations'], values['n']) == (1, 1, 2)
    assert math.isclose(values['mean_error_g'], -4.5)


@pytest.mark.parametrize(('text', 'seeds'), [('1-4', [1, 2, 3, 4]), ('7', [7]), ('1-2,9', [1, 2, 9])])
def test_seeds_are_read(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize('text', ['', 'a-b', '5-', '-3', '4-1'])
def test_bad_seeds_are_refused(text):
    with pytest.raises(ConfigurationError, match='1-40'):
        parse_seeds(text)
