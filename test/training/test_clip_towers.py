"""Towers and tokenizer of a CLIP folder: the numbers of the library, and a refusal of everything that is not whole."""

import json
import os
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_clip import END_OF_TEXT, IMAGE_SIZE_PX, captions, frames, small_clip

from training.networks.clip_folder import ClipTokenizer, load_clip
from training.networks.clip_towers import CLIP_PIXEL_DEVIATION, CLIP_PIXEL_MEAN, ClipImageTower, ClipTextTower
from visuotactile_ros.errors import ModelError


def unchanged(layer, tokens):
    return tokens


@pytest.fixture
def folder(tmp_path):
    small_clip().save_pretrained(tmp_path)
    return tmp_path


@torch.no_grad()
def test_image_tower_is_that_of_the_library():
    clip = small_clip()
    tower, images = ClipImageTower(clip), frames(3)
    pixels = images[:, 0].permute(0, 3, 1, 2) / 255
    for channel, (mean, deviation) in enumerate(zip(CLIP_PIXEL_MEAN, CLIP_PIXEL_DEVIATION, strict=True)):
        pixels[:, channel] = (pixels[:, channel] - mean) / deviation
    feature = tower(tower.tokens(images), unchanged)
    assert torch.allclose(feature, clip.vision_model(pixels).pooler_output, atol=1e-5)
    assert torch.allclose(tower.projection(feature), clip.get_image_features(pixels).pooler_output, atol=1e-5)


@pytest.mark.parametrize('eos_token_id', [2, END_OF_TEXT])
@torch.no_grad()
def test_text_tower_is_that_of_the_library_with_old_and_new_configurations(eos_token_id):
    clip = small_clip(eos_token_id)
    tokens, _ = captions(8)
    tokens[0, :2] = torch.tensor([2, END_OF_TEXT])   # the id that old configurations name is an ordinary token
    feature = ClipTextTower(clip)(tokens, unchanged)
    assert torch.allclose(feature, clip.text_model(tokens).pooler_output, atol=1e-5)


@torch.no_grad()
def test_what_follows_the_end_of_text_has_no_influence():
    tower = ClipTextTower(small_clip())
    tokens, lengths = captions(4, length=8)
    features = tower(tokens, unchanged)
    for row, length in enumerate(lengths):
        assert torch.allclose(tower(tokens[row:row + 1, :length], unchanged), features[row], atol=1e-5)


@torch.no_grad()
def test_patch_dropout_keeps_the_class_token_and_the_asked_share_of_the_patches():
    tower = ClipImageTower(small_clip())
    same = frames(1).expand(6, -1, -1, -1, -1)
    whole, thinned = tower.tokens(same)[0], tower.tokens(same, patch_dropout=0.5)
    patches = (IMAGE_SIZE_PX // 4) ** 2
    assert whole.shape[0] == 1 + patches and thinned.shape[1] == 1 + round(patches / 2)
    kept = set()
    for tokens in thinned:
        assert torch.allclose(tokens[0], whole[0])
        places = [int((whole - token).abs().sum(dim=1).argmin()) for token in tokens]
        assert len(set(places)) == len(places) and torch.allclose(whole[places], tokens, atol=1e-6)
        kept.add(tuple(sorted(places)))
    assert len(kept) > 1, 'every image loses other patches'


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match='image size'):
        ClipImageTower(small_clip()).tokens(torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8))


@pytest.mark.parametrize('form', ['safetensors', 'bin'])
def test_folder_is_loaded_bit_for_bit_without_the_network(folder, form, monkeypatch):
    def refuse(*arguments, **options):
        pytest.fail('something asked for the network')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    if form == 'bin':
        tensors = load_file(folder / 'model.safetensors')
        torch.save(tensors | {'text_model.embeddings.position_ids': torch.arange(10)[None]},
                   folder / 'pytorch_model.bin')
        (folder / 'model.safetensors').unlink()
    loaded, expected = load_clip(folder), small_clip().state_dict()
    assert loaded.config._attn_implementation == 'sdpa'
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@torch.no_grad()
def test_layout_of_the_published_checkpoint_is_loaded_bit_for_bit(folder):
    """That library wrote the sizes twice, more beside them, a wrong end of text and positions as weights."""
    config = json.loads((folder / 'config.json').read_text())
    legacy = {'_name_or_path': '', 'add_cross_attention': False, 'architectures': None, 'bad_words_ids': None,
              'chunk_size_feed_forward': 0, 'dropout': 0.0, 'id2label': {'0': 'LABEL_0', '1': 'LABEL_1'},
              'length_penalty': 1.0, 'pruned_heads': {}, 'return_dict': True, 'top_k': 50, 'torch_dtype': None,
              'torchscript': False, 'transformers_version': '4.24.0', 'use_bfloat16': False}
    for tower in ('text', 'vision'):
        sizes = config[f'{tower}_config']
        config |= {f'{tower}_config': legacy | sizes, f'{tower}_config_dict': sizes}
    assert config['text_config']['eos_token_id'] == config['text_config_dict']['eos_token_id'] == 2
    del config['dtype']
    (folder / 'config.json').write_text(json.dumps(
        config | {'_commit_hash': None, 'torch_dtype': 'float32', 'transformers_version': None}))
    positions = {'text_model.embeddings.position_ids': torch.arange(10)[None],
                 'vision_model.embeddings.position_ids': torch.arange(10)[None]}
    torch.save(load_file(folder / 'model.safetensors') | positions, folder / 'pytorch_model.bin')
    (folder / 'model.safetensors').unlink()
    loaded, expected, (tokens, _) = load_clip(folder), small_clip(), captions(8)
    weights = expected.state_dict()
    assert loaded.state_dict().keys() == weights.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert torch.equal(*(ClipTextTower(clip)(tokens, unchanged) for clip in (loaded, expected)))
    assert torch.equal(*(ClipImageTower(clip).tokens(frames(2)) for clip in (loaded, expected)))


