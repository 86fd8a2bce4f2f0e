"""Measure the ways to train side by side: what each step takes, what it makes use of, and what was counted how."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import torch

from training.clip_recipe import TlvCoreClipRecipe
from training.evaluation.training_step import timing, utilisation
from training.evaluation.training_step.random_clip import RandomSamples, random_model, tiny, twin, vit_l14
from training.evaluation.training_step.ways import Way, variants
from training.networks.bridged_clip import BridgedClip, parameter_counts
from visuotactile_ros.errors import ConfigurationError

_BATCHES_OF_SAMPLES = 2
# A gradient scaler starts at 2 ** 16 and skips updates, halving it, until nothing overflows.
_WARM_UP_STEPS = 16
_STEPS_OF_A_TURN = 5
MEANING = {
    'images': 'touch and view images of a step, each counted as one; captions come on top and are not counted',
    'flops_per_step': 'model FLOPs of matrix products, convolutions and attention: forward, and the part of backward '
                      'that reaches what is trained through frozen weights; nothing computed a second time, masked '
                      'scores of causal attention included. Counted on ours, used for every way',
    'step_s': 'mean of the steps of a turn, from a batch on the host to updated weights; median over turns',
    'ci95': 'of the median, or of the ratio of two, by drawing rounds with replacement; all ways take one turn a round',
    'times_as_fast_as_plain': 'median step_s of plain over that of the way',
    'peak_source': 'a document of the vendor, for dense bf16; "measured" is measured_matmul_flops_per_s',
    'mfu': 'flops_per_step / (step_s · peak_flops_per_s), for every way against the same peak',
    'peak_memory_bytes': 'largest of torch within one step, weights and all; the ways share the frozen weights',
    'host_synchronisations': '0, or the first complaint under set_sync_debug_mode("error"); null where there is no GPU',
    'not_in_the_plain_loop': 'loading, augmentation, clipping of the gradient and the learning-rate schedule, which '
                             'ours has: they cost the plain loop nothing',
}


def measure(recipe: TlvCoreClipRecipe, device: torch.device, small: bool, seconds: float, compiles: bool) -> dict:
    """Measure all ways.

    Args:
        recipe: That of ours.
        device: What to compute on.
        small: A tiny model in place of ViT-L/14.
        seconds: Time for the turns of all ways.
        compiles: Measure ours with compiled blocks too.

    Returns:
        What MEANING explains; a way that cannot be run has `not_measured`, the reason, in place of its numbers.

    Raises:
        ConfigurationError: Ours cannot be run.
    """
    config = tiny() if small else vit_l14()
    samples = RandomSamples(config, len(recipe.sensor_kinds), _BATCHES_OF_SAMPLES * recipe.batch_size)
    model = random_model(config, recipe, device)
    with contextlib.ExitStack() as stack:
        ways, rows = _warm_ways(model, samples, recipe, device, compiles)
        for way in ways.values():
            stack.callback(way.close)
        if 'ours' not in ways:
            raise ConfigurationError(f'ours cannot be measured ({rows["ours"]["not_measured"]})', 'Lower --batch-size')
        flops = utilisation.count_flops(ways['ours'].step)
        side = 8192 if device.type == 'cuda' else 512 if small else 2048
        matmul = utilisation.measured_peak(device, torch.bfloat16 if recipe.precision == 'bf16' else torch.float32,
                                           side)
        peak, source = utilisation.choose_peak(name_of(device), matmul)
        turns, failed = timing.time_in_turns(ways, device, seconds, _STEPS_OF_A_TURN)
        # At the very end, since a complaint leaves a step half taken.
        waited = {name: timing.first_host_synchronisation(ways[name], device) for name in turns}
    for name, why in failed.items():
        rows[name] = {'not_measured': why}
    for name, values in turns.items():
        rows[name] |= _numbers(values, flops, recipe.batch_size, peak, matmul)
        if name != 'plain' and 'plain' in turns:
            ratio, interval = timing.ratio_with_interval(turns['plain'], values)
            rows[name] |= {'times_as_fast_as_plain': ratio, 'times_as_fast_as_plain_ci95': interval}
        rows[name]['host_synchronisations'] = waited[name]
    trained, total = parameter_counts(model)
    return {'model': {'layout': 'tiny' if small else 'CLIP ViT-L/14', 'random_weights': True, 'parameters': total,
                      'trained_parameters': trained, 'patch_dropout': recipe.patch_dropout},
            'batch_size': recipe.batch_size, 'images_per_step': 2 * recipe.batch_size, 'flops_per_step': flops,
            'peak_flops_per_s': peak, 'peak_source': source, 'measured_matmul_flops_per_s': matmul,
            'measured_matmul': f'{side} x {side}, {recipe.precision}', 'ways': rows}


def name_of(device: torch.device) -> str:
    """Name a device as its driver does; all CPUs are one."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'


def _warm_ways(model: BridgedClip, samples: RandomSamples, recipe: TlvCoreClipRecipe, device: torch.device,
               compiles: bool) -> tuple[dict[str, Way], dict[str, dict[str, Any]]]:
    """Give the ways that can be run, and the first entries of the row of every way."""
    ways: dict[str, Way] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, (make, own_recipe) in variants(recipe, compiles).items():
        try:
            way = make(twin(model), samples, own_recipe, device)
            rows[name] = {**way.description, 'peak_memory_bytes': timing.warm_up(way, device, _WARM_UP_STEPS)}
            ways[name] = way
        except (RuntimeError, ConfigurationError) as error:   # too little memory, or nothing to compile with
            rows[name] = {'not_measured': timing.reason(error)}
        if name not in ways:   # behind the handler, whose error holds on to the step
            way = None
            timing.free_memory(device)
        print(f'{name}: {rows[name].get("not_measured", "ready")}', file=sys.stderr, flush=True)
    return ways, rows


def _numbers(turns: Sequence[float], flops: int, batch_size: int, peak: float, matmul: float) -> dict[str, Any]:
    step, interval = timing.median_with_interval(turns)
    return {'step_s': step, 'step_s_ci95': interval, 'turns': len(turns), 'images_per_s': 2 * batch_size / step,
            'mfu': utilisation.utilisation(flops, step, peak),
            'mfu_of_measured_matmul': utilisation.utilisation(flops, step, matmul)}
