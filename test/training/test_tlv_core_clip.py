"""The objective on a bridged CLIP: eq. 6 of what each sample has, and nothing of the towers moves."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_clip import SENSORS, bridged_clip, captions, frames, small_clip

from training.clip_recipe import PAPER, RELEASED_CODE, TlvCoreClipRecipe
from training.objectives.clip_method import ClipMethod
from training.objectives.tlv_core_clip import TlvCoreClipObjective
from training.recipe import load_recipe
from training.trainer import Trainer
from visuotactile_ros.errors import ConfigurationError, ModelError

ROOT = Path(__file__).parents[2]
RECIPE = TlvCoreClipRecipe(batch_size=4, adapter_rank=3, sensor_kinds=('digit', 'gelsight', 'duragel'))


class RandomSamples:
    """Stand-in for prepared data: random numbers of the same shapes; view i is touch i, so that retrieval is easy."""

    def __init__(self, count: int = 10, **present):
        tokens, lengths = captions(count)
        self.values = {'touch': frames(count), 'view': frames(count), 'tokens': tokens, 'lengths': lengths,
                       'sensor_id': torch.arange(count) % (SENSORS + 1),
                       **{name: torch.tensor(values) for name, values in present.items()}}

    def __len__(self):
        return len(self.values['touch'])

    def batch(self, indices):
        return {name: values[torch.from_numpy(indices)] for name, values in self.values.items()}


def objective(recipe=RECIPE, samples=None, **options) -> TlvCoreClipObjective:
    return TlvCoreClipObjective(bridged_clip(recipe.reading, **options), recipe, samples or RandomSamples())


def slow_info_nce(first, second, temperature):
    """Eq. 5 of TLV-CoRe over two lists of unit vectors."""
    def likeness(a, b):
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / temperature)

    total = 0.0
    for i in range(len(first)):
        own = likeness(first[i], second[i])
        total += math.log(own / sum(likeness(first[i], other) for other in second))
        total += math.log(own / sum(likeness(second[i], other) for other in first))
    return -total / (2 * len(first))


def slow_decoupled_learning(features, sensors, centroids, temperature):
    """Eqs. 2 and 3 of TLV-CoRe."""
    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    total = 0.0
    for feature, sensor in zip(features, sensors, strict=True):
        scores = [math.exp(cosine(feature, centroid) / temperature) for centroid in centroids]
        total += math.log(scores[sensor] / sum(scores))
    return -total / len(features)


PRESENCE = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(0, SENSORS)), min_size=2,
                    max_size=7)
SHARED = {reading: objective(dataclasses.replace(RECIPE, released_code=reading is RELEASED_CODE)).model
          for reading in (PAPER, RELEASED_CODE)}


@settings(max_examples=40, deadline=None)
@given(rows=PRESENCE, seed=st.integers(0, 1000))
def test_loss_is_equation_6_of_the_samples_that_have_both_modalities_of_a_pair(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    encoded = {name: torch.nn.functional.normalize(torch.randn(len(rows), 6, generator=generator), dim=1)
               for name in ('touch', 'vision', 'text')}
    encoded['tactile_feature'] = torch.randn(len(rows), 12, generator=generator)
    encoded = {name: values.requires_grad_() for name, values in encoded.items()}
    columns = dict(zip(('has_touch', 'has_view', 'has_text', 'sensor_id'), map(torch.tensor, zip(*rows)), strict=True))
    has = {'touch': columns['has_touch'], 'vision': columns['has_view'], 'text': columns['has_text']}
    terms = TlvCoreClipObjective(SHARED[PAPER], RECIPE, RandomSamples()).loss_terms(encoded, columns)
    for first, second in ClipMethod.pair_weights:
        both = [row for row in range(len(rows)) if has[first][row] and has[second][row]]
        term = terms[f'{first}_{second}']
        expected = slow_info_nce(encoded[first][both].tolist(), encoded[second][both].tolist(), 0.05) if both else 0.0
        assert term.value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5) and term.weight == 1.0
    known = [row for row in range(len(rows)) if has['touch'][row] and rows[row][3] < SENSORS]
    expected = slow_decoupled_learning(encoded['tactile_feature'][known].tolist(), [rows[row][3] for row in known],
                                       SHARED[PAPER].sensor_centroids.tolist(), 0.05) if known else 0.0
    assert terms['decoupled_learning'].value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert terms['decoupled_learning'].weight == 0.1
    sum(term.weight * term.value for term in terms.values()).backward()
    for name, has_it in (*has.items(), ('tactile_feature', has['touch'])):
        assert torch.isfinite(encoded[name].grad).all()
        assert not encoded[name].grad[~has_it].any(), 'what a sample lacks teaches nothing'


def test_samples_that_lack_everything_leave_a_zero_that_keeps_the_graph():
    trained = objective(samples=RandomSamples(4))
    batch = trained.validation.batch(np.arange(4)) | {name: torch.zeros(4, dtype=torch.bool)
                                                      for name in ('has_touch', 'has_view', 'has_text')}
    total = sum(term.weight * term.value for term in trained.loss_terms(trained.encode(batch), batch).values())
    total.backward()
    assert total.item() == 0.0
    for name, tensor in trained.model.named_parameters():
        assert not tensor.requires_grad or not tensor.grad.any(), name


ABSENT = [{'touch'}, {'vision'}, {'text'}, {'touch', 'vision'}, {'touch', 'text'}, {'vision', 'text'},
          {'touch', 'vision', 'text'}]


@pytest.mark.parametrize('absent', ABSENT, ids=lambda absent: '-'.join(sorted(absent)))
def test_loss_of_a_batch_with_gaps_is_that_of_the_batch_without_these_samples(absent):
    trained = objective(dataclasses.replace(RECIPE, patch_dropout=0.0, rotation_deg=0.0, mirror_share=0.0))
    whole = RandomSamples(8).batch(np.arange(8))
    kept = torch.tensor([0, 1, 2, 4, 5])
    gaps = whole | {f'has_{"view" if name == "vision" else name}': torch.isin(torch.arange(8), kept) for name in absent}
    part = {name: values[kept] for name, values in whole.items()}
    with_gaps, without, complete = (trained.loss_terms(trained.encode(batch), batch) for batch in (gaps, part, whole))
    for name, term in with_gaps.items():
        compared = {'touch'} if name == 'decoupled_learning' else {*name.split('_')}
        expected = without if compared & absent else complete
        assert term.value.item() == pytest.approx(expected[name].value.item(), rel=1e-4), name
        assert without[name].value.item() != pytest.approx(complete[name].value.item(), rel=1e-3), name


@pytest.mark.parametrize('released_code', [False, True], ids=['paper', 'code'])
def test_frozen_weights_are_bit_identical_after_training_and_the_others_are_not(released_code):
    recipe = dataclasses.replace(RECIPE, released_code=released_code)
    trained = objective(recipe, trained=False)
    optimizer = torch.optim.AdamW(trained.model.parameters(), lr=0.01, weight_decay=0.2)
    before = {name: tensor.detach().clone() for name, tensor in trained.model.named_parameters()}
    losses = []
    for step in range(3):
        batch = trained.validation.batch(np.arange(step, step + 6))
        terms = trained.loss_terms(trained.encode(batch), batch)
        losses.append(sum(term.weight * term.value for term in terms.values()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    changed = {name for name, tensor in trained.model.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == {name for name, tensor in trained.model.named_parameters() if tensor.requires_grad}
    reference = small_clip().state_dict()
    assert torch.equal(trained.model.touch.projection.weight, reference['visual_projection.weight'])
    assert torch.equal(trained.model.touch.blocks[4].mlp.fc1.weight,
                       reference['vision_model.encoder.layers.4.mlp.fc1.weight'])


def test_trainer_gives_the_same_weights_in_chunks_and_resumed(tmp_path):
    samples = RandomSamples(12, has_view=[True] * 8 + [False] * 4, has_text=[False] * 3 + [True] * 9)
    recipe = dataclasses.replace(RECIPE, steps=2, batch_size=6, warmup_steps=0, validate_every_steps=2,
                                 checkpoint_every_steps=1)

    def run(name, until_step=None, resume=False, **changes):
        changed = dataclasses.replace(recipe, **changes)
        trained = objective(changed, samples, trained=False)
        Trainer(trained, samples, changed, tmp_path / name, resume).run(until_step)
        return trained.model.state_dict()

    whole, chunks = run('whole'), run('chunks', gradient_cache_chunk=4)
    run('parts', until_step=1)
    resumed = run('parts', resume=True)
    for name, tensor in whole.items():
        assert torch.allclose(tensor, chunks[name], atol=1e-5), name
        assert torch.equal(tensor, resumed[name]), name


def test_encoding_draws_everything_anew_from_the_seed():
    trained = objective()
    batch = trained.validation.batch(np.arange(4))

    def encode(seed):
        torch.manual_seed(seed)
        return trained.encode(batch)

    first, again, other = encode(1), encode(1), encode(2)
    assert {name: values.shape for name, values in first.items()} == {
        'touch': (4, 6), 'vision': (4, 6), 'text': (4, 6), 'tactile_feature': (4, 12)}
    for name, values in first.items():
        assert torch.equal(values, again[name])
        assert torch.equal(values, other[name]) == (name == 'text'), 'only images are augmented'


def test_augmentation_mirrors_and_turns():
    image = torch.zeros(2, 1, 12, 12, 3)
    image[:, :, :, :4] = 200.0
    image[:, :, :4, 4:] = torch.tensor([100.0, 50.0, 25.0])

    def augmented(mirror_share, rotation_deg):
        return objective(dataclasses.replace(RECIPE, mirror_share=mirror_share, rotation_deg=rotation_deg))

    assert torch.allclose(augmented(0.0, 0.0)._augment(image), image, atol=1e-3)
    assert torch.allclose(augmented(1.0, 0.0)._augment(image), image.flip(3), atol=1e-3)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.allclose(augmented(1.0, 0.0)._augment(image), image.flip(3), atol=1e-3)
    # A turn keeps distances from the centre: a small spot stays on its circle, within the asked angle.
    spot = torch.zeros(64, 1, 65, 65, 3)
    spot[:, :, 32, 56] = 255.0
    weights = augmented(0.0, 20.0)._augment(spot)[:, 0, :, :, 0]
    weights = weights / weights.sum(dim=(1, 2), keepdim=True)
    places = torch.arange(65.0) - 32
    down, right = (weights.sum(2) * places).sum(1), (weights.sum(1) * places).sum(1)
    assert torch.allclose(torch.hypot(down, right), torch.tensor(24.0), atol=0.5)
    angles = torch.rad2deg(torch.atan2(down, right))
    assert 15.0 < angles.abs().max() < 21.0 and angles.min() < 0 < angles.max()


@torch.no_grad()
def test_code_feeds_zeros_for_text_and_touch_for_views_and_averages_the_pairs():
    trained = objective(dataclasses.replace(RECIPE, released_code=True, patch_dropout=0.0, rotation_deg=0.0,
                                            mirror_share=0.0))
    present = torch.tensor([True, True, False, False])
    batch = RandomSamples(4).batch(np.arange(4)) | {'has_text': present, 'has_view': present}
    batch['view'] = frames(4, seed=9)
    encoded = trained.encode(batch)
    filled = batch | {'tokens': torch.where(present[:, None], batch['tokens'], 0),
                      'view': torch.where(present[:, None, None, None, None], batch['view'], batch['touch'])}
    filled = {name: values for name, values in filled.items() if not name.startswith('has_')}
    terms, expected = trained.loss_terms(encoded, batch), trained.loss_terms(trained.encode(filled), filled)
    assert encoded['text'][2].tolist() == encoded['text'][3].tolist()
    for name, term in terms.items():
        assert term.value.item() == pytest.approx(expected[name].value.item(), rel=1e-5)
        assert term.weight == (0.1 if name == 'decoupled_learning' else 1 / 3)
    sharper = slow_info_nce(encoded['touch'].tolist(), encoded['vision'].tolist(), trained.model.temperature())
    assert terms['touch_vision'].value.item() == pytest.approx(float(sharper), rel=1e-4)


def validate(trained: TlvCoreClipObjective) -> dict[str, float]:
    with torch.no_grad():
        return trained.validate()


def test_validation_retrieves_views_by_touch_and_gives_the_loss_of_each_pair():
    fresh = objective(dataclasses.replace(RECIPE, batch_size=5), trained=False)
    metrics = validate(fresh)
    assert metrics['retrieval_top1'] == metrics['retrieval_top5'] == 1.0, 'a fresh model sees views as it sees touch'
    batches = [fresh.validation.batch(rows) for rows in (np.arange(5), np.arange(5, 10))]
    for name in ('touch_vision', 'touch_text', 'vision_text'):
        first, second = name.split('_')
        with torch.no_grad():
            embeddings = [{'touch': fresh.model.encode_touch(batch['touch'], batch['sensor_id'])[0],
                           'vision': fresh.model.vision_embedding(batch['view']),
                           'text': fresh.model.text_embedding(batch['tokens'])} for batch in batches]
        expected = np.mean([slow_info_nce(part[first].tolist(), part[second].tolist(), 0.05) for part in embeddings])
        assert metrics[f'{name}_loss'] == pytest.approx(expected, rel=1e-3)
    weight = fresh.model.shared_transforms[0].weight.detach().numpy()
    assert metrics['shared_transform_condition'] == pytest.approx(np.linalg.cond(weight), rel=1e-3)


def test_validation_leaves_out_what_the_samples_cannot_tell():
    samples = RandomSamples(6, has_view=[False] * 6, has_text=[True] * 5 + [False])
    metrics = validate(objective(dataclasses.replace(RECIPE, batch_size=6), samples))
    assert set(metrics) == {'touch_text_loss', 'decoupled_learning_loss', 'shared_transform_condition'}


def test_retrieval_of_wrong_views_is_not_perfect():
    samples = RandomSamples(8)
    samples.values['view'] = samples.values['view'].roll(1, dims=0)
    assert validate(objective(samples=samples, trained=False))['retrieval_top1'] == 0.0


def test_model_is_built_from_a_folder_and_says_how_much_of_it_is_trained(tmp_path, capsys):
    small_clip().save_pretrained(tmp_path)
    recipe = dataclasses.replace(RECIPE, base=str(tmp_path))
    built = TlvCoreClipObjective.build(recipe, RandomSamples())
    trained = sum(tensor.numel() for tensor in built.model.parameters() if tensor.requires_grad)
    assert f'trained: {trained:,} of ' in capsys.readouterr().err
    again = TlvCoreClipObjective.build(recipe, RandomSamples()).model.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in built.model.state_dict().items())
    with pytest.raises(ModelError, match='Copy the whole folder'):
        TlvCoreClipObjective.build(dataclasses.replace(recipe, base=str(tmp_path / 'nowhere')), RandomSamples())


def test_shipped_recipe_is_that_of_the_paper():
    recipe = load_recipe(ROOT / 'training/recipes/tlv_core_vit_l14.yaml', TlvCoreClipRecipe)
    assert recipe.reading == PAPER
    assert dataclasses.replace(recipe, released_code=True).reading == RELEASED_CODE
    assert dataclasses.replace(recipe, shared_transform_per_level=True).reading.shared_transform_per_level
    assert (recipe.adapter_rank, recipe.temperature, recipe.patch_dropout, len(recipe.sensor_kinds)) == (32, .05, .5, 5)
    assert (recipe.learning_rate, recipe.warmup_steps, recipe.weight_decay, recipe.batch_size) == (2e-4, 200, .2, 128)
    assert recipe.decoupled_learning_weight == 0.1 and recipe.steps == 12 * 55_000 // recipe.batch_size


@pytest.mark.parametrize('changes', [{'sensor_kinds': ()}, {'sensor_kinds': ('digit', 'digit')}, {'data': (3,)},
                                     {'data': (['a'],)}])
def test_recipe_without_data_or_with_a_sensor_twice_is_refused(changes):
    with pytest.raises(ConfigurationError, match='Name at least one, each once'):
        dataclasses.replace(RECIPE, **changes)


def what_is_seen_of(reading):
    """Weights, weighted losses and gradients of one batch with gaps, and what a probe reads, as plain numbers."""
    model = bridged_clip(reading, trained=False)
    weights = {name: tensor.tolist() for name, tensor in model.named_parameters() if tensor.requires_grad}
    with torch.no_grad():   # W_up and biases of zero would hide the rest
        for tensor in model.parameters():
            if tensor.requires_grad and tensor.ndim > 0:
                tensor.normal_(std=0.4)
    samples = RandomSamples(6, has_view=[True] * 5 + [False], has_text=[False] + [True] * 5)
    trained, batch = TlvCoreClipObjective(model, RECIPE, samples), samples.batch(np.arange(6))
    torch.manual_seed(0)
    terms = trained.loss_terms(trained.encode(batch), batch)
    losses = {name: (term.value.item(), term.weight) for name, term in terms.items()}
    sum(term.weight * term.value for term in terms.values()).backward()
    gradients = {name: tensor.grad.tolist() for name, tensor in model.named_parameters() if tensor.grad is not None}
    return weights, losses, gradients, trained.touch_features(frames(2), torch.tensor([0, 1])).tolist()


def test_every_point_in_which_the_released_code_leaves_the_paper_shows():
    paper = what_is_seen_of(PAPER)
    assert what_is_seen_of(PAPER) == paper, 'nothing else changes'
    for name, value in vars(RELEASED_CODE).items():
        assert what_is_seen_of(dataclasses.replace(PAPER, **{name: value})) != paper, name
