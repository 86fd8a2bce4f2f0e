"""What the tests of the methods share: samples of random numbers, a full-size CLIP without numbers, plain training."""

import math

import numpy as np
import torch
from small_clip import SENSORS, captions, frames, small_clip
from transformers import CLIPConfig, CLIPModel

SENSOR_KINDS = ('digit', 'gelsight', 'duragel')


class RandomSamples:
    """Stand-in for prepared data; `present` adds columns such as has_view."""

    def __init__(self, count: int = 8, **present):
        tokens, lengths = captions(count)
        self.values = {'touch': frames(count), 'view': frames(count, seed=3), 'tokens': tokens, 'lengths': lengths,
                       'sensor_id': torch.arange(count) % (SENSORS + 1),
                       **{name: torch.tensor(values) for name, values in present.items()}}

    def __len__(self):
        return len(self.values['touch'])

    def batch(self, indices):
        return {name: values[torch.from_numpy(indices)] for name, values in self.values.items()}

    def training_batch(self, step=0, count=None):
        """All samples, or the first, as the trainer hands them over at a step."""
        batch = self.batch(np.arange(count or len(self)))
        return batch | {'step': torch.full((len(batch['touch']),), step)}


def loss_of(objective, batch):
    terms = objective.loss_terms(objective.encode(batch), batch)
    return sum(term.weight * term.value for term in terms.values())


def over_fit(objective, samples, steps, learning_rate=0.02):
    """Train on one batch, plainly: the loss at each step."""
    trained = [tensor for tensor in objective.model.parameters() if tensor.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, lr=learning_rate), []
    torch.manual_seed(0)
    for step in range(steps):
        loss = loss_of(objective, samples.training_batch(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def trained_names(model):
    return {name for name, tensor in model.named_parameters() if tensor.requires_grad}


def spread_clip() -> CLIPModel:
    """A CLIP of random numbers that tells images and captions apart, so that a few steps can teach it something."""
    torch.manual_seed(0)
    clip = CLIPModel(small_clip().config)
    for name, tensor in clip.named_parameters():
        if tensor.ndim > 1:
            torch.nn.init.normal_(tensor, std=0.5 if 'embedding' in name else tensor.shape[1] ** -0.5)
    return clip


def vit_l_14() -> CLIPModel:
    """The published size; on the meta device, so that it takes neither memory nor time."""
    with torch.device('meta'):
        return CLIPModel(CLIPConfig(
            projection_dim=768,
            vision_config={'hidden_size': 1024, 'intermediate_size': 4096, 'num_hidden_layers': 24,
                           'num_attention_heads': 16, 'image_size': 224, 'patch_size': 14},
            text_config={'hidden_size': 768, 'intermediate_size': 3072, 'num_hidden_layers': 12,
                         'num_attention_heads': 12}))


def slow_info_nce(first, second, temperature):
    """Symmetric InfoNCE over two lists of vectors, both directions averaged."""
    def likeness(a, b):
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / temperature)

    total = 0.0
    for i in range(len(first)):
        own = likeness(first[i], second[i])
        total += math.log(own / sum(likeness(first[i], other) for other in second))
        total += math.log(own / sum(likeness(second[i], other) for other in first))
    return -total / (2 * len(first))


def random_embeddings(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.nn.functional.normalize(torch.randn(count, 6, generator=generator), dim=1)
            for name in ('touch', 'vision', 'text')}
