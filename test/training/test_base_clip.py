"""The base of the simulated tables: a CLIP folder like the published ones, trained so that it can be interrupted."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from miniature_rss import IMAGE_SIZE_PX, write_recipes

from training.base_clip import (
    REPORT_FILE,
    BaseClipObjective,
    BaseClipRecipe,
    _posed,
    _relit,
    learn_tokenizer,
    main,
    new_clip,
    train_base_clip,
)
from training.clip_recipe import TlvCoreClipRecipe
from training.networks.clip_folder import ClipTokenizer, load_clip
from training.objectives.tlv_core_clip import TlvCoreClipObjective
from training.recipe import load_recipe
from visuotactile_ros.errors import ConfigurationError

CAPTIONS = ['A hard metal ball.', 'A soft rubber rod, ribbed.', 'The fingertip presses a hard ball.'] * 3


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('base')
    write_recipes(root)
    return root


@pytest.fixture(scope='module')
def trained(root):
    recipe = load_recipe(root / 'base.yaml', BaseClipRecipe)
    return recipe, train_base_clip(recipe, root / 'base')


def test_the_folder_is_read_by_the_loader_of_published_ones_and_bridged_in_its_upper_half(root, trained):
    recipe, report = trained
    clip = load_clip(root / 'base')
    assert clip.vision_model.config.num_hidden_layers == 2 * clip.text_model.config.num_hidden_layers
    assert report['parameters']['all'] == sum(tensor.numel() for tensor in clip.parameters())
    objective = TlvCoreClipObjective.build(TlvCoreClipRecipe(base=str(root / 'base')), None)
    assert {name: len(adapters) for name, adapters in objective.model.adapters.items()} == {
        'touch': recipe.text_depth, 'vision': recipe.text_depth, 'text': recipe.text_depth}
    assert json.loads((root / 'base' / REPORT_FILE).read_text()) == report and report['simulated'] is True


def test_text_ends_where_the_configuration_says(root, trained):
    tokens, lengths = ClipTokenizer(root / 'base').encode_batch(CAPTIONS[:3], 16)
    config = load_clip(root / 'base').config.text_config
    assert (tokens[np.arange(3), lengths - 1] == config.eos_token_id).all()
    assert config.eos_token_id != 2, 'which old configurations name and the loader takes for the highest id'
    assert tokens.max() < config.vocab_size


def test_an_interrupted_run_ends_with_the_same_weights(root, trained, tmp_path):
    recipe, _ = trained
    recipe = dataclasses.replace(recipe, checkpoint_every_steps=1)

    class Interrupted(BaseClipObjective):
        def loss_terms(self, encoded, batch):
            if 'step' in batch and int(batch['step'][0]) == 1:
                raise KeyboardInterrupt
            return super().loss_terms(encoded, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('training.base_clip.BaseClipObjective', Interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_base_clip(recipe, tmp_path)
    assert not (tmp_path / REPORT_FILE).exists()
    train_base_clip(recipe, tmp_path)
    weights = load_clip(tmp_path).state_dict()
    for name, tensor in load_clip(root / 'base').state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.parametrize(('changes', 'message'), [
    ({'width': 18}, 'width 18 cannot be divided by heads 4. Change one'),
    ({'patch_size_px': 5}, 'are no multiple of patch_size_px 5. Change')])
def test_sizes_that_do_not_fit_are_refused(root, tmp_path, changes, message):
    recipe = load_recipe(root / 'base.yaml', BaseClipRecipe)
    with pytest.raises(ConfigurationError, match=message):
        train_base_clip(dataclasses.replace(recipe, heads=4, **changes), tmp_path)
    assert not any(tmp_path.iterdir())


def test_another_recipe_is_refused_before_it_touches_a_finished_base(root, trained):
    recipe, _ = trained
    before = {path: path.read_bytes() for path in (root / 'base').rglob('*') if path.is_file()}
    with pytest.raises(ConfigurationError, match='another recipe .vocabulary_size'):
        train_base_clip(dataclasses.replace(recipe, vocabulary_size=recipe.vocabulary_size + 1), root / 'base')
    assert before == {path: path.read_bytes() for path in (root / 'base').rglob('*') if path.is_file()}


@settings(deadline=None, max_examples=20)
@given(st.text(max_size=30))
def test_no_text_is_unknown(tokenizer, text):
    assume('<|' not in text)
    assert tokenizer.eos_token_id not in tokenizer(text)['input_ids'][1:-1]


@pytest.fixture(scope='module')
def tokenizer():
    return learn_tokenizer(CAPTIONS, 560)


def test_frequent_words_become_one_token_and_the_vocabulary_keeps_its_size(tokenizer):
    assert len(tokenizer) <= 560
    assert len(tokenizer('hard ball')['input_ids']) == 4


def test_the_loss_is_that_of_the_library(root, trained):
    recipe, _ = trained
    clip = new_clip(recipe, IMAGE_SIZE_PX, learn_tokenizer(CAPTIONS, 560))
    objective = BaseClipObjective(clip, dataclasses.replace(recipe, patch_dropout=0.0), None)
    tokens = torch.tensor([[5, 6, clip.config.text_config.eos_token_id]] * 4)
    tokens[:, 0] = torch.arange(4)
    batch = {'tokens': tokens, 'lengths': torch.full((4,), 3)}
    view = torch.randint(0, 256, (4, 1, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=torch.uint8)
    tower = objective._vision
    pixels = ((view[:, 0].float() - tower.pixel_mean) / tower.pixel_deviation).permute(0, 3, 1, 2)
    expected = clip(input_ids=tokens, pixel_values=pixels, return_loss=True).loss
    encoded = objective._encode(view, batch, 0.0)
    assert torch.allclose(objective.loss_terms(encoded, batch)['vision_text'].value, expected, atol=1e-5)


def test_a_view_is_shown_in_all_poses_of_a_square():
    view = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3, 1).expand(200, 1, 3, 3, 3)
    torch.manual_seed(0)
    seen = {tuple(pose[0, :, :, 0].flatten().tolist()) for pose in _posed(view)}
    square = view[0, 0, :, :, 0]
    poses = [turned for side in (square, square.flip(0)) for turned in (side.rot90(k) for k in range(4))]
    assert seen == {tuple(pose.flatten().tolist()) for pose in poses} and len(seen) == 8


def test_relit_views_keep_their_texture_and_lose_their_colour():
    stripes = torch.zeros(300, 1, 8, 8, 3, dtype=torch.uint8)
    stripes[:, :, ::2, :, 0] = 200
    torch.manual_seed(0)
    relit, plain = _relit(stripes, torch.ones(300)), _relit(stripes, torch.zeros(300))
    assert torch.equal(plain, stripes.float()) and relit.shape == stripes.shape
    assert relit.min() >= 0 and relit.max() <= 255
    depth = (relit[:, 0, ::2] - relit[:, 0, 1::2]).mean(dim=(1, 2))
    assert (depth.abs().mean(dim=1) > 1).float().mean() > 0.9, 'the stripes are still there, however faint'
    assert abs(depth.sign().mean()) < 0.1 and abs(depth[:, 0].abs().mean() - depth[:, 2].abs().mean()) < 5


def test_half_of_the_first_filters_do_not_see_even_light(root, trained):
    clip = new_clip(trained[0], IMAGE_SIZE_PX, learn_tokenizer(CAPTIONS, 560))
    even = clip.vision_model.embeddings.patch_embedding(torch.ones(1, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX))[0, :, 0, 0]
    assert (even[:8].abs() < 1e-5).all() and (even[8:].abs() > 1e-5).all()


def test_the_command_prints_what_it_found(root, trained, capsys):
    assert main(['--recipe', str(root / 'base.yaml'), '--output', str(root / 'base')]) == 0
    assert 'caption_top5' in capsys.readouterr().out


def test_the_committed_recipe_can_be_read():
    load_recipe(Path('training/recipes/base_clip_simulated.yaml'), BaseClipRecipe)
