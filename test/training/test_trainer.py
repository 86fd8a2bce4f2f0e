"""The trainer resumes bit for bit, logs what it did, and refuses what it cannot do."""

import dataclasses
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from training.batch_loader import sample_indices
from training.gradient_cache import fill_gradients, total_loss
from training.interface import LossTerm
from training.networks.tlv_core import TlvCore, TlvCoreShape
from training.objectives.tlv_core import TlvCoreObjective
from training.recipe import TlvCoreRecipe
from training.run_checks import only_run_in
from training.trainer import Trainer, learning_rate_at, make_optimizer
from visuotactile_ros.errors import ConfigurationError, ModelError

CLASSES = {'material': 3, 'grasp_success': 2}
RECIPE = TlvCoreRecipe(steps=4, batch_size=4, warmup_steps=1, learning_rate=1e-2, log_every_steps=1,
                       validate_every_steps=2, checkpoint_every_steps=2, image_size_px=16, patch_size_px=8, width=8,
                       heads=2, image_depth=2, text_depth=1, adapter_rank=2, embedding_size=6,
                       sensor_kinds=('digit', 'gelsight_mini'), device='cpu')
CACHED = dataclasses.replace(RECIPE, gradient_cache_chunk=3)


class RandomTriplets:
    """Stand-in for rendered triplets: random numbers of the same shapes."""

    def __init__(self, count: int = 12):
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (2, count, 1, 16, 16, 3), dtype=np.uint8)
        self.values = {
            'touch': images[0], 'view': images[1], 'tokens': generator.integers(2, 300, (count, 5)),
            'lengths': generator.integers(1, 6, count), 'sensor_id': generator.integers(0, 2, count),
            'material': generator.integers(0, 3, count), 'grasp_success': generator.integers(-1, 2, count),
            'contact': generator.normal(size=(count, 4)).astype(np.float32), 'in_grip': np.arange(count) % 2 == 0,
            'grip': np.stack([images[0], images[1]], 1),
            'motion': generator.normal(size=(count, 2, 3)).astype(np.float32)}

    def __len__(self):
        return len(self.values['touch'])

    def batch(self, indices):
        batch = {name: torch.from_numpy(values[indices]) for name, values in self.values.items()}
        return batch | {name: batch[name][batch['in_grip']] for name in ('grip', 'motion')}


def trainer(folder, recipe=RECIPE, resume=False, samples=None, processes=None) -> Trainer:
    samples = samples or RandomTriplets()
    torch.manual_seed(recipe.seed)
    shape = TlvCoreShape(recipe.image_size_px, recipe.patch_size_px, recipe.width, recipe.heads, recipe.image_depth,
                         recipe.text_depth, recipe.adapter_rank, recipe.embedding_size, 300, 5, 2, CLASSES)
    return Trainer(TlvCoreObjective(TlvCore(shape), recipe, samples), samples, recipe, folder, resume, processes)


def log_lines(folder):
    return [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]


@pytest.mark.parametrize('recipe', [RECIPE, CACHED], ids=['whole', 'cached'])
def test_resumed_run_ends_with_the_same_bits(tmp_path, recipe):
    whole = trainer(tmp_path / 'whole', recipe)
    whole.run()
    trainer(tmp_path / 'parts', recipe).run(until_step=2)
    resumed = trainer(tmp_path / 'parts', recipe, resume=True)
    assert resumed.step == 2
    resumed.run()
    expected = whole.objective.model.state_dict()
    for name, value in resumed.objective.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert (tmp_path / 'whole/model.safetensors').read_bytes() == (tmp_path / 'parts/model.safetensors').read_bytes()


def test_training_is_that_of_a_plain_loop(tmp_path):
    trained = trainer(tmp_path / 'trained')
    trained.run()
    plain, samples = trainer(tmp_path / 'plain').objective, RandomTriplets()
    parameters = list(plain.model.parameters())
    matrices, vectors = ([tensor for tensor in parameters if (tensor.ndim > 1) is wanted] for wanted in (True, False))
    optimizer = torch.optim.AdamW([{'params': matrices}, {'params': vectors, 'weight_decay': 0.0}],
                                  betas=(0.9, 0.98), eps=1e-6, weight_decay=RECIPE.weight_decay)
    for step in range(RECIPE.steps):
        torch.manual_seed((RECIPE.seed << 32) + step)
        batch = samples.batch(sample_indices(step, len(samples), RECIPE))
        terms = plain.loss_terms(plain.encode(batch), batch)
        optimizer.zero_grad()
        sum(term.weight * term.value for term in terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, RECIPE.gradient_clip)
        for group in optimizer.param_groups:
            group['lr'] = learning_rate_at(step, RECIPE)
        optimizer.step()
    expected = trained.objective.model.state_dict()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_losses_are_those_that_were_recorded(tmp_path):
    # Recorded when the shipped models were trained: another order of the random numbers would show.
    trainer(tmp_path, dataclasses.replace(RECIPE, steps=12)).run(until_step=4)
    losses = [line['loss'] for line in log_lines(tmp_path) if 'loss' in line]
    assert losses == pytest.approx([51.405281, 58.717346, 43.828720, 50.318108], rel=1e-3)


