"""A recipe of a method on a CLIP becomes a run on prepared data, and what is missing is said before anything starts."""

import dataclasses
import io
import json

import numpy as np
import pytest
from small_clip import END_OF_TEXT, small_clip

from training import clip_run
from training.datasets import preparation
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record
from training.pretrain import pretrain, recipe_kind
from visuotactile_ros.errors import ConfigurationError, ModelError


class Letters:
    """Stands in for the tokenizer of a CLIP: a token a letter."""

    def __init__(self, folder):
        if not folder.is_dir():
            raise ModelError(f'{folder} holds no tokenizer', 'Copy it there')

    def encode_batch(self, texts, context_length):
        rows = [[*(ord(letter) - ord('a') for letter in text), END_OF_TEXT] for text in texts]
        lengths = np.array([len(row) for row in rows])
        return np.array([row + [END_OF_TEXT] * (context_length - len(row)) for row in rows], np.int64), lengths


class Presses(PublishedDataset):
    """Thirty recordings of two frames; some lack a view or a caption."""

    name, sensors, licence, source_url, labels = 'presses', ('digit', 'gelsight'), 'none', 'nowhere', {}

    def split_rule(self, root):
        return 'by hand'

    def records(self, root):
        generator = np.random.default_rng(0)
        for number in range(60):
            image = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            yield Record(id=str(number), split='train' if number < 48 else 'validation',
                         sensor=self.sensors[number % 2], touch=lambda image=image: image,
                         view=None if number % 5 == 1 else lambda image=image: image[::-1].copy(),
                         text='' if number % 7 == 2 else 'abc'[:1 + number % 3], clip=str(number // 2),
                         frame_index=number % 2)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp('clip_run'), tmp_path_factory.mktemp('source')
    small_clip().save_pretrained(folder / 'clip')
    preparation.Preparation(Presses(), source, folder / 'presses').run(Presses().verify(source), 1, io.StringIO())
    return folder


@pytest.fixture
def recipe_of(folders, monkeypatch):
    monkeypatch.setattr(clip_run, 'ClipTokenizer', Letters)

    def make(name, **changes):
        return dataclasses.replace(recipe_kind(name)(), **({
            'base': str(folders / 'clip'), 'data': (str(folders / 'presses'),), 'sensor_kinds': Presses.sensors,
            'steps': 2, 'batch_size': 12, 'device': 'cpu', 'checkpoint_every_steps': 1} | changes))
    return make


@pytest.mark.parametrize('name', ['tlv_core_clip', 'tlv_link'])
def test_a_method_is_trained_on_prepared_data(recipe_of, tmp_path, name):
    metrics = pretrain(recipe_of(name), tmp_path)
    assert metrics and all(np.isfinite(value) for value in metrics.values())
    state = json.loads((tmp_path / 'state.json').read_text())
    assert state['step'] == 2 and state['recipe']['objective'] == name
    assert pretrain(recipe_of(name), tmp_path, resume=True) == metrics


@pytest.mark.parametrize(('changes', 'message'), [
    ({'base': 'nowhere'}, 'nowhere holds no tokenizer'),
    ({'data': ('nowhere',)}, 'nowhere'),
    ({'sensor_kinds': ('digit', 'gelsigt')}, "frames of 'gelsight', which is not among sensor_kinds. Add it"),
    ({'batch_size': 49}, '48 samples are fewer than one batch of 49'),
])
def test_what_is_missing_is_said_before_anything_starts(recipe_of, tmp_path, changes, message):
    with pytest.raises((ConfigurationError, ModelError), match=message):
        pretrain(recipe_of('tlv_core_clip', **changes), tmp_path / 'output')
    assert not (tmp_path / 'output').exists()


@pytest.mark.parametrize('content', [None, '{', '[]'])
def test_folder_without_config_is_refused(recipe_of, tmp_path, content):
    if content is not None:
        (tmp_path / 'config.json').write_text(content)
    with pytest.raises(ModelError, match='readable config.json'):
        pretrain(recipe_of('tlv_core_clip', base=str(tmp_path)), tmp_path / 'output')
