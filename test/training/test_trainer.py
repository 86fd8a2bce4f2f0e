"""The trainer resumes bit for bit, logs what it did, and refuses what it cannot do."""

import dataclasses
import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from training.networks.tlv_core import TlvCore, TlvCoreShape
from training.objectives.tlv_core import TlvCoreObjective
from training.recipe import TlvCoreRecipe
from training.trainer import Trainer, learning_rate_at, sample_indices
from visuotactile_ros.errors import ConfigurationError, ModelError

CLASSES = {'material': 3, 'grasp_success': 2}
RECIPE = TlvCoreRecipe(steps=4, batch_size=4, warmup_steps=1, learning_rate=1e-2, log_every_steps=1,
                       validate_every_steps=2, checkpoint_every_steps=2, image_size_px=16, patch_size_px=8, width=8,
                       heads=2, image_depth=2, text_depth=1, adapter_rank=2, embedding_size=6,
                       sensor_kinds=('digit', 'gelsight_mini'))


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


def trainer(folder, recipe=RECIPE, resume=False, samples=None) -> Trainer:
    samples = samples or RandomTriplets()
    torch.manual_seed(recipe.seed)
    shape = TlvCoreShape(recipe.image_size_px, recipe.patch_size_px, recipe.width, recipe.heads, recipe.image_depth,
                         recipe.text_depth, recipe.adapter_rank, recipe.embedding_size, 300, 5, 2, CLASSES)
    return Trainer(TlvCoreObjective(TlvCore(shape), recipe, samples), samples, recipe, folder, resume)


def test_resumed_run_ends_with_the_same_bits(tmp_path):
    whole = trainer(tmp_path / 'whole')
    whole.run()
    trainer(tmp_path / 'parts').run(until_step=2)
    resumed = trainer(tmp_path / 'parts', resume=True)
    assert resumed.step == 2
    resumed.run()
    expected = whole.objective.model.state_dict()
    for name, value in resumed.objective.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert (tmp_path / 'whole/model.safetensors').read_bytes() == (tmp_path / 'parts/model.safetensors').read_bytes()


def test_log_holds_every_term_and_the_metrics(tmp_path):
    metrics = trainer(tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / 'log.jsonl').read_text().splitlines()]
    steps = [line for line in lines if 'loss' in line]
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
    losses = [line['loss'] for line in map(json.loads, (tmp_path / 'log.jsonl').read_text().splitlines())
              if 'loss' in line]
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
        done.append(target)

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


def test_an_epoch_shows_every_sample_once():
    recipe = dataclasses.replace(RECIPE, batch_size=4)
    for epoch in range(3):
        seen = np.concatenate([sample_indices(3 * epoch + step, 12, recipe) for step in range(3)])
        assert sorted(seen) == list(range(12))


def test_learning_rate_warms_up_and_falls_to_zero():
    recipe = dataclasses.replace(RECIPE, steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(step, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == pytest.approx(1.0) and rates[99] < 0.001
    assert all(after < before for before, after in zip(rates[10:], rates[11:]))