def test_log_holds_every_term_and_the_metrics(tmp_path):
    metrics = trainer(tmp_path).run()
    steps = [line for line in log_lines(tmp_path) if 'loss' in line]
    assert [line['step'] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        total = sum(line[f'loss/{name}'] * weight for name, weight in {
            'touch_vision': 1.0, 'touch_text': 1.0, 'vision_text': 1.0, 'decoupled_learning': 0.1,
            'material': RECIPE.class_weight, 'grasp_success': RECIPE.class_weight,
            'contact': RECIPE.contact_weight, 'motion': RECIPE.motion_weight}.items() if f'loss/{name}' in line)
        assert line['loss'] == pytest.approx(total, rel=1e-5)
    assert set(metrics) >= {'material_accuracy', 'grasp_success_accuracy', 'shear_x_mm_error'}
    assert all(np.isfinite(value) for value in metrics.values())


def test_training_on_few_samples_lowers_the_loss(tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=40, log_every_steps=1, validate_every_steps=40, patch_dropout=0.0,
                                 photometric_strength=0.0, batch_size=6, checkpoint_every_steps=40,
                                 motion_weight=0.0, contact_weight=0.0)
    trainer(tmp_path, recipe, samples=RandomTriplets(6)).run()
    losses = [line['loss'] for line in log_lines(tmp_path) if 'loss' in line]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_other_recipe_is_not_resumed(tmp_path):
    trainer(tmp_path).run(until_step=2)
    with pytest.raises(ConfigurationError, match='another recipe .learning_rate'):
        trainer(tmp_path, dataclasses.replace(RECIPE, learning_rate=1e-4), resume=True)


def test_damaged_checkpoint_is_refused(tmp_path):
    trainer(tmp_path).run(until_step=2)
    path = tmp_path / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match='does not fit its recipe'):
        trainer(tmp_path, resume=True)
    with pytest.raises(ModelError, match='holds no checkpoint'):
        trainer(tmp_path / 'nothing', resume=True)


@pytest.mark.parametrize('renamed', [1, 2])
def test_checkpoint_whose_writing_was_interrupted_is_not_resumed(renamed, tmp_path, monkeypatch):
    trainer(tmp_path).run(until_step=2)
    continued, replace, done = trainer(tmp_path, resume=True), os.replace, []

    def killed(source, target):
        if len(done) == renamed:
            raise KeyboardInterrupt
        replace(source, target)
        done.extend([target] if target.suffix == '.safetensors' else [])

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr('training.checkpoint.os.replace', killed)
        continued.run(until_step=4)
    with pytest.raises(ModelError, match='is of step 4, the state beside it of step 2'):
        trainer(tmp_path, resume=True)


def test_checkpoint_that_does_not_name_its_step_is_taken(tmp_path):
    trainer(tmp_path).run(until_step=2)
    for name in ('model', 'optimizer'):
        save_file(load_file(tmp_path / f'{name}.safetensors'), tmp_path / f'{name}.safetensors')
    assert trainer(tmp_path, resume=True).step == 2


def test_too_few_samples_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match='fewer than one batch'):
        trainer(tmp_path, samples=RandomTriplets(3))


def test_a_folder_in_which_a_run_is_training_is_left_alone(tmp_path):
    first, second = trainer(tmp_path), trainer(tmp_path)
    with only_run_in(tmp_path):
        with pytest.raises(ConfigurationError, match='another run is training in .*. Wait for it'):
            trainer(tmp_path)
        with pytest.raises(ConfigurationError, match='another run is training in .*. Wait for it'):
            second.run()
    assert [path.name for path in tmp_path.iterdir()] == ['.lock']
    first.run(until_step=1)


