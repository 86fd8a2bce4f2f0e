"""Randomised simulated pours by three controllers: `python -m training.evaluation.pour_benchmark --seeds 1-40`.

The same task, policy, encoder, renderer, limits and world as the real-time graph, in simulated time and without
messages. Everything is simulated: no figure here may stand beside a measured one.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from training.pouring.simulated_episode import PourTrace, RenderedTouch, one_frame_a_call, simulate_pour
from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.pouring_policy import PouringPolicy
from visuotactile_ros.policy.torque_weight_controller import TorqueWeightController
from visuotactile_ros.simulation.world import WRIST_JOINT

_LOG = logging.getLogger(__name__)
_RESAMPLES = 2000

Pour = Callable[[int], PourTrace]
"""Pours once with a seed."""


def policy_pour(encoder_folder: Path | str, policy_folder: Path | str) -> Pour:
    """Load an encoder and its policy.

    Raises:
        ModelError: A folder is refused, or the policy was trained on another encoder or for another task.
    """
    encoder, policy = TactileEncoder(encoder_folder), PouringPolicy(policy_folder)
    policy.check_encoder(encoder.card.sha256)
    policy.check_task(PouringTaskParameters())
    encode = one_frame_a_call(encoder)
    return lambda seed: simulate_pour(seed, lambda world: policy, RenderedTouch(seed, encode))


_loaded_policy_pour = lru_cache(policy_pour)


def pour_with(encoder_folder: str, policy_folder: str, seed: int) -> PourTrace:
    """Pour once; every process loads encoder and policy for itself, once."""
    return _loaded_policy_pour(encoder_folder, policy_folder)(seed)


def torque_weight_pour(seed: int) -> PourTrace:
    """Pour once by joint torque; the task still asks for embeddings, which this controller ignores."""
    return simulate_pour(
        seed, lambda world: TorqueWeightController(lambda: world.joint_torque_nm()[WRIST_JOINT], world.payload_lever_m,
                                                   PouringTaskParameters().target_mass_g),
        lambda world, stamp_ns: {'left': np.ones(1, np.float32), 'right': np.ones(1, np.float32)})


def summarise(traces: Sequence[PourTrace], target_mass_g: float) -> dict:
    """Figures of one controller.

    Returns:
        `mean_abs_error_g`, its 95 % bootstrap interval over seeds `ci95_g` [low, high], `p95_abs_error_g`,
        `mean_error_g`, `limit_violations`, `completed` (pours that the controller itself ended), `n`, and every pour.
    """
    errors_g = np.array([trace.final_mass_g - target_mass_g for trace in traces])
    absolute = np.abs(errors_g)
    resampled = np.random.default_rng(0).choice(absolute, (_RESAMPLES, absolute.size)).mean(axis=1)
    return {'mean_abs_error_g': float(absolute.mean()), 'ci95_g': np.percentile(resampled, [2.5, 97.5]).tolist(),
            'p95_abs_error_g': float(np.percentile(absolute, 95)), 'mean_error_g': float(errors_g.mean()),
            'limit_violations': sum(len(trace.limit_violations) for trace in traces),
            'completed': sum(trace.outcome == 'completed' for trace in traces), 'n': len(traces),
            'pours': [{'seed': trace.seed, 'poured_g': trace.final_mass_g, 'duration_s': trace.time_s[-1],
                       'largest_tilt_deg': max(trace.tilt_deg), 'outcome': trace.outcome} for trace in traces]}


def parse_seeds(text: str) -> list[int]:
    """Read `1-40`, `7` or `1-4,9`.

    Raises:
        ConfigurationError: The text is something else.
    """
    seeds: list[int] = []
    try:
        for part in text.split(','):
            first, dash, last = part.partition('-')
            seeds.extend(range(int(first), int(last if dash else first) + 1))
    except ValueError as error:
        raise ConfigurationError(f'the seeds are {text!r}', 'Write for example 1-40') from error
    if not seeds:
        raise ConfigurationError(f'the seeds {text!r} name none', 'Write for example 1-40')
    return seeds


def run(seeds: Sequence[int], controllers: dict[str, Pour],
        map_pours: Callable[[Pour, Sequence[int]], Iterable[PourTrace]] = map) -> dict:
    """Run every controller on every seed.

    Args:
        seeds: Seeds of the pours.
        controllers: What pours, by name.
        map_pours: How the seeds are worked off, in order; a pool's `imap` shares them between processes.
    """
    target_g, result = PouringTaskParameters().target_mass_g, {}
    for name, pour in controllers.items():
        started, traces = time.monotonic(), []
        for trace in map_pours(pour, seeds):
            traces.append(trace)
            _LOG.info('%s, seed %d: %.2f g, %s', name, trace.seed, trace.final_mass_g, trace.outcome)
        result[name] = summarise(traces, target_g)
        simulated_s = sum(trace.time_s[-1] for trace in traces)
        result[name]['times_real_time'] = simulated_s / (time.monotonic() - started)
    return {'simulated': True, 'note': 'All masses are simulated; never set them beside measured ones.',
            'target_mass_g': target_g, 'seeds': list(seeds), 'controllers': result}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='pour_benchmark', description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', default='1-40')
    parser.add_argument('--output', type=Path, help='JSON file to write')
    parser.add_argument('--processes', type=int, default=multiprocessing.cpu_count(), help='pours at a time')
    parser.add_argument('--encoder', default='models/tlv_core_tiny_touch')
    parser.add_argument('--policy', default='models/pouring_policy')
    parser.add_argument('--untrained-encoder', default='models/untrained_touch')
    parser.add_argument('--untrained-encoder-policy', default='models/pouring_policy_untrained_encoder')
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    folders = {'policy': (options.encoder, options.policy),
               'untrained_encoder': (options.untrained_encoder, options.untrained_encoder_policy)}
    for encoder_and_policy in folders.values():
        policy_pour(*encoder_and_policy)
    controllers = {'torque_weight': torque_weight_pour,
                   **{name: partial(pour_with, *both) for name, both in folders.items()}}
    spawn = multiprocessing.get_context('spawn')
    with spawn.Pool(options.processes, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        result = run(parse_seeds(options.seeds), controllers, pool.imap)
    if options.output is not None:
        write_atomically(options.output, json.dumps(result, indent=2) + '\n')
    print('SIMULATED pours')
    for name, values in result['controllers'].items():
        low, high = values['ci95_g']
        print(f'{name:20} mean error {values["mean_abs_error_g"]:6.2f} g ({low:.2f} to {high:.2f}), 95th percentile '
              f'{values["p95_abs_error_g"]:6.2f} g, {values["limit_violations"]} limit violations, '
              f'{values["completed"]} of {values["n"]} completed')
    return 0


if __name__ == '__main__':
    sys.exit(main())
