"""TLV-CoRe on a CLIP of random numbers, and random samples: speed asks for no weights and no data."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from training.clip_recipe import TlvCoreClipRecipe
from training.interface import Batch
from training.networks.bridged_clip import BridgedClip
from training.objectives.tlv_core_clip import TlvCoreClipObjective


def vit_l14() -> CLIPConfig:
    """Give the layout of CLIP ViT-L/14.

    Source: Radford et al. 2021, table 20; the activation is that of the DataComp checkpoint, `gelu`.
    """
    return CLIPConfig(
        projection_dim=768,
        vision_config={'hidden_size': 1024, 'intermediate_size': 4096, 'num_hidden_layers': 24,
                       'num_attention_heads': 16, 'image_size': 224, 'patch_size': 14, 'hidden_act': 'gelu'},
        text_config={'hidden_size': 768, 'intermediate_size': 3072, 'num_hidden_layers': 12, 'num_attention_heads': 12,
                     'vocab_size': 49408, 'max_position_embeddings': 77, 'bos_token_id': 49406, 'eos_token_id': 49407,
                     'hidden_act': 'gelu'})


def tiny() -> CLIPConfig:
    """Give a layout of the same proportions that a CPU steps through in a moment."""
    return CLIPConfig(
        projection_dim=24,
        vision_config={'hidden_size': 32, 'intermediate_size': 128, 'num_hidden_layers': 4, 'num_attention_heads': 2,
                       'image_size': 32, 'patch_size': 8, 'hidden_act': 'gelu'},
        text_config={'hidden_size': 24, 'intermediate_size': 96, 'num_hidden_layers': 2, 'num_attention_heads': 2,
                     'vocab_size': 64, 'max_position_embeddings': 10, 'bos_token_id': 62, 'eos_token_id': 63,
                     'hidden_act': 'gelu'})


def random_model(config: CLIPConfig, recipe: TlvCoreClipRecipe, device: torch.device) -> BridgedClip:
    """Make the network of a recipe on the device, its CLIP of random numbers."""
    torch.manual_seed(recipe.seed)
    with device:   # drawn where they are used: 734 million numbers take a CPU a while
        return TlvCoreClipObjective.make_model(CLIPModel(config), recipe)


def twin(model: BridgedClip) -> BridgedClip:
    """Copy a model that is not compiled; what is frozen is shared."""
    frozen = [tensor for tensor in (*model.parameters(), *model.buffers()) if not tensor.requires_grad]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in frozen})


class RandomSamples:
    """Stand-in for prepared data: noise of the same shapes; every sample has touch, view and a caption of full length.

    Args:
        config: Gives size of the images, length of the captions and token ids.
        sensors: Number of known sensors.
        count: Number of samples.
    """

    def __init__(self, config: CLIPConfig, sensors: int, count: int):
        rng, side = np.random.default_rng(0), config.vision_config.image_size
        text = config.text_config
        length, end = text.max_position_embeddings, text.eos_token_id
        tokens = rng.integers(1, end - 1, (count, length))
        tokens[:, -1] = end
        values = {'tokens': tokens, 'lengths': np.full(count, length), 'sensor_id': rng.integers(0, sensors, count),
                  'pair': np.arange(count), **{name: np.ones(count, bool) for name in (
                      'has_touch', 'has_view', 'has_text')}}
        for name in ('touch', 'view'):
            values[name] = rng.integers(0, 256, (count, 1, side, side, 3), np.uint8)
        self._values: dict[str, Tensor] = {name: torch.from_numpy(value) for name, value in values.items()}

    def __len__(self) -> int:
        return len(self._values['tokens'])

    def batch(self, indices: np.ndarray) -> Batch:
        """Give samples int64 [N] as `PreparedTriplets.batch` does."""
        return {name: values[torch.from_numpy(indices)] for name, values in self._values.items()}
