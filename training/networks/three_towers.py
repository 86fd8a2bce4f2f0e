"""Touch, vision and text towers of one CLIP, of which a method trains what it thaws."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from transformers import CLIPModel

from training.losses.info_nce import LARGEST_SCALE, START_TEMPERATURE, learned_temperature
from training.networks.clip_towers import ClipImageTower, ClipTextTower
from training.networks.frozen_weights import leave_frozen_out
from training.networks.unit_length import unit_length


class ThreeTowers(nn.Module):
    """Three frozen towers and one learnable temperature of the contrastive losses.

    Touch and vision start as two copies of the vision tower. A checkpoint holds what is trained and two sums of the
    CLIP, so that it fits that CLIP only.

    Args:
        clip: The towers, frozen here; the vision and the text tower are taken over without a copy.
        largest_scale: Upper limit of 1 / temperature; infinity for none.
    """

    def __init__(self, clip: CLIPModel, largest_scale: float = LARGEST_SCALE):
        super().__init__()
        self.largest_scale = largest_scale
        self.vision, self.text = ClipImageTower(clip), ClipTextTower(clip)
        self.touch = copy.deepcopy(self.vision)
        self.requires_grad_(False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(START_TEMPERATURE)))
        leave_frozen_out(self)

    def touch_embedding(self, frames: Tensor, sensor_id: Tensor, patch_dropout: float = 0.0) -> Tensor:
        """Encode touch.

        Args:
            frames: uint8 or float32 [B, 1, H, W, 3], RGB, 0..255, of the size of the tower.
            sensor_id: int64 [B], 0..S-1 for a known sensor, S for an unknown one; not every method looks at it.
            patch_dropout: Share of the patches left out.

        Returns:
            float32 [B, D], unit length.
        """
        return embed(self.touch, self.touch.tokens(frames, patch_dropout))

    def vision_embedding(self, frames: Tensor, patch_dropout: float = 0.0) -> Tensor:
        """Encode views [B, 1, H, W, 3], RGB, 0..255, to float32 [B, D], unit length."""
        return embed(self.vision, self.vision.tokens(frames, patch_dropout))

    def text_embedding(self, tokens: Tensor) -> Tensor:
        """Encode captions int64 [B, L] to float32 [B, D], unit length."""
        return embed(self.text, tokens)

    def temperature(self) -> Tensor:
        """Give the temperature of the contrastive losses, a scalar."""
        return learned_temperature(self.log_scale, self.largest_scale)


def embed(tower: ClipImageTower | ClipTextTower, tokens: Tensor) -> Tensor:
    """Run the blocks over tokens, to float32 [B, D], unit length.

    Args:
        tower: The tower.
        tokens: [B, N, width] of an image tower, the class token first; ids int64 [B, L] of a text tower.
    """
    return unit_length(tower.projection(tower(tokens, _unchanged)))


def _unchanged(layer: int, tokens: Tensor) -> Tensor:
    return tokens
