"""`python -m training.prepare`: verified first, resumed shard by shard, never over another data set."""

import json

import numpy as np
import pytest
from miniature_trees import feel, picture, tag, text, tokens

from training import prepare
from training.datasets import preparation
from training.datasets.prepared import PreparedDataset
from training.datasets.record import decode_image


@pytest.fixture
def source(tmp_path):
    tag(tmp_path / 'source')
    return tmp_path / 'source'


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(preparation, 'RECORDS_PER_SHARD', 3)


def run(*arguments):
    return prepare.main([*map(str, arguments), '--workers', '1'])


def test_everything_is_written_with_its_manifest(source, tmp_path, capsys):
    assert run('tag', source, tmp_path / 'out') == 0
    manifest = json.loads((tmp_path / 'out/manifest.json').read_text())
    assert manifest['licence'] == 'CC BY 4.0' and 'touch-and-go' in manifest['source_url']
    assert manifest['records'] == 8 and manifest['splits'] == {
        'test': 2, 'test_rough': 2, 'train': 4, 'train_rough': 2, 'unlisted': 1}
    assert manifest['labels']['roughness'] == {
        'classes': ['smooth', 'rough'],
        'counts': {'test_rough': {'0': 1, '1': 1}, 'train': {'0': 2, '1': 1}, 'train_rough': {'0': 1, '1': 1}}}
    assert [shard['records'] for shard in manifest['shards']] == [3, 3, 2]
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'manifest.json', 'shard-00000.parquet', 'shard-00001.parquet', 'shard-00002.parquet']
    output = capsys.readouterr()
    assert '8 records' in output.out and '8/8 records' in output.err and '\r' not in output.err


def test_small_images_keep_their_bytes_and_large_ones_shrink(source, tmp_path):
    large = source / 'dataset/20220511_164750/gelsight_frame/0000000099.jpg'
    picture(large, colour=(200, 40, 90), width=640, height=480)
    assert run('tag', source, tmp_path / 'out') == 0
    data = PreparedDataset(tmp_path / 'out')
    shrunk = data[data.index_of('20220511_164750/0000000099.jpg')]
    assert decode_image(shrunk.touch).shape == (192, 256, 3)
    assert np.abs(decode_image(shrunk.touch).astype(int) - (200, 40, 90)).max() <= 3, 'red stays red'
    assert shrunk.view == (source / 'dataset/20220511_164750/video_frame/0000000099.jpg').read_bytes()


def interrupt(monkeypatch, shard):
    """Interrupt the writing of one shard, counted from 1; give the list to which every attempt is added."""
    written = []

    def stop(table, path, **options):
        written.append(path)
        if len(written) == shard:
            path.write_bytes(b'half a shard')
            raise KeyboardInterrupt
        return original(table, path, **options)

    original = preparation.pq.write_table
    monkeypatch.setattr(preparation.pq, 'write_table', stop)
    return written


@pytest.mark.parametrize('content', ['{', '[]', '{"format": 1}'])
@pytest.mark.parametrize('name', ['manifest.json', 'unfinished.json'])
def test_a_damaged_state_is_refused(source, tmp_path, capsys, name, content):
    (tmp_path / name).write_text(content)
    assert run('tag', source, tmp_path) == 1
    assert f'{name} is damaged. Delete its folder and begin again' in capsys.readouterr().err


@pytest.mark.parametrize('shard', [1, 2])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(source, tmp_path, monkeypatch, capsys, shard):
    assert run('tag', source, tmp_path / 'whole') == 0
    written = interrupt(monkeypatch, shard)
    assert run('tag', source, tmp_path / 'out') == 130
    assert 'goes on with the next shard' in capsys.readouterr().err
    assert not (tmp_path / 'out/manifest.json').exists()
    with pytest.raises(Exception, match='is not finished. Run the same'):
        PreparedDataset(tmp_path / 'out')
    assert run('tag', source, tmp_path / 'out') == 0
    assert len(written) == 4, 'a shard that is whole is not written again'
    for path in sorted((tmp_path / 'whole').iterdir()):
        assert (tmp_path / 'out' / path.name).read_bytes() == path.read_bytes()
    assert run('tag', source, tmp_path / 'out') == 0
    assert 'finished already' in capsys.readouterr().out


def test_an_archive_that_changed_meanwhile_is_refused(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preparation.Preparation, '_write_manifest', lambda *_: None)
    assert run('tag', source, tmp_path / 'out') == 0
    (source / 'label.txt').write_text('20220511_164750/0000000096.jpg,3')
    assert run('tag', source, tmp_path / 'out') == 1
    assert 'is not what' in capsys.readouterr().err


