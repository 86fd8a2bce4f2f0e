"""Checkpoints: safetensors for every tensor and one JSON for the rest; nothing is pickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from visuotactile_ros.errors import ModelError


def save_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None,
                    state: dict[str, Any]) -> None:
    """Write model.safetensors, optimizer.safetensors and state.json, each with the step that it belongs to.

    All are written under other names first and take their places together; `load_checkpoint` notices the rare kill
    between two of them by the step.

    Args:
        folder: Made when missing; an older checkpoint in it is replaced.
        model: Its parameters and buffers.
        optimizer: An AdamW over `model.named_parameters()`; None leaves it out.
        state: JSON values: step, recipe, metrics.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {'model.safetensors': {name: tensor.contiguous() for name, tensor in model.state_dict().items()}}
    if optimizer is not None:
        tensors['optimizer.safetensors'] = {
            f'{name}.{key}': value for name, parameter in model.named_parameters()
            for key, value in optimizer.state.get(parameter, {}).items()}
    for name, values in tensors.items():
        save_file(values, _partial(folder / name), metadata={'step': str(state['step'])})
    _partial(folder / 'state.json').write_text(json.dumps(state, indent=1) + '\n')
    for name in (*tensors, 'state.json'):
        os.replace(_partial(folder / name), folder / name)


def load_state(folder: Path) -> dict[str, Any]:
    """Read state.json of a checkpoint.

    Raises:
        ModelError: There is no whole checkpoint.
    """
    remedy = 'Give the folder that `python -m training.pretrain` printed'
    try:
        state = json.loads((folder / 'state.json').read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f'{folder} holds no checkpoint: {error}', remedy) from error
    for name, kind in (('step', int), ('recipe', dict), ('metrics', dict)):
        if not isinstance(state, dict) or not isinstance(state.get(name), kind):
            raise ModelError(f'{folder}/state.json does not tell the {name} of a checkpoint', remedy)
    return state


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Fill a model, and an optimiser if given, from a checkpoint.

    Returns:
        The state that was saved beside it.

    Raises:
        ModelError: A file is missing or damaged or of another step, or its tensors are not those of the model.
    """
    state = load_state(folder)
    try:
        model.load_state_dict(_load_tensors(folder / 'model.safetensors', state))
        if optimizer is not None:
            tensors = _load_tensors(folder / 'optimizer.safetensors', state)
            for name, parameter in model.named_parameters():
                if f'{name}.step' in tensors:  # what never had a gradient has no state
                    optimizer.state[parameter] = {key: tensors[f'{name}.{key}'].to(parameter.device)
                                                  for key in ('step', 'exp_avg', 'exp_avg_sq')}
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise ModelError(f'the checkpoint {folder} does not fit its recipe: {str(error).splitlines()[0]}',
                         'Train it again or give another folder') from error
    return state


def _load_tensors(path: Path, state: dict[str, Any]) -> dict[str, torch.Tensor]:
    with safe_open(path, framework='pt') as file:
        step = (file.metadata() or {}).get('step')   # earlier checkpoints do not name it
        if step is not None and int(step) != state['step']:
            raise ModelError(f'{path} is of step {step}, the state beside it of step {state["step"]}: a write of this '
                             'checkpoint was interrupted', 'Train it again or give another folder')
        return {name: file.get_tensor(name) for name in file.keys()}


def _partial(path: Path) -> Path:
    return path.with_name(path.name + '.partial')
