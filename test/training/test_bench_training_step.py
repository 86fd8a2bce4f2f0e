"""The benchmark of a training step, tiny: its counting, its arithmetic, and that its ways train the same network."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.clip_recipe import TlvCoreClipRecipe
from training.evaluation import bench_training_step as bench
from training.evaluation.training_step import measurement, timing, utilisation, ways
from training.evaluation.training_step.random_clip import RandomSamples, random_model, tiny, twin
from training.evaluation.write_results import render_page

CPU = torch.device('cpu')
RECIPE = TlvCoreClipRecipe(batch_size=4, adapter_rank=2, steps=1000, patch_dropout=0.0)


@pytest.fixture
def make_way():
    made = []

    def make(kind, model):
        made.append(kind(model, RandomSamples(tiny(), len(RECIPE.sensor_kinds), 2 * RECIPE.batch_size), RECIPE, CPU))
        return made[-1]

    yield make
    for way in made:
        way.close()


@pytest.fixture(scope='module')
def model():
    return random_model(tiny(), RECIPE, CPU)


def test_flops_of_matrix_products_are_counted_forward_and_as_far_back_as_something_is_trained():
    first, last = nn.Linear(5, 7), nn.Linear(7, 2)
    images = torch.randn(3, 5)
    forward = 2 * 3 * (5 * 7 + 7 * 2)
    assert utilisation.count_flops(lambda: last(first(images)).sum().backward()) == 2 * forward + 2 * 3 * 7 * 2
    first.requires_grad_(False)
    assert utilisation.count_flops(lambda: last(first(images)).sum().backward()) == forward + 2 * 3 * 7 * 2
    first.requires_grad_(True)
    last.requires_grad_(False)   # the way to what is trained leads through it
    assert utilisation.count_flops(lambda: last(first(images)).sum().backward()) == 2 * forward


@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('backend', [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_attention_counts_the_same_whichever_kernel_runs(backend, causal):
    query, key, value = (torch.randn(2, 3, 9, 8, requires_grad=True) for _ in range(3))

    def attend():
        nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal).sum().backward()

    with sdpa_kernel(backend):
        assert utilisation.count_flops(attend) == 3 * 2 * (2 * 2 * 3 * 9 * 9 * 8)


def test_every_fused_attention_that_is_counted_exists_in_this_torch():
    """One that was renamed would be counted as nothing."""
    names = {f'_scaled_dot_product_{kernel}' for kernel in ('flash_attention', 'efficient_attention',
                                                            'cudnn_attention', 'flash_attention_for_cpu')}
    for name in names:
        assert hasattr(torch.ops.aten, name) and hasattr(torch.ops.aten, f'{name}_backward'), name


def test_utilisation_is_the_rate_over_the_peak():
    assert utilisation.utilisation(flops=30e12, seconds=0.1, peak=1000e12) == pytest.approx(0.3)


def test_only_a_whole_known_name_has_the_peak_of_its_vendor():
    assert utilisation.choose_peak('NVIDIA H200', 7e14)[0] == 989.4e12
    assert 'nvidia.com' in utilisation.choose_peak('NVIDIA H200', 7e14)[1]
    for unknown in ('CPU', 'NVIDIA L40S', 'NVIDIA H200 MIG 1g.18gb', 'NVIDIA GeForce RTX 4090 Laptop GPU'):
        assert utilisation.choose_peak(unknown, 7e14) == (7e14, 'measured')


def test_a_matmul_reaches_a_rate_that_a_machine_can_have():
    assert 1e8 < utilisation.measured_peak(CPU, torch.float32, 128) < 1e15


def test_the_plain_loop_runs_the_network_of_ours(model, make_way):
    ours, plain = make_way(ways.TrainerWay, twin(model)), twin(model)
    batch = RandomSamples(tiny(), 5, 4).batch(np.arange(4))
    expected = ours._trainer.objective._encode(batch, training=False)
    encoded = make_way(ways.PlainWay, plain).encode(batch)
    assert plain.text.blocks[0].self_attn.config._attn_implementation == 'eager'
    assert ours._trainer.objective.model.text.blocks[0].self_attn.config._attn_implementation == 'sdpa'
    assert expected.keys() == encoded.keys()
    for name, values in expected.items():
        torch.testing.assert_close(encoded[name], values)


def test_both_ways_train_the_same_parameters_with_the_same_flops_and_leave_the_towers_alone(model, make_way):
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    flops = []
    for kind in (ways.TrainerWay, ways.PlainWay):
        own = twin(model)
        way = make_way(kind, own)
        for _ in range(8):   # the gradient scaler skips the first ones
            way.step()
        changed = {name for name, tensor in own.named_parameters() if not torch.equal(tensor, before[name])}
        assert changed == {name for name, tensor in own.named_parameters() if tensor.requires_grad}
        flops.append(utilisation.count_flops(way.step))
    assert flops[0] == flops[1] > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


def test_a_way_without_memory_is_reported_and_the_others_are_measured(monkeypatch):
    class Greedy(ways.PlainWay):
        def step(self):
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 80 GiB.\nmore')

    monkeypatch.setattr(ways, 'PlainWay', Greedy)
    result = measurement.measure(RECIPE, CPU, small=True, seconds=0.0, compiles=False)
    assert result['ways'] == {'ours': result['ways']['ours'], 'plain': {
        'not_measured': 'out of memory: CUDA out of memory. Tried to allocate 80 GiB.'}}
    assert result['ways']['ours']['step_s'] > 0
    assert 'times_as_fast_as_plain' not in result['ways']['ours']


def test_a_way_that_fails_in_a_later_turn_is_dropped():
    class Tired:
        left = 7

        def step(self):
            self.left -= 1
            if self.left == 0:
                raise torch.OutOfMemoryError('too much')

    class Steady:
        def step(self):
            pass

    turns, failed = timing.time_in_turns({'tired': Tired(), 'steady': Steady()}, CPU, 0.0, 5)
    assert failed == {'tired': 'out of memory: too much'} and list(turns) == ['steady'] and len(turns['steady']) >= 5


def test_intervals_hold_the_median_and_follow_the_rounds():
    rng = np.random.default_rng(3)
    noise = rng.uniform(1.0, 2.0, 60)   # one machine, now slow, now fast
    median, (low, high) = timing.median_with_interval(noise)
    assert low < median < high
    ratio, (low, high) = timing.ratio_with_interval(3 * noise, noise)
    assert ratio == pytest.approx(3.0) and high - low < 1e-9


class StubbedGpu:
    """The part of torch.cuda that is asked when the host must not wait."""

    def __init__(self, monkeypatch):
        self.mode = 'default'
        monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: None)
        monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', lambda mode: setattr(self, 'mode', mode))


@pytest.mark.parametrize('waits, told', [(False, 0), (True, 'RuntimeError: called a synchronizing CUDA operation')])
def test_a_step_in_which_the_host_waits_is_told(waits, told, monkeypatch):
    gpu = StubbedGpu(monkeypatch)

    class Way:
        def step(self):
            assert gpu.mode == 'error'
            if waits:
                raise RuntimeError('called a synchronizing CUDA operation\nstack')

    assert timing.first_host_synchronisation(Way(), torch.device('cuda', 0)) == told
    assert gpu.mode == 'default'


def test_the_command_writes_every_field(tmp_path, capsys):
    path = tmp_path / 'training_step.json'
    assert bench.main(['--small', '--device', 'cpu', '--batch-size', '4', '--seconds', '0', '--output',
                       str(path)]) == 0
    result = json.loads(path.read_text())
    assert result['peak_source'] == 'measured' and result['images_per_step'] == 8
    assert result['model']['trained_parameters'] < result['model']['parameters']
    assert {'ours', 'plain'} <= set(result['ways'])
    for row in result['ways'].values():
        assert row['step_s_ci95'][0] <= row['step_s'] <= row['step_s_ci95'][1]
        assert row['images_per_s'] == pytest.approx(8 / row['step_s'])
        assert row['mfu'] == pytest.approx(result['flops_per_step'] / row['step_s'] / result['peak_flops_per_s'])
        assert row['peak_memory_bytes'] is None and row['host_synchronisations'] is None
    page = render_page(tmp_path)
    assert '| plain | fp16 with a gradient scaler |' in page and 'MFU' in page
    assert 'plain' in capsys.readouterr().out


@pytest.mark.parametrize('arguments, remedy', [
    (['--small', '--device', 'cpu', '--batch-size', '1'], 'Give at least 2.'),
    (['--small', '--device', 'cpu', '--batch-size', '-5'], 'Give at least 2.'),
    pytest.param([], 'insist with --device cpu.', marks=pytest.mark.skipif(
        torch.cuda.is_available(), reason='there is a GPU')),
])
def test_what_cannot_be_measured_is_one_line_that_says_what_to_do(arguments, remedy, capsys):
    assert bench.main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert '\n' not in error and error.endswith(remedy)


def test_a_layout_without_bf16_is_measured_in_fp32_once(monkeypatch):
    assert list(ways.variants(dataclasses.replace(RECIPE, precision='bf16'), compiles=True)) == [
        'ours', 'ours_compiled', 'plain', 'ours_fp32']
    assert list(ways.variants(RECIPE, compiles=False)) == ['ours', 'plain']
