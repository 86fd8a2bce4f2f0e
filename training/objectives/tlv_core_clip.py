"""The TLV-CoRe objective on a published CLIP: three contrastive losses and decoupled learning, nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import CLIPModel

from training.clip_recipe import TlvCoreClipRecipe
from training.interface import Batch, LossTerm
from training.losses.decoupled_learning import decoupled_learning
from training.networks.bridged_clip import BridgedClip
from training.objectives.clip_method import ClipMethod, has, trimmed_tokens, with_touch_for_missing_views


class TlvCoreClipObjective(ClipMethod):
    """Eq. 6 over samples that may lack any of their modalities.

    What `encode` returns also has tactile_feature, float32 [B, width], which decoupled learning reads.

    Args:
        model: What is trained.
        recipe: Weights and rates.
        validation: Samples for `validate`.

    Source: TLV-CoRe, section 3.3, eq. 6.
    """

    @staticmethod
    def make_model(clip: CLIPModel, recipe: TlvCoreClipRecipe) -> BridgedClip:
        """Bridge the towers of a CLIP."""
        return BridgedClip(clip, len(recipe.sensor_kinds), recipe.adapter_rank, recipe.reading, recipe.temperature,
                           recipe.bridging, recipe.modulator)

    @property
    def pair_weights(self) -> Mapping[tuple[str, str], float]:
        """Weight of the contrastive loss of each two modalities."""
        pairs = ClipMethod.pair_weights
        return dict.fromkeys(pairs, 1 / len(pairs)) if self.model.reading.mean_of_pairs else pairs

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Compare the samples with each other.

        Args:
            encoded: As `encode` returns it.
            batch: Its sensor_id and has_touch, has_view, has_text.
        """
        model, recipe = self.model, self.recipe
        own = LossTerm(decoupled_learning(
            encoded['tactile_feature'], batch['sensor_id'], model.sensor_centroids, recipe.temperature,
            self._masks(batch)['decoupled_learning'], model.reading.reverse_gradient), recipe.decoupled_learning_weight)
        return super().loss_terms(encoded, batch) | {'decoupled_learning': own}

    def validate(self) -> dict[str, float]:
        """Return what `ClipMethod.validate` does, and the condition number of W_sh."""
        conditions = [torch.linalg.cond(transform.weight).item() for transform in self.model.shared_transforms]
        return super().validate() | ({'shared_transform_condition': max(conditions)} if conditions else {})

    def _encode(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        tokens, touch_frames = trimmed_tokens(batch), batch['touch']
        if not self.model.reading.mask_missing:
            tokens = tokens.masked_fill(~has(batch, 'text')[:, None], 0)
            batch = with_touch_for_missing_views(batch)
        view_frames = batch['view']
        dropout = self.recipe.patch_dropout if training else 0.0
        if training:
            touch_frames, view_frames = self._augment(touch_frames), self._augment(view_frames)
        touch, feature = self.model.encode_touch(touch_frames, batch['sensor_id'], dropout)
        return {'touch': touch, 'vision': self.model.vision_embedding(view_frames, dropout),
                'text': self.model.text_embedding(tokens), 'tactile_feature': feature}

    def _masks(self, batch: Batch) -> dict[str, Tensor]:
        if not self.model.reading.mask_missing:
            batch = {**with_touch_for_missing_views(batch), 'has_text': torch.ones_like(has(batch, 'text'))}
        return super()._masks(batch) | {
            'decoupled_learning': has(batch, 'touch') & (batch['sensor_id'] < self.model.sensors)}
