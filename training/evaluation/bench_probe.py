"""Linear probes of the default encoder: held-out objects, an unseen sensor kind, and how well it hides the sensor.

    python -m training.evaluation.bench_probe --output docs/results/probe.json

The probes are fitted on embeddings of freshly rendered samples of the training regions and of the known sensor kinds.
They are tested on objects of the held-out regions (known kinds, other units; without the materials whose held-out
regions training entered) and on a kind that was never trained on.
Beside the trained encoder stands the same network with the weights it started from. All frames are simulated.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.datasets.rendered import CLASS_NAMES, RenderedTriplets, render_data
from training.datasets.sampled_contacts import MATERIALS_HELD_OUT_IN_VAIN, NOT_A_GRASP
from training.evaluation.linear_probe import balanced_accuracy, fit_probe, interval_95
from training.export_tower import export_untrained
from training.recipe import TlvCoreRecipe, load_recipe
from training.tokenizer import Tokenizer
from visuotactile_ros.command_line import command
from visuotactile_ros.files import write_atomically
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder

FIT_SAMPLES = 3000
TEST_SAMPLES = 1200
PROBE_DATA_SEED = 1000
RESAMPLINGS_PER_SEED = 200
TEST_SETS = {'held_out_objects': 'held_out', 'unseen_sensor': 'unseen_sensor'}


def probe_recipe(recipe: TlvCoreRecipe) -> TlvCoreRecipe:
    """Give the recipe of the probe's data: other samples than those of the pretraining, no vessels in a grip."""
    return dataclasses.replace(
        recipe, data=f'{recipe.data}_probe', seed=recipe.seed + PROBE_DATA_SEED, grip_share=0.0,
        train_samples=FIT_SAMPLES, validation_samples=1, held_out_samples=TEST_SAMPLES,
        unseen_sensor_samples=TEST_SAMPLES)


def embed(encoder: TactileEncoder, samples: RenderedTriplets, kinds: tuple[str, ...]) -> np.ndarray:
    """Encode all touch frames of a split, one call a frame as at run time: float32 [N, D]."""
    sensors = [SensorIdentity('probe', kind) for kind in kinds]
    return np.stack([
        encoder.encode([Frame(image, 0, sensors[sensor_id], index)])[0].embedding
        for index, (image, sensor_id) in enumerate(zip(samples.touch, samples.labels['sensor_id'], strict=True))])


def probe_encoder(encoder: TactileEncoder, recipe: TlvCoreRecipe, seeds: int) -> dict:
    """Probe one encoder.

    Args:
        encoder: The encoder.
        recipe: Recipe of the probe's data.
        seeds: Fits; each draws its own samples, with replacement.

    Returns:
        `<test set>.<task>.{balanced_accuracy, ci95, chance}` and `sensor_identity`, lower is better there.
    """
    data = render_data(recipe, unrecorded_seed=PROBE_DATA_SEED)
    kinds = {split: recipe.sensor_kinds for split in ('train', 'held_out')}
    kinds['unseen_sensor'] = (recipe.unseen_sensor_kind,)
    samples = {split: data.triplets(split, Tokenizer([]), recipe.context_length) for split in kinds}
    embeddings = {split: embed(encoder, samples[split], kinds[split]) for split in kinds}
    labels = {split: {name: values.numpy() for name, values in samples[split].labels.items()} for split in kinds}
    result: dict = {}
    for name, split in TEST_SETS.items():
        result[name] = {task: _probe_task(embeddings, labels, split, task, len(classes), seeds)
                        for task, classes in CLASS_NAMES.items()}
    result['sensor_identity'] = _probe_task(embeddings, labels, 'held_out', 'sensor_id', len(recipe.sensor_kinds),
                                            seeds)
    return result


def _probe_task(embeddings: dict, labels: dict, split: str, task: str, classes: int, seeds: int) -> dict:
    known = {part: labels[part][task] != NOT_A_GRASP for part in ('train', split)}
    fit_x, fit_y = embeddings['train'][known['train']], labels['train'][task][known['train']]
    test_x, test_y = embeddings[split][known[split]], labels[split][task][known[split]]
    accuracies, resampled = [], []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 7])
        rows = rng.integers(len(fit_y), size=len(fit_y))
        predicted = fit_probe(fit_x[rows], fit_y[rows], classes, rng).predict(test_x)
        accuracies.append(balanced_accuracy(predicted, test_y))
        for _ in range(RESAMPLINGS_PER_SEED):
            drawn = rng.integers(len(test_y), size=len(test_y))
            resampled.append(balanced_accuracy(predicted[drawn], test_y[drawn]))
    return {'balanced_accuracy': round(float(np.mean(accuracies)), 4),
            'ci95': [round(value, 4) for value in interval_95(np.array(resampled))],
            'chance': round(1.0 / classes, 4), 'test_samples': len(test_y), 'seeds': seeds}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m training.evaluation.bench_probe',
                                     description=__doc__.splitlines()[0])
    parser.add_argument('--output', type=Path, required=True, help='JSON file to write')
    parser.add_argument('--encoder', type=Path, default=Path('models/tlv_core_tiny_touch'))
    parser.add_argument('--recipe', type=Path, default=Path('training/recipes/tlv_core_tiny.yaml'))
    parser.add_argument('--seeds', type=int, default=5)
    options = parser.parse_args(arguments)
    recipe = load_recipe(options.recipe, TlvCoreRecipe)
    untrained = Path('training/output') / f'{options.recipe.stem}_untrained_touch'
    export_untrained(options.recipe, untrained, 'touch', 'float32')
    folders = {'trained': options.encoder, 'untrained': untrained}
    report = {'simulated': True, 'encoder': str(options.encoder),
              'materials_left_out_of_held_out_objects': MATERIALS_HELD_OUT_IN_VAIN, 'encoders': {}}
    for name, folder in folders.items():
        print(f'probing {folder}', file=sys.stderr, flush=True)
        report['encoders'][name] = probe_encoder(TactileEncoder(folder), probe_recipe(recipe), options.seeds)
    write_atomically(options.output, json.dumps(report, indent=1) + '\n')
    print(summary(report))
    return 0


def summary(report: dict) -> str:
    """Give the report as a table, one line a test and task."""
    lines = [f'{"balanced accuracy, simulated":34} ' + ' '.join(f'{name:>26}' for name in report['encoders'])]
    tests = [(test, task) for test in TEST_SETS for task in CLASS_NAMES] + [('sensor_identity', None)]
    for test, task in tests:
        cells = []
        for values in report['encoders'].values():
            cell = values[test] if task is None else values[test][task]
            cells.append(f'{cell["balanced_accuracy"]:.3f} [{cell["ci95"][0]:.3f}, {cell["ci95"][1]:.3f}]')
        lines.append(f'{test + ("" if task is None else " " + task):34} ' + ' '.join(f'{cell:>26}' for cell in cells))
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
