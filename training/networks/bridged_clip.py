"""TLV-CoRe on a published CLIP: frozen towers, bridged by adapters that are the only thing trained."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from transformers import CLIPModel

from training.clip_recipe import Reading
from training.losses.info_nce import START_TEMPERATURE, learned_temperature
from training.networks.bridging_adapter import BridgingAdapter
from training.networks.clip_towers import ClipImageTower, ClipTextTower
from training.networks.frozen_weights import leave_frozen_out
from training.networks.sensor_aware_modulator import SensorAwareModulator
from training.networks.unit_length import unit_length
from visuotactile_ros.errors import ConfigurationError

_TOWERS = ('touch', 'vision', 'text')


class BridgedClip(nn.Module):
    """Touch, vision and text towers of one CLIP, adapters behind their upper layers, modulator and sensor centroids.

    Touch and vision start as two copies of the vision tower. As many of their upper layers carry an adapter as the text
    tower has layers, all of which carry one: 12 of 24 and 12 of 12 for ViT-L/14.

    Args:
        clip: The towers, frozen here; the vision and the text tower are taken over without a copy.
        sensors: S, number of known sensors; id S means unknown.
        adapter_rank: r.
        reading: The paper's or the released code's way.
        constant_temperature: tau of the contrastive losses, where the reading does not learn it.
        bridging: False leaves the adapters out.
        modulator: False leaves the modulator out, and the bias that it needs.

    Raises:
        ConfigurationError: The text tower has more layers than the image towers.

    Source: TLV-CoRe, sections 3.1 and 3.2.
    """

    def __init__(self, clip: CLIPModel, sensors: int, adapter_rank: int, reading: Reading, constant_temperature: float,
                 bridging: bool = True, modulator: bool = True):
        super().__init__()
        self.sensors, self.reading, self.constant_temperature = sensors, reading, constant_temperature
        self.vision, self.text = ClipImageTower(clip), ClipTextTower(clip)
        self.touch = copy.deepcopy(self.vision)
        towers = {modality: getattr(self, modality) for modality in _TOWERS}
        for tower in towers.values():
            tower.requires_grad_(False)
        text_depth, image_depth = len(self.text.blocks), len(self.vision.blocks)
        if text_depth > image_depth:
            raise ConfigurationError(f'{text_depth} text layers cannot be bridged to {image_depth} image layers',
                                     'Choose a CLIP whose image towers are at least as deep as its text tower')
        levels = text_depth if bridging else 0
        self.adapters = nn.ModuleDict({
            modality: nn.ModuleList(_adapter(tower.width, adapter_rank, reading) for _ in range(levels))
            for modality, tower in towers.items()})
        self.shared_transforms = nn.ModuleList(
            nn.Linear(adapter_rank, adapter_rank, bias=reading.adapter_biases)
            for _ in range(levels if reading.shared_transform_per_level else min(levels, 1)))
        self.modulator = SensorAwareModulator(self.touch.width, sensors) if modulator else None
        self.touch_bias = nn.Parameter(torch.zeros(self.touch.projection.out_features)) \
            if modulator and reading.projection_bias else None
        self.sensor_centroids = nn.Parameter(reading.centroid_deviation * torch.randn(sensors, self.touch.width))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(START_TEMPERATURE))) \
            if reading.learnable_temperature else None
        leave_frozen_out(self)

    def encode_touch(self, frames: Tensor, sensor_id: Tensor | None,
                     patch_dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """Encode touch frames.

        Args:
            frames: [B, 1, H, W, 3], RGB, 0..255, of the size of the tower.
            sensor_id: int64 [B], 0..S-1 for a known sensor, S for an unknown one; None leaves the modulator out.
            patch_dropout: Share of the patches left out.

        Returns:
            z^T, float32 [B, D], unit length; the feature that L_DL reads, float32 [B, width]: h^T.
        """
        tokens = self.touch.tokens(frames, patch_dropout)
        modulates = self.modulator is not None and sensor_id is not None
        if modulates and self.reading.modulate_tokens:
            sensor_of_token = sensor_id.repeat_interleave(tokens.shape[1])
            tokens = self.modulator(tokens.flatten(0, 1), sensor_of_token).view_as(tokens)
        feature = self._run('touch', tokens)
        modulated = self.modulator(feature, sensor_id) if modulates and not self.reading.modulate_tokens else feature
        projected = self.touch.projection(modulated)
        if self.touch_bias is not None:
            projected = projected + self.touch_bias
        return unit_length(projected), tokens.mean(dim=1) if self.reading.modulate_tokens else feature

    def touch_embedding(self, frames: Tensor, sensor_id: Tensor) -> Tensor:
        """Encode touch as probes and robots read it: z^T, float32 [B, D]; the arguments are those of `encode_touch`."""
        return self.encode_touch(frames, sensor_id if self.reading.modulate_probe else None)[0]

    def vision_embedding(self, frames: Tensor, patch_dropout: float = 0.0) -> Tensor:
        """Encode views [B, 1, H, W, 3], RGB, 0..255, to z^V, float32 [B, D], unit length."""
        return unit_length(self.vision.projection(self._run('vision', self.vision.tokens(frames, patch_dropout))))

    def text_embedding(self, tokens: Tensor) -> Tensor:
        """Encode captions int64 [B, L] to z^L, float32 [B, D], unit length."""
        return unit_length(self.text.projection(self._run('text', tokens)))

    def temperature(self) -> float | Tensor:
        """Give tau of the contrastive losses: learned where the reading says so, else the constant."""
        return self.constant_temperature if self.log_scale is None else learned_temperature(self.log_scale)

    def _run(self, modality: str, tokens: Tensor) -> Tensor:
        tower, adapters = getattr(self, modality), self.adapters[modality]
        depth = len(tower.blocks)
        first_adapted = depth - len(adapters)

        def bridge(layer: int, tokens: Tensor) -> Tensor:
            level = layer - first_adapted
            if level < 0:
                return tokens
            return adapters[level](tokens, self.shared_transforms[level if len(self.shared_transforms) > 1 else 0])

        blocks = [layer if self.reading.own_block or layer < first_adapted else depth - 1 for layer in range(depth)]
        return tower(tokens, bridge, blocks)


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Count the trained numbers of a model, and all of them: (trained, all)."""
    counts = [(tensor.numel(), tensor.requires_grad) for tensor in model.parameters()]
    return sum(count for count, trained in counts if trained), sum(count for count, _ in counts)


def _adapter(width: int, rank: int, reading: Reading) -> BridgingAdapter:
    adapter = BridgingAdapter(width, rank)
    if reading.adapter_biases:
        adapter.down, adapter.up = nn.Linear(width, rank), nn.Linear(rank, width)
    return adapter