def test_folder_of_another_run_is_left_alone(tmp_path):
    trainer(tmp_path).run(until_step=2)
    before = (tmp_path / 'log.jsonl').read_bytes()
    with pytest.raises(ConfigurationError, match='holds a run already.*--resume'):
        trainer(tmp_path)
    with pytest.raises(ConfigurationError, match='is a file'):
        trainer(tmp_path / 'log.jsonl')
    assert (tmp_path / 'log.jsonl').read_bytes() == before


def test_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigurationError, match='file is a file. Choose another'):
        trainer(tmp_path / 'file' / 'run')
    # Whoever runs the tests may write everywhere.
    monkeypatch.setattr('training.run_checks.os.access', lambda path, mode: path != tmp_path)
    with pytest.raises(ConfigurationError, match=f'{tmp_path} cannot be written. Choose another'):
        trainer(tmp_path / 'new' / 'run')
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('content', ['{}', '[]', '3', '{"step": 2, "recipe": 3}', '{"step": 2, "recipe": {}}'])
def test_state_that_is_not_that_of_a_checkpoint_is_refused(tmp_path, content):
    (tmp_path / 'state.json').write_text(content)
    with pytest.raises(ModelError, match='state.json does not tell the .* of a checkpoint. Give the folder'):
        trainer(tmp_path, resume=True)


