"""Train the pouring policy by imitation: `python -m training.pouring.train_policy --recipe <yaml>`.

Records demonstrations and weighed grips once for all encoders, trains one network for each, and writes one model folder
a policy.

Longer than most: two stages of training and the export of one small network read best in order.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.export_tower import current_commit, onnx_bytes
from training.pouring.demonstrations import Demonstration
from training.pouring.policy_network import MASS_SCALE_G, MOTION_SCALE, PouringNetwork
from training.pouring.recordings import TASK_SETTINGS, recordings, task_settings
from training.pouring.weighed_grips import WeighedGrip
from training.recipe import load_recipe, recipe_as_dict
from visuotactile_ros.command_line import command
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.inference.model_card import ModelCard, TensorDescription
from visuotactile_ros.inference.model_folder import write_model_folder
from visuotactile_ros.parameters.definition import check_settings, setting
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.pouring_policy import PouringPolicy

_LOG = logging.getLogger(__name__)
_GRIP_BATCH = 43
_FIRST_GRIP_SEED = 20_000
_TOLERANCE = {'action_probabilities': 1e-3, 'poured_mass_g': 0.02, 'next_state': 1e-3}


def _of_task(name: str) -> Any:
    """Define a setting of the task: default, description, unit and range are those of PouringTaskParameters."""
    of_task = next(each for each in fields(PouringTaskParameters) if each.name == name)
    return field(default=of_task.default, metadata=of_task.metadata)


@dataclass(frozen=True)
class PouringRecipe:
    """One imitation run."""

    encoders: tuple = setting(('models/tlv_core_tiny_touch',), 'Folders of the encoders, one policy for each')
    policies: tuple = setting(('models/pouring_policy',), 'Folders of the policies to write, in the order of encoders')
    data: str = setting('training/output/pouring', 'Folder of the recorded demonstrations')
    first_seed: int = setting(10000, 'Seed of the first demonstration; benchmarks use seeds below 10000', minimum=10000)
    demonstrations: int = setting(150, 'Episodes driven by the operator', minimum=1)
    processes: int = setting(2, 'Episodes recorded at a time', minimum=1)
    validation_share: float = setting(0.15, 'Share of the episodes held out', minimum=0.0, maximum=0.9)
    seed: int = setting(0, 'Seed of weights and order', minimum=0)
    weighed_grips: int = setting(800, 'Vessels felt at a few moments only', minimum=1)
    weighing_steps: int = setting(4000, 'Optimiser steps over single moments', minimum=1)
    acting_steps: int = setting(1500, 'Optimiser steps over whole episodes', minimum=1)
    batch_episodes: int = setting(8, 'Episodes a step', minimum=1)
    learning_rate: float = setting(3e-3, 'Peak learning rate', minimum=0.0)
    weight_decay: float = setting(1e-3, 'AdamW weight decay', minimum=0.0)
    mass_weight: float = setting(1.0, 'Weight of the poured mass', minimum=0.0)
    action_weight: float = setting(0.3, 'Weight of the action', minimum=0.0)
    motion_weight: float = setting(5.0, 'Weight of the motion of the gels within a grip', minimum=0.0)
    target_mass_g: float = _of_task('target_mass_g')
    step_deg: float = _of_task('step_deg')
    policy_rate_hz: float = _of_task('policy_rate_hz')
    approach_tilt_deg: float = _of_task('approach_tilt_deg')

    def __post_init__(self):
        check_settings(self)

    @property
    def task(self) -> PouringTaskParameters:
        """The task that the policy is trained for."""
        return PouringTaskParameters(**{name: getattr(self, name) for name in TASK_SETTINGS})


@dataclass(frozen=True, eq=False)
class Episodes:
    """Demonstrations as tensors [episodes, T, …], padded to the longest; `known` is 1 where there is a decision."""

    embeddings: Tensor
    references: Tensor
    context: Tensor
    labels: Tensor
    masses_g: Tensor
    known: Tensor

    @staticmethod
    def stack(demonstrations: Sequence[Demonstration]) -> Episodes:
        """Pad and stack."""
        longest = max(len(each.labels) for each in demonstrations)

        def padded(name: str) -> Tensor:
            arrays = [getattr(each, name) for each in demonstrations]
            return torch.from_numpy(np.stack([
                np.pad(array, [(0, longest - len(array))] + [(0, 0)] * (array.ndim - 1), mode='edge')
                for array in arrays]))

        known = torch.zeros(len(demonstrations), longest)
        for row, each in enumerate(demonstrations):
            known[row, :len(each.labels)] = 1.0
        references = torch.from_numpy(np.stack([each.references for each in demonstrations]))
        return Episodes(padded('embeddings'), references, padded('context'), padded('labels'), padded('masses_g'),
                        known)


@dataclass(frozen=True, eq=False)
class Grips:
    """Weighed grips as tensors [grips, …]; `motions` [grips, moments + 2, 2, 3] has the two references at its end."""

    embeddings: Tensor
    references: Tensor
    context: Tensor
    masses_g: Tensor
    motions: Tensor

    @staticmethod
    def stack(grips: Sequence[WeighedGrip]) -> Grips:
        """Stack."""
        def stacked(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(each, name) for each in grips]))

        motions = torch.cat([stacked('motions'), stacked('reference_motions').transpose(1, 2)], dim=1)
        return Grips(stacked('embeddings'), stacked('references'), stacked('context'), stacked('masses_g'), motions)

    def pick(self, rows: Tensor) -> Grips:
        """Take some."""
        return Grips(**{name: value[rows] for name, value in vars(self).items()})


def train_network(demonstrations: Sequence[Demonstration], grips: Sequence[WeighedGrip],
                  recipe: PouringRecipe) -> PouringNetwork:
    """Train a network: first to weigh single moments, then to follow and act in whole episodes.

    Args:
        demonstrations: Training episodes of one encoder.
        grips: Weighed grips of the same encoder.
        recipe: The run.
    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    network = PouringNetwork(demonstrations[0].embeddings.shape[-1], recipe.target_mass_g)
    network.fit_normalisation(np.concatenate([each.embeddings for each in [*demonstrations, *grips]]))
    _train_weighing(network, Grips.stack(grips), recipe, generator)
    _train_acting(network, Episodes.stack(demonstrations), recipe, generator)
    return network.eval()


