"""Recipes of methods on a published CLIP, and two readings of TLV-CoRe: the paper's and its released code's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from training.recipe import TrainerRecipe
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import setting


@dataclass(frozen=True)
class Reading:
    """Every place where the released code does something else than the paper, one field each.

    What the code does was read in prompt-lab/TLV-CoRe at 5e5329f (2025-05-07, six months before the paper's text); that
    the paper's numbers come from that state is not known. Not reproduced: it probes with the pixel
    statistics of ImageNet after training with those of CLIP, and with a single sensor its whole loss is the integer 0.

    Attributes:
        own_block: Every adapted layer runs its own block. The code patches the layers in a loop whose closure keeps
            only the last original, so that layers 12-23 of touch and vision all run block 23, and all text layers run
            block 11. It probes with the same network.
        reverse_gradient: A reversal layer stands before L_DL. The code has none: it minimises 0.1 times the
            cross-entropy of the sensor.
        modulate_tokens: The modulator acts on every token right behind the first LayerNorm of the touch tower and L_DL
            reads the mean of what comes out, so that of all weights only router and centroids feel L_DL. In the paper
            both act on the final feature h.
        modulate_probe: Probes read modulated features, as they were trained. The code probes a network without
            modulator.
        learnable_temperature: The contrastive losses share one learnable scale, 1 / 0.07 at the start and 100 at most.
            The paper divides by a constant tau.
        mean_of_pairs: The three contrastive losses are averaged; in the paper they are summed.
        shared_transform_per_level: W_sh is one matrix for each of the 12 levels; the paper writes one matrix, without
            an index.
        adapter_biases: The three linear maps of an adapter have biases and all start at random. Eq. 4 has no bias; that
            W_up starts at zero, so that a fresh adapter leaves CLIP as it is, is our choice.
        mask_missing: A pair without one of its modalities has no loss. The code feeds missing text as 77 zeros and
            shows the touch image to the vision tower where there is no view.
        projection_bias: The projection of touch has a bias, trained from zero. Ours: eq. 1 scales h by one number, and
            neither the projection of CLIP nor the unit length behind it would keep anything of that. The code needs
            none, because its tokens are modulated before attention.
        centroid_deviation: Spread of the first sensor centroids. Only their direction counts, and short ones turn
            faster; the paper gives none.
    """

    own_block: bool
    reverse_gradient: bool
    modulate_tokens: bool
    modulate_probe: bool
    learnable_temperature: bool
    mean_of_pairs: bool
    shared_transform_per_level: bool
    adapter_biases: bool
    mask_missing: bool
    projection_bias: bool
    centroid_deviation: float


PAPER = Reading(own_block=True, reverse_gradient=True, modulate_tokens=False, modulate_probe=True,
                learnable_temperature=False, mean_of_pairs=False, shared_transform_per_level=False,
                adapter_biases=False, mask_missing=True, projection_bias=True, centroid_deviation=0.02)
RELEASED_CODE = Reading(own_block=False, reverse_gradient=False, modulate_tokens=True, modulate_probe=False,
                        learnable_temperature=True, mean_of_pairs=True, shared_transform_per_level=True,
                        adapter_biases=True, mask_missing=False, projection_bias=False, centroid_deviation=1.0)


@dataclass(frozen=True)
class ClipMethodRecipe(TrainerRecipe):
    """What every method on a CLIP is told; defaults are those of TLV-CoRe, so that methods can be compared."""

    learning_rate: float = setting(2e-4, 'Peak learning rate', minimum=0.0)
    warmup_steps: int = setting(200, 'Steps of linear warm-up; a cosine to zero follows', minimum=0)
    weight_decay: float = setting(0.2, 'AdamW weight decay of matrices; vectors have none', minimum=0.0)
    base: str = setting('training/weights/CLIP-ViT-L-14-DataComp.XL-s13B-b90K',
                        'Hugging Face folder of the CLIP whose towers are used')
    data: tuple = setting(('training/output/prepared/tacquad',), 'Folders of prepared data, all trained on')
    sensor_kinds: tuple = setting(('gelsight', 'digit', 'gelslim', 'gelsight_mini', 'duragel'),
                                  'Sensor kinds trained on; the position is the sensor id')
    patch_dropout: float = setting(0.0, 'Share of the patches of touch and view left out in training', minimum=0.0,
                                   maximum=0.95)
    rotation_deg: float = setting(20.0, 'Largest turn of a training image', unit='deg', minimum=0.0, maximum=180.0)
    mirror_share: float = setting(0.5, 'Share of the training images that are mirrored left to right', minimum=0.0,
                                  maximum=1.0)

    def __post_init__(self):
        super().__post_init__()
        for name in ('data', 'sensor_kinds'):
            values = getattr(self, name)
            if not all(isinstance(value, str) for value in values) or not 0 < len(set(values)) == len(values):
                raise ConfigurationError(f'{name} is {list(values)!r}', 'Name at least one, each once')


@dataclass(frozen=True)
class TlvCoreClipRecipe(ClipMethodRecipe):
    """A run of TLV-CoRe on frozen towers of a CLIP checkpoint."""

    objective: str = setting('tlv_core_clip', 'What is trained', choices=('tlv_core_clip',))
    patch_dropout: float = setting(0.5, 'Share of the patches of touch and view left out in training', minimum=0.0,
                                   maximum=0.95)
    released_code: bool = setting(False, 'Do what the released code does wherever it leaves the paper')
    shared_transform_per_level: bool = setting(False, 'One W_sh for each level instead of one for all; released_code '
                                                      'has one for each')
    adapter_rank: int = setting(32, 'r of the bridging adapters', minimum=1)
    bridging: bool = setting(True, 'Adapters; off for the ablation without them')
    modulator: bool = setting(True, 'Sensor-aware modulator; off for the ablation without it')
    decoupled_learning_weight: float = setting(0.1, 'lambda_DL of eq. 6; 0 for the ablation without it', minimum=0.0)
    temperature: float = setting(0.05, 'tau of the contrastive and the decoupled-learning losses', minimum=1e-3)

    @property
    def reading(self) -> Reading:
        """The method as this recipe wants it."""
        return RELEASED_CODE if self.released_code else dataclasses.replace(
            PAPER, shared_transform_per_level=self.shared_transform_per_level)
