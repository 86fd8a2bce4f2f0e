"""The ways to train TLV-CoRe that are timed side by side: the trainer's step, and a plain loop."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training.clip_recipe import TlvCoreClipRecipe
from training.distributed import Processes
from training.gradient_cache import total_loss
from training.interface import Samples, to_device
from training.networks.bridged_clip import BridgedClip
from training.objectives.tlv_core_clip import TlvCoreClipObjective
from training.trainer import Trainer


class Way(Protocol):
    """One way to train.

    Attributes:
        description: What it does where the ways differ.
    """

    description: dict[str, Any]

    def step(self) -> None:
        """Take the next step, its batch on the host at first."""

    def close(self) -> None:
        """Stop what runs beside it."""


class TrainerWay:
    """The step of `training/trainer.py`, with its loader.

    Args:
        model: What is trained.
        samples: Where batches come from.
        recipe: Precision, compile and everything else.
        device: What to compute on.

    Raises:
        ConfigurationError: The device has no bf16, or there is no compiler.
    """

    def __init__(self, model: BridgedClip, samples: Samples, recipe: TlvCoreClipRecipe, device: torch.device):
        nowhere = Path(tempfile.gettempdir()) / 'bench_training_step'   # only `Trainer.run` writes
        self._trainer = Trainer(TlvCoreClipObjective(model, recipe, samples), samples, recipe, nowhere,
                                processes=Processes(0, 1, device))
        self._batches = self._trainer.loader.batches(0, recipe.steps)
        fused = self._trainer.optimizer.defaults['fused'] is True
        self.description = {
            'loop': 'training/trainer.py', 'precision': recipe.precision, 'compile': recipe.compile,
            'attention': 'scaled_dot_product_attention',
            'optimizer': f'AdamW, {"fused" if fused else "as torch chooses"}',
            'frames_to_device': 'uint8', 'augmented': 'on the device, within the step',
            'loss_to_host': 'every step' if device.type == 'cpu' else 'never; the trainer does where it logs'}

    def step(self) -> None:
        """Take the next step."""
        self._trainer.take_step(next(self._batches), fetch=False)

    def close(self) -> None:
        """Stop the loader."""
        self._batches.close()


class PlainWay:
    """A loop as it is usually released with a paper; none in particular.

    Its batch is made beforehand: loading and augmenting cost it nothing.

    Args: As for `TrainerWay`; precision and compile of the recipe have no influence.
    """

    def __init__(self, model: BridgedClip, samples: Samples, recipe: TlvCoreClipRecipe, device: torch.device):
        use_eager_attention(model)
        self._model, self._device, self._dropout = model, device, recipe.patch_dropout
        self._objective = TlvCoreClipObjective(model, recipe, samples)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self._scaler = torch.amp.GradScaler(device.type)
        batch = {name: values.float() if values.dtype == torch.uint8 else values
                 for name, values in samples.batch(np.arange(recipe.batch_size)).items()}
        self._batch = {name: values.pin_memory() for name, values in batch.items()} if device.type == 'cuda' else batch
        self.description = {
            'loop': 'plain', 'precision': 'fp16 with a gradient scaler', 'compile': False, 'attention': 'eager',
            'optimizer': 'AdamW, as torch chooses', 'frames_to_device': 'float32',
            'augmented': 'before, not timed', 'loss_to_host': 'every step'}

    def step(self) -> None:
        """Take a step on the one batch."""
        batch = to_device(self._batch, self._device)
        self._optimizer.zero_grad()
        with torch.autocast(self._device.type, torch.float16):
            loss = total_loss(self._objective.loss_terms(self.encode(batch), batch))
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        loss.item()

    def encode(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the towers; as `TlvCoreClipObjective.encode`, but frames are taken as they are."""
        touch, feature = self._model.encode_touch(batch['touch'], batch['sensor_id'], self._dropout)
        return {'touch': touch, 'vision': self._model.vision_embedding(batch['view'], self._dropout),
                'text': self._model.text_embedding(batch['tokens']), 'tactile_feature': feature}

    def close(self) -> None:
        """Do nothing."""


def use_eager_attention(model: BridgedClip) -> None:
    """Let the towers hold whole attention matrices in memory, as transformers does without a fused kernel."""
    for tower in (model.touch, model.vision, model.text):
        for block in tower.blocks:
            block.self_attn.config._attn_implementation = 'eager'
    for block in model.text.blocks:   # eager attention takes a mask where the fused one is told that it is causal
        block.register_forward_pre_hook(_causal_mask, with_kwargs=True)


def _causal_mask(block: nn.Module, arguments: tuple, keywords: dict) -> tuple[tuple, dict]:
    tokens = arguments[0]
    length = tokens.shape[1]
    mask = torch.full((length, length), torch.finfo(tokens.dtype).min, dtype=tokens.dtype, device=tokens.device)
    return (tokens, mask.triu(1)), keywords


def variants(recipe: TlvCoreClipRecipe, compiles: bool) -> dict[str, tuple[type[Way], TlvCoreClipRecipe]]:
    """Name the ways: what makes each, and its recipe.

    Args:
        recipe: The recipe of ours, not compiled.
        compiles: Add ours with compiled blocks.
    """
    ways: dict[str, tuple[type[Way], TlvCoreClipRecipe]] = {'ours': (TrainerWay, recipe)}
    if compiles:
        ways['ours_compiled'] = TrainerWay, dataclasses.replace(recipe, compile=True)
    ways['plain'] = PlainWay, recipe
    if recipe.precision != 'fp32':
        ways['ours_fp32'] = TrainerWay, dataclasses.replace(recipe, precision='fp32')
    return ways
