"""The TLV-CoRe objective on a published CLIP: three contrastive losses and decoupled learning, nothing else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from training.clip_recipe import TlvCoreClipRecipe
from training.interface import Batch, LossTerm, Samples
from training.losses.decoupled_learning import decoupled_learning
from training.losses.info_nce import symmetric_info_nce
from training.networks.bridged_clip import BridgedClip, parameter_counts
from training.networks.clip_folder import load_clip
from training.objectives.clip_method import ClipMethod, has, trimmed_tokens, with_touch_for_missing_views

PAIRS = (('touch', 'vision'), ('touch', 'text'), ('vision', 'text'))


class TlvCoreClipObjective(ClipMethod):
    """Eq. 6 over samples that may lack any of their modalities.

    What `encode` returns also has tactile_feature, float32 [B, width], which decoupled learning reads.

    Args:
        model: What is trained.
        recipe: Weights and rates.
        validation: Samples for `validate`.

    Source: TLV-CoRe, section 3.3, eq. 6.
    """

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Compare the samples with each other.

        Args:
            encoded: As `encode` returns it.
            batch: Its sensor_id and has_touch, has_view, has_text.
        """
        model, recipe = self.model, self.recipe
        temperature = model.temperature(recipe.temperature)
        weight = 1 / len(PAIRS) if model.reading.mean_of_pairs else 1.0
        masks = self._masks(batch)
        terms = {f'{first}_{second}': LossTerm(symmetric_info_nce(
            encoded[first], encoded[second], temperature, masks[f'{first}_{second}']), weight)
            for first, second in PAIRS}
        terms['decoupled_learning'] = LossTerm(decoupled_learning(
            encoded['tactile_feature'], batch['sensor_id'], model.sensor_centroids, recipe.temperature,
            masks['decoupled_learning'], model.reading.reverse_gradient), recipe.decoupled_learning_weight)
        return terms

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


def build_tlv_core_clip(recipe: TlvCoreClipRecipe, validation: Samples) -> TlvCoreClipObjective:
    """Load the CLIP of a recipe, bridge it, and print how much of it is trained.

    Raises:
        ModelError: The folder of the CLIP is missing, incomplete or damaged.
        ConfigurationError: Its text tower is deeper than its image towers.
    """
    clip = load_clip(Path(recipe.base))
    torch.manual_seed(recipe.seed)
    model = BridgedClip(clip, len(recipe.sensor_kinds), recipe.adapter_rank, recipe.reading, recipe.bridging,
                        recipe.modulator)
    trained, total = parameter_counts(model)
    print(f'trained: {trained:,} of {total:,} parameters, {100 * trained / total:.2f} %', file=sys.stderr)
    return TlvCoreClipObjective(model, recipe, validation)
