"""The TLV-CoRe objective: three contrastive losses, decoupled learning, and read-outs of what a robot needs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.losses.decoupled_learning import decoupled_learning
from training.losses.info_nce import symmetric_info_nce
from training.networks.tlv_core import CONTACT_QUANTITIES, MOTION_QUANTITIES, TlvCore
from training.recipe import TlvCoreRecipe
from training.trainer import Batch, LossTerm, Samples

# Typical size of each contact quantity: what the read-out predicts is divided by it.
CONTACT_SCALE = {'normal_force_n': 8.0, 'shear_x_mm': 0.2, 'shear_y_mm': 0.2, 'twist_deg': 6.0}
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
        self.contact_scale = torch.tensor([CONTACT_SCALE[name] for name in CONTACT_QUANTITIES])
        self.tells_contact = torch.tensor([name in ('normal_force_n', 'twist_deg') for name in CONTACT_QUANTITIES])
        self.motion_scale = torch.tensor(MOTION_UNIT) / 2

    def loss_terms(self, batch: Batch) -> dict[str, LossTerm]:
        """Return the loss terms of a batch as `RenderedTriplets.batch` makes it."""
        recipe, model = self.recipe, self.model
        feature = model.touch_feature(_jitter(batch['touch'], recipe.photometric_strength))
        hidden = torch.rand(len(feature)) < recipe.unknown_sensor_share
        sensor_id = batch['sensor_id'].masked_fill(hidden, model.shape.sensors)
        touch = model.touch_embedding(feature, sensor_id)
        vision = model.vision_embedding(_jitter(batch['view'], recipe.photometric_strength), recipe.patch_dropout)
        text = model.text_embedding(batch['tokens'][:, :int(batch['lengths'].max())], batch['lengths'])
        terms = {
            'touch_vision': LossTerm(symmetric_info_nce(touch, vision, recipe.temperature), recipe.contrastive_weight),
            'touch_text': LossTerm(symmetric_info_nce(touch, text, recipe.temperature), recipe.contrastive_weight),
            'vision_text': LossTerm(symmetric_info_nce(vision, text, recipe.temperature), recipe.contrastive_weight),
            'decoupled_learning': LossTerm(
                decoupled_learning(feature, batch['sensor_id'], model.sensor_centroids, recipe.temperature),
                recipe.decoupled_learning_weight),
        }
        for name, logits in model.class_logits(touch).items():
            known = (batch[name] != UNKNOWN_LABEL).sum().clamp(min=1)
            loss = functional.cross_entropy(logits, batch[name], ignore_index=UNKNOWN_LABEL, reduction='sum') / known
            terms[name] = LossTerm(loss, recipe.class_weight)
        # How far a gel has moved cannot be told from one frame of a unit whose marks nobody has seen: a grip teaches
        # the differences between its moments instead.
        known = (~batch['in_grip'])[:, None] | self.tells_contact
        error = (model.contact_values(touch) - batch['contact'] / self.contact_scale)[known]
        terms['contact'] = LossTerm(_huber(error), recipe.contact_weight)
        frames, motion = (batch[name][:recipe.grips_per_step] for name in ('grip', 'motion'))
        if len(frames) > 0:
            grip_id = batch['sensor_id'][batch['in_grip']][:len(frames)]
            error = self._motion_error(_jitter(frames.flatten(0, 1), recipe.photometric_strength), grip_id, motion)
            terms['motion'] = LossTerm(_huber(error / self.motion_scale), recipe.motion_weight)
        return terms

    def validate(self) -> dict[str, float]:
        """Return accuracies, errors of the contact read-out and touch-to-vision retrieval on validation samples."""
        touch, vision, motions, batches = [], [], [], []
        for indices in np.array_split(np.arange(len(self.validation)), max(1, len(self.validation) // 200)):
            batch = self.validation.batch(indices)
            touch.append(self.model.touch_embedding(self.model.touch_feature(batch['touch']), batch['sensor_id']))
            vision.append(self.model.vision_embedding(batch['view']))
            if len(batch['grip']) > 0:
                grip_id = batch['sensor_id'][batch['in_grip']]
                motions.append(self._motion_error(batch['grip'].flatten(0, 1), grip_id, batch['motion']))
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
        similarity = touch[0] @ vision[0].T
        metrics['retrieval_top5'] = (similarity.topk(5).indices == torch.arange(len(similarity))[:, None]) \
            .any(1).float().mean().item()
        return metrics

    def _motion_error(self, frames: Tensor, sensor_id: Tensor, motion: Tensor) -> Tensor:
        """Embed the moments of each grip, frames [G · moments, 1, H, W, 3] of sensors [G]; see `motion_error`."""
        feature = self.model.touch_feature(frames)
        embedding = self.model.touch_embedding(feature, sensor_id.repeat_interleave(motion.shape[1]))
        return motion_error(self.model, embedding, motion)


def motion_error(model: TlvCore, embedding: Tensor, motion: Tensor) -> Tensor:
    """Compare the motion that is read from the moments of each grip with the true one, both about their mean.

    Args:
        model: Reads motion from embeddings.
        embedding: float32 [G · moments, D].
        motion: float32 [G, moments, 3], MOTION_QUANTITIES.

    Returns:
        float32 [G, moments, 3], millimetres and degrees.
    """
    read = (model.motion_values(embedding) * motion.new_tensor(MOTION_UNIT)).unflatten(0, motion.shape[:2])
    return (read - read.mean(dim=1, keepdim=True)) - (motion - motion.mean(dim=1, keepdim=True))


def _huber(error: Tensor) -> Tensor:
    return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=_HUBER_WIDTH)


def _jitter(frames: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast and the gain of every channel of each frame at random.

    Nothing is moved, mirrored or turned: a displacement of the gel must keep its direction.

    Args:
        frames: uint8 [B, 1, H, W, 3], 0..255.
        strength: Largest relative change.

    Returns:
        float32 of the same shape, clipped to 0..255.
    """
    pixels = frames.to(torch.float32)

    def draw(*shape: int) -> Tensor:
        return strength * (2 * torch.rand(*shape) - 1)

    count = len(frames)
    gain = (1 + draw(count, 1, 1, 1, 1)) * (1 + draw(count, 1, 1, 1, 3) / 2)
    offset = 127.5 * draw(count, 1, 1, 1, 1) / 2
    return ((pixels - 127.5) * gain + (127.5 + offset)).clamp_(0, 255)
