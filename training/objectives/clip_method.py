"""What the methods on a published CLIP have in common: augmentation, missing modalities, validation, probes.

A method is one file beside this one: its recipe, its network, and where its losses are not those of here, its losses.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel

from training.batch_rows import batch_rows
from training.interface import Batch, LossTerm, Samples, to_device
from training.losses.info_nce import symmetric_info_nce
from training.networks.bridged_clip import parameter_counts
from training.networks.clip_folder import load_clip
from training.recipe import TrainerRecipe, require
from training.retrieval import retrieval


class ClipMethod:
    """An objective on the towers of a CLIP; as it stands, three symmetric contrastive losses.

    Args:
        model: What is trained; has `touch_embedding`, `vision_embedding`, `text_embedding` and `temperature`.
        recipe: Its settings.
        validation: Samples for `validate`.

    Attributes:
        pair_weights: Weight of the contrastive loss of each two modalities; the others have none.
        needs_view: The method cannot do without a view: the touch image stands in for one that is missing.
    """

    pair_weights: Mapping[tuple[str, str], float] = {
        ('touch', 'vision'): 1.0, ('touch', 'text'): 1.0, ('vision', 'text'): 1.0}
    needs_view = False

    def __init__(self, model: nn.Module, recipe: Any, validation: Samples):
        self.model, self.recipe, self.validation = model, recipe, validation

    @staticmethod
    def make_model(clip: CLIPModel, recipe: Any) -> nn.Module:
        """Make the network of a recipe on a CLIP, whose towers it takes over."""
        raise NotImplementedError

    @classmethod
    def build(cls, recipe: Any, validation: Samples) -> ClipMethod:
        """Load the CLIP of a recipe, make the network, and print how much of it is trained.

        Raises:
            ModelError: The folder of the CLIP is missing, incomplete or damaged.
            ConfigurationError: The CLIP does not have what the recipe asks of it.
        """
        clip = load_clip(Path(recipe.base))
        vision = clip.vision_model.config
        require(round((vision.image_size // vision.patch_size) ** 2 * (1 - recipe.patch_dropout)) > 0,
                f'patch_dropout {recipe.patch_dropout} leaves no patch of {vision.image_size} x '
                f'{vision.image_size} px', 'Lower it')
        torch.manual_seed(recipe.seed)
        model = cls.make_model(clip, recipe)
        trained, total = parameter_counts(model)
        print(f'trained: {trained:,} of {total:,} parameters, {100 * trained / total:.2f} %', file=sys.stderr)
        return cls(model, recipe, validation)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Encode a training batch, each image turned, mirrored and thinned out at random.

        Args:
            batch: touch and view uint8 [B, 1, H, W, 3] RGB of the size of the towers, tokens int64 [B, L], sensor_id
                int64 [B] (S is unknown), lengths int64 [B]; has_touch, has_view, has_text bool [B], where one is absent
                all samples have it.

        Returns:
            touch, vision, text: float32 [B, D], unit length, of no meaning where a sample lacks the modality; some
            methods add to these.
        """
        return self._encode(batch, training=True)

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Compare the samples with each other.

        Args:
            encoded: As `encode` returns it.
            batch: Its sensor_id and has_touch, has_view, has_text.
        """
        temperature, masks = self.model.temperature(), self._masks(batch)
        return {f'{first}_{second}': LossTerm(symmetric_info_nce(
            encoded[first], encoded[second], temperature, masks[f'{first}_{second}']), weight)
            for (first, second), weight in self.pair_weights.items()}

    def check_pairs(self, labels: Batch) -> None:
        """Refuse training data from which a contrastive loss can learn nothing.

        Args:
            labels: sensor_id, has_touch, has_view, has_text of all samples, as in `encode`.

        Raises:
            ConfigurationError: Fewer than two samples have both modalities of a pair whose loss counts: it would be 0.
        """
        masks = self._masks(labels)
        for (first, second), weight in self.pair_weights.items():
            name = f'{first}_{second}'
            count, own_weight = int(masks[name].sum()), f'{name}_weight'
            require(weight == 0 or count > 1,
                    f'{count} samples have both {first} and {second}, so that their contrastive loss would be 0',
                    'Name prepared data with both'
                    + (f', or write {own_weight}: 0' if hasattr(self.recipe, own_weight) else ''))

    def validate(self) -> dict[str, float]:
        """Return retrieval of views by touch and the loss of every term.

        The gallery of the retrieval is all validation samples that have touch and view. Losses are means over batches
        of about the size of a training batch; a term that fewer than two samples of a batch can tell is left out.
        """
        device = next(self.model.parameters()).device
        losses: dict[str, list[float]] = {}
        touch, vision = [], []
        batches = max(1, round(len(self.validation) / self.recipe.batch_size))
        for indices in np.array_split(np.arange(len(self.validation)), batches):
            batch = to_device(self.validation.batch(indices), device)
            encoded, masks = self._encode(batch, training=False), self._masks(batch)
            for name, term in self.loss_terms(encoded, batch).items():
                if masks[name].sum() > 1:
                    losses.setdefault(name, []).append(term.value.item())
            has_both = has(batch, 'touch') & has(batch, 'view')
            touch.append(encoded['touch'][has_both])
            vision.append(encoded['vision'][has_both])
        metrics = {f'{name}_loss': float(np.mean(values)) for name, values in losses.items()}
        similarity = torch.cat(touch) @ torch.cat(vision).T
        if len(similarity) > 0:
            metrics |= retrieval('retrieval', similarity)
        return metrics

    @torch.no_grad()
    def touch_features(self, frames: Tensor, sensor_id: Tensor) -> Tensor:
        """Encode touch as a probe reads it.

        Args:
            frames: uint8 [B, 1, H, W, 3], RGB, of the size of the tower; they are not augmented.
            sensor_id: int64 [B], 0..S-1 for a known sensor, S for an unknown one.

        Returns:
            float32 [B, D], root mean square 1. The published probes read the embedding before it is brought to unit
            length; what length it has there no contrastive loss decides, and a probe's learning rate depends on it.
        """
        return _root_mean_square_1(self.model.touch_embedding(frames, sensor_id))

    @torch.no_grad()
    def vision_features(self, frames: Tensor) -> Tensor:
        """Encode images uint8 [B, 1, H, W, 3] RGB by the vision tower, as `touch_features` does by that of touch."""
        return _root_mean_square_1(self.model.vision_embedding(frames))

    def _encode(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        batch = self._complete(batch)
        touch_frames, view_frames, dropout = batch['touch'], batch['view'], 0.0
        if training:
            touch_frames, view_frames = self._augment(touch_frames), self._augment(view_frames)
            dropout = self.recipe.patch_dropout
        return {'touch': self.model.touch_embedding(touch_frames, batch['sensor_id'], dropout),
                'vision': self.model.vision_embedding(view_frames, dropout),
                'text': self.model.text_embedding(trimmed_tokens(batch))}

    def _masks(self, batch: Batch) -> dict[str, Tensor]:
        """Tell which samples each loss term runs over: bool [B] by term."""
        batch = self._complete(batch)
        present = {'touch': has(batch, 'touch'), 'vision': has(batch, 'view'), 'text': has(batch, 'text')}
        return {f'{first}_{second}': present[first] & present[second] for first, second in self.pair_weights}

    def _complete(self, batch: Batch) -> Batch:
        return with_touch_for_missing_views(batch) if self.needs_view else batch

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


def has(batch: Batch, name: str) -> Tensor:
    """Tell which samples have `touch`, `view` or `text`, bool [B]."""
    return batch.get(f'has_{name}', torch.ones_like(batch['sensor_id'], dtype=torch.bool))


def with_touch_for_missing_views(batch: Batch) -> Batch:
    """Let the touch image stand in for a view that a sample lacks, for methods that need one.

    Args:
        batch: Frames or, for the losses, only what belongs to them.

    Source: TLV-CoRe, table 1, its footnote about Octopi.
    """
    if 'has_view' not in batch:
        return batch
    filled = {**batch, 'has_view': batch['has_view'] | has(batch, 'touch')}
    if 'view' in batch:
        filled['view'] = torch.where(batch['has_view'][:, None, None, None, None], batch['view'], batch['touch'])
    return filled


def trimmed_tokens(batch: Batch) -> Tensor:
    """Give the captions int64 [B, L], cut to the longest of them where that costs nothing."""
    tokens = batch['tokens']
    if tokens.device.type != 'cpu':   # an accelerator would lose more by waiting for the length than by padding
        return tokens
    return tokens[:, :max(1, int(batch['lengths'].max()))]


def run_progress(batch: Batch, recipe: TrainerRecipe) -> Tensor:
    """Give the share of the run that is over, float32 [B], from the key `step` (int64 [B]) of a training batch."""
    return batch['step'].to(torch.float32) / recipe.steps


def _root_mean_square_1(embedding: Tensor) -> Tensor:
    return embedding * embedding.shape[1] ** 0.5
