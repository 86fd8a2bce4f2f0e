"""State dicts of a network on a mostly frozen CLIP: what is trained, and enough of the CLIP to know it again."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def leave_frozen_out(model: nn.Module) -> None:
    """Keep frozen parameters out of the state dicts of a network; a checkpoint of it fits its CLIP only.

    Args:
        model: Its towers `vision` and `text` are still those of the CLIP. It gets a buffer `clip_sums`, the sums of the
            weights of their projections, which the frozen parameters that are put in at loading have to have.
    """
    model.register_buffer('clip_sums', torch.stack([
        tower.projection.weight.double().sum() for tower in (model.vision, model.text)]))
    model.register_state_dict_post_hook(_leave_out)
    model.register_load_state_dict_pre_hook(_put_in)


def _leave_out(model: nn.Module, state: dict[str, Tensor], prefix: str, _) -> None:
    for name, tensor in model.named_parameters(remove_duplicate=False):
        if not tensor.requires_grad:
            del state[prefix + name]


def _put_in(model: nn.Module, state: dict[str, Tensor], prefix: str, _, strict: bool, missing: list[str],
            unexpected: list[str], errors: list[str]) -> None:
    sums = state.get(f'{prefix}clip_sums')
    if sums is not None and not torch.allclose(sums.to(model.clip_sums), model.clip_sums, rtol=1e-9):
        errors.append('it was trained on another CLIP')
    for name, tensor in model.named_parameters(remove_duplicate=False):
        if not tensor.requires_grad:
            state[prefix + name] = tensor
