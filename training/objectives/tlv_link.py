"""TLV-Link: touch takes over from vision in one contrastive loss with text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from transformers import CLIPModel

from training.clip_recipe import ClipMethodRecipe
from training.interface import Batch, LossTerm
from training.losses.info_nce import symmetric_info_nce
from training.networks.lora import tune_with_lora
from training.networks.three_towers import ThreeTowers
from training.objectives.clip_method import ClipMethod, run_progress
from visuotactile_ros.parameters.definition import setting


@dataclass(frozen=True)
class TlvLinkRecipe(ClipMethodRecipe):
    """A run of TLV-Link. The defaults are those of its published code, where touch and vision are trained alike."""

    objective: str = setting('tlv_link', 'What is trained', choices=('tlv_link',))
    patch_dropout: float = setting(0.5, 'Share of the patches of touch and view left out in training', minimum=0.0,
                                   maximum=0.95)
    lora_rank: int = setting(16, 'r of the low-rank updates of touch and vision', minimum=1)
    lora_alpha: int = setting(16, 'The low-rank updates are scaled by alpha / r', minimum=1)
    first_vision_share: float = setting(0.9, 'beta at the start: share of vision in what is compared with text',
                                        minimum=0.0, maximum=1.0)
    vision_span: float = setting(0.9, 'Share of the run over which beta falls to zero', minimum=1e-3, maximum=1.0)


class TlvLinkObjective(ClipMethod):
    """One symmetric contrastive loss between text and (1 - beta) touch + beta vision, beta falling along a line to 0.

    It needs all three modalities. The mixture of two unit vectors is compared as it is, not brought to unit length.

    Source: Cheng et al. 2024, Touch100k; schedule and what is trained were read in cocacola-lab/TLV-Link at 839dec7.
        There the sum of a sentence's and a phrase's embedding is the text: here samples have one text. Its rate for all
        that is not low-rank, 1e-3 of the others, never takes effect: the schedule overwrites it.
    """

    pair_weights = {('touch', 'text'): 1.0}
    needs_view = True

    @staticmethod
    def make_model(clip: CLIPModel, recipe: TlvLinkRecipe) -> ThreeTowers:
        """Tune touch and vision by low-rank updates; their positions and all of text stay frozen."""
        towers = ThreeTowers(clip)
        for tower in (towers.touch, towers.vision):
            tune_with_lora(tower, recipe.lora_rank, recipe.lora_alpha)
            tower.embeddings.position_embedding.requires_grad_(False)
        return towers

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Encode a training batch as `ClipMethod.encode` does, which must say its `step`.

        Returns:
            Also mixture, float32 [B, D]: what is compared with text.
        """
        encoded, recipe = super().encode(batch), self.recipe
        share = recipe.first_vision_share * (1 - run_progress(batch, recipe) / recipe.vision_span).clamp(min=0)
        mixture = (1 - share)[:, None] * encoded['touch'] + share[:, None] * encoded['vision']
        return encoded | {'mixture': mixture}

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Compare the mixture, after training touch alone, with text."""
        value = symmetric_info_nce(encoded.get('mixture', encoded['touch']), encoded['text'],
                                   self.model.temperature(), self._masks(batch)['touch_text'])
        return {'touch_text': LossTerm(value, 1.0)}