def _train_weighing(network: PouringNetwork, grips: Grips, recipe: PouringRecipe, generator: torch.Generator) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.weighing_steps)
    for step in range(recipe.weighing_steps):
        batch = grips.pick(torch.randint(len(grips.masses_g), (_GRIP_BATCH,), generator=generator))
        masses_g = network.weigh_at_once(network.features(batch.embeddings, batch.references[:, None], batch.context))
        mass = functional.smooth_l1_loss(masses_g / MASS_SCALE_G, batch.masses_g / MASS_SCALE_G, beta=0.1)
        error = motion_error(network, batch)
        motion = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.02)
        _take_step(recipe.mass_weight * mass + recipe.motion_weight * motion, network, optimiser, schedule)
        if step % 500 == 0 or step == recipe.weighing_steps - 1:
            _LOG.info('weighing, step %d: mass %.4f, motion %.4f', step, mass.item(), motion.item())


def motion_error(network: PouringNetwork, grips: Grips) -> Tensor:
    """Read motion minus true motion, each about its mean in the grip and over MOTION_SCALE: [grips, moments + 2, 2, 3].

    Where the gel of a unit is at rest nobody knows, so that only differences within a grip can be read.
    """
    read = torch.cat([network.read_motion(grips.embeddings), network.read_motion(grips.references).transpose(1, 2)], 1)
    true = grips.motions / grips.motions.new_tensor(MOTION_SCALE)
    return (read - read.mean(dim=1, keepdim=True)) - (true - true.mean(dim=1, keepdim=True))


def _train_acting(network: PouringNetwork, episodes: Episodes, recipe: PouringRecipe,
                  generator: torch.Generator) -> None:
    # What weighs has never seen these vessels and stays as it is: otherwise it would learn the few of them by heart,
    # and the recurrent part would never see an honest error.
    network.eval()
    acting = [*network.recurrent.parameters(), *network.correct.parameters(), *network.action.parameters()]
    optimiser = torch.optim.AdamW(acting, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.acting_steps)
    with torch.no_grad():
        all_features = network.features(episodes.embeddings, episodes.references[:, None], episodes.context)
    lengths = episodes.known.sum(dim=1).long()
    for step in range(recipe.acting_steps):
        rows = torch.randint(len(lengths), (recipe.batch_episodes,), generator=generator)
        length = int(lengths[rows].max())
        known = episodes.known[rows, :length]
        logits, masses_g = network.sequence(all_features[rows, :length], episodes.context[rows, :length])
        mass = functional.smooth_l1_loss(masses_g / MASS_SCALE_G, episodes.masses_g[rows, :length] / MASS_SCALE_G,
                                         reduction='none', beta=0.1)
        action = functional.cross_entropy(logits.flatten(0, 1), episodes.labels[rows, :length].flatten(),
                                          reduction='none').view_as(mass)
        loss = (known * (recipe.mass_weight * mass + recipe.action_weight * action)).sum() / known.sum()
        _take_step(loss, network, optimiser, schedule)
        if step % 200 == 0 or step == recipe.acting_steps - 1:
            _LOG.info('acting, step %d: mass %.4f, action %.4f', step, ((known * mass).sum() / known.sum()).item(),
                      ((known * action).sum() / known.sum()).item())


