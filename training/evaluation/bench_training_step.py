"""Time and model-FLOPs utilisation of a training step of TLV-CoRe on CLIP ViT-L/14, beside a plain loop.

    python -m training.evaluation.bench_training_step --output docs/results/training_step.json

Weights and data are random numbers: speed depends on neither. The ways take turns in one run on one machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from training.clip_recipe import TlvCoreClipRecipe
from training.device import check_precision, choose_device
from training.evaluation.training_step.measurement import MEANING, measure, name_of
from training.recipe import load_recipe
from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.files import write_atomically

RECIPE = Path(__file__).resolve().parents[1] / 'recipes' / 'tlv_core_vit_l14.yaml'


def prepare_recipe(options: argparse.Namespace, device: torch.device) -> TlvCoreClipRecipe:
    """Make the recipe of ours: that of the full-size run, in bf16 where the device has it, without compile."""
    recipe = dataclasses.replace(load_recipe(RECIPE, TlvCoreClipRecipe), batch_size=options.batch_size, steps=10 ** 9,
                                 device=device.type, threads=torch.get_num_threads(), compile=False)
    if options.small:
        recipe = dataclasses.replace(recipe, adapter_rank=4)
    try:
        check_precision('bf16', device)
    except ConfigurationError:
        return dataclasses.replace(recipe, precision='fp32')
    return dataclasses.replace(recipe, precision='bf16')


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(prog='python -m training.evaluation.bench_training_step',
                                     description=__doc__.splitlines()[0])
    parser.add_argument('--output', type=Path, help='JSON file to write')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--batch-size', type=int, default=128, help='triplets of a step')
    parser.add_argument('--seconds', type=float, default=120.0, help='time for the turns of all ways')
    parser.add_argument('--small', action='store_true', help='a tiny model: tries everything out, tells nothing')
    options = parser.parse_args(arguments)
    if options.batch_size < 2:
        raise ConfigurationError(f'--batch-size is {options.batch_size}, and a contrastive loss compares samples',
                                 'Give at least 2')
    device = choose_device(options.device)
    if device.type == 'cpu' and options.device == 'auto' and not options.small:
        raise ConfigurationError('torch finds no GPU, and a CPU takes many minutes for a step of ViT-L/14',
                                 'Run it on a GPU, add --small for a tiny model, or insist with --device cpu')
    result = {'device': name_of(device), 'torch': torch.__version__, 'cuda': torch.version.cuda,
              'threads': torch.get_num_threads(),
              **measure(prepare_recipe(options, device), device, options.small, options.seconds,
                        compiles=device.type == 'cuda'), 'meaning': MEANING}
    if options.output is not None:
        write_atomically(options.output, json.dumps(result, indent=1) + '\n')
    print(summary(result))
    return 0


def summary(result: dict) -> str:
    """Give the result as a table, one line a way."""
    lines = [f'{result["device"]}, {result["model"]["layout"]}, batch {result["batch_size"]}, '
             f'{result["flops_per_step"]:.3g} FLOPs a step, peak {result["peak_flops_per_s"]:.3g} FLOP/s '
             f'({result["peak_source"]}), matmul {result["measured_matmul_flops_per_s"]:.3g} FLOP/s']
    for name, row in result['ways'].items():
        lines.append(f'{name:14} ' + (row['not_measured'] if 'not_measured' in row else
                     f'{1000 * row["step_s"]:9.2f} ms [{1000 * row["step_s_ci95"][0]:.2f}, '
                     f'{1000 * row["step_s_ci95"][1]:.2f}] {row["images_per_s"]:8.0f} images/s, MFU {row["mfu"]:.3f}'))
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
