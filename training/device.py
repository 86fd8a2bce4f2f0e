"""What a run computes on: the device, its precision, and compiled blocks."""

from __future__ import annotations

import shutil

import torch
from torch import nn

from visuotactile_ros.errors import ConfigurationError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn the setting `device` into a device.

    Args:
        name: auto (a GPU if there is one), cpu or cuda.
        local_rank: Number of this process on its machine; each takes its own GPU.

    Raises:
        ConfigurationError: There is no GPU, or there are more processes than GPUs.
    """
    gpus = torch.cuda.device_count()
    if name == 'cpu' or (name == 'auto' and gpus == 0):
        return torch.device('cpu')
    if gpus == 0:
        raise ConfigurationError('device is cuda, but torch finds no GPU',
                                 'Install a torch built for CUDA, or write device: cpu')
    if local_rank >= gpus:
        raise ConfigurationError(f'process {local_rank + 1} of this machine finds {gpus} GPUs',
                                 f'Start at most {gpus} processes, or write device: cpu')
    return torch.device('cuda', local_rank)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse bf16 where the device would only imitate it.

    Raises:
        ConfigurationError: The device has no bf16 arithmetic.
    """
    if precision != 'bf16':
        return
    has_it = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == 'cuda' \
        else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not has_it:
        raise ConfigurationError(f'precision is bf16, which this {device.type} does not have', 'Write precision: fp32')


def compile_blocks(model: nn.Module) -> None:
    """Compile the repeated blocks of a model, in place; names of weights stay.

    Blocks and not towers: all blocks of one kind share one compiled graph, so it is made in seconds, and what happens
    between layers may stay plain Python.

    Raises:
        ConfigurationError: There is no C++ compiler.
    """
    if not any(shutil.which(name) for name in ('c++', 'g++', 'clang++')):
        raise ConfigurationError('compile needs a C++ compiler', 'Install g++, or write compile: false')
    for module in model.children():
        if isinstance(module, nn.ModuleList):
            for block in module:
                if any(True for _ in block.children()):
                    block.compile()
        else:
            compile_blocks(module)