def remove(folder, name):
    (folder / name).unlink()


def cut(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def drop_tensor(folder, name):
    tensors = load_file(folder / 'model.safetensors')
    del tensors[name]
    save_file(tensors, folder / 'model.safetensors')


def change_shape(folder, name):
    save_file(load_file(folder / 'model.safetensors') | {name: torch.zeros(2, 2)}, folder / 'model.safetensors')


def change_type(folder, name):
    (folder / 'config.json').write_text(json.dumps({'model_type': name}))


def change_vision(folder, setting):
    config = json.loads((folder / 'config.json').read_text())
    config['vision_config'] |= setting
    (folder / 'config.json').write_text(json.dumps(config))


@pytest.mark.parametrize(('damage', 'name', 'message'), [
    (remove, 'config.json', 'no checkpoint with a readable config.json'),
    (cut, 'config.json', 'no checkpoint with a readable config.json'),
    (change_type, 'siglip', "model of type 'siglip'"),
    (change_vision, {'num_attention_heads': 5}, 'config.json is not that of a CLIP: .* not a multiple of'),
    (change_vision, {'hidden_size': '12'}, 'config.json is not that of a CLIP: .* expected int, got str'),
    (change_vision, {'patch_size': 0}, 'config.json is not that of a CLIP: .* by zero'),
    (change_vision, {'hidden_act': 'gelo'}, "config.json is not that of a CLIP: 'gelo'"),
    (remove, 'model.safetensors', 'cannot be read: Error no file named model.safetensors'),
    (cut, 'model.safetensors', 'cannot be read'),
    (drop_tensor, 'visual_projection.weight', 'lack 1 tensors, the first is visual_projection.weight'),
    (change_shape, 'visual_projection.weight', 'cannot be read'),
])
def test_folder_that_is_not_whole_is_refused_with_a_remedy(folder, damage, name, message):
    damage(folder, name)
    with pytest.raises(ModelError, match=f'{message}.*Copy the whole folder of a CLIP checkpoint there'):
        load_clip(folder)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match='nowhere holds no checkpoint'):
        load_clip(tmp_path / 'nowhere')


class Command:
    def __reduce__(self):
        return os.mkdir, ('ran',)


def test_pickle_that_would_run_code_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    torch.save(load_file('model.safetensors') | {'extra': Command()}, 'pytorch_model.bin')
    remove(folder, 'model.safetensors')
    with pytest.raises(ModelError, match='more in it than tensors'):
        load_clip(folder)
    assert not (folder / 'ran').exists()


LETTERS = 'abcdefghijklmnopqrstuvwxyz'
WORDS = [*LETTERS, *(f'{letter}</w>' for letter in LETTERS), 'ro', 'rou', 'gh</w>', '<|startoftext|>', '<|endoftext|>']


@pytest.fixture
def tokenizer_folder(tmp_path):
    (tmp_path / 'vocab.json').write_text(json.dumps({word: index for index, word in enumerate(WORDS)}))
    (tmp_path / 'merges.txt').write_text('#version: 0.2\nr o\nro u\ng h</w>\n')
    return tmp_path


def test_tokenizer_starts_ends_pads_and_cuts(tokenizer_folder):
    tokenizer = ClipTokenizer(tokenizer_folder)
    tokens, lengths = tokenizer.encode_batch(['Rough', '', 'a b c d e f g h'], context_length=6)
    words = [[WORDS[token] for token in row[:length]] for row, length in zip(tokens, lengths, strict=True)]
    assert words == [['<|startoftext|>', 'rou', 'gh</w>', '<|endoftext|>'], ['<|startoftext|>', '<|endoftext|>'],
                     ['<|startoftext|>', 'a</w>', 'b</w>', 'c</w>', 'd</w>', '<|endoftext|>']]
    assert tokens.shape == (3, 6)
    assert (tokens.argmax(axis=1) == lengths - 1).all(), 'the highest id is the first end of text'


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('merges.txt', None, 'neither tokenizer.json nor vocab.json and merges.txt'),
    ('vocab.json', '{', 'tokenizer in .* cannot be read'),
])
def test_tokenizer_that_is_not_whole_is_refused(tokenizer_folder, name, content, message):
    remove(tokenizer_folder, name)
    if content is not None:
        (tokenizer_folder / name).write_text(content)
    with pytest.raises(ModelError, match=f'{message}.*Copy the whole folder'):
        ClipTokenizer(tokenizer_folder)
