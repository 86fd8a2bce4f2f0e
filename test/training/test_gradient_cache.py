"""A batch that goes through the towers in chunks gives the gradient of the whole batch, random numbers and all."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trainer import RECIPE as TLV_CORE_RECIPE
from test_trainer import RandomTriplets
from test_trainer import trainer as tlv_core_trainer
from torch import nn
from torch.nn import functional

from training.batch_loader import BatchLoader
from training.batch_rows import batch_rows, encoding, labelled_rows
from training.distributed import Processes
from training.gradient_cache import fill_gradients, total_loss
from training.interface import LossTerm
from training.losses.info_nce import symmetric_info_nce
from training.recipe import TrainerRecipe

ONE_PROCESS = Processes(0, 1, torch.device('cpu'))


class RandomPairs:
    """Frames and texts, some of them missing, with a label and numbers that only some samples have."""

    def __init__(self, count: int = 24):
        generator = np.random.default_rng(1)
        self.frames = generator.integers(0, 256, (count, 1, 2, 2, 3), dtype=np.uint8)
        self.tokens = generator.normal(size=(count, 5))
        self.has_text, self.labels = generator.random(count) < 0.7, generator.integers(0, 3, count)
        self.extra = generator.normal(size=(count, 2))

    def __len__(self):
        return len(self.frames)

    def batch(self, indices):
        batch = {'touch': self.frames[indices], 'tokens': self.tokens[indices], 'label': self.labels[indices],
                 'has_text': self.has_text[indices], 'extra': self.extra[indices][self.has_text[indices]]}
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class Pairs(nn.Module):
    """Two towers in double precision, a head and a temperature that only the losses read, and a frozen layer."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.frozen = nn.Linear(12, 12).requires_grad_(False)
        self.touch = nn.Sequential(nn.Linear(12, 8), nn.GELU(), nn.Dropout(dropout), nn.Linear(8, 4))
        self.text = nn.Linear(5, 4)
        self.head, self.log_scale = nn.Linear(4, 3), nn.Parameter(torch.tensor(1.0))
        self.never_used = nn.Linear(2, 2)
        self.double()


class PairsObjective:
    """Masked contrastive loss over all samples, a classification, a value of each sample, and numbers of some."""

    def __init__(self, model: Pairs):
        self.model = model

    def encode(self, batch):
        rows = batch_rows(len(batch['touch']))
        frames = batch['touch'].flatten(1).double() / 255 + 0.3 * rows.rand(12).double()
        touch = self.model.touch(self.model.frozen(frames))
        return {'touch': functional.normalize(touch, dim=-1), 'energy': touch.square().mean(1),
                'text': functional.normalize(self.model.text(batch['tokens']), dim=-1)}

    def loss_terms(self, encoded, batch):
        has_text = batch['has_text']
        contrast = symmetric_info_nce(encoded['touch'][has_text], encoded['text'][has_text],
                                      (-self.model.log_scale).exp())
        pulled = (encoded['text'][has_text, :2] - batch['extra']).square().mean()
        return {'contrast': LossTerm(contrast, 1.0), 'energy': LossTerm(encoded['energy'].mean(), 0.3),
                'class': LossTerm(functional.cross_entropy(self.model.head(encoded['touch']), batch['label']), 0.5),
                'pulled': LossTerm(pulled, 0.1)}

    def validate(self):
        return {}


def gradients(objective, samples, recipe, step=0):
    """Give every gradient of one step, by name."""
    objective.model.zero_grad(set_to_none=True)
    batch = next(BatchLoader(samples, recipe, ONE_PROCESS).batches(step, step + 1))
    terms = fill_gradients(objective, batch, 77 + step, False, ONE_PROCESS)
    return {name: parameter.grad for name, parameter in objective.model.named_parameters()}, terms


def largest_difference(first, second):
    assert [name for name, value in first.items() if value is None] == \
        [name for name, value in second.items() if value is None]
    return max((value - second[name]).abs().max().item() for name, value in first.items() if value is not None)


@settings(max_examples=20, deadline=None)
@given(batch_size=st.integers(4, 24), chunk=st.integers(1, 24), seed=st.integers(0, 100))
def test_chunks_give_the_gradient_of_the_whole_batch(batch_size, chunk, seed):
    torch.manual_seed(seed)
    objective, samples = PairsObjective(Pairs()), RandomPairs()
    recipe = TrainerRecipe(batch_size=batch_size, seed=seed)
    whole, terms = gradients(objective, samples, recipe)
    chunked, chunked_terms = gradients(objective, samples, dataclasses.replace(recipe, gradient_cache_chunk=chunk))
    assert largest_difference(whole, chunked) < 1e-12
    for name, term in terms.items():
        assert term.value.item() == pytest.approx(chunked_terms[name].value.item(), rel=1e-12)


