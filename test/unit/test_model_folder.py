"""A model folder is loaded or refused; a refusal names the file and the command that mends it."""

import dataclasses
import re

import numpy as np
import pytest
import yaml

from visuotactile_ros.errors import ModelError
from visuotactile_ros.inference.model_card import TensorDescription, parse_model_card
from visuotactile_ros.inference.model_folder import load_model_folder, write_model_folder


@pytest.fixture
def folder(tiny_encoder, tmp_path):
    return write_model_folder(tmp_path / 'tiny', *tiny_encoder()).path


def refused(folder, words, file_name=''):
    """Check that the folder is refused in one line that names the file and the command."""
    with pytest.raises(ModelError, match=words) as error:
        load_model_folder(folder)
    text = str(error.value)
    assert '\n' not in text
    assert str(folder / file_name) in text
    assert f'ros2 run visuotactile_ros export_onnx --checkpoint <checkpoint> --output {folder}' in text


def change_card(folder, **changes):
    path = folder / 'model_card.yaml'
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def test_what_was_written_is_loaded(tiny_encoder, folder):
    _, card, golden_inputs, golden_outputs = tiny_encoder()
    loaded = load_model_folder(folder)
    assert dataclasses.replace(loaded.card, sha256='') == card
    np.testing.assert_array_equal(loaded.golden_inputs['frames'], golden_inputs['frames'])
    np.testing.assert_array_equal(loaded.golden_outputs['material'], golden_outputs['material'])
    assert sorted(path.name for path in folder.iterdir()) == ['golden.npz', 'model.onnx', 'model_card.yaml']
    assert [path.name for path in folder.parent.iterdir()] == ['tiny']


def test_an_absent_folder_is_refused(tmp_path):
    refused(tmp_path / 'nowhere', 'there is no model folder')


def test_a_misspelt_folder_names_the_models_beside_it(folder):
    refused(folder.parent / 'tyni', 'Choose one of tiny beside it')


@pytest.mark.parametrize('name', ['model.onnx', 'model_card.yaml', 'golden.npz'])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    refused(folder, 'is missing', name)


@pytest.mark.parametrize('name', ['model.onnx', 'model_card.yaml', 'golden.npz'])
def test_an_empty_file_is_refused(folder, name):
    (folder / name).write_bytes(b'')
    refused(folder, None, name)


