"""ViT-Lens-2: touch learns to speak to a frozen CLIP."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import CLIPModel

from training.clip_recipe import ClipMethodRecipe
from training.networks.perceiver_lens import LensTowers
from training.objectives.clip_method import ClipMethod
from visuotactile_ros.parameters.definition import setting


@dataclass(frozen=True)
class VitLens2Recipe(ClipMethodRecipe):
    """A run of ViT-Lens-2.

    For touch its published settings have no Perceiver, whatever number of latents their command names: the first groups
    of the transformer are the lens (TencentARC/ViT-Lens at 2b4f2e0, `--unlock_from_head` without `--use_perceiver`).
    That trains 7.01 % of all weights, and table 1 of TLV-CoRe prints 7.00; a Perceiver before it makes 10.13 %.
    """

    objective: str = setting('vit_lens_2', 'What is trained', choices=('vit_lens_2',))
    unlocked_groups: int = setting(5, 'Groups of layers of the touch tower that are trained: what comes before the '
                                      'blocks, each block, the projection', minimum=0)
    unlocked_end: str = setting('image', 'From where these groups are counted', choices=('image', 'embedding'))
    lens: str = setting('self_attention', 'What the lens is: the unlocked layers themselves, or a Perceiver before the '
                                          'blocks', choices=('self_attention', 'perceiver'))
    latents: int = setting(256, 'Latents of the Perceiver', minimum=1)


class VitLens2Objective(ClipMethod):
    """Contrastive losses of touch with vision and with text, both of which stay what they are in CLIP.

    It needs all three modalities.

    Source: Lei et al. 2024, ViT-Lens-2. Vision with text has no loss: neither is trained.
    """

    pair_weights = {('touch', 'vision'): 1.0, ('touch', 'text'): 1.0}
    needs_view = True

    @staticmethod
    def make_model(clip: CLIPModel, recipe: VitLens2Recipe) -> LensTowers:
        """Unlock a part of the touch tower and put the lens before it."""
        return LensTowers(clip, recipe.unlocked_groups, recipe.unlocked_end == 'image',
                          recipe.latents if recipe.lens == 'perceiver' else 0)