def test_lists_of_splits_that_changed_meanwhile_are_refused(tmp_path, monkeypatch, capsys):
    feel(tmp_path / 'source')
    interrupt(monkeypatch, 2)
    assert run('feel', tmp_path / 'source', tmp_path / 'out') == 130
    np.save(tmp_path / 'source/split_3.npy', {'train': ['cow'], 'test': ['lemon', '3d_printed_cup']})
    capsys.readouterr()
    assert run('feel', tmp_path / 'source', tmp_path / 'out') == 1
    assert 'is not what' in capsys.readouterr().err


def captions(source):
    text(source / 'contact_text_tag_notest.csv', '20220511_164750,0000000099.jpg,7,0')
    tokens(source / 'text/tag_7.pt', [49406, 320, 49407])


def references(source):
    text(source / 'train_bg.txt', '20220511_164750/0000000099.jpg,10,0000000096.jpg')


@pytest.mark.parametrize('add', [captions, references])
def test_captions_and_references_that_came_meanwhile_are_refused(source, tmp_path, monkeypatch, add, capsys):
    interrupt(monkeypatch, 2)
    assert run('tag', source, tmp_path / 'out') == 130
    add(source)
    capsys.readouterr()
    assert run('tag', source, tmp_path / 'out') == 1
    assert 'is not what' in capsys.readouterr().err


@pytest.mark.parametrize('change', [lambda out: (out / 'manifest.json').write_text(
    (out / 'manifest.json').read_text().replace('"tag"', '"octopi"')),
    lambda out: [path.unlink() for path in out.iterdir()] and (out / 'thesis.txt').write_text('mine')])
def test_a_folder_with_anything_else_is_refused(source, tmp_path, change, capsys):
    assert run('tag', source, tmp_path / 'out') == 0
    change(tmp_path / 'out')
    before = {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()}
    assert run('tag', source, tmp_path / 'out') == 1
    assert 'Name another folder' in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()} == before


def test_everything_missing_is_listed_before_anything_is_written(source, tmp_path, capsys):
    for path in (source / 'dataset/20220516_190814/gelsight_frame').iterdir():
        path.unlink()
    (source / 'dataset/20220516_190814/gelsight_frame').rmdir()
    (source / 'dataset/20220511_164750/video_frame/0000000100.jpg').unlink()
    assert run('tag', source, tmp_path / 'out') == 1
    output = capsys.readouterr()
    assert 'missing: dataset/20220516_190814/gelsight_frame (2 files)' in output.out
    assert 'missing: dataset/20220511_164750/video_frame: 1 files, the first is 0000000100.jpg' in output.out
    assert output.err.count('\n') == 2 and 'lacks files in 2 places' in output.err
    assert not list((tmp_path).glob('out/*.parquet'))


def test_more_places_than_a_screen_holds_are_listed_in_a_file(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare, '_LINES_OF_MISSING', 1)
    (source / 'dataset/20220511_164750/video_frame/0000000100.jpg').unlink()
    (source / 'dataset/20220511_164750/gelsight_frame/0000000099.jpg').unlink()
    places = ['dataset/20220511_164750/gelsight_frame: 1 files, the first is 0000000099.jpg',
              'dataset/20220511_164750/video_frame: 1 files, the first is 0000000100.jpg']
    for _ in range(2):
        assert run('tag', source, tmp_path / 'out') == 1
        output = capsys.readouterr()
        assert 'missing: 1 places more' in output.out and places[1] not in output.out
        assert f'in 2 places, listed in {tmp_path / "out/missing.txt"}. Download' in output.err
        assert (tmp_path / 'out/missing.txt').read_text().splitlines() == places
    assert run('tag', source, tmp_path / 'out', '--verify-only') == 1
    output = capsys.readouterr().out
    assert all(f'missing: {place}' in output for place in places), 'nothing is written: all of it is shown'
    assert run('tag', source, tmp_path / 'out', '--skip-unreadable') == 0
    assert not (tmp_path / 'out/missing.txt').exists()
    assert PreparedDataset(tmp_path / 'out').manifest['missing'] == places


def test_unreadable_records_are_left_out_on_demand_and_named(source, tmp_path, capsys):
    damaged = source / 'dataset/20220511_164750/gelsight_frame/0000000100.jpg'
    damaged.write_bytes(damaged.read_bytes()[:300])
    (source / 'dataset/20220511_164750/gelsight_frame/0000000099.jpg').unlink()
    assert run('tag', source, tmp_path / 'out', '--skip-unreadable') == 0
    manifest = json.loads((tmp_path / 'out/manifest.json').read_text())
    assert manifest['left_out'] == ['20220511_164750/0000000099.jpg', '20220511_164750/0000000100.jpg']
    assert manifest['records'] == len(PreparedDataset(tmp_path / 'out', check_sums=True)) == 6


