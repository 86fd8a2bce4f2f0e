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
from training.distributed import Processes
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

    def __init__(self, absent=()):
        self._absent = absent

    def records(self, root):
        for record in self._whole(root):
            yield dataclasses.replace(record, **{name: '' if name == 'text' else None for name in self._absent})

    def _whole(self, root):
        generator = np.random.default_rng(0)
        for number in range(60):
            image = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            yield Record(id=str(number), split='train' if number < 48 else 'validation',
                         sensor=self.sensors[number % 2], touch=lambda image=image: image,
                         view=None if number % 5 == 1 else lambda image=image: image[::-1].copy(),
                         text='' if number % 7 == 2 else 'abc'[:1 + number % 3], clip=str(number // 2),
                         frame_index=number % 2)


LACKING = {'no_touch': ('touch',), 'no_view': ('view',), 'no_text': ('text',)}


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp('clip_run'), tmp_path_factory.mktemp('source')
    small_clip().save_pretrained(folder / 'clip')
    for name in ('presses', *LACKING):
        presses = Presses(LACKING.get(name, ()))
        preparation.Preparation(presses, source, folder / name).run(presses.verify(source), 1, io.StringIO())
    return folder


@pytest.fixture
def recipe_of(folders, monkeypatch):
    monkeypatch.setattr(clip_run, 'ClipTokenizer', Letters)

    def make(name, **changes):
        return dataclasses.replace(recipe_kind(name)(), **({
            'base': str(folders / 'clip'), 'data': (str(folders / 'presses'),), 'sensor_kinds': Presses.sensors,
            'steps': 2, 'warmup_steps': 1, 'batch_size': 12, 'device': 'cpu', 'checkpoint_every_steps': 1} | changes))
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
    ({'patch_dropout': 0.95}, 'patch_dropout 0.95 leaves no patch of 12 x 12 px. Lower it'),
    ({'warmup_steps': 3}, 'warmup_steps 3 is more than steps 2. Lower warmup_steps'),
    ({'batch_size': 49}, '48 samples are fewer than one batch of 49'),
])
def test_what_is_missing_is_said_before_anything_starts(recipe_of, tmp_path, changes, message):
    with pytest.raises((ConfigurationError, ModelError), match=message):
        pretrain(recipe_of('tlv_core_clip', **changes), tmp_path / 'output')
    assert not (tmp_path / 'output').exists()


@pytest.mark.parametrize(('name', 'data', 'message'), [
    ('tlv_core_clip', 'no_touch', '0 samples have both touch and vision, .* would be 0. Name prepared data with both'),
    ('tlv_core_clip', 'no_view', '0 samples have both touch and vision'),
    ('tlv_core_clip', 'no_text', '0 samples have both touch and text'),
    ('tlv_link', 'no_text', '0 samples have both touch and text'),
    ('vit_lens_2', 'no_text', '0 samples have both touch and text'),
    ('anytouch_stage_2', 'no_view', 'touch and vision, .* with both, or write touch_vision_weight: 0'),
])
def test_data_without_a_modality_that_the_method_compares_is_refused(recipe_of, folders, tmp_path, name, data, message):
    with pytest.raises(ConfigurationError, match=message):
        pretrain(recipe_of(name, data=(str(folders / data),)), tmp_path / 'output')
    assert not (tmp_path / 'output').exists()


@pytest.mark.parametrize(('name', 'data', 'changes'), [
    ('tlv_core_clip', 'no_text', {'released_code': True}),   # it feeds zeros
    ('tlv_link', 'no_view', {}), ('vit_lens_2', 'no_view', {}),   # touch stands in
    ('anytouch_stage_2', 'no_view', {'touch_vision_weight': 0.0, 'vision_text_weight': 0.0}),
])
def test_data_may_lack_what_the_method_does_without(recipe_of, folders, tmp_path, name, data, changes):
    recipe = recipe_of(name, data=(str(folders / data),), **changes)
    _, train = clip_run.prepare(recipe, tmp_path, False, Processes.only_one('cpu'))
    assert len(train) == 48


@pytest.mark.parametrize(('name', 'decay'), [('tlv_core_clip', 0.2), ('tlv_link', 0.2), ('vit_lens_2', 0.2),
                                             ('anytouch_stage_2', 0.1)])
def test_rates_of_a_bare_recipe_are_the_published_ones(name, decay):
    recipe = recipe_kind(name)()
    assert (recipe.learning_rate, recipe.warmup_steps, recipe.weight_decay) == (2e-4, 200, decay)


@pytest.mark.parametrize('content', [None, '{', '[]'])
def test_folder_without_config_is_refused(recipe_of, tmp_path, content):
    if content is not None:
        (tmp_path / 'config.json').write_text(content)
    with pytest.raises(ModelError, match='readable config.json'):
        pretrain(recipe_of('tlv_core_clip', base=str(tmp_path)), tmp_path / 'output')
