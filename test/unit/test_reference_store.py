"""References on disk: what is stored comes back, nothing leaves the folder, damaged files are left aside."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors import reference_store
from visuotactile_ros.sensors.reference_frame import NoContactStatistics
from visuotactile_ros.sensors.reference_store import ReferenceStore, StoredReference, default_reference_folder

CAPTURED_NS = 1_760_000_000_123_456_789


def reference(captured_ns=CAPTURED_NS, level=100, serial='2BNN4ZE7', image_settings=''):
    image = np.full((6, 8, 3), level, np.uint8)
    image[2, 3] = (1, 2, 3)
    return StoredReference('gelsight_mini', serial, captured_ns, image, NoContactStatistics(15, 1.25), image_settings)


def same(first, second):
    np.testing.assert_array_equal(first.image_hwc, second.image_hwc)
    return dataclasses.replace(first, image_hwc=None).__dict__ == dataclasses.replace(second, image_hwc=None).__dict__


def test_a_stored_reference_comes_back_pixel_for_pixel(tmp_path):
    stored = reference(image_settings='border_fraction=0.15')
    path = ReferenceStore(tmp_path).save(stored)
    assert path == tmp_path / 'gelsight_mini' / '2BNN4ZE7' / '20251009T085320_123456Z.json'
    history = ReferenceStore(tmp_path).history('gelsight_mini', '2BNN4ZE7', 'border_fraction=0.15')
    assert history.unreadable == () and len(history.sessions) == 1
    assert same(history.sessions[0], stored)
    assert history.sessions[0].image_hwc.flags.c_contiguous
    assert json.loads(path.read_text())['captured'] == '2025-10-09T08:53:20.123456+00:00'


def test_sessions_come_oldest_first(tmp_path):
    store = ReferenceStore(tmp_path)
    for day in (0, 1, 2):
        store.save(reference(CAPTURED_NS + day * 86_400_000_000_000, level=day))
    assert [session.image_hwc[0, 0, 0] for session in store.history('gelsight_mini', '2BNN4ZE7').sessions] == [0, 1, 2]


@pytest.mark.parametrize('captured_ns', [0, CAPTURED_NS - 10 ** 9, CAPTURED_NS])
def test_a_clock_in_the_past_gives_a_gel_no_other_first_session(tmp_path, captured_ns):
    store = ReferenceStore(tmp_path)
    newest = store.save(reference(level=1))
    with pytest.raises(SensorError, match=f'not stored.*{newest} is not older. Set the clock'):
        store.save(reference(captured_ns, level=2, image_settings='other settings'))
    assert [path.name for path in newest.parent.iterdir()].count(newest.name) == 1
    assert len(list(newest.parent.iterdir())) == 2


def test_a_sensor_never_seen_has_no_sessions(tmp_path):
    assert ReferenceStore(tmp_path / 'absent').history('digit', 'D20001').sessions == ()


def test_pictures_of_other_settings_are_not_compared(tmp_path):
    store = ReferenceStore(tmp_path)
    store.save(reference(image_settings='crop 0.15'))
    assert store.history('gelsight_mini', '2BNN4ZE7', 'crop 0.1').sessions == ()
    assert len(store.history('gelsight_mini', '2BNN4ZE7', 'crop 0.15').sessions) == 1


def test_the_first_session_of_all_settings_and_the_newest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_store, 'NEWEST_SESSIONS_KEPT', 3)
    store = ReferenceStore(tmp_path)
    for session in range(8):
        store.save(reference(CAPTURED_NS + session * 10 ** 9, level=session, image_settings='abbbbbbb'[session]))
    levels = [int(one.image_hwc[0, 0, 0]) for one in store.history('gelsight_mini', '2BNN4ZE7', 'b').sessions]
    assert levels == [1, 5, 6, 7]
    assert len(store.history('gelsight_mini', '2BNN4ZE7', 'a').sessions) == 1
    assert len(list(tmp_path.rglob('*.png'))) == 5


def test_a_sensor_without_a_serial_number_is_refused(tmp_path):
    with pytest.raises(SensorError, match='without a serial number .* Set serial'):
        ReferenceStore(tmp_path).save(reference(serial=''))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(SensorError, match='2BNN4ZE7 cannot be stored.*XDG_STATE_HOME'):
        ReferenceStore(tmp_path / 'file').save(reference())


@pytest.mark.parametrize('damage', [
    lambda path: path.write_text('{'),
    lambda path: path.write_text('[]'),
    lambda path: path.write_text(path.read_text().replace('"frames": 15', '"frames": 1e999')),
    lambda path: path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2')),
    lambda path: path.with_suffix('.png').unlink(),
    lambda path: path.with_suffix('.png').write_bytes(path.with_suffix('.png').read_bytes()[:-9]),
])
def test_a_damaged_session_is_named_and_the_others_are_read(tmp_path, damage):
    store = ReferenceStore(tmp_path)
    path = store.save(reference())
    store.save(reference(CAPTURED_NS + 10 ** 9, level=7))
    damage(path)
    history = store.history('gelsight_mini', '2BNN4ZE7')
    assert history.unreadable == (path,)
    assert [session.image_hwc[0, 0, 0] for session in history.sessions] == [7]


def test_a_session_without_its_json_does_not_exist(tmp_path, monkeypatch):
    def power_cut(path, text):
        raise OSError('power cut')
    store = ReferenceStore(tmp_path)
    store.save(reference())
    monkeypatch.setattr(reference_store, 'write_atomically', power_cut)
    with pytest.raises(SensorError, match='power cut'):
        store.save(reference(CAPTURED_NS + 10 ** 9))
    history = store.history('gelsight_mini', '2BNN4ZE7')
    assert len(history.sessions) == 1 and history.unreadable == ()


ANY_NAME = st.text(st.characters(codec='utf-8'), min_size=1, max_size=12) | st.sampled_from(
    ['..', '.', '/', '../..', '/etc', 'a/../../b', 'a\\b', '\0', '%2E', '~', '-rf', 'con:1', ' '])


@given(ANY_NAME, ANY_NAME)
def test_no_name_leads_out_of_the_folder(kind, serial):
    base = Path('/state/references')
    folder = ReferenceStore(base).folder_of(kind, serial)
    assert folder.parent.parent == base
    assert not {folder.name, folder.parent.name} & {'', '.', '..'}
    assert '\0' not in str(folder)


@given(ANY_NAME, ANY_NAME, ANY_NAME, ANY_NAME)
def test_different_sensors_never_share_a_folder(kind, serial, other_kind, other_serial):
    store = ReferenceStore(Path('/state'))
    assert (store.folder_of(kind, serial) == store.folder_of(other_kind, other_serial)) \
        == ((kind, serial) == (other_kind, other_serial))


def test_an_absurd_name_is_refused(tmp_path):
    with pytest.raises(SensorError, match='cannot name a folder'):
        ReferenceStore(tmp_path).folder_of('digit', 'x' * 300)


# Every example waits for the disk.
@settings(max_examples=20)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_every_picture_comes_back(tmp_path_factory, image):
    store = ReferenceStore(tmp_path_factory.mktemp('store'))
    stored = dataclasses.replace(reference(), image_hwc=image)
    store.save(stored)
    assert same(store.history('gelsight_mini', '2BNN4ZE7').sessions[0], stored)


def test_the_default_folder_follows_the_xdg_rules():
    home = Path.home() / '.local' / 'state'
    assert default_reference_folder({'XDG_STATE_HOME': '/srv/state'}) == Path(
        '/srv/state/visuotactile_ros/references')
    for environment in ({}, {'XDG_STATE_HOME': ''}, {'XDG_STATE_HOME': 'relative'}):
        assert default_reference_folder(environment) == home / 'visuotactile_ros' / 'references'
