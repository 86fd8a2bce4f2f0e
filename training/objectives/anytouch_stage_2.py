"""AnyTouch, second stage: align touch, vision and text, match sensors, and tell the tower the sensor, or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPModel

from training.batch_rows import batch_rows
from training.clip_recipe import ClipMethodRecipe
from training.interface import Batch, LossTerm
from training.losses.cross_sensor_matching import cross_sensor_matching, matching_anchors
from training.networks.any_touch import AnyTouchShape, AnyTouchTowers
from training.objectives.clip_method import ClipMethod, has, run_progress, trimmed_tokens
from training.recipe import require
from visuotactile_ros.parameters.definition import setting


@dataclass(frozen=True)
class AnyTouchReading:
    """What `released_code` switches, one field each; the recipe lists what else differs from the paper.

    Read in GeWu-Lab/AnyTouch at 9c43a1a (2026-01-13).

    Attributes:
        touch_text_halved: Both directions of the loss of touch and text are averaged, as eq. 4 says; the code adds
            them.
        reconstruct: The masked reconstruction of the first stage goes on in the second; eq. 9 has no such term.
    """

    touch_text_halved: bool
    reconstruct: bool


PAPER = AnyTouchReading(touch_text_halved=True, reconstruct=False)
RELEASED_CODE = AnyTouchReading(touch_text_halved=False, reconstruct=True)


@dataclass(frozen=True)
class AnyTouchRecipe(ClipMethodRecipe):
    """A run of the second stage of AnyTouch on single frames, from CLIP."""

    objective: str = setting('anytouch_stage_2', 'What is trained', choices=('anytouch_stage_2',))
    weight_decay: float = setting(0.1, 'AdamW weight decay of matrices; vectors have none', minimum=0.0)
    released_code: bool = setting(False, 'Do what the released code does in the places of AnyTouchReading')
    touch_tuning: str = setting('full', 'How the touch tower is trained: all of it as AnyTouch does, or by low-rank '
                                        'updates, which makes the share that table 1 of TLV-CoRe prints',
                                choices=('full', 'lora'))
    lora_rank: int = setting(16, 'r of the low-rank updates', minimum=1)
    lora_alpha: int = setting(16, 'The low-rank updates are scaled by alpha / r', minimum=1)
    touch_vision_weight: float = setting(1.0, 'alpha_TV of eq. 4', minimum=0.0)
    touch_text_weight: float = setting(1.0, 'alpha_TL of eq. 4', minimum=0.0)
    vision_text_weight: float = setting(0.2, 'alpha_VL of eq. 4', minimum=0.0)
    matching_weight: float = setting(0.1, 'lambda of eq. 9', minimum=0.0)
    tokens_per_sensor: int = setting(5, 'L, sensor tokens of a sensor', minimum=1)
    universal_share: float = setting(0.75, 'p_u at the end of the run: share of samples whose sensor is hidden; it '
                                           'grows along a line from 0', minimum=0.0, maximum=1.0)
    mask_share: float = setting(0.75, 'rho, share of the patches that are masked (released code)', minimum=0.05,
                                maximum=0.95)
    decoder_width: int = setting(512, 'Width of the decoder of masked images (released code)', minimum=4)
    decoder_depth: int = setting(8, 'Layers of that decoder', minimum=1)
    decoder_heads: int = setting(16, 'Attention heads of that decoder', minimum=1)

    def __post_init__(self):
        super().__post_init__()
        require(self.decoder_width % 4 == 0 and self.decoder_width % self.decoder_heads == 0,
                f'decoder_width {self.decoder_width} cannot be divided by 4 and by decoder_heads {self.decoder_heads}',
                'Change one of them')

    @property
    def reading(self) -> AnyTouchReading:
        """The method as this recipe wants it."""
        return RELEASED_CODE if self.released_code else PAPER


class AnyTouchObjective(ClipMethod):
    """Eq. 9 of AnyTouch over samples that may lack any of their modalities.

    The temperature is learned and has no limit. Batches that tell which samples are the same contact (`pair`, int64
    [B], -1 for none) are matched across sensors; others are not.

    Source: AnyTouch, sections 4.3-4.6, eqs. 3-7 and 9, and appendix A.6.
    """

    @staticmethod
    def make_model(clip: CLIPModel, recipe: AnyTouchRecipe) -> AnyTouchTowers:
        """Add sensor tokens, the matching head and low-rank updates to the towers."""
        decoder = (recipe.decoder_width, recipe.decoder_depth, recipe.decoder_heads)
        return AnyTouchTowers(clip, AnyTouchShape(
            sensors=len(recipe.sensor_kinds), tokens_per_sensor=recipe.tokens_per_sensor, lora_rank=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha, full_touch_tower=recipe.touch_tuning == 'full',
            decoder=decoder if recipe.reading.reconstruct else None))

    @property
    def pair_weights(self) -> Mapping[tuple[str, str], float]:
        """Give the weights of eq. 4."""
        recipe = self.recipe
        return {('touch', 'vision'): recipe.touch_vision_weight,
                ('touch', 'text'): recipe.touch_text_weight * (1.0 if recipe.reading.touch_text_halved else 2.0),
                ('vision', 'text'): recipe.vision_text_weight}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Encode a training batch as `ClipMethod.encode` does, which must say its `step`.

        Returns:
            In the released code also reconstruction, float32 [B]: the error of the masked touch image.
        """
        model, recipe, sensor_id = self.model, self.recipe, batch['sensor_id']
        rows, device = batch_rows(len(sensor_id)), sensor_id.device
        hidden = rows.rand(device=device) < recipe.universal_share * run_progress(batch, recipe)
        touch, view = self._augment(batch['touch']), self._augment(batch['view'])
        encoded = {'touch': model.touch_embedding(touch, sensor_id, recipe.patch_dropout, hidden),
                   'vision': model.vision_embedding(view, recipe.patch_dropout),
                   'text': model.text_embedding(trimmed_tokens(batch))}
        if recipe.reading.reconstruct:
            order = rows.rand(model.touch.embeddings.num_patches, device=device).argsort(dim=1)
            encoded['reconstruction'] = model.reconstruction_error(touch, sensor_id, order, recipe.mask_share, hidden)
        return encoded

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Compare the samples with each other, as `ClipMethod.loss_terms` and by contact."""
        terms, has_touch = super().loss_terms(encoded, batch), has(batch, 'touch')
        if 'pair' in batch:
            value = cross_sensor_matching(encoded['touch'], batch['pair'], batch['sensor_id'],
                                          self.model.matching_head, has_touch)
            terms['matching'] = LossTerm(value, self.recipe.matching_weight)
        if 'reconstruction' in encoded:
            value = torch.where(has_touch, encoded['reconstruction'], 0).sum() / has_touch.sum().clamp(min=1)
            terms['reconstruction'] = LossTerm(value, 1.0)
        return terms

    def _masks(self, batch: Batch) -> dict[str, Tensor]:
        masks = super()._masks(batch)
        if 'pair' in batch:
            masks['matching'] = matching_anchors(batch['pair'], batch['sensor_id'], has(batch, 'touch'))
        return masks
