"""CLIP from a local Hugging Face folder: weights and tokenizer. Nothing is fetched, nothing is unpickled."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from visuotactile_ros.errors import ModelError

_WHAT_TO_COPY = 'Copy the whole folder of a CLIP checkpoint there, such as laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K'


def read_clip_config(folder: Path) -> CLIPConfig:
    """Read config.json of a CLIP.

    Raises:
        ModelError: The folder is missing or holds no CLIP, or no network can be made of its settings.
    """
    try:
        model_type = json.loads((folder / 'config.json').read_text())['model_type']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f'{folder} holds no checkpoint with a readable config.json', _WHAT_TO_COPY) from error
    if model_type != 'clip':
        raise ModelError(f'{folder} holds a model of type {model_type!r}, not clip', _WHAT_TO_COPY)
    try:
        config = CLIPConfig.from_pretrained(folder, local_files_only=True)
        with torch.device('meta'):   # takes neither memory nor random numbers
            CLIPModel(config)
    except Exception as error:   # a bad setting raises whatever it leads to, from KeyError to ZeroDivisionError
        raise ModelError(f'{folder}/config.json is not that of a CLIP: {_reason(error)}', _WHAT_TO_COPY) from error
    return config


def load_clip(folder: Path) -> CLIPModel:
    """Load both towers and their projections.

    Args:
        folder: config.json beside model.safetensors (read first, also in shards) or pytorch_model.bin, which only the
            restricted reader of torch opens.

    Returns:
        float32, on the CPU, attention by scaled_dot_product_attention.

    Raises:
        ModelError: The folder is missing or incomplete, holds no CLIP, or its weights are damaged or not those of its
            config.json. A tensor that is missing would otherwise keep random numbers.
    """
    read_clip_config(folder)   # CLIPModel would take any other model for a CLIP without its weights
    try:
        clip, report = CLIPModel.from_pretrained(
            folder, local_files_only=True, weights_only=True, output_loading_info=True, dtype=torch.float32,
            attn_implementation='sdpa')
    except pickle.UnpicklingError as error:   # torch would advise to allow it
        raise ModelError(f'{folder} has a pytorch_model.bin with more in it than tensors', _WHAT_TO_COPY) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f'the weights in {folder} cannot be read: {_reason(error)}', _WHAT_TO_COPY) from error
    missing = sorted(report['missing_keys'])
    if missing:
        raise ModelError(f'the weights in {folder} lack {len(missing)} tensors, the first is {missing[0]}',
                         _WHAT_TO_COPY)
    return clip


class ClipTokenizer:
    """Turns captions into the token ids of CLIP.

    Args:
        folder: tokenizer.json, or vocab.json and merges.txt.

    Raises:
        ModelError: The files are missing or damaged.
    """

    def __init__(self, folder: Path):
        if not (folder / 'tokenizer.json').is_file() and not all(
                (folder / name).is_file() for name in ('vocab.json', 'merges.txt')):
            raise ModelError(f'{folder} holds neither tokenizer.json nor vocab.json and merges.txt', _WHAT_TO_COPY)
        try:
            self._tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:   # the parser in Rust raises bare exceptions
            raise ModelError(f'the tokenizer in {folder} cannot be read: {_reason(error)}', _WHAT_TO_COPY) from error

    def encode_batch(self, texts: Sequence[str], context_length: int = 77) -> tuple[np.ndarray, np.ndarray]:
        """Encode captions side by side.

        Args:
            texts: N captions.
            context_length: L; longer captions are cut before their end of text.

        Returns:
            int64 [N, L] ids with start and end of text, padded; int64 [N] their lengths with both.
        """
        encoded = self._tokenizer(list(texts), padding='max_length', truncation=True, max_length=context_length)
        tokens, seen = (np.array(encoded[name], np.int64) for name in ('input_ids', 'attention_mask'))
        return tokens, seen.sum(axis=1)


def _reason(error: Exception) -> str:
    """Give the first line of an error, or of the one that a check of the library only wraps."""
    error = error.__cause__ or error
    return str(error).partition('\n')[0].rstrip('.') or type(error).__name__
