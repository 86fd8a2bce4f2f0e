"""PreparedDataset: random access, filters, clips, pairs, and shards that are those of the manifest."""

import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets import preparation
from training.datasets.prepared import PreparedDataset
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record, decode_image
from visuotactile_ros.errors import ConfigurationError

SENSORS = ('gelsight_mini', 'digit', 'duragel')


class Pressed(PublishedDataset):
    """Five places, three sensors each, frames 3…8 without 6; odd places have no view, place 4 has no clip."""

    name, licence, source_url, sensors = 'pressed', 'none', 'nowhere', SENSORS
    labels = {'material': ('wood', 'metal'), 'force_n': ()}

    def split_rule(self, root):
        return 'by hand'

    def records(self, root):
        for place in range(5):
            for number, sensor in enumerate(SENSORS):
                for frame in (3, 4, 5, 7, 8):
                    yield Record(
                        id=f'{place}/{sensor}/{frame}', split=('train', 'train extra', 'test')[place % 3],
                        sensor=sensor, object=f'o{place}',
                        touch=lambda value=10 * place + number: np.full((4, 5, 3), value, np.uint8),
                        view=None if place % 2 else lambda: np.zeros((4, 5, 3), np.uint8),
                        text=f'place {place}', tokens=[49406, place] if place else None,
                        clip=f'{place}/{sensor}' if place < 4 else '', frame_index=frame, pair=f'{place}',
                        labels={'material': place % 2, 'force_n': place + 0.5} if place < 3 else {})


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, 'RECORDS_PER_SHARD', 20)
        patch.setattr(preparation, 'ROWS_PER_GROUP', 8)
        source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('pressed')
        preparation.Preparation(Pressed(), source, out).run(Pressed().verify(source), 1, io.StringIO())
    return out


@pytest.fixture(scope='module')
def data(folder):
    return PreparedDataset(folder, check_sums=True)


def test_records_come_back_as_they_were_listed(data, folder):
    expected = list(Pressed().records(folder))
    assert len(data) == len(expected) == 75
    for index in (0, 7, 8, 19, 20, 74, -1):
        record, listed = data[index], expected[index]
        for name in ('id', 'split', 'sensor', 'object', 'text', 'clip', 'frame_index', 'pair', 'labels'):
            assert getattr(record, name) == getattr(listed, name), name
        assert record.tokens == listed.tokens and record.touch_second is None and record.reference is None
        assert (decode_image(record.touch) == listed.touch()).all()
        assert (record.view is None) == (listed.view is None)


@given(st.lists(st.integers(-75, 74), max_size=30))
def test_any_records_in_any_order(data, indices):
    ids = [record.id for record in Pressed().records(None)]
    found = data.read(indices, images=['touch'])
    assert [record.id for record in found] == [ids[index] for index in indices]
    assert all(record.view is None and record.touch for record in found), 'only the images that are wanted'


@pytest.mark.parametrize('index', [75, -76])
def test_there_is_no_record_beyond_the_last(data, index):
    with pytest.raises(IndexError, match='has 75 records'):
        data[index]


def test_every_record_by_its_id(data):
    for index in (0, 33, 74):
        assert data.index_of(data[index].id) == index
    with pytest.raises(KeyError, match='no record'):
        data.index_of('9/digit/3')


def test_filters(data):
    assert {data[i].split for i in data.select(split='train')} == {'train', 'train extra'}
    assert set(data.select(split='extra')) == set(range(15, 30)) | set(range(60, 75))
    assert [data[i].sensor for i in data.select('test', 'digit')] == ['digit'] * 5
    assert {data[i].object for i in data.select(material=1)} == {'o1'}
    assert data.select(material=0, force_n=2.5).tolist() == list(range(30, 45))
    assert np.isnan(data.label('force_n')[45:]).all() and len(data.names('object')) == 75


@pytest.mark.parametrize('condition', [{'split': 'validation'}, {'sensor': 'gelslim'}, {'weight': 1}])
def test_a_filter_that_cannot_match_is_an_error(data, condition):
    with pytest.raises(ConfigurationError, match='Choose one of'):
        data.select(**condition)


