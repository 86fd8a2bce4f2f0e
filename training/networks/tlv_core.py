"""TLV-CoRe: touch, vision and language towers bridged by shared transforms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.networks.sensor_aware_modulator import SensorAwareModulator
from training.networks.text_transformer import TextTransformer
from training.networks.transformer_block import initialise_linear
from training.networks.unit_length import unit_length
from training.networks.vision_transformer import VisionTransformer

CONTACT_QUANTITIES = ('normal_force_n', 'shear_x_mm', 'shear_y_mm', 'twist_deg')
TOUCH_PLACE_CHANNELS = 12
MOTION_QUANTITIES = ('centre_x_mm', 'centre_y_mm', 'twist_deg')


@dataclass(frozen=True)
class TlvCoreShape:
    """Everything that fixes the shapes of the weights.

    Attributes:
        image_size_px: Height and width of touch and vision frames.
        patch_size_px: Height and width of a patch.
        width: Width of all towers.
        heads: Attention heads of all towers.
        image_depth: Layers of the touch and of the vision tower.
        text_depth: Layers of the text tower, all of them adapted; as many upper image layers are adapted.
        adapter_rank: r of the bridging adapters.
        embedding_size: D.
        vocabulary_size: Token ids of the text tower.
        context_length: Most tokens of a caption.
        sensors: S, number of sensor kinds known.
        classes: Number of classes of every head, by name.
    """

    image_size_px: int
    patch_size_px: int
    width: int
    heads: int
    image_depth: int
    text_depth: int
    adapter_rank: int
    embedding_size: int
    vocabulary_size: int
    context_length: int
    sensors: int
    classes: Mapping[str, int]


class TlvCore(nn.Module):
    """The three towers, the shared transforms W_sh, the modulator, the sensor centroids and the heads.

    The final projections have a bias: eq. 1 multiplies the whole feature by one number, and without a bias the
    normalisation to unit length would undo it.

    Args:
        shape: Sizes.

    W_sh is one matrix a level, as in the published code; eq. 4 writes one without an index. Weights are shipped so.

    Source: TLV-CoRe, section 3; heads and the contact read-out are ours.
    """

    def __init__(self, shape: TlvCoreShape):
        super().__init__()
        self.shape = shape
        levels, rank, width = shape.text_depth, shape.adapter_rank, shape.width

        def image_tower(place_channels: int) -> VisionTransformer:
            return VisionTransformer(shape.image_size_px, shape.patch_size_px, width, shape.image_depth, shape.heads,
                                     levels, rank, place_channels)

        self.touch, self.vision = image_tower(TOUCH_PLACE_CHANNELS), image_tower(0)
        self.text = TextTransformer(shape.vocabulary_size, shape.context_length, width, levels, shape.heads, rank)
        self.shared_transforms = nn.ModuleList(nn.Linear(rank, rank, bias=False) for _ in range(levels))
        self.modulator = SensorAwareModulator(width, shape.sensors)
        # Only their direction counts; short ones turn fast enough to keep up with the features they chase.
        self.sensor_centroids = nn.Parameter(0.02 * torch.randn(shape.sensors, width))
        self.projections = nn.ModuleDict({
            modality: nn.Linear(width, shape.embedding_size) for modality in ('touch', 'vision', 'text')})
        self.classifiers = nn.ModuleDict({
            name: nn.Linear(shape.embedding_size, count) for name, count in shape.classes.items()})
        self.contact = nn.Linear(shape.embedding_size, len(CONTACT_QUANTITIES))
        self.motion = nn.Linear(shape.embedding_size, len(MOTION_QUANTITIES), bias=False)
        for part in (self.projections, self.classifiers, self.contact, self.motion):
            initialise_linear(part)

    def touch_feature(self, frames: Tensor) -> Tensor:
        """Encode touch frames [B, 1, H, W, 3], 0..255, to the feature h^T, float32 [B, width]."""
        return self.touch(frames, self.shared_transforms)

    def touch_embedding(self, feature: Tensor, sensor_id: Tensor) -> Tensor:
        """Turn h^T [B, width] and sensor ids int64 [B] (S is unknown) into z^T, float32 [B, D], unit length."""
        return unit_length(self.projections['touch'](self.modulator(feature, sensor_id)))

    def vision_embedding(self, frames: Tensor, patch_dropout: float = 0.0) -> Tensor:
        """Encode object views [B, 1, H, W, 3], 0..255, to z^V, float32 [B, D], unit length."""
        feature = self.vision(frames, self.shared_transforms, patch_dropout)
        return unit_length(self.projections['vision'](feature))

    def text_embedding(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Encode captions int64 [B, L] of the given lengths to z^L, float32 [B, D], unit length."""
        feature = self.text(tokens, lengths, self.shared_transforms)
        return unit_length(self.projections['text'](feature))

    def class_logits(self, embedding: Tensor) -> dict[str, Tensor]:
        """Read the heads from embeddings [B, D]: logits float32 [B, classes] by name."""
        scaled = self._to_unit_variance(embedding)
        return {name: classifier(scaled) for name, classifier in self.classifiers.items()}

    def contact_values(self, embedding: Tensor) -> Tensor:
        """Read CONTACT_QUANTITIES, each in units of its own scale, from embeddings [B, D]: float32 [B, 4]."""
        return self.contact(self._to_unit_variance(embedding))

    def motion_values(self, embedding: Tensor) -> Tensor:
        """Read MOTION_QUANTITIES, up to a constant of the grip, from embeddings [..., D]: float32 [..., 3]."""
        return self.motion(self._to_unit_variance(embedding))

    def _to_unit_variance(self, embedding: Tensor) -> Tensor:
        # Components of a unit vector are about 1 / √D; heads learn faster from numbers near 1.
        return embedding * self.shape.embedding_size ** 0.5