def test_a_damaged_image_stops_the_run_which_goes_on_without_it(source, tmp_path, capsys):
    (source / 'dataset/20220511_164750/gelsight_frame/0000000100.jpg').write_bytes(b'no picture')
    assert run('tag', source, tmp_path / 'out') == 1
    assert '0000000100.jpg is not a readable image' in capsys.readouterr().err
    first = tmp_path / 'out/shard-00000.parquet'
    written_ns = first.stat().st_mtime_ns
    assert [path.name for path in (tmp_path / 'out').glob('*.parquet')] == [first.name]
    assert run('tag', source, tmp_path / 'out', '--skip-unreadable') == 0
    data = PreparedDataset(tmp_path / 'out', check_sums=True)
    assert data.manifest['left_out'] == ['20220511_164750/0000000100.jpg'] and len(data) == 7
    assert first.stat().st_mtime_ns == written_ns


@pytest.mark.parametrize('name', ['../secret.png', '{outside}/secret.png', 'a/../../secret.png',
                                  '{outside}/nowhere/secret.png'])
def test_a_list_cannot_name_images_outside_of_the_archive(tmp_path, monkeypatch, name, capsys):
    picture(tmp_path / 'secret.png')
    root = tmp_path / 'archive'
    picture(root / 'a/inside.png')
    (root / 'labels.csv').write_text(f'touch,force_n\na/inside.png,1\n{name.format(outside=tmp_path)},2\n')
    monkeypatch.chdir(root)
    for archive in (root, '.'):
        assert run('vitactip', archive, tmp_path / 'out', '--skip-unreadable') == 1
        assert 'leads out of' in capsys.readouterr().err
        assert not list((tmp_path / 'out').glob('*.parquet'))


def test_a_list_may_name_images_with_their_whole_path(tmp_path, monkeypatch, capsys):
    picture(tmp_path / 'a/0.png')
    (tmp_path / 'labels.csv').write_text(f'touch,force_n\n{tmp_path}/a/0.png,1\n{tmp_path}/b/0.png,2\n')
    monkeypatch.chdir(tmp_path)
    assert run('vitactip', '.', tmp_path / 'out', '--skip-unreadable') == 0
    assert 'missing: b (1 files)' in capsys.readouterr().out
    assert len(PreparedDataset(tmp_path / 'out')) == 1


def test_a_link_within_the_archive_may_lead_anywhere(tmp_path):
    picture(tmp_path / 'large_disk/0.png')
    root = tmp_path / 'archive'
    root.mkdir()
    (root / 'a').symlink_to(tmp_path / 'large_disk')
    (root / 'labels.csv').write_text('touch,force_n\na/0.png,1\n')
    assert run('vitactip', root, tmp_path / 'out') == 0


def test_missing_lists_are_one_error(source, tmp_path, capsys):
    (source / 'train.txt').unlink()
    (source / 'label.txt').unlink()
    assert run('tag', source, '--verify-only') == 1
    assert 'has no label.txt, train.txt. Lay out tag' in capsys.readouterr().err


def test_verify_only_writes_nothing_and_limit_takes_the_first(source, tmp_path, capsys):
    before = sorted(source.rglob('*'))
    assert run('tag', source, '--verify-only') == 0
    assert sorted(source.rglob('*')) == before
    assert run('tag', source, tmp_path / 'out', '--limit', '2') == 0
    assert PreparedDataset(tmp_path / 'out').names('object') == ['20220511_164750'] * 2
    assert run('tag', source) == 1
    assert run('tag', source, tmp_path / 'out', '--limit', '0') == 1


def test_a_terminal_gets_a_bar(source, tmp_path):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    progress = preparation._Progress(10, 0, stream)
    progress.add(5)
    progress.end()
    assert '\r▕' in stream.getvalue() and '5/10 records' in stream.getvalue()


def test_huggingface_datasets_reads_the_shards(source, tmp_path):
    import datasets
    assert run('tag', source, tmp_path / 'out') == 0
    data = datasets.load_dataset('parquet', data_files=str(tmp_path / 'out/*.parquet'), split='train',
                                 cache_dir=str(tmp_path / 'cache'))
    assert data.features['label_material'].names[8] == 'synthetic fabric'
    assert data[0]['touch'].size == (8, 6)
