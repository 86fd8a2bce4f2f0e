"""Recipes: one flat YAML a run, built strictly into a frozen dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import build_parameters, check_settings, read_yaml, setting

AnyRecipe = TypeVar('AnyRecipe')


@dataclass(frozen=True)
class TrainerRecipe:
    """What the trainer needs to know of any run; it knows no paper."""

    seed: int = setting(0, 'Seed of weights, order of the samples and augmentation', minimum=0,
                        maximum=2 ** 32 - 1)
    steps: int = setting(1000, 'Optimiser steps of the whole run', minimum=1)
    batch_size: int = setting(128, 'Samples a step, of all processes together', minimum=1)
    learning_rate: float = setting(1e-3, 'Peak learning rate', minimum=0.0)
    warmup_steps: int = setting(100, 'Steps of linear warm-up; a cosine to zero follows', minimum=0)
    weight_decay: float = setting(0.05, 'AdamW weight decay of matrices; vectors have none', minimum=0.0)
    gradient_clip: float = setting(1.0, 'Largest norm of the gradient; 1e9 for no limit', minimum=1e-6)
    threads: int = setting(1, 'Torch threads', minimum=1)
    device: str = setting('auto', 'What to compute on; auto takes a GPU if there is one',
                          choices=('auto', 'cpu', 'cuda'))
    precision: str = setting('fp32', 'Arithmetic of the towers; losses and weights stay in fp32',
                             choices=('fp32', 'bf16'))
    gradient_cache_chunk: int = setting(0, 'Samples a process sends through the towers at once; the gradient stays '
                                           'that of the whole batch, each sample is encoded twice. 0: all, once',
                                        minimum=0)
    compile: bool = setting(False, 'Compile the blocks of the towers; pays off on a GPU')
    log_every_steps: int = setting(20, 'Steps between two log lines', minimum=1)
    validate_every_steps: int = setting(200, 'Steps between two validations', minimum=1)
    checkpoint_every_steps: int = setting(200, 'Steps between two checkpoints', minimum=1)

    def __post_init__(self):
        check_settings(self)


@dataclass(frozen=True)
class TlvCoreRecipe(TrainerRecipe):
    """A pretraining run of TLV-CoRe on rendered triplets."""

    objective: str = setting('tlv_core', 'What is trained', choices=('tlv_core',))
    start_from: str = setting('', 'Checkpoint whose weights and vocabulary the run starts from; empty starts anew')
    data: str = setting('training/output/rendered', 'Folder of the rendered data')
    train_samples: int = setting(28000, 'Rendered triplets to train on', minimum=1)
    validation_samples: int = setting(1600, 'Triplets of unseen samples, known objects regions and sensors', minimum=1)
    held_out_samples: int = setting(3000, 'Triplets of object regions left out of training', minimum=1)
    unseen_sensor_samples: int = setting(3000, 'Triplets of a sensor kind left out of training', minimum=1)
    sensor_kinds: tuple = setting(('gelsight_mini', 'gelsight_mini_markers', 'digit', 'vitactip'),
                                  'Sensor kinds trained on; the position is the sensor id')
    unseen_sensor_kind: str = setting('gelsight', 'Sensor kind never trained on')
    grip_share: float = setting(0.25, 'Share of samples that are a vessel in a grip on the marker gel', minimum=0.0,
                                maximum=1.0)
    image_size_px: int = setting(128, 'Height and width of frames', unit='px', minimum=16)
    patch_size_px: int = setting(16, 'Height and width of a patch', unit='px', minimum=2)
    width: int = setting(192, 'Width of all towers', minimum=8)
    heads: int = setting(3, 'Attention heads of all towers', minimum=1)
    image_depth: int = setting(8, 'Layers of the touch and of the vision tower', minimum=1)
    text_depth: int = setting(4, 'Layers of the text tower; as many upper image layers are bridged', minimum=1)
    adapter_rank: int = setting(32, 'r of the bridging adapters', minimum=1)
    embedding_size: int = setting(192, 'D, size of the embedding', minimum=2)
    vocabulary_size: int = setting(512, 'Token ids of the caption vocabulary', minimum=258)
    context_length: int = setting(40, 'Most tokens of a caption', minimum=4)
    patch_dropout: float = setting(0.5, 'Share of the patches of a view left out in training', minimum=0.0,
                                   maximum=0.95)
    temperature: float = setting(0.05, 'tau of the contrastive and the decoupled-learning losses', minimum=1e-3)
    decoupled_learning_weight: float = setting(0.1, 'lambda_DL of eq. 6', minimum=0.0)
    contrastive_weight: float = setting(1.0, 'Weight of each of the three contrastive losses', minimum=0.0)
    class_weight: float = setting(1.0, 'Weight of each classification head', minimum=0.0)
    contact_weight: float = setting(2.0, 'Weight of the contact read-out', minimum=0.0)
    motion_weight: float = setting(4.0, 'Weight of the read-out of motion between the moments of a grip', minimum=0.0)
    grips_per_step: int = setting(8, 'Most grips a step whose moments are compared', minimum=1)
    unknown_sensor_share: float = setting(0.25, 'Share of training samples whose sensor id is hidden', minimum=0.0,
                                          maximum=1.0)
    photometric_strength: float = setting(0.15, 'Largest relative change of brightness, contrast and channel gain',
                                          minimum=0.0, maximum=0.9)

    def __post_init__(self):
        super().__post_init__()
        require(self.patch_size_px % 4 == 0, f'patch_size_px is {self.patch_size_px}', 'Give a multiple of 4')
        require(self.image_size_px % self.patch_size_px == 0,
                 f'image_size_px {self.image_size_px} is no multiple of patch_size_px {self.patch_size_px}',
                 'Change one of them')
        require(self.width % 4 == 0 and self.width % self.heads == 0,
                 f'width {self.width} cannot be divided by 4 and by heads {self.heads}', 'Change one of them')
        require(self.text_depth <= self.image_depth,
                 f'text_depth {self.text_depth} is more than image_depth {self.image_depth}', 'Lower text_depth')
        kinds = self.sensor_kinds
        require(len(kinds) > 0 and all(isinstance(kind, str) for kind in kinds) and len(set(kinds)) == len(kinds),
                 f'sensor_kinds is {list(kinds)!r}', 'Name at least one kind, each once')
        require(round((self.image_size_px // self.patch_size_px) ** 2 * (1 - self.patch_dropout)) > 0,
                 f'patch_dropout {self.patch_dropout} leaves no patch', 'Lower it')


def load_recipe(path: Path, kind: type[AnyRecipe] | Callable[[Any], type[AnyRecipe]]) -> AnyRecipe:
    """Read a recipe.

    Args:
        path: A flat YAML file.
        kind: The recipe dataclass, or what gives it for the setting `objective` (None where a recipe does not have it).

    Raises:
        ConfigurationError: As `read_yaml`; or the file is not flat, or has an unknown or bad setting.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigurationError(f'{path} is not a recipe', 'Write one `setting: value` a line')
    if not isinstance(kind, type):
        kind = kind(content.get('objective'))
    return build_parameters(kind, content, str(path))


def recipe_as_dict(recipe: Any) -> dict[str, Any]:
    """Turn a recipe into plain values that JSON can hold; `build_parameters` is the way back."""
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(recipe).items()}


def require(condition: bool, problem: str, remedy: str) -> None:
    """Refuse a recipe, or what it leads to, unless a condition holds; `remedy` is what to do next.

    Raises:
        ConfigurationError: It does not.
    """
    if not condition:
        raise ConfigurationError(problem, remedy)