def test_resumed_log_has_no_step_twice(tmp_path):
    trainer(tmp_path).run(until_step=2)
    with open(tmp_path / 'log.jsonl', 'a') as log:  # killed behind the checkpoint, in the middle of a line
        log.write('{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    trainer(tmp_path, resume=True).run()
    assert [line['step'] for line in log_lines(tmp_path) if 'loss' in line] == [1, 2, 3, 4]


def test_checkpoint_without_newer_settings_is_resumed(tmp_path):
    trainer(tmp_path).run(until_step=2)
    state = json.loads((tmp_path / 'state.json').read_text())
    del state['recipe']['precision'], state['recipe']['gradient_cache_chunk'], state['processes']
    (tmp_path / 'state.json').write_text(json.dumps(state))
    assert trainer(tmp_path, resume=True).step == 2


def test_frozen_weights_have_no_optimizer_state_and_keep_their_bits(tmp_path):
    frozen_run = trainer(tmp_path)
    for parameter in frozen_run.objective.model.text.parameters():
        parameter.requires_grad_(False)
    frozen_run.optimizer = make_optimizer(frozen_run.objective.model, RECIPE)
    before = {name: value.clone() for name, value in frozen_run.objective.model.text.state_dict().items()}
    frozen_run.run(until_step=2)
    states = load_file(tmp_path / 'optimizer.safetensors')
    assert any(name.startswith('touch.') for name in states) and not any(name.startswith('text.') for name in states)
    resumed = trainer(tmp_path, resume=True)
    for name, value in resumed.objective.model.text.state_dict().items():
        assert torch.equal(value, before[name]), name
    grouped = {id(parameter) for group in frozen_run.optimizer.param_groups for parameter in group['params']}
    assert not grouped & {id(parameter) for parameter in frozen_run.objective.model.text.parameters()}


def test_only_matrices_decay(tmp_path):
    model = trainer(tmp_path).objective.model
    groups = make_optimizer(model, dataclasses.replace(RECIPE, weight_decay=0.2)).param_groups
    decayed = {id(parameter) for group in groups if group['weight_decay'] == 0.2 for parameter in group['params']}
    kept = {id(parameter) for group in groups if group['weight_decay'] == 0.0 for parameter in group['params']}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert decayed | kept == set(names) and not decayed & kept
    assert {names[id(model.sensor_centroids)], names[id(model.shared_transforms[0].weight)]} <= \
        {names[key] for key in decayed}
    assert all(names[key].endswith(('bias', 'norm.weight')) for key in kept)
    for group in groups:
        assert group['betas'] == (0.9, 0.98) and group['eps'] == 1e-6


def test_loss_that_is_no_number_stops_the_run_before_it_spoils_the_weights(tmp_path):
    run = trainer(tmp_path)
    before = {name: value.clone() for name, value in run.objective.model.state_dict().items()}
    run.objective.loss_terms = lambda encoded, batch: {'bad': LossTerm(encoded['touch'].sum() * float('nan'), 1.0)}
    with pytest.raises(ConfigurationError, match='the loss is nan at step 0. Lower learning_rate'):
        run.run()
    for name, value in run.objective.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_gradient_that_is_no_number_stops_the_run_before_it_spoils_the_weights(tmp_path):
    run = trainer(tmp_path)
    before = {name: value.clone() for name, value in run.objective.model.state_dict().items()}
    # The root of zero is a number, and its slope is none.
    run.objective.loss_terms = lambda encoded, batch: {'bad': LossTerm((0 * encoded['touch']).abs().sum().sqrt(), 1.0)}
    with pytest.raises(ConfigurationError, match='the gradient norm is nan at step 0. Lower learning_rate'):
        run.run()
    for name, value in run.objective.model.state_dict().items():
        assert torch.equal(value, before[name]), name


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait for an accelerator."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        aten = torch.ops.aten
        assert function not in (aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default)
        if function is aten.index.Tensor:
            assert all(index is None or index.dtype != torch.bool for index in arguments[1])
        return function(*arguments, **(keywords or {}))


def test_an_accelerator_is_not_waited_for_between_two_log_lines(tmp_path):
    run = trainer(tmp_path)
    batch = next(run.loader.batches(0, 1))
    encoded = run.objective.encode(batch.parts[0].batch)
    run.objective.encode = lambda batch: encoded  # on the CPU it looks at the longest caption
    run.optimizer.step = lambda: None  # on a GPU it is fused
    run.processes = SimpleNamespace(device=SimpleNamespace(type='cuda'), size=1, gather_rows=lambda rows: rows,
                                    average_gradients=lambda parameters: None)
    with NoWaiting():
        values = run.take_step(batch, fetch=False)
        with pytest.raises(AssertionError):
            encoded['touch'][batch.labels['in_grip']]
    assert list(values) == ['learning_rate']
    assert all(parameter.grad is not None for parameter in run.objective.model.touch.parameters())


def test_bf16_is_for_the_towers_only(tmp_path):
    run, seen = trainer(tmp_path), []
    encode, loss_terms = run.objective.encode, run.objective.loss_terms

    def encode_and_look(batch):
        seen.append(torch.is_autocast_enabled('cpu'))
        return encode(batch)

    def compare_and_look(encoded, batch):
        seen.append(torch.is_autocast_enabled('cpu'))
        assert {value.dtype for value in encoded.values()} == {torch.float32}
        return loss_terms(encoded, batch)

    run.objective.encode, run.objective.loss_terms = encode_and_look, compare_and_look
    exact = total_loss(fill_gradients(run.objective, next(run.loader.batches(0, 1)), 0, False, run.processes)).item()
    run.objective.model.zero_grad()
    rough = total_loss(fill_gradients(run.objective, next(run.loader.batches(0, 1)), 0, True, run.processes)).item()
    assert seen == [False, False, True, False] and rough != exact and rough == pytest.approx(exact, rel=0.1)
    assert {parameter.grad.dtype for parameter in run.objective.model.parameters()} == {torch.float32}


def test_precision_that_the_device_lacks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: False)
    with pytest.raises(ConfigurationError, match='bf16, which this cpu does not have'):
        trainer(tmp_path, dataclasses.replace(RECIPE, precision='bf16'))


def test_blocks_are_compiled_and_keep_their_names(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda module: compiled.append(module))
    run = trainer(tmp_path, dataclasses.replace(RECIPE, compile=True))
    assert {*run.objective.model.touch.layers, *run.objective.model.text.layers} <= set(compiled)
    assert not any(isinstance(module, torch.nn.Linear) for module in compiled)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(ConfigurationError, match='compile needs a C'):
        trainer(tmp_path, dataclasses.replace(RECIPE, compile=True))


def test_an_epoch_shows_every_sample_once():
    recipe = dataclasses.replace(RECIPE, batch_size=4)
    for epoch in range(3):
        seen = np.concatenate([sample_indices(3 * epoch + step, 12, recipe) for step in range(3)])
        assert sorted(seen) == list(range(12))


def test_learning_rate_warms_up_and_falls_to_zero():
    recipe = dataclasses.replace(RECIPE, steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(step, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == pytest.approx(1.0) and rates[99] < 0.001
    # A third, a half and two thirds of the way down: (1 + cos 60°) / 2 and so on, where a line would be at 2/3 and 1/3.
    assert [rates[step] for step in (40, 55, 70)] == pytest.approx([0.75, 0.5, 0.25])
    assert all(after < before for before, after in zip(rates[10:], rates[11:]))
