"""The TLV-CoRe objective: three contrastive losses, decoupled learning, and read-outs of what a robot needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.batch_rows import Rows, batch_rows, labelled_rows
from training.interface import Batch, LossTerm, Samples, to_device
from training.losses.decoupled_learning import decoupled_learning
from training.losses.info_nce import symmetric_info_nce
from training.networks.tlv_core import CONTACT_QUANTITIES, MOTION_QUANTITIES, TlvCore
from training.recipe import TlvCoreRecipe
from training.retrieval import retrieval

# Typical size of each contact quantity: what the read-out predicts is divided by it.
CONTACT_SCALE = {'normal_force_n': 8.0, 'shear_x_mm': 0.2, 'shear_y_mm': 0.2, 'twist_deg': 6.0}
HIDDEN_IN_GRIP = ('shear_x_mm', 'shear_y_mm')
MOTION_UNIT = (0.1, 0.1, 2.5)
_HUBER_WIDTH = 0.05
UNKNOWN_LABEL = -1


class TlvCoreObjective:
    """Sum of eq. 6 and the supervised read-outs, the latter computed from the tactile embedding alone.

    Args:
        model: The towers and heads; what is trained.
        recipe: Weights and rates.
        validation: Samples for `validate`.

    Source: TLV-CoRe, section 3.3, eq. 6.
    """

    def __init__(self, model: TlvCore, recipe: TlvCoreRecipe, validation: Samples):
        self.model: nn.Module = model
        self.recipe, self.validation = recipe, validation
        self.device = next(model.parameters()).device
        self.contact_scale = torch.tensor([CONTACT_SCALE[name] for name in CONTACT_QUANTITIES], device=self.device)
        self.tells_contact = torch.tensor([name not in HIDDEN_IN_GRIP for name in CONTACT_QUANTITIES],
                                          device=self.device)
        self.motion_scale = _motion_unit(self.device) / 2

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Encode samples as `RenderedTriplets.batch` makes them.

        Returns:
            touch_feature: float32 [B, width], h^T; touch, vision, text: float32 [B, D], unit length; grip: float32
            [B, moments, D], zeros where a sample is not among the grips that are compared.
        """
        recipe, model, rows = self.recipe, self.model, batch_rows(len(batch['touch']))
        feature = model.touch_feature(_jitter(batch['touch'], rows, recipe.photometric_strength))
        hidden = rows.rand(device=feature.device) < recipe.unknown_sensor_share
        sensor_id = batch['sensor_id'].masked_fill(hidden, model.shape.sensors)
        encoded = {'touch_feature': feature, 'touch': model.touch_embedding(feature, sensor_id)}
        view = _jitter(batch['view'], rows, recipe.photometric_strength)
        encoded['vision'] = model.vision_embedding(view, recipe.patch_dropout)
        # Cut to the longest caption, where knowing its length costs no wait for an accelerator.
        longest = batch['tokens'].shape[1] if feature.is_cuda else int(batch['lengths'].max())
        encoded['text'] = model.text_embedding(batch['tokens'][:, :longest], batch['lengths'])
        return encoded | {'grip': self._compared_grips(batch)}

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Return the loss terms of a batch."""
        recipe, model, touch = self.recipe, self.model, encoded['touch']
        vision, text = encoded['vision'], encoded['text']
        terms = {
            'touch_vision': LossTerm(symmetric_info_nce(touch, vision, recipe.temperature), recipe.contrastive_weight),
            'touch_text': LossTerm(symmetric_info_nce(touch, text, recipe.temperature), recipe.contrastive_weight),
            'vision_text': LossTerm(symmetric_info_nce(vision, text, recipe.temperature), recipe.contrastive_weight),
            'decoupled_learning': LossTerm(
                decoupled_learning(encoded['touch_feature'], batch['sensor_id'], model.sensor_centroids,
                                   recipe.temperature),
                recipe.decoupled_learning_weight),
        }
        for name, logits in model.class_logits(touch).items():
            known = (batch[name] != UNKNOWN_LABEL).sum().clamp(min=1)
            loss = functional.cross_entropy(logits, batch[name], ignore_index=UNKNOWN_LABEL, reduction='sum') / known
            terms[name] = LossTerm(loss, recipe.class_weight)
        # How far a gel has moved cannot be told from one frame of a unit whose marks nobody has seen: a grip teaches
        # the differences between its moments instead.
        known, grips = (~batch['in_grip'])[:, None] | self.tells_contact, len(batch['motion'])
        error = (model.contact_values(touch) - batch['contact'] / self.contact_scale).flatten()
        told = _true_places(known.flatten(), known.numel() - grips * len(HIDDEN_IN_GRIP))
        terms['contact'] = LossTerm(_huber(error[told]), recipe.contact_weight)
        if grips > 0:
            compared = _true_places(batch['in_grip'], grips)[:recipe.grips_per_step]
            error = motion_error(model, encoded['grip'][compared], batch['motion'][:recipe.grips_per_step])
            terms['motion'] = LossTerm(_huber(error / self.motion_scale), recipe.motion_weight)
        return terms

    def validate(self) -> dict[str, float]:
        """Return accuracies, errors of the contact read-out and retrieval of views by touch on validation samples.

        The gallery of the retrieval is the first 200 to 399 of them.
        """
        touch, vision, motions, batches = [], [], [], []
        for indices in np.array_split(np.arange(len(self.validation)), max(1, len(self.validation) // 200)):
            batch = to_device(self.validation.batch(indices), self.device)
            touch.append(self.model.touch_embedding(self.model.touch_feature(batch['touch']), batch['sensor_id']))
            vision.append(self.model.vision_embedding(batch['view']))
            if len(batch['grip']) > 0:
                embedding = self._grip_embedding(batch['grip'], batch['sensor_id'][batch['in_grip']])
                motions.append(motion_error(self.model, embedding, batch['motion']))
            batches.append(batch)
        embedding, metrics = torch.cat(touch), {}
        for name, logits in self.model.class_logits(embedding).items():
            labels = torch.cat([batch[name] for batch in batches])
            known = labels != UNKNOWN_LABEL
            metrics[f'{name}_accuracy'] = (logits.argmax(1) == labels)[known].float().mean().item()
        contact, grip = (torch.cat([batch[name] for batch in batches]) for name in ('contact', 'in_grip'))
        error = (self.model.contact_values(embedding) * self.contact_scale - contact).abs()
        for column, name in enumerate(CONTACT_QUANTITIES):
            rows = ~grip | self.tells_contact[column]
            metrics[f'{name}_error'] = error[rows, column].mean().item()
        for column, name in enumerate(MOTION_QUANTITIES if motions else ()):
            metrics[f'grip_motion_{name}_error'] = torch.cat(motions)[..., column].abs().mean().item()
        return metrics | retrieval('retrieval', touch[0] @ vision[0].T)

    def _compared_grips(self, batch: Batch) -> Tensor:
        """Encode the moments of those grips of a step that are compared: float32 [B, moments, D], elsewhere zeros."""
        rows = labelled_rows(batch, 'in_grip').up_to(self.recipe.grips_per_step)
        moments, size = batch['grip'].shape[1], self.model.shape.embedding_size
        if rows.count == 0:
            return torch.zeros(len(batch['touch']), moments, size, device=self.device)
        places = _true_places(batch['in_grip'], len(batch['grip']))[:rows.count]
        frames = batch['grip'][:rows.count]
        pixels = _jitter(frames.flatten(0, 1), rows.times(moments), self.recipe.photometric_strength)
        embedding = self._grip_embedding(pixels.unflatten(0, (-1, moments)), batch['sensor_id'][places])
        return embedding.new_zeros(len(batch['touch']), moments, size).index_copy(0, places, embedding)

    def _grip_embedding(self, frames: Tensor, sensor_id: Tensor) -> Tensor:
        """Encode grips [G, moments, 1, H, W, 3] of sensors int64 [G]: float32 [G, moments, D], unit length."""
        count, moments = frames.shape[:2]
        feature = self.model.touch_feature(frames.flatten(0, 1))
        embedding = self.model.touch_embedding(feature, sensor_id.repeat_interleave(moments))
        return embedding.unflatten(0, (count, moments))


def motion_error(model: TlvCore, embedding: Tensor, motion: Tensor) -> Tensor:
    """Compare the motion that is read from the moments of each grip with the true one, both about their mean.

    Args:
        model: Reads motion from embeddings.
        embedding: float32 [G, moments, D] or [G · moments, D].
        motion: float32 [G, moments, 3], MOTION_QUANTITIES.

    Returns:
        float32 [G, moments, 3], millimetres and degrees.
    """
    read = model.motion_values(embedding).reshape(motion.shape) * _motion_unit(motion.device)
    return (read - read.mean(dim=1, keepdim=True)) - (motion - motion.mean(dim=1, keepdim=True))


@cache
def _motion_unit(device: torch.device) -> Tensor:
    # Copied to an accelerator once: every copy waits for it.
    return torch.tensor(MOTION_UNIT, device=device)


def _true_places(mask: Tensor, count: int) -> Tensor:
    """Return where a bool [N] is true, int64 [count]: as `nonzero`, but an accelerator need not say how often."""
    return torch.nonzero_static(mask, size=count)[:, 0]


def _huber(error: Tensor) -> Tensor:
    return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=_HUBER_WIDTH)


def _jitter(frames: Tensor, rows: Rows, strength: float) -> Tensor:
    """Change brightness, contrast and the gain of every channel of each frame at random.

    Nothing is moved, mirrored or turned: a displacement of the gel must keep its direction.

    Args:
        frames: uint8 [B, 1, H, W, 3], 0..255.
        rows: Where the frames lie among those of the step.
        strength: Largest relative change.

    Returns:
        float32 of the same shape, clipped to 0..255.
    """
    pixels = frames.to(torch.float32)

    def draw(*shape: int) -> Tensor:
        return strength * (2 * rows.rand(*shape, device=frames.device) - 1)

    gain = (1 + draw(1, 1, 1, 1)) * (1 + draw(1, 1, 1, 3) / 2)
    offset = 127.5 * draw(1, 1, 1, 1) / 2
    return ((pixels - 127.5) * gain + (127.5 + offset)).clamp_(0, 255)