def test_gradient_is_that_of_a_plain_backward():
    torch.manual_seed(0)
    objective, samples, recipe = PairsObjective(Pairs(dropout=0.3)), RandomPairs(), TrainerRecipe(batch_size=12)
    cached, _ = gradients(objective, samples, recipe)
    objective.model.zero_grad(set_to_none=True)
    batch = next(BatchLoader(samples, recipe, ONE_PROCESS).batches(0, 1))
    torch.manual_seed(77)
    total_loss(objective.loss_terms(objective.encode(batch.parts[0].batch), batch.labels)).backward()
    for name, parameter in objective.model.named_parameters():
        expected = parameter.grad
        assert cached[name] is expected is None or torch.equal(cached[name], expected), name


def test_dropout_repeats_its_numbers_in_the_second_pass():
    torch.manual_seed(0)
    objective, samples = PairsObjective(Pairs(dropout=0.5)), RandomPairs()
    recipe = TrainerRecipe(batch_size=12, gradient_cache_chunk=5)
    cached, _ = gradients(objective, samples, recipe)
    # The slow way: keep the graph of every chunk and send the loss of all of them back at once.
    objective.model.zero_grad(set_to_none=True)
    batch, outputs = next(BatchLoader(samples, recipe, ONE_PROCESS).batches(0, 1)), []
    for part in batch.parts:
        with encoding(part, 77):
            outputs.append(objective.encode(part.batch))
    encoded = {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
    total_loss(objective.loss_terms(encoded, batch.labels)).backward()
    assert largest_difference({name: p.grad for name, p in objective.model.named_parameters()}, cached) < 1e-12


def test_dropout_differs_from_chunk_to_chunk():
    samples, recipe = RandomPairs(), TrainerRecipe(batch_size=12, gradient_cache_chunk=6)
    drawn = []
    for part in next(BatchLoader(samples, recipe, ONE_PROCESS).batches(0, 1)).parts:
        with encoding(part, 77):
            drawn.append((torch.rand(6), batch_rows(6).rand()))
    assert not torch.equal(drawn[0][0], drawn[1][0])
    torch.manual_seed(77)
    assert torch.equal(torch.cat([drawn[0][1], drawn[1][1]]), torch.rand(12))


@pytest.mark.parametrize('chunk', [1, 4, 5])
def test_tlv_core_in_chunks(tmp_path, chunk):
    recipe = dataclasses.replace(TLV_CORE_RECIPE, patch_dropout=0.0, batch_size=12, grips_per_step=4)
    objective, samples = tlv_core_trainer(tmp_path, recipe).objective, RandomTriplets()
    whole, terms = gradients(objective, samples, recipe)
    chunked, _ = gradients(objective, samples, dataclasses.replace(recipe, gradient_cache_chunk=chunk))
    assert {'motion', 'contact', 'touch_text'} <= set(terms)
    # Single precision: sums over fewer rows are rounded otherwise.
    assert largest_difference(whole, chunked) < 1e-5 * max(value.abs().max() for value in whole.values())


def test_losses_see_everything_but_the_frames():
    recipe = TrainerRecipe(batch_size=10, gradient_cache_chunk=4)
    _, batch = BatchLoader(RandomPairs(), recipe, ONE_PROCESS).batches(6, 8)
    assert [len(part.batch['touch']) for part in batch.parts] == [4, 4, 2]
    assert 'touch' not in batch.labels and len(batch.labels['label']) == 10
    assert len(batch.labels['extra']) == batch.labels['has_text'].sum()
    assert batch.labels['step'].tolist() == [7] * 10 and batch.labels['step'].dtype == torch.int64
    assert torch.equal(batch.labels['tokens'], torch.cat([part.batch['tokens'] for part in batch.parts]))


@settings(max_examples=50, deadline=None)
@given(flags=st.lists(st.booleans(), min_size=1, max_size=20), chunk=st.integers(1, 20), limit=st.integers(0, 20))
def test_rows_of_some_samples_add_up(flags, chunk, limit):
    class Flagged:
        def __len__(self):
            return len(flags)

        def batch(self, indices):
            return {'touch': torch.zeros(len(indices), 1, dtype=torch.uint8), 'flag': torch.tensor(flags)[indices]}

    recipe = TrainerRecipe(batch_size=len(flags), gradient_cache_chunk=chunk)
    batch, seen = next(BatchLoader(Flagged(), recipe, ONE_PROCESS).batches(0, 1)), []
    for part in batch.parts:
        with encoding(part, 1):
            rows = labelled_rows(part.batch, 'flag').up_to(limit).times(2)
            with pytest.raises(ValueError, match='are being encoded'):
                batch_rows(part.rows.count + 1)
        assert rows.total == 2 * min(limit, sum(flags)) and rows.count >= 0
        seen += range(rows.first, rows.first + rows.count)
    assert seen == list(range(2 * min(limit, sum(flags))))
    alone = labelled_rows({'flag': torch.tensor(flags)}, 'flag')
    assert (alone.first, alone.count, alone.total) == (0, sum(flags), sum(flags))


def test_an_error_of_the_samples_reaches_the_training():
    class Broken(RandomPairs):
        def batch(self, indices):
            raise OSError('the disk is gone')

    with pytest.raises(OSError, match='the disk is gone'):
        list(BatchLoader(Broken(), TrainerRecipe(batch_size=4), ONE_PROCESS).batches(0, 3))
