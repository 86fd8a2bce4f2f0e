"""Low-rank updates of the attention of a tower, and which of its weights are trained beside them."""

from __future__ import annotations

from peft import LoraConfig, inject_adapter_in_model

from training.networks.clip_towers import ClipImageTower

_ATTENTION = ['q_proj', 'k_proj', 'v_proj', 'out_proj']


def tune_with_lora(tower: ClipImageTower, rank: int, alpha: int) -> None:
    """Freeze the blocks of a tower but for low-rank updates of q, k, v and out; what lies outside them is trained.

    Fresh updates are zero: the tower stays what it was.

    Args:
        tower: Changed in place.
        rank: r.
        alpha: The updates are scaled by alpha / r.

    Source: Hu et al. 2022, LoRA. That embeddings, outer norms and projection stay trainable is what the published code
        of TLV-Link and of AnyTouch does: both wrap the encoder alone.
    """
    tower.requires_grad_(True)
    tower.blocks.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=_ATTENTION), tower.blocks)