@pytest.mark.parametrize('name', ['model.onnx', 'model_card.yaml', 'golden.npz'])
def test_a_cut_off_file_is_refused(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:len(content) // 2])
    refused(folder, None, name)


@pytest.mark.parametrize('name', ['model.onnx', 'model_card.yaml', 'golden.npz'])
@pytest.mark.parametrize('garbage', [b'\xff' * 100, b'\x93NUMPY\x01\x00', b'PK\x03\x04' + b'\x00' * 50, b'null'])
def test_garbage_is_refused(folder, name, garbage):
    (folder / name).write_bytes(garbage)
    refused(folder, None, name)


def test_one_changed_bit_of_the_model_is_refused(folder):
    content = bytearray((folder / 'model.onnx').read_bytes())
    content[len(content) // 2] ^= 1
    (folder / 'model.onnx').write_bytes(content)
    refused(folder, 'has the hash .* its card says', 'model.onnx')


def test_every_changed_byte_of_the_golden_file_is_noticed_or_harmless(folder):
    content = (folder / 'golden.npz').read_bytes()
    for position in range(0, len(content), max(1, len(content) // 40)):
        changed = bytearray(content)
        changed[position] ^= 0x55
        (folder / 'golden.npz').write_bytes(changed)
        try:
            load_model_folder(folder)
        except ModelError as error:
            assert '\n' not in str(error)


@pytest.mark.parametrize('changes, words', [
    ({'format_version': 0}, 'too old'), ({'format_version': 2}, 'too new'), ({'format_version': 'one'}, 'whole number'),
    ({'sha256': '0' * 64}, 'has the hash'), ({'sha256': ''}, 'its card says none'), ({'kind': 'x'}, 'kind'),
])
def test_a_card_that_does_not_match_is_refused(folder, changes, words):
    change_card(folder, **changes)
    refused(folder, words)


@pytest.mark.parametrize('kind, index, change, words', [
    ('outputs', 1, {'name': 'hardness'}, r'outputs \[.*\], the card says'),
    ('inputs', 1, {'name': 'sensor'}, r'inputs \[.*\], the card says'),
    ('outputs', 0, {'shape': ['B', 6]}, 'output embedding of the graph is float32'),
    ('outputs', 0, {'shape': [2, 5]}, 'output embedding of the graph is float32'),
    ('outputs', 0, {'shape': [5]}, 'output embedding of the graph is float32'),
    ('inputs', 1, {'shape': [1]}, 'input sensor_id of the graph is int64'),
])
def test_a_graph_that_is_not_the_cards_is_refused(folder, kind, index, change, words):
    tensors = yaml.safe_load((folder / 'model_card.yaml').read_text())[kind]
    tensors[index].update(change)
    change_card(folder, kind='pouring_policy', heads={}, **{kind: tensors})
    refused(folder, words, 'model.onnx')


def test_a_golden_output_that_differs_is_refused(folder):
    with np.load(folder / 'golden.npz') as content:
        arrays = dict(content)
    arrays['output_embedding'] = arrays['output_embedding'] + np.float32(1e-3)
    np.savez(folder / 'golden.npz', **arrays)
    refused(folder, 'differs from its golden value by 0.001, more than 0.0001', 'golden.npz')


@pytest.mark.parametrize('name', ['input_frames', 'input_sensor_id', 'output_embedding', 'output_material'])
def test_a_golden_array_that_is_missing_or_renamed_is_refused(folder, name):
    with np.load(folder / 'golden.npz') as content:
        arrays = dict(content)
    array = arrays.pop(name)
    np.savez(folder / 'golden.npz', **arrays)
    refused(folder, 'golden.npz holds', 'golden.npz')
    np.savez(folder / 'golden.npz', **arrays, **{f'{name}s': array})
    refused(folder, 'golden.npz holds', 'golden.npz')


def test_golden_frames_of_another_size_are_refused(tiny_encoder, folder):
    with np.load(folder / 'golden.npz') as content:
        arrays = dict(content)
    np.savez(folder / 'golden.npz', **arrays | {'input_frames': arrays['input_frames'][:, :, :3]})
    with pytest.raises(ModelError, match=r'golden.npz: tiny cannot run.*Give it .*frames uint8 \[B, 1, 6, 8, 3\]'):
        load_model_folder(folder)


def test_a_golden_file_with_pickled_objects_is_refused(folder):
    np.savez(folder / 'golden.npz', input_frames=np.array([{'a': 1}], dtype=object), allow_pickle=True)
    refused(folder, 'cannot be read', 'golden.npz')


def test_a_card_of_absurd_size_is_refused_unread(folder):
    (folder / 'model_card.yaml').write_bytes(b'#' * 5_000_000)
    refused(folder, 'more than 4000000', 'model_card.yaml')


def test_links_to_the_files_of_one_folder_are_followed(folder, tmp_path):
    installed = tmp_path / 'installed'   # what `colcon build --symlink-install` makes
    installed.mkdir()
    for path in folder.iterdir():
        (installed / path.name).symlink_to(path)
    assert load_model_folder(installed).card.name == 'tiny'


def test_a_link_to_another_name_or_a_mixed_folder_is_refused(folder, tmp_path):
    (tmp_path / 'elsewhere').write_bytes((folder / 'golden.npz').read_bytes())
    (folder / 'golden.npz').unlink()
    (folder / 'golden.npz').symlink_to(tmp_path / 'elsewhere')
    refused(folder, 'is a link to', 'golden.npz')
    (folder / 'golden.npz').unlink()
    (tmp_path / 'golden.npz').write_bytes((tmp_path / 'elsewhere').read_bytes())
    (folder / 'golden.npz').symlink_to(tmp_path / 'golden.npz')
    refused(folder, 'links into 2 different folders')


def test_an_unreadable_file_is_refused(folder, monkeypatch):
    def deny(path):
        raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr(type(folder), 'read_bytes', deny)
    refused(folder, 'Permission denied', 'model_card.yaml')


def test_weights_outside_the_file_are_refused(tiny_encoder, tmp_path, monkeypatch):
    import onnx
    model_bytes, card, *golden = tiny_encoder(height=40, width=40)
    outside = tmp_path / 'export' / 'model.onnx'
    outside.parent.mkdir()
    onnx.save_model(onnx.load_from_string(model_bytes), outside, save_as_external_data=True, location='model.onnx.data')
    with pytest.raises(ModelError, match='cannot be loaded'):
        write_model_folder(tmp_path / 'tiny', outside, card, *golden)
    assert not (tmp_path / 'tiny').exists()


def test_writing_replaces_an_older_model(tiny_encoder, folder):
    before = load_model_folder(folder).card.sha256
    write_model_folder(folder, *tiny_encoder(seed=1))
    assert load_model_folder(folder).card.sha256 != before
    assert [path.name for path in folder.parent.iterdir()] == ['tiny']


def test_a_model_that_fails_its_golden_frames_leaves_the_older_one_alone(tiny_encoder, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model, card, golden_inputs, golden_outputs = tiny_encoder(seed=1)
    wrong = golden_outputs | {'embedding': -golden_outputs['embedding']}
    with pytest.raises(ModelError, match=re.escape(f'{folder}/golden.npz') + '.*nothing was written'):
        write_model_folder(folder, model, card, golden_inputs, wrong)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ['tiny']


def test_a_card_that_does_not_fit_its_graph_is_never_written(tiny_encoder, tmp_path):
    model, card, *golden = tiny_encoder()
    wrong = dataclasses.replace(card, outputs=(*card.outputs, TensorDescription('hardness', 'float32', ('B', 2))))
    with pytest.raises(ModelError, match='the card says'):
        write_model_folder(tmp_path / 'tiny', model, wrong, *golden)
    assert list(tmp_path.iterdir()) == []


def test_other_peoples_files_are_never_replaced(tiny_encoder, tmp_path):
    (tmp_path / 'thesis.tex').write_text('')
    with pytest.raises(ModelError, match='thesis.tex'):
        write_model_folder(tmp_path, *tiny_encoder())
    with pytest.raises(ModelError, match='is not a folder'):
        write_model_folder(tmp_path / 'thesis.tex', *tiny_encoder())
    (tmp_path / 'link').symlink_to(tmp_path / 'target')
    with pytest.raises(ModelError, match='is not a folder'):
        write_model_folder(tmp_path / 'link', *tiny_encoder())


def test_the_hash_is_filled_in(folder):
    assert re.fullmatch('[0-9a-f]{64}', parse_model_card((folder / 'model_card.yaml').read_text()).sha256)
