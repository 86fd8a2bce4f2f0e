"""Evaluate a checkpoint on every split: `python -m training.evaluate --checkpoint training/output/tlv_core_tiny`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from training.datasets.rendered import render_data
from training.objectives.tlv_core import TlvCoreObjective
from training.rendered_run import load_trained
from visuotactile_ros.command_line import command
from visuotactile_ros.files import write_atomically

EVALUATED_SPLITS = ('validation', 'held_out', 'unseen_sensor')


def evaluate(checkpoint: Path) -> dict[str, dict[str, float]]:
    """Compute the metrics of a checkpoint.

    Args:
        checkpoint: Folder written by `training.pretrain`.

    Returns:
        Metric values by split and name.
    """
    trained = load_trained(checkpoint)
    recipe, model = trained.recipe, trained.model.eval()
    torch.set_num_threads(recipe.threads)
    data, results = render_data(recipe), {}
    for split in EVALUATED_SPLITS:
        samples = data.triplets(split, trained.tokenizer, recipe.context_length)
        if split == 'unseen_sensor':
            samples.labels['sensor_id'].fill_(model.shape.sensors)
        with torch.no_grad():
            results[split] = TlvCoreObjective(model, recipe, samples).validate()
    return results


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m training.evaluate', description=__doc__)
    parser.add_argument('--checkpoint', type=Path, required=True)
    parser.add_argument('--output', type=Path, help='JSON file to write besides the table')
    options = parser.parse_args(arguments)
    results = evaluate(options.checkpoint)
    if options.output is not None:
        write_atomically(options.output, json.dumps({'simulated': True, 'splits': results}, indent=1) + '\n')
    names = sorted({name for metrics in results.values() for name in metrics})
    print(f'{"simulated frames":34} ' + ' '.join(f'{split:>14}' for split in results))
    for name in names:
        print(f'{name:34} ' + ' '.join(f'{metrics[name]:14.4g}' if name in metrics else f'{"-":>14}'
                                      for metrics in results.values()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
