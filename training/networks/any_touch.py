"""AnyTouch on a published CLIP: a touch tower that is told the sensor, a head that matches sensors, a decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel

from training.networks.lora import tune_with_lora
from training.networks.sensor_tokens import SensorTokens
from training.networks.three_towers import ThreeTowers, embed
from training.networks.touch_decoder import TouchDecoder


@dataclass(frozen=True)
class AnyTouchShape:
    """What is added to the towers.

    Attributes:
        sensors: S, number of known sensors; id S means unknown.
        tokens_per_sensor: L.
        lora_rank: r of the low-rank updates.
        lora_alpha: They are scaled by alpha / r.
        full_touch_tower: Train all of the touch tower; False trains it as the vision tower, by low-rank updates.
        decoder: Width, depth and heads of the decoder of masked images; None leaves it out.
    """

    sensors: int
    tokens_per_sensor: int
    lora_rank: int
    lora_alpha: int
    full_touch_tower: bool
    decoder: tuple[int, int, int] | None


class AnyTouchTowers(ThreeTowers):
    """Three towers: touch with sensor tokens, vision by low-rank updates, text frozen.

    Args:
        clip: The towers.
        shape: What is added to them.

    Source: AnyTouch, sections 4.2-4.5; the low-rank updates and the matching head as its published code has them.
    """

    def __init__(self, clip: CLIPModel, shape: AnyTouchShape):
        super().__init__(clip, largest_scale=math.inf)
        tune_with_lora(self.vision, shape.lora_rank, shape.lora_alpha)
        if shape.full_touch_tower:
            self.touch.requires_grad_(True)
        else:
            tune_with_lora(self.touch, shape.lora_rank, shape.lora_alpha)
        self.sensor_tokens = SensorTokens(self.touch.width, shape.sensors, shape.tokens_per_sensor)
        embedding_size = self.touch.projection.out_features
        self.matching_head = nn.Linear(embedding_size, 1)
        embeddings = self.touch.embeddings
        self.decoder = None if shape.decoder is None else TouchDecoder(
            embedding_size, math.isqrt(embeddings.num_patches), 3 * embeddings.patch_size ** 2, *shape.decoder)

    def touch_embedding(self, frames: Tensor, sensor_id: Tensor, patch_dropout: float = 0.0,
                        hidden_sensor: Tensor | None = None) -> Tensor:
        """Encode touch.

        Args:
            frames: uint8 or float32 [B, 1, H, W, 3], RGB, 0..255, of the size of the tower.
            sensor_id: int64 [B], 0..S-1 for a known sensor, S for an unknown one.
            patch_dropout: Share of the patches left out.
            hidden_sensor: bool [B], samples whose sensor the tower is not told; None means none.

        Returns:
            float32 [B, D], unit length.
        """
        tokens = self.touch.tokens(frames, patch_dropout)
        return embed(self.touch, self._with_sensor(tokens, sensor_id, hidden_sensor))

    def reconstruction_error(self, frames: Tensor, sensor_id: Tensor, order: Tensor, mask_share: float,
                             hidden_sensor: Tensor | None = None) -> Tensor:
        """Hide patches and say how wrong the decoder fills them in.

        Args:
            frames: As for `touch_embedding`.
            sensor_id: As for `touch_embedding`.
            order: int64 [B, patches], a permutation of the patches of each image; the last ones are hidden.
            mask_share: Share of the patches that are hidden.
            hidden_sensor: As for `touch_embedding`.

        Returns:
            float32 [B], mean squared error of the normalised pixels of the hidden patches.

        Source: AnyTouch, section 4.2, eq. 1, for a single frame.
        """
        tower, count = self.touch, order.shape[1]
        seen, hidden = order.split([count - round(count * mask_share), round(count * mask_share)], dim=1)
        tokens = tower.tokens(frames)
        patches = tokens[:, 1:].gather(1, seen[..., None].expand(-1, -1, tower.width))
        tokens = self._with_sensor(torch.cat([tokens[:, :1], patches], dim=1), sensor_id, hidden_sensor)
        for block in tower.blocks:
            tokens = block(tokens, None)
        others, patches = tower.projection(tokens).split([tokens.shape[1] - seen.shape[1], seen.shape[1]], dim=1)
        predicted = self.decoder(others, patches, seen)
        pixels = (frames.squeeze(1).to(torch.float32) - tower.pixel_mean) / tower.pixel_deviation
        size = tower.embeddings.patch_size
        true = functional.unfold(pixels.permute(0, 3, 1, 2), size, stride=size).transpose(1, 2)
        error = (predicted.float() - true).square().mean(dim=2)
        return error.gather(1, hidden).mean(dim=1)

    def _with_sensor(self, tokens: Tensor, sensor_id: Tensor, hidden_sensor: Tensor | None) -> Tensor:
        """Put sensor tokens behind the class token; they have no place in the image."""
        told = self.touch.pre_norm(self.sensor_tokens(sensor_id, hidden_sensor))
        return torch.cat([tokens[:, :1], told, tokens[:, 1:]], dim=1)