def test_a_clip_ends_at_its_record_and_has_no_gap(data):
    def frames(record_id, *arguments):
        clip = data.clip(data.index_of(record_id), *arguments)
        return None if clip is None else [data[i].id for i in clip]

    assert frames('1/digit/5', 3) == ['1/digit/3', '1/digit/4', '1/digit/5']
    assert frames('1/digit/7', 3, 2) == ['1/digit/3', '1/digit/5', '1/digit/7']
    assert frames('1/digit/8', 3) is None, 'frame 6 is no record'
    assert frames('1/digit/4', 3) is None, 'before the first frame lies another clip'
    assert frames('4/digit/5', 1) == ['4/digit/5'] and frames('4/digit/5', 2) is None


def test_frames_before_the_clip_are_not_those_of_its_neighbour(data):
    first = [i for i in range(len(data)) if data.frame_index[i] == 3 and data.names('clip')[i]]
    assert all(data.clip(i, 4) is None and data.clip(i, 2, 3) is None for i in first)


def test_partners_felt_the_same_place_with_another_sensor(data):
    found = [data[i] for i in data.partners(data.index_of('2/digit/4'))]
    assert {record.pair for record in found} == {'2'} and len(found) == 10
    assert {record.sensor for record in found} == {'gelsight_mini', 'duragel'}


def test_it_travels_to_worker_processes(data):
    assert pickle.loads(pickle.dumps(data))[40].id == data[40].id


def test_our_own_split_is_in_the_manifest(data):
    assert data.manifest['objects']['train'] == ['o0', 'o1', 'o3', 'o4']
    assert data.manifest['split_rule'] == 'by hand'
    assert data.manifest['labels']['material']['classes'] == ['wood', 'metal']


def test_references_of_a_clip_are_stored_once_a_row_group(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)

    class Referenced(Pressed):
        def records(self, root):
            return (Record(id=str(i), split='train', reference=lambda: noise) for i in range(32))

    preparation.Preparation(Referenced(), tmp_path, tmp_path / 'out').run(Referenced().verify(tmp_path), 1,
                                                                          io.StringIO())
    size = (tmp_path / 'out/shard-00000.parquet').stat().st_size
    assert noise.size < size < 2 * noise.size
    assert (decode_image(PreparedDataset(tmp_path / 'out')[31].reference) == noise).all()


def copy_of(folder, tmp_path):
    out = tmp_path / 'copy'
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def test_a_shard_that_is_missing_or_changed_is_found(folder, tmp_path):
    out = copy_of(folder, tmp_path)
    shard = out / 'shard-00001.parquet'
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ConfigurationError, match='shard-00001.parquet differs from its SHA-256'):
        PreparedDataset(out, check_sums=True)
    shard.unlink()
    with pytest.raises(ConfigurationError, match='shard-00001.parquet is missing'):
        PreparedDataset(out)


def test_a_truncated_shard_is_one_error(folder, tmp_path):
    out = copy_of(folder, tmp_path)
    shard = out / 'shard-00001.parquet'
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ConfigurationError, match='shard-00001.parquet is damaged. Prepare it again'):
        PreparedDataset(out)


def test_a_manifest_whose_shards_have_no_name_is_refused(folder, tmp_path):
    out = copy_of(folder, tmp_path)
    manifest = json.loads((out / 'manifest.json').read_text())
    for shards in ([{}], [1]):
        (out / 'manifest.json').write_text(json.dumps({**manifest, 'shards': shards}))
        with pytest.raises(ConfigurationError, match='manifest.json is damaged'):
            PreparedDataset(out)


@pytest.mark.parametrize('content', ['', '[]', '{}', json.dumps({'format': 99}), json.dumps({'format': 1})])
def test_a_damaged_manifest_is_refused(tmp_path, content):
    (tmp_path / 'manifest.json').write_text(content)
    with pytest.raises(ConfigurationError, match='Prepare it again'):
        PreparedDataset(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match='Write one with python -m training.prepare'):
        PreparedDataset(tmp_path)
