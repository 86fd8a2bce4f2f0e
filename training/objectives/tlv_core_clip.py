"""The TLV-CoRe objective on a published CLIP: three contrastive losses and decoupled learning, nothing else."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.batch_rows import batch_rows
from training.clip_recipe import TlvCoreClipRecipe
from training.interface import Batch, LossTerm, Samples, to_device
from training.losses.decoupled_learning import decoupled_learning
from training.losses.info_nce import symmetric_info_nce
from training.networks.bridged_clip import BridgedClip, parameter_counts
from training.networks.clip_folder import load_clip

PAIRS = (('touch', 'vision'), ('touch', 'text'), ('vision', 'text'))


class TlvCoreClipObjective:
    """Eq. 6 over samples that may lack any of their modalities.

    Args:
        model: What is trained.
        recipe: Weights and rates.
        validation: Samples for `validate`.

    Source: TLV-CoRe, section 3.3, eq. 6.
    """

    def __init__(self, model: BridgedClip, recipe: TlvCoreClipRecipe, validation: Samples):
        self.model, self.recipe, self.validation = model, recipe, validation

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Encode a training batch, each image turned, mirrored and thinned out at random.

        Args:
            batch: touch and view uint8 [B, 1, H, W, 3] RGB of the size of the towers, tokens int64 [B, L], sensor_id
                int64 [B] (S is unknown); has_touch, has_view, has_text bool [B], where one is absent all samples have
                it.

        Returns:
            touch, vision, text: float32 [B, D], unit length, of no meaning where a sample lacks the modality;
            tactile_feature float32 [B, width], what decoupled learning reads.
        """
        return self._encode(batch, training=True)

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
        """Return retrieval of views by touch, the loss of every term and the condition number of W_sh.

        The gallery of the retrieval is all validation samples that have touch and view. Losses are means over batches
        of about the size of a training batch; a term that fewer than two samples of a batch can tell is left out.
        """
        device = self.model.sensor_centroids.device
        losses: dict[str, list[float]] = {}
        touch, vision = [], []
        batches = max(1, round(len(self.validation) / self.recipe.batch_size))
        for indices in np.array_split(np.arange(len(self.validation)), batches):
            batch = to_device(self.validation.batch(indices), device)
            encoded, masks = self._encode(batch, training=False), self._masks(batch)
            for name, term in self.loss_terms(encoded, batch).items():
                if masks[name].sum() > 1:
                    losses.setdefault(name, []).append(term.value.item())
            touch.append(encoded['touch'][masks['touch_vision']])
            vision.append(encoded['vision'][masks['touch_vision']])
        metrics = {f'{name}_loss': float(np.mean(values)) for name, values in losses.items()}
        similarity = torch.cat(touch) @ torch.cat(vision).T
        if len(similarity) > 0:
            own = torch.arange(len(similarity), device=device)[:, None]
            found = similarity.topk(min(5, len(similarity))).indices == own
            metrics |= {'retrieval_top1': found[:, 0].float().mean().item(),
                        'retrieval_top5': found.any(dim=1).float().mean().item()}
        conditions = [torch.linalg.cond(transform.weight).item() for transform in self.model.shared_transforms]
        return metrics | ({'shared_transform_condition': max(conditions)} if conditions else {})

    def _encode(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        touch_frames, view_frames, tokens = batch['touch'], batch['view'], batch['tokens']
        if tokens.device.type == 'cpu':   # an accelerator would lose more by waiting for the length than by padding
            tokens = tokens[:, :max(1, int(batch['lengths'].max()))]
        if not self.model.reading.mask_missing:
            tokens = tokens.masked_fill(~self._has(batch, 'text')[:, None], 0)
            view_frames = torch.where(self._has(batch, 'view')[:, None, None, None, None], view_frames, touch_frames)
        dropout = self.recipe.patch_dropout if training else 0.0
        if training:
            touch_frames, view_frames = self._augment(touch_frames), self._augment(view_frames)
        touch, feature = self.model.encode_touch(touch_frames, batch['sensor_id'], dropout)
        return {'touch': touch, 'vision': self.model.vision_embedding(view_frames, dropout),
                'text': self.model.text_embedding(tokens), 'tactile_feature': feature}

    def _masks(self, batch: Batch) -> dict[str, Tensor]:
        """Tell which samples each loss term runs over: bool [B] by term."""
        has = {'touch': self._has(batch, 'touch'), 'vision': self._has(batch, 'view'), 'text': self._has(batch, 'text')}
        if not self.model.reading.mask_missing:
            has |= {'vision': has['vision'] | has['touch'], 'text': torch.ones_like(has['text'])}
        return {f'{first}_{second}': has[first] & has[second] for first, second in PAIRS} | {
            'decoupled_learning': has['touch'] & (batch['sensor_id'] < self.model.sensors)}

    @staticmethod
    def _has(batch: Batch, name: str) -> Tensor:
        return batch.get(f'has_{name}', torch.ones_like(batch['sensor_id'], dtype=torch.bool))

    def _augment(self, frames: Tensor) -> Tensor:
        """Mirror and turn each frame [B, 1, H, H, 3] at random, in one warp; what comes in from outside is black."""
        rows, device = batch_rows(len(frames)), frames.device
        side = torch.where(rows.rand(device=device) < self.recipe.mirror_share, -1.0, 1.0)
        angle = math.radians(self.recipe.rotation_deg) * (2 * rows.rand(device=device) - 1)
        none, sine, cosine = torch.zeros_like(angle), angle.sin(), angle.cos()
        with torch.autocast(device.type, enabled=False):   # places in an image need all of their digits
            source = torch.stack([side * cosine, -side * sine, none, sine, cosine, none], dim=1).unflatten(1, (2, 3))
            pixels = frames.squeeze(1).permute(0, 3, 1, 2).to(torch.float32)
            grid = functional.affine_grid(source, list(pixels.shape), align_corners=False)
            warped = functional.grid_sample(pixels, grid, padding_mode='zeros', align_corners=False)
        return warped.permute(0, 2, 3, 1)[:, None]


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
