"""What holds for every method: it trains, what is frozen stays, chunks change nothing, and it can be probed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from method_samples import SENSOR_KINDS, RandomSamples, loss_of, over_fit, spread_clip, trained_names
from small_clip import frames, small_clip

from training.batch_loader import StepBatch
from training.batch_rows import BatchPart, Rows
from training.checkpoint import load_checkpoint, save_checkpoint
from training.distributed import Processes
from training.gradient_cache import fill_gradients
from training.objectives.clip_method import with_touch_for_missing_views
from training.objectives.methods import METHODS
from training.objectives.tlv_core_clip import TlvCoreClipObjective
from training.recipe import TrainerRecipe, load_recipe
from training.trainer import Trainer
from visuotactile_ros.errors import ModelError

RECIPES = Path(__file__).parents[2] / 'training/recipes'
SMALL = {'tlv_core': {'adapter_rank': 3}, 'tlv_link': {'lora_rank': 2}, 'vit_lens_2': {'unlocked_groups': 2},
         'anytouch': {'lora_rank': 2, 'decoder_width': 8, 'decoder_depth': 1, 'decoder_heads': 2}}
VARIANTS = [('tlv_core', {}), ('tlv_link', {}), ('vit_lens_2', {}), ('vit_lens_2', {'lens': 'perceiver', 'latents': 5}),
            ('anytouch', {}), ('anytouch', {'touch_tuning': 'lora', 'released_code': True})]
VARIANT_IDS = [f'{name}-{"-".join(map(str, changes.values()))}'.rstrip('-') for name, changes in VARIANTS]
every_variant = pytest.mark.parametrize(('name', 'changes'), VARIANTS, ids=VARIANT_IDS)
every_method = pytest.mark.parametrize('name', METHODS)


@pytest.fixture(scope='module')
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('clip')
    small_clip().save_pretrained(folder)
    return folder


def build(name, clip_folder, samples=None, **changes):
    recipe = METHODS[name].recipe(base=str(clip_folder), sensor_kinds=SENSOR_KINDS, steps=100, batch_size=4,
                                  **SMALL.get(name, {}) | changes)
    return METHODS[name].build(recipe, samples or RandomSamples())


def samples_with_gaps(count=8):
    return RandomSamples(count, pair=[0, 0, 1, 1, -1, 2, 2, -1], has_view=[True] * 6 + [False] * 2,
                         has_text=[False] + [True] * 7)


@every_variant
def test_loss_goes_down_on_one_batch_and_nothing_that_is_frozen_moves(name, changes, tmp_path):
    spread_clip().save_pretrained(tmp_path)
    trained = build(name, tmp_path, **changes, rotation_deg=0.0, mirror_share=0.0, patch_dropout=0.0)
    before = {name: tensor.detach().clone() for name, tensor in trained.model.named_parameters()}
    losses = over_fit(trained, samples_with_gaps(), steps=16)
    assert np.isfinite(losses).all() and max(losses[-3:]) < 0.8 * losses[0]
    moved = {name for name, tensor in trained.model.named_parameters() if not torch.equal(tensor, before[name])}
    assert moved == trained_names(trained.model)


@every_variant
def test_gradient_of_a_batch_in_chunks_is_that_of_the_whole(name, changes, clip_folder):
    """Everything random of a sample is the same however the batch is split."""
    trained, batch = build(name, clip_folder, **changes), samples_with_gaps().training_batch(step=50)
    labels = {key: value for key, value in batch.items() if value.dtype != torch.uint8}

    def gradients(*firsts):
        stops = [*firsts[1:], 8]
        parts = tuple(BatchPart({key: value[first:stop] for key, value in batch.items()}, Rows(first, stop - first, 8),
                                labels) for first, stop in zip(firsts, stops, strict=True))
        trained.model.zero_grad(set_to_none=True)
        fill_gradients(trained, StepBatch(parts, labels), 7, False, Processes(0, 1, torch.device('cpu')))
        return {key: tensor.grad for key, tensor in trained.model.named_parameters() if tensor.grad is not None}

    trained.recipe = dataclasses.replace(trained.recipe, patch_dropout=0.5)
    two, four = gradients(0, 5), gradients(0, 1, 4, 6)
    assert set(two) == set(four)
    for key, value in two.items():
        assert torch.allclose(value, four[key], atol=1e-4 * max(1.0, value.abs().max().item())), key


@every_variant
def test_trainer_resumes_to_the_same_bits_and_tells_schedules_the_step(name, changes, clip_folder, tmp_path):
    samples = samples_with_gaps()

    def run(folder, until_step=None, resume=False):
        trained = build(name, clip_folder, samples, **changes)
        recipe = dataclasses.replace(trained.recipe, steps=2, warmup_steps=0, checkpoint_every_steps=1, device='cpu')
        trained.recipe = recipe
        Trainer(trained, samples, recipe, tmp_path / folder, resume).run(until_step)
        return trained.model.state_dict()

    whole = run('whole')
    run('parts', until_step=1)
    resumed = run('parts', resume=True)
    assert all(torch.equal(tensor, resumed[key]) for key, tensor in whole.items())


@every_variant
def test_towers_run_in_bfloat16_and_embeddings_stay_near(name, changes, clip_folder):
    trained, batch = build(name, clip_folder, **changes), samples_with_gaps().training_batch(step=50)

    def encode(**autocast):
        torch.manual_seed(0)
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, **autocast):
            return trained.encode(batch)

    exact, rough = encode(enabled=False), encode()
    for key, value in exact.items():
        assert rough[key].shape == value.shape and torch.allclose(rough[key].float(), value, atol=0.1, rtol=0.1), key


@every_variant
def test_checkpoint_holds_what_is_trained_and_fits_the_same_clip_only(name, changes, clip_folder, tmp_path):
    trained = build(name, clip_folder, **changes)
    over_fit(trained, samples_with_gaps(), steps=2)
    save_checkpoint(tmp_path / 'run', trained.model, None, {'step': 0, 'recipe': {}, 'metrics': {}})
    assert set(trained.model.state_dict()) == trained_names(trained.model) | {'clip_sums'}
    fresh = build(name, clip_folder, **changes, seed=1)
    load_checkpoint(tmp_path / 'run', fresh.model)
    for (key, tensor), expected in zip(fresh.model.named_parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(tensor, expected), key
    other = small_clip()
    with torch.no_grad():
        other.text_projection.weight[0, 0] += 1.0
    other.save_pretrained(tmp_path / 'other')
    with pytest.raises(ModelError, match='does not fit its recipe'):
        load_checkpoint(tmp_path / 'run', build(name, tmp_path / 'other', **changes).model)


@every_method
def test_features_of_both_towers_have_root_mean_square_1_and_no_graph(name, clip_folder):
    built = build(name, clip_folder)
    ids = torch.tensor([0, 1, 3])
    touch, view = built.touch_features(frames(3), ids), built.vision_features(frames(3))
    for features in (touch, view):
        assert features.shape == (3, 6) and features.dtype == torch.float32 and not features.requires_grad
        assert torch.allclose(features.square().mean(dim=1), torch.ones(3))
    assert torch.equal(touch, built.touch_features(frames(3), ids)), 'nothing random'
    embedding = built.model.touch_embedding(frames(3), ids)
    assert torch.allclose(touch, 6 ** 0.5 * embedding.detach(), atol=1e-5)


@every_method
def test_validation_gives_losses_and_retrieval(name, clip_folder):
    built = build(name, clip_folder, samples_with_gaps())
    built.model.eval()
    with torch.no_grad():
        metrics = built.validate()
    assert {'touch_text_loss', 'retrieval_top1', 'retrieval_top5'} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    assert ('vision_text_loss' in metrics) == (name in ('clip', 'tlv_core', 'anytouch'))
    assert ('matching_loss' in metrics) == (name == 'anytouch')


@torch.no_grad()
def test_frozen_clip_trains_nothing_and_is_clip(clip_folder):
    built, clip = build('clip', clip_folder), small_clip()
    assert not METHODS['clip'].trains and trained_names(built.model) == set()
    pixels = (frames(3)[:, 0] - built.model.vision.pixel_mean) / built.model.vision.pixel_deviation
    pooled = clip.vision_model(pixels.permute(0, 3, 1, 2)).pooler_output
    image = torch.nn.functional.normalize(clip.visual_projection(pooled), dim=-1)
    for features in (built.touch_features(frames(3), torch.tensor([0, 1, 3])), built.vision_features(frames(3))):
        assert torch.allclose(features, 6 ** 0.5 * image, atol=1e-4)
    assert built.model.temperature().item() == pytest.approx(max(0.01, (-clip.logit_scale).exp().item()))


@pytest.mark.parametrize('name', ['tlv_link', 'vit_lens_2'])
def test_samples_that_lack_everything_leave_a_zero_that_keeps_the_graph(name, clip_folder):
    built = build(name, clip_folder)
    nothing = {key: torch.zeros(8, dtype=torch.bool) for key in ('has_touch', 'has_view', 'has_text')}
    loss = loss_of(built, RandomSamples().training_batch() | nothing)
    loss.backward()
    assert loss.item() == 0.0
    for key, tensor in built.model.named_parameters():
        assert tensor.grad is None or not tensor.grad.any(), key


def test_touch_stands_in_for_the_views_that_are_missing():
    batch = RandomSamples(4, has_view=[True, False, False, True], has_touch=[True, True, False, False]).training_batch()
    filled = with_touch_for_missing_views(batch)
    assert filled['has_view'].tolist() == [True, True, False, True]
    assert torch.equal(filled['view'][[0, 3]], batch['view'][[0, 3]])
    assert torch.equal(filled['view'][1], batch['touch'][1])
    labels = {key: value for key, value in batch.items() if value.dtype != torch.uint8}
    assert with_touch_for_missing_views(labels)['has_view'].tolist() == [True, True, False, True]
    whole = RandomSamples(2).training_batch()
    assert with_touch_for_missing_views(whole) is whole


def test_what_touch_stands_in_for_is_not_retrieved(clip_folder):
    samples = RandomSamples(6, has_view=[False] * 6)
    with torch.no_grad():
        assert set(build('tlv_link', clip_folder, samples).validate()) == {'touch_text_loss'}


def test_every_objective_has_one_name_and_one_recipe_file(clip_folder):
    names = [entry.recipe().objective for entry in METHODS.values()]
    assert len(set(names)) == len(names)
    kinds = {entry.recipe().objective: entry.recipe for entry in METHODS.values()}
    shipped = [load_recipe(path, kinds.__getitem__) for path in sorted(RECIPES.glob('*_vit_l14.yaml'))]
    assert {recipe.objective for recipe in shipped} == set(names) - {'frozen_clip'}
    same = ('base', 'data', 'sensor_kinds', 'batch_size', 'steps', 'learning_rate', 'rotation_deg', 'mirror_share')
    assert len({tuple(getattr(recipe, name) for name in same) for recipe in shipped}) == 1, 'same base, same batch'
    assert all(issubclass(entry.recipe, TrainerRecipe) for entry in METHODS.values())
    assert isinstance(build('tlv_core', clip_folder), TlvCoreClipObjective)


def test_building_says_how_much_is_trained(clip_folder, capsys):
    model = build('tlv_link', clip_folder).model
    trained = sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)
    assert f'trained: {trained:,} of ' in capsys.readouterr().err