def _take_step(loss: Tensor, network: PouringNetwork, optimiser: torch.optim.Optimizer,
               schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def evaluate_network(network: PouringNetwork, demonstrations: Sequence[Demonstration]) -> dict[str, float]:
    """Errors on episodes the network has not seen.

    Returns:
        `mass_error_g` over all decisions, `mass_error_near_target_g` within 10 g of the target,
        `moment_error_near_target_g` the same from single moments, and `action_accuracy`.
    """
    episodes = Episodes.stack(demonstrations)
    with torch.no_grad():
        features = network.features(episodes.embeddings, episodes.references[:, None], episodes.context)
        logits, masses_g = network.sequence(features, episodes.context)
        moment_error_g = (network.weigh_at_once(features) - episodes.masses_g).abs()
    known = episodes.known.bool()
    error_g = (masses_g - episodes.masses_g).abs()
    near = known & ((episodes.masses_g - network.target_mass_g).abs() < 10.0)
    return {'mass_error_g': float(error_g[known].mean()), 'mass_error_near_target_g': float(error_g[near].mean()),
            'moment_error_near_target_g': float(moment_error_g[near].mean()),
            'action_accuracy': float((logits.argmax(-1) == episodes.labels)[known].float().mean())}


def export_policy(network: PouringNetwork, folder: Path, example: Demonstration, task: PouringTaskParameters,
                  encoder: tuple[str, str], training: Mapping) -> PouringPolicy:
    """Write the model folder of a policy; the runtime loads it before it is moved to its place.

    Args:
        network: The trained network.
        folder: Model folder to write.
        example: Episode that gives the golden inputs.
        task: What the policy was trained for.
        encoder: Name and hash of the encoder.
        training: Provenance for the card.
    """
    size, rows = network.embedding_size, np.linspace(0, len(example.labels) - 1, 8).astype(int)
    generator = np.random.default_rng(0)
    golden = {'embeddings': example.embeddings[rows], 'references': np.repeat(example.references[None], len(rows), 0),
              'context': example.context[rows],
              'state': generator.uniform(-0.5, 0.5, (len(rows), network.state_size)).astype(np.float32)}
    names = ('action_probabilities', 'poured_mass_g', 'next_state')
    with torch.no_grad():
        outputs = network(*(torch.from_numpy(value) for value in golden.values()))
    # The example has two episodes: a single one would be taken as the only size.
    content = onnx_bytes(network, tuple(torch.from_numpy(value[:2]) for value in golden.values()), list(golden),
                         list(names), 'float32')
    card = ModelCard(
        format_version=1, name=folder.name, kind='pouring_policy', sha256='',
        inputs=(TensorDescription('embeddings', 'float32', ('B', 2, size)),
                TensorDescription('references', 'float32', ('B', 2, 2, size)),
                TensorDescription('context', 'float32', ('B', 5)),
                TensorDescription('state', 'float32', ('B', network.state_size))),
        outputs=(TensorDescription('action_probabilities', 'float32', ('B', 3), 'probability',
                                   _TOLERANCE['action_probabilities']),
                 TensorDescription('poured_mass_g', 'float32', ('B', 1), 'g', _TOLERANCE['poured_mass_g']),
                 TensorDescription('next_state', 'float32', ('B', network.state_size), '', _TOLERANCE['next_state'])),
        licence='Apache-2.0', training=dict(training),
        constants={**task_settings(task), 'encoder_name': encoder[0], 'encoder_sha256': encoder[1]})
    expected = {name: value.numpy() for name, value in zip(names, outputs, strict=True)}
    write_model_folder(folder, content, card, golden, expected)
    return PouringPolicy(folder)


def run(recipe: PouringRecipe) -> dict[str, dict]:
    """Record what was not recorded before, train a network for every encoder and export it.

    Returns:
        Metrics by policy folder.
    """
    started = time.monotonic()
    hashes = {folder: TactileEncoder(folder).card.sha256 for folder in recipe.encoders}

    def recorded(kind: str, first_seed: int, count: int) -> dict[str, list]:
        return recordings(kind, range(first_seed, first_seed + count), hashes, recipe.task, Path(recipe.data),
                          recipe.processes)

    demonstrations = recorded('operator', recipe.first_seed, recipe.demonstrations)
    grips = recorded('grip', _FIRST_GRIP_SEED, recipe.weighed_grips)
    held_out = max(1, round(recipe.validation_share * recipe.demonstrations))
    results = {}
    for folder, policy in zip(recipe.encoders, recipe.policies, strict=True):
        training, validation = demonstrations[folder][held_out:], demonstrations[folder][:held_out]
        network = train_network(training, grips[folder], recipe)
        metrics = evaluate_network(network, validation)
        provenance = {'simulated': True, 'data': 'rendered by visuotactile_ros.simulation', 'paper': 'AnyTouch A.8',
                      'recipe': recipe_as_dict(recipe), 'commit': current_commit(), 'episodes': len(training),
                      'decisions': int(sum(len(each.labels) for each in training)),
                      'minutes': round((time.monotonic() - started) / 60, 1), 'metrics': metrics}
        export_policy(network, Path(policy), training[0], recipe.task, (Path(folder).name, hashes[folder]), provenance)
        results[policy] = metrics
        _LOG.info('%s written: %s', policy, json.dumps(metrics))
    return results


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='train_policy', description=__doc__.splitlines()[0])
    parser.add_argument('--recipe', type=Path, default=Path('training/recipes/pouring_policy.yaml'))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S')
    torch.set_num_threads(1)
    print(json.dumps(run(load_recipe(options.recipe, PouringRecipe)), indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
