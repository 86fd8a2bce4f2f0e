"""Two processes train what one process trains.

The comparison is in double precision: AdamW divides by the root of a squared gradient, so that where a gradient is
nearly nothing, the rounding of single precision decides the direction of a whole step.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_gradient_cache import Pairs, PairsObjective, RandomPairs
from test_tlv_core_clip import RECIPE as CLIP_RECIPE
from test_tlv_core_clip import RandomSamples
from test_tlv_core_clip import objective as clip_objective
from test_trainer import RECIPE as TLV_CORE_RECIPE
from test_trainer import trainer as tlv_core_trainer

from training.distributed import Processes, processes_of_run
from training.recipe import TrainerRecipe
from training.trainer import Trainer
from visuotactile_ros.errors import ConfigurationError

RECIPE = TrainerRecipe(steps=6, batch_size=12, learning_rate=1e-2, warmup_steps=2, weight_decay=0.2, device='cpu',
                       checkpoint_every_steps=3, log_every_steps=1)
CACHED = dataclasses.replace(RECIPE, gradient_cache_chunk=4)
TLV_CORE = dataclasses.replace(TLV_CORE_RECIPE, steps=1, batch_size=12, grips_per_step=4, patch_dropout=0.5,
                               device='cpu')
CLIP = dataclasses.replace(CLIP_RECIPE, steps=1, warmup_steps=1, batch_size=12, device='cpu')


def train(folder, recipe=RECIPE, processes=None, resume=False, until_step=None):
    torch.manual_seed(recipe.seed)
    Trainer(PairsObjective(Pairs()), RandomPairs(), recipe, folder, resume, processes).run(until_step)


def gradients_of_a_step(trained: Trainer) -> dict[str, torch.Tensor]:
    trained.run()
    return {name: parameter.grad for name, parameter in trained.objective.model.named_parameters()
            if parameter.grad is not None}


def clip_trainer(folder: Path, processes=None) -> Trainer:
    """Prepare a run on a CLIP; the second process has more gaps than the first."""
    samples = RandomSamples(12, has_touch=[True] * 11 + [False], has_view=[True] * 8 + [False] * 4,
                            has_text=[False] + [True] * 11)
    return Trainer(clip_objective(CLIP, samples), samples, CLIP, folder, processes=processes)


def work(folder: Path) -> None:
    """Do in every process what the tests look at."""
    with processes_of_run('cpu').connected() as processes:
        own = folder / f'process{processes.rank}'
        train(own / 'whole', processes=processes)
        train(own / 'cached', CACHED, processes)
        train(folder / 'parts', processes=processes, until_step=3)
        train(folder / 'parts', processes=processes, resume=True)
        for name, run in (('tlv_core', tlv_core_trainer(own / 'tlv_core', TLV_CORE, processes=processes)),
                          ('clip', clip_trainer(own / 'clip', processes))):
            save_file(gradients_of_a_step(run), folder / f'{name}{processes.rank}.safetensors')
        used_by_one, used_by_none = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
        if processes.rank == 1:
            used_by_one.grad = torch.tensor([2.0, 4.0])
        processes.average_gradients([used_by_one, used_by_none])
        assert used_by_none.grad is None
        assert used_by_one.grad.tolist() == [1.0, 2.0]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('processes')
    subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', __file__,
                    str(folder)], check=True, timeout=100, cwd=Path(__file__).parents[2],
                   env=os.environ | {'PYTHONPATH': str(Path(__file__).parents[2])})
    return folder


def weights(folder):
    return load_file(folder / 'model.safetensors')


def largest_difference(first, second):
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


@pytest.mark.parametrize(('name', 'recipe'), [('whole', RECIPE), ('cached', CACHED)])
def test_two_processes_train_the_weights_of_one(folder, tmp_path, name, recipe):
    train(tmp_path, recipe)
    assert largest_difference(weights(folder / 'process0' / name), weights(tmp_path)) < 1e-12
    torch.manual_seed(recipe.seed)
    assert largest_difference(Pairs().state_dict(), weights(tmp_path)) > 1e-2


def test_resumed_run_of_two_processes_ends_with_the_same_bits(folder):
    assert (folder / 'parts/model.safetensors').read_bytes() == \
        (folder / 'process0/whole/model.safetensors').read_bytes()


def test_only_the_first_process_writes(folder):
    assert (folder / 'process0/whole/log.jsonl').exists() and not (folder / 'process1').exists()


@pytest.mark.parametrize('name', ['tlv_core', 'clip'])
def test_gradients_are_the_same_in_all_processes_and_those_of_one(folder, tmp_path, name):
    first, second = (load_file(folder / f'{name}{rank}.safetensors') for rank in (0, 1))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    expected = gradients_of_a_step(tlv_core_trainer(tmp_path, TLV_CORE) if name == 'tlv_core' else
                                   clip_trainer(tmp_path))
    largest = max(value.abs().max().item() for value in expected.values())
    assert largest_difference(first, expected) < 1e-5 * largest


@given(count=st.integers(1, 8), size=st.integers(1, 8))
def test_processes_share_every_sample_once(count, size):
    shares = [Processes(rank, size, torch.device('cpu')).share(count * size) for rank in range(size)]
    assert [sample for share in shares for sample in range(count * size)[share]] == list(range(count * size))
    assert {share.stop - share.start for share in shares} == {count}


def test_processes_that_cannot_share_a_batch_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match='5 processes cannot share a batch of 12 equally'):
        train(tmp_path / 'new', processes=Processes(0, 5, torch.device('cpu')))
    assert not (tmp_path / 'new').exists()


def test_run_of_another_number_of_processes_is_not_resumed(folder):
    with pytest.raises(ConfigurationError, match='trained by 2 processes, not 1. Resume it with 2'):
        train(folder / 'parts', resume=True)


def test_processes_are_those_of_torchrun(monkeypatch):
    alone = processes_of_run('cpu')
    assert (alone.rank, alone.size, alone.is_first) == (0, 1, True)
    for name, value in (('RANK', 3), ('WORLD_SIZE', 4), ('LOCAL_RANK', 1)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    fourth = processes_of_run('auto')
    assert (fourth.rank, fourth.size, fourth.is_first, fourth.device) == (3, 4, False, torch.device('cuda', 1))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(ConfigurationError, match='process 2 of this machine finds 1 GPUs'):
        processes_of_run('cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    assert processes_of_run('auto').device == torch.device('cpu')
    with pytest.raises(ConfigurationError, match='torch finds no GPU'):
        processes_of_run('cuda')


if __name__ == '__main__':
    work(Path(sys.argv[1]))
