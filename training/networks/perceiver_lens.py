"""ViT-Lens-2: what turns touch into tokens that a mostly frozen vision transformer can read."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPModel, PerceiverConfig, PerceiverModel

from training.networks.clip_towers import ClipImageTower
from training.networks.three_towers import ThreeTowers, embed
from visuotactile_ros.errors import ConfigurationError


class PerceiverLens(nn.Module):
    """Learned latents that look at all tokens once, then at each other.

    Args:
        width: Width of the tokens.
        heads: Attention heads among the latents.
        latents: Number of latents.

    Source: Lei et al. 2024, ViT-Lens-2; the published settings of this lens: one cross-attention of one head, one block
        of self-attention.
    """

    def __init__(self, width: int, heads: int, latents: int):
        super().__init__()
        self.perceiver = PerceiverModel(PerceiverConfig(
            num_latents=latents, d_latents=width, d_model=width, num_blocks=1, num_self_attends_per_block=1,
            num_self_attention_heads=heads, num_cross_attention_heads=1, self_attention_widening_factor=4,
            cross_attention_widening_factor=4, attention_probs_dropout_prob=0.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens float32 [B, N, width] to float32 [B, latents, width]."""
        return self.perceiver(inputs=tokens).last_hidden_state


class LensTowers(ThreeTowers):
    """Three towers; of touch, a lens and some of the layers are trained, of vision and text nothing.

    The layers of a tower fall into groups: what comes before the blocks, every block but the last, the last block with
    the norm behind it, the projection.

    Args:
        clip: The towers.
        unlocked_groups: How many groups of the touch tower are trained.
        unlock_from_image: Count them from the image on, where they are the lens themselves; False counts them from the
            embedding back.
        latents: Latents of a Perceiver lens behind the patches; 0 leaves it out.

    Raises:
        ConfigurationError: The tower has fewer groups.
    """

    def __init__(self, clip: CLIPModel, unlocked_groups: int, unlock_from_image: bool, latents: int):
        super().__init__(clip)
        groups = _layer_groups(self.touch)
        if unlocked_groups > len(groups):
            raise ConfigurationError(f'unlocked_groups is {unlocked_groups}, but the touch tower has {len(groups)}',
                                     f'Give at most {len(groups)}')
        for group in groups[:unlocked_groups] if unlock_from_image else groups[len(groups) - unlocked_groups:]:
            for module in group:
                module.requires_grad_(True)
        heads = self.touch.blocks[0].self_attn.num_heads
        self.lens = PerceiverLens(self.touch.width, heads, latents) if latents > 0 else None

    def touch_embedding(self, frames: Tensor, sensor_id: Tensor, patch_dropout: float = 0.0) -> Tensor:
        """Encode touch as `ThreeTowers` does, through the lens; sensors are not told apart."""
        tokens = self.touch.tokens(frames, patch_dropout)
        if self.lens is not None:
            latents = self.touch.pre_norm(self.lens(tokens[:, 1:]))
            tokens = torch.cat([tokens[:, :1], latents], dim=1)
        return embed(self.touch, tokens)


def _layer_groups(tower: ClipImageTower) -> list[list[nn.Module]]:
    return [[tower.embeddings, tower.pre_norm], *([block] for block in tower.blocks[:-1]),
            [tower.blocks[-1], tower.post_norm], [tower.projection]]
