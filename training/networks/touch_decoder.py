"""Decoder of masked touch images: from the tokens that were seen to the pixels of all patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.transformer_block import TransformerBlock

_MASK_DEVIATION = 0.02
_LONGEST_WAVE = 10000.0


class TouchDecoder(nn.Module):
    """A small transformer that fills in the patches that were hidden from the encoder.

    Args:
        embedding_size: D, width of the tokens that come in.
        grid: Patches on each side of the image.
        patch_values: Numbers of a patch, height x width x 3.
        width: Width of the decoder, a multiple of 4.
        depth: Layers.
        heads: Attention heads.

    Source: He et al. 2022, masked autoencoders; sizes and place of the sensor tokens as AnyTouch publishes them.
    """

    def __init__(self, embedding_size: int, grid: int, patch_values: int, width: int, depth: int, heads: int):
        super().__init__()
        self.narrow = nn.Linear(embedding_size, width)
        self.hidden_patch = nn.Parameter(_MASK_DEVIATION * torch.randn(width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, patch_values)
        self.register_buffer('position', grid_waves(grid, width), persistent=False)

    def forward(self, others: Tensor, patches: Tensor, places: Tensor) -> Tensor:
        """Predict the pixels of all patches.

        Args:
            others: float32 [B, M, D], class and sensor tokens; they have no place in the image.
            patches: float32 [B, K, D], tokens of the patches that were seen.
            places: int64 [B, K], where each of them lies, row by row.

        Returns:
            float32 [B, grid · grid, patch_values].
        """
        seen = self.narrow(patches)
        all_patches = self.hidden_patch.to(seen.dtype).expand(len(seen), len(self.position), -1)
        all_patches = all_patches.scatter(1, places[..., None].expand_as(seen), seen) + self.position
        tokens = torch.cat([self.narrow(others), all_patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.pixels(self.norm(tokens[:, others.shape[1]:]))


def grid_waves(grid: int, width: int) -> Tensor:
    """Make fixed positions of the patches of an image: sines and cosines of row and column.

    Returns:
        float32 [grid · grid, width], the patches row by row.
    """
    frequency = _LONGEST_WAVE ** -(torch.arange(width // 4) / (width // 4))
    angle = torch.arange(grid)[:, None] * frequency
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows, columns = wave[:, None].expand(-1, grid, -1), wave[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)
