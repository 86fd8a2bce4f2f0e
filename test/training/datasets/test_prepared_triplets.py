"""PreparedTriplets: batches over several data sets, what is absent, published tokens, whole recordings held back."""

import io

import numpy as np
import pytest

from training.datasets import preparation
from training.datasets.prepared_triplets import NO_PAIR, TRAIN, VALIDATION, PreparedTriplets
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record
from visuotactile_ros.errors import ConfigurationError

END, CONTEXT, SIZE_PX = 99, 6, 8


class Words:
    """Stands in for the tokenizer of a CLIP: a token a letter."""

    def encode_batch(self, texts, context_length):
        rows = [[1, *(ord(letter) for letter in text)][:context_length - 1] + [END] for text in texts]
        lengths = np.array([len(row) for row in rows])
        return np.array([row + [END] * (context_length - len(row)) for row in rows], np.int64), lengths


def grey(level):
    return np.full((6, 10, 3), level, np.uint8)


class Presses(PublishedDataset):
    """Forty recordings of three frames, felt by two sensors; a fourth of the records lack each modality."""

    licence, source_url, labels = 'none', 'nowhere', {}

    def __init__(self, name, split='train', sensors=('digit', 'mini')):
        self.name, self._split, self.sensors = name, split, sensors

    def split_rule(self, root):
        return 'by hand'

    def records(self, root):
        for clip in range(40):
            for sensor in self.sensors:
                for frame in range(3):
                    yield Record(id=f'{clip}/{sensor}/{frame}', split=self._split, sensor=sensor,
                                 touch=None if clip % 4 == 1 else lambda value=clip: grey(value),
                                 view=None if clip % 4 == 2 else lambda value=clip: grey(100 + value),
                                 text='' if clip % 4 == 3 else 'ab', clip=f'{clip}/{sensor}', frame_index=frame,
                                 pair=f'contact {clip}' if clip < 20 else '')


class Published(Presses):
    def records(self, root):
        yield Record(id='only', split=self._split, sensor='mini', touch=lambda: grey(7),
                     tokens=[1, 50, 51, 52, 53, 54, END])


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    def make(adapter):
        source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp(adapter.name)
        preparation.Preparation(adapter, source, out).run(adapter.verify(source), 1, io.StringIO())
        return out
    return {adapter.name: make(adapter) for adapter in (
        Presses('first'), Presses('second', sensors=('mini', 'other')), Presses('tests_only', 'test'),
        Presses('with_validation', 'validation'), Published('published'))}


def triplets(folders, split=TRAIN, share=0.25):
    return PreparedTriplets(folders, split, Words(), CONTEXT, SIZE_PX, ('digit', 'mini'), share)


def test_a_batch_holds_what_the_records_hold_and_says_what_is_absent(prepared):
    batch = triplets([prepared['first']], share=0.0).batch(np.array([0, 6, 12, 18, 3]))
    assert batch['touch'].shape == batch['view'].shape == (5, 1, SIZE_PX, SIZE_PX, 3)
    assert [int(image[0, 0, 0, 0]) for image in batch['touch']] == [0, 0, 2, 3, 0]
    assert [int(image[0, 0, 0, 0]) for image in batch['view']] == [100, 101, 0, 103, 100]
    assert batch['has_touch'].tolist() == [True, False, True, True, True]
    assert batch['has_view'].tolist() == [True, True, False, True, True]
    assert batch['has_text'].tolist() == [True, True, True, False, True]
    assert batch['sensor_id'].tolist() == [0, 0, 0, 0, 1]
    assert batch['tokens'][0].tolist() == [1, ord('a'), ord('b'), END, END, END] and batch['lengths'][0] == 4


@pytest.mark.parametrize('split', [TRAIN, VALIDATION])
def test_labels_are_those_of_the_batches_without_their_images(prepared, split, monkeypatch):
    data = triplets([prepared['first'], prepared['second'], prepared['published']], split)
    batch = data.batch(np.arange(len(data)))
    monkeypatch.setattr('training.datasets.prepared.PreparedDataset.read', None)
    labels = data.labels()
    assert list(labels) == ['sensor_id', 'has_touch', 'has_view', 'has_text']
    for name, values in labels.items():
        assert values.dtype == batch[name].dtype and values.tolist() == batch[name].tolist(), name


def test_one_contact_on_several_sensors_has_one_number_and_other_data_sets_have_others(prepared):
    data = triplets([prepared['first'], prepared['second']], share=0.0)
    pair = data.batch(np.array([0, 3, 6, 240, 243, 130]))['pair'].tolist()
    assert pair[0] == pair[1] != pair[2] and pair[3] == pair[4] and len({pair[0], pair[2], pair[3]}) == 3
    assert pair[5] == NO_PAIR
    assert data.batch(np.array([243]))['sensor_id'].tolist() == [2], 'a kind that is not trained on'


def test_published_tokens_end_with_the_end_of_text_however_they_are_cut(prepared):
    batch = triplets([prepared['published']], share=0.0).batch(np.array([0]))
    assert batch['tokens'].tolist() == [[1, 50, 51, 52, 53, END]] and batch['lengths'].tolist() == [6]
    assert batch['has_text'].all() and not batch['has_view'].any()


def test_a_share_of_the_recordings_is_held_back_as_a_whole(prepared):
    folders = [prepared['first'], prepared['second']]
    parts = {split: triplets(folders, split) for split in (TRAIN, VALIDATION)}
    assert len(parts[TRAIN]) + len(parts[VALIDATION]) == 480
    assert 0.1 < len(parts[VALIDATION]) / 480 < 0.45
    places = {split: set(zip(part._set_of, part._row_of // 6, strict=True)) for split, part in parts.items()}
    contacts = {split: {place for place in seen if place[1] < 20} for split, seen in places.items()}
    assert contacts[TRAIN] and contacts[VALIDATION] and not contacts[TRAIN] & contacts[VALIDATION]


def test_a_published_validation_split_is_taken_and_tests_are_never_trained_on(prepared):
    assert len(triplets([prepared['with_validation']], VALIDATION)) == 240
    with pytest.raises(ConfigurationError, match='no samples for train. Name other data sets'):
        triplets([prepared['with_validation']])
    with pytest.raises(ConfigurationError, match='no samples for train'):
        triplets([prepared['tests_only']])


def test_data_too_small_for_a_validation_split_is_refused_and_the_share_is_told(prepared):
    with pytest.raises(ConfigurationError, match='no samples for validation. Name other data sets, or larger ones: '
                                                 'where no validation split is published, 2% of the recordings'):
        triplets([prepared['published']], VALIDATION, share=0.02)
