"""Checkpoints: safetensors for every tensor and one JSON for the rest; nothing is pickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from visuotactile_ros.errors import ModelError


def save_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None,
                    state: dict[str, Any]) -> None:
    """Write model.safetensors, optimizer.safetensors and state.json; state.json last, so that it marks a whole one.

    Args:
        folder: Made when missing; an older checkpoint in it is replaced.
        model: Its parameters and buffers.
        optimizer: An AdamW over `model.named_parameters()`; None leaves it out.
        state: JSON values: step, recipe, metrics.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / 'model.safetensors',
             lambda path: save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path))
    if optimizer is not None:
        tensors = {f'{name}.{key}': value for name, parameter in model.named_parameters()
                   for key, value in optimizer.state.get(parameter, {}).items()}
        _replace(folder / 'optimizer.safetensors', lambda path: save_file(tensors, path))
    _replace(folder / 'state.json', lambda path: Path(path).write_text(json.dumps(state, indent=1) + '\n'))


def load_state(folder: Path) -> dict[str, Any]:
    """Read state.json of a checkpoint.

    Raises:
        ModelError: There is no whole checkpoint.
    """
    try:
        return json.loads((folder / 'state.json').read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f'{folder} holds no checkpoint: {error}',
                         'Give the folder that `python -m training.pretrain` printed') from error


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Fill a model, and an optimiser if given, from a checkpoint.

    Returns:
        The state that was saved beside it.

    Raises:
        ModelError: A file is missing or damaged, or its tensors are not those of the model.
    """
    state = load_state(folder)
    try:
        model.load_state_dict(load_file(folder / 'model.safetensors'))
        if optimizer is not None:
            tensors = load_file(folder / 'optimizer.safetensors')
            for name, parameter in model.named_parameters():
                if f'{name}.step' in tensors:  # what never had a gradient has no state
                    optimizer.state[parameter] = {key: tensors[f'{name}.{key}'].to(parameter.device)
                                                  for key in ('step', 'exp_avg', 'exp_avg_sq')}
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise ModelError(f'the checkpoint {folder} does not fit its recipe: {str(error).splitlines()[0]}',
                         'Train it again or give another folder') from error
    return state


def _replace(path: Path, write) -> None:
    partial = path.with_name(path.name + '.partial')
    write(str(partial))
    os.replace(partial, path)
