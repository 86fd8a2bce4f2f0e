"""The image tower of touch and vision: a small Vision Transformer with bridging adapters in its upper layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.batch_rows import batch_rows
from training.networks.bridging_adapter import BridgingAdapter
from training.networks.transformer_block import TransformerBlock, initialise_linear

PIXEL_MEAN = 127.5
PIXEL_SCALE = 64.0
CONTRAST_GAIN = 8.0


class PatchStem(nn.Module):
    """Raw pixels to one token a patch by three convolutions, the first of which does not overlap.

    Pixels enter as 0..255; their scaling lives in the first weights (w' = w / 64, b' = b - 127.5 Σ w'), so that
    training, export and runtime cannot disagree and the exported graph has no separate normalisation.

    Args:
        patch_size_px: Height and width of a patch, a multiple of 4.
        width: Width of the tokens, a multiple of 4.

    Source: Xiao et al., Early Convolutions Help Transformers See Better, 2021.
    """

    def __init__(self, patch_size_px: int, width: int):
        super().__init__()
        first = patch_size_px // 4
        self.pixels = nn.Conv2d(3, width // 4, first, stride=first)
        self.middle = nn.Conv2d(width // 4, width // 2, 3, stride=2, padding=1)
        self.patches = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        for convolution in (self.pixels, self.middle, self.patches):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity='relu')
            nn.init.zeros_(convolution.bias)
        # Texture changes a gel image by a few grey levels, light and background by a hundred: half of the filters start
        # blind to even brightness and sensitive to small differences.
        with torch.no_grad():
            contrast = self.pixels.weight[width // 8:]
            contrast.sub_(contrast.mean(dim=(2, 3), keepdim=True)).mul_(CONTRAST_GAIN)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames [B, 1, H, W, 3], 0..255, to tokens float32 [B, patches, width]."""
        pixels = frames.squeeze(1).permute(0, 3, 1, 2).to(torch.float32)
        weight = self.pixels.weight / PIXEL_SCALE
        bias = self.pixels.bias - PIXEL_MEAN * weight.sum(dim=(1, 2, 3))
        features = functional.gelu(functional.conv2d(pixels, weight, bias, stride=self.pixels.stride))
        return self.patches(functional.gelu(self.middle(features))).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Frames to one feature.

    The feature is the mean of the last tokens, for touch plus a read-out that knows where each token lies: a mean alone
    hides small motions of a gel, which show in every place as another change of brightness.

    Args:
        image_size_px: Height and width of the frames.
        patch_size_px: Height and width of a patch; divides `image_size_px`.
        width: Width of the tokens.
        depth: Number of layers.
        heads: Attention heads.
        adapted_layers: How many of the upper layers carry an adapter.
        adapter_rank: r of the adapters.
        place_channels: Numbers a token gives to the read-out that knows places; 0 leaves it out. It needs all patches.
    """

    def __init__(self, image_size_px: int, patch_size_px: int, width: int, depth: int, heads: int,
                 adapted_layers: int, adapter_rank: int, place_channels: int = 0):
        super().__init__()
        self.first_adapted_layer = depth - adapted_layers
        patches = (image_size_px // patch_size_px) ** 2
        self.stem = PatchStem(patch_size_px, width)
        self.position = nn.Parameter(0.2 * torch.randn(1, patches, width))
        self.layers = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.places = None if place_channels == 0 else nn.Sequential(
            nn.Linear(width, place_channels), nn.Flatten(), nn.Linear(patches * place_channels, width))
        initialise_linear(self)
        self.adapters = nn.ModuleList(BridgingAdapter(width, adapter_rank) for _ in range(adapted_layers))

    def forward(self, frames: Tensor, shared: Sequence[nn.Module], patch_dropout: float = 0.0) -> Tensor:
        """Encode frames.

        Args:
            frames: uint8 or float32 [B, 1, H, W, 3], RGB, 0..255.
            shared: W_sh of every adapted level, lowest first.
            patch_dropout: Share of the patches left out, drawn anew for every image; 0 keeps all. Must be 0 for a
                tower with a read-out that knows places.

        Returns:
            float32 [B, width].
        """
        tokens = self.stem(frames) + self.position
        batch, count, width = tokens.shape
        if patch_dropout > 0.0:
            order = batch_rows(batch).rand(count, device=tokens.device).argsort(dim=1)
            kept = order[:, :round(count * (1 - patch_dropout))]
            tokens = tokens.gather(1, kept[:, :, None].expand(-1, -1, width))
        for index, layer in enumerate(self.layers):
            tokens = layer(tokens)
            level = index - self.first_adapted_layer
            if level >= 0:
                tokens = self.adapters[level](tokens, shared[level])
        tokens = self.norm(tokens)
        feature = tokens.mean(dim=1)
        return feature if self.places is None else feature + self.places(tokens)
