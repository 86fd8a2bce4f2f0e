"""The tables on published data: a miniature of prepared folders, from training sets to columns."""

import io
import json

import numpy as np
import pytest
import torch
from miniature_rss import IMAGE_SIZE_PX, write_recipes, write_yaml

from training.base_clip import BaseClipRecipe, train_base_clip
from training.datasets import preparation
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record
from training.evaluation.rss.__main__ import main
from training.evaluation.rss.published import PublishedBenchmark
from training.evaluation.rss.recipe import RssRecipe
from training.recipe import load_recipe
from training.tokenizer import Tokenizer
from visuotactile_ros.errors import ConfigurationError

OBJECTS = 30


def grey(level):
    return lambda: np.full((6, 10, 3), level, np.uint8)


class Miniature(PublishedDataset):
    """Objects of two frames; what tells a frame is its grey level."""

    licence = source_url = 'none'

    def __init__(self, name, sensors, splits, labels, second=False, view=True):
        self.name, self.sensors, self.splits = name, sensors, splits
        self.labels = {label: ('no', 'yes') for label in labels}
        self._second, self._view = second, view

    def split_rule(self, root):
        return 'by hand'

    def notes(self, root):
        yield 'drawn by hand'

    def records(self, root):
        for number in range(OBJECTS):
            for frame in range(2):
                labels = {label: (number + frame if label == 'moment' else number) % 2 for label in self.labels}
                if number % 20 == 14:   # which is tested only
                    labels.pop('roughness', None)
                yield Record(
                    id=f'{number}/{frame}', split=self.splits[number % len(self.splits)], object=f'o{number}',
                    sensor=self.sensors[number % len(self.sensors)] if self.sensors else '',
                    touch=grey(number) if self.sensors else None, touch_second=grey(100) if self._second else None,
                    view=grey(200) if self._view else None, text='a ball' if self.sensors else '', labels=labels,
                    clip=f'{number}', frame_index=frame)


DATASETS = (
    Miniature('tag', ('gelsight',), ('train train_rough', 'train', 'test test_rough', 'test'),
              ('material', 'roughness', 'hardness')),
    Miniature('tacquad', ('gelsight_mini', 'digit', 'duragel'), ('train', 'train', 'train', 'validation', 'test'), ()),
    Miniature('objectfolder_2', ('taxim',), ('train', 'validation', 'test'), ('material',), view=False),
    Miniature('feel', ('gelsight',), ('train', 'test', 'train'), ('grasp_success', 'moment'), second=True),
    Miniature('cifar10', (), ('train', 'test'), ('class',)))


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp('published')
    for adapter in DATASETS:
        preparation.Preparation(adapter, root, root / adapter.name).run(adapter.verify(root), 1, io.StringIO())
    return root


@pytest.fixture(scope='module')
def recipe(root):
    return RssRecipe(benchmark='published', prepared=tuple(str(root / adapter.name) for adapter in DATASETS),
                     training_sets=('tag', 'tacquad', 'multi'), shared_training_set='tacquad',
                     synergy_training_sets=('tacquad',))


@pytest.fixture(scope='module')
def benchmark(recipe):
    return PublishedBenchmark(recipe, IMAGE_SIZE_PX)


def test_columns_are_those_whose_data_set_is_prepared(benchmark):
    assert [task.name for task in benchmark.touch_tasks] == [
        'tag_material', 'tag_roughness', 'tag_hardness', 'objectfolder_2_material', 'feel_grasp']
    assert [task.name for task in benchmark.image_tasks] == ['cifar10'] and not benchmark.simulated
    assert [task.name for task in benchmark.synergy_tasks] == ['tag_material', 'tag_roughness', 'tag_hardness']
    assert benchmark.touch_tasks[0].classes == ('no', 'yes')
    assert 'tag: drawn by hand' in benchmark.notes


