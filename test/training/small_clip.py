"""A CLIP of random numbers with the parts of the published one: deeper image towers, a wider image width."""

import dataclasses

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

from training.clip_recipe import PAPER, Reading
from training.networks.bridged_clip import BridgedClip

IMAGE_SIZE_PX, SENSORS, RANK = 12, 3, 3
IMAGE_DEPTH, TEXT_DEPTH = 5, 3
TEMPERATURE = 0.05
VOCABULARY, END_OF_TEXT = 40, 39


def small_clip(eos_token_id: int = 2) -> CLIPModel:
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(
        projection_dim=6,
        vision_config={'hidden_size': 12, 'intermediate_size': 24, 'num_hidden_layers': IMAGE_DEPTH,
                       'num_attention_heads': 2, 'image_size': IMAGE_SIZE_PX, 'patch_size': 4, 'hidden_act': 'gelu'},
        text_config={'hidden_size': 8, 'intermediate_size': 16, 'num_hidden_layers': TEXT_DEPTH,
                     'num_attention_heads': 2, 'vocab_size': VOCABULARY, 'max_position_embeddings': 10,
                     'eos_token_id': eos_token_id, 'bos_token_id': 38, 'hidden_act': 'gelu'})).eval()
    for tensor in clip.parameters():   # fresh norms, biases and class tokens would hide mistakes
        torch.nn.init.normal_(tensor, mean=0.2, std=0.3)
    return clip


def bridged_clip(reading: Reading = PAPER, trained: bool = True, **options) -> BridgedClip:
    """Bridge a small CLIP; `trained` moves what starts at zero."""
    changes = {name: options.pop(name) for name in list(options) if name in Reading.__dataclass_fields__}
    model = BridgedClip(small_clip(), SENSORS, RANK, dataclasses.replace(reading, **changes), TEMPERATURE, **options)
    if trained:
        with torch.no_grad():
            for tensor in model.parameters():
                if tensor.requires_grad and tensor.ndim > 0:
                    tensor.normal_(std=0.4)
    return model


def frames(count: int, seed: int = 1) -> torch.Tensor:
    shape = (count, 1, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def captions(count: int, length: int = 6, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens int64 [count, length] that end with END_OF_TEXT and are padded with it, and their lengths."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, length + 1, count)
    tokens = generator.integers(1, END_OF_TEXT - 1, (count, length))
    tokens[np.arange(length) >= lengths[:, None] - 1] = END_OF_TEXT
    return torch.from_numpy(tokens), torch.from_numpy(lengths)