def test_parts_are_the_published_splits_and_no_object_is_in_two(benchmark, root):
    sizes = {source: [len(benchmark.frame_set(source, part)) for part in ('fit', 'validation', 'test')]
             for source in ('tag', 'tag_rough', 'objectfolder_2', 'feel', 'tacquad_digit')}
    assert sizes['objectfolder_2'] == [20, 20, 20], 'it publishes a validation split'
    assert sizes['tag'][0] + sizes['tag'][1] == 32 and sizes['tag'][2] == 28 and sizes['tag'][1] > 0
    assert sizes['tag_rough'][0] + sizes['tag_rough'][1] == 16 and sizes['tag_rough'][2] == 14
    assert sum(sizes['feel']) == OBJECTS, 'one moment of the two'
    assert sum(sizes['tacquad_digit']) == 20
    shown = [set(benchmark.frame_set('tag', part).frames(np.arange(size), 'touch')[:, 0, 0, 0, 0].tolist())
             for part, size in zip(('fit', 'validation', 'test'), sizes['tag'])]
    assert not shown[0] & shown[1] and not (shown[0] | shown[1]) & shown[2]


def test_frames_labels_and_objects_belong_together(benchmark):
    frames = benchmark.frame_set('tag_rough', 'test')
    levels = frames.frames(np.arange(len(frames)), 'touch')
    assert levels.shape == (14, 1, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3) and frames.sensor_kind == 'gelsight'
    numbers = levels[:, 0, 0, 0, 0].numpy().astype(int)
    assert (frames.labels['material'] == numbers % 2).all()
    assert (frames.labels['roughness'] == np.where(numbers % 20 == 14, -1, numbers % 2)).all()
    assert len(set(frames.groups)) == len(set(numbers)) == 7
    feel = benchmark.frame_set('feel', 'test')
    assert (feel.frames(np.arange(len(feel)), 'touch_second') == 100).all()
    assert benchmark.frame_set('cifar10', 'test').sensor_kind == ''


def test_a_picture_that_is_not_there_is_named(benchmark):
    with pytest.raises(ConfigurationError, match='has no view. Prepare'):
        benchmark.frame_set('objectfolder_2', 'test').frames(np.arange(1), 'view')


def test_everything_is_all_training_sets_and_nothing_else(benchmark):
    assert benchmark.sensor_kinds('multi') == ('digit', 'duragel', 'gelsight', 'gelsight_mini')
    assert benchmark.sensor_kinds('tacquad') == ('digit', 'duragel', 'gelsight_mini')
    counts = {name: len(benchmark.samples(name, 'train', Tokenizer([]), 12)) for name in ('tag', 'tacquad', 'multi')}
    assert counts['multi'] == counts['tag'] + counts['tacquad'] and counts['tacquad'] == 36
    prints = {benchmark.training_fingerprint(name) for name in ('tag', 'tacquad', 'multi')}
    assert len(prints) == 3


def test_a_training_set_that_is_not_prepared_is_refused(recipe):
    with pytest.raises(ConfigurationError, match='training set ssvtp is not among prepared. Add its folder'):
        PublishedBenchmark(RssRecipe(prepared=recipe.prepared, training_sets=('ssvtp',), shared_training_set='tag',
                                     synergy_training_sets=('tag',)), IMAGE_SIZE_PX)


def test_the_same_command_fills_a_table_of_published_data(root, recipe, tmp_path):
    write_recipes(tmp_path)
    train_base_clip(load_recipe(tmp_path / 'base.yaml', BaseClipRecipe), tmp_path / 'base')
    write_yaml(tmp_path / 'r.yaml', benchmark='published', base=str(tmp_path / 'base'), prepared=list(recipe.prepared),
               output=str(tmp_path / 'cells'), methods=['tlv_core', 'clip'], training_sets=['tacquad'],
               synergy_training_sets=['tacquad'], shared_training_set='tacquad', seeds=1, steps=1, batch_size=8,
               warmup_steps=1, probe_epochs=2)
    output = tmp_path / 'rss_synergy.json'
    assert main(['synergy', '--recipe', str(tmp_path / 'r.yaml'), '--output', str(output)]) == 0
    result = json.loads(output.read_text())
    assert result['simulated'] is False and result['complete']
    assert result['groups'] == ['tacquad: touch tasks by vision', 'tacquad: picture tasks by touch']
    assert set(result['methods']['clip']['per_task']) == {'tag_material', 'tag_roughness', 'tag_hardness', 'cifar10'}
