"""SSVTP and HCT, the two parts of TVL."""

import pytest
from miniature_trees import ssvtp, text, tokens, tvl_hct

from training.datasets.published import DATASETS
from training.datasets.published.tvl_hct import NOT_IN_CONTACT, swapped_trajectories
from training.datasets.record import UNLISTED

SSVTP, HCT = DATASETS['ssvtp'], DATASETS['tvl_hct']


def records(adapter, root):
    return {record.id: record for record in adapter.records(root)}


def test_ssvtp_pairs_by_number_with_the_first_line_of_their_captions(tmp_path):
    ssvtp(tmp_path)
    tokens(tmp_path / 'text/ssvtp_2.pt', [49406, 5, 49407])
    found = records(SSVTP, tmp_path)
    assert {name: record.split for name, record in found.items()} == {
        '2': 'train', '10': 'train', '11': UNLISTED, '12': 'test'}
    assert list(found) == ['2', '10', '11', '12'], 'numbers, not text'
    assert found['10'].text == 'soft, woven, warm.' and found['12'].text == ''
    assert found['10'].touch.name == 'image_10_tac.jpg' and found['10'].view.name == 'image_10_rgb.jpg'
    assert found['2'].tokens.name == 'ssvtp_2.pt' and found['10'].tokens is None


@pytest.fixture
def hct(tmp_path):
    tvl_hct(tmp_path)
    return tmp_path


def test_exchanged_folders_are_found_and_put_right(hct):
    assert swapped_trajectories(hct) == {'data2/1-1702508220.4'}
    found = records(HCT, hct)
    swapped, right = found['data2/1-1702508220.4/17-0.57.jpg'], found['data1/0-1702507215.6/17-0.57.jpg']
    assert swapped.touch.parent.name == 'vision' and swapped.view.parent.name == 'tactile'
    assert swapped.reference.parent.name == 'vision'
    assert right.touch.parent.name == 'tactile' and right.view.parent.name == 'vision'
    note, = HCT.notes(hct)
    assert 'exchanged in 1 folders and are put right: data2/1-17' in note and 'of the revised archive none' in note


def test_the_revised_archive_is_left_alone(tmp_path):
    tvl_hct(tmp_path, swapped=())
    assert swapped_trajectories(tmp_path) == frozenset() and not list(HCT.notes(tmp_path))


def test_frame_16_is_not_frame_165(hct):
    found = records(HCT, hct)
    assert found['data1/0-1702507215.6/16-0.53.jpg'].frame_index == 16
    assert found['data1/0-1702507215.6/165-5.50.jpg'].frame_index == 165


def test_every_list_gives_its_frames_once(hct):
    found = records(HCT, hct)
    assert {name.rpartition('/')[2]: (record.split, record.text, record.labels['contact'])
            for name, record in found.items() if name.startswith('data1')} == {
        '16-0.53.jpg': ('train', 'smooth, hard', 1), '165-5.50.jpg': ('train', 'soft', 1),
        '17-0.57.jpg': ('test', 'grainy, rough', 1), '15-0.50.jpg': (UNLISTED, '', 1),
        '2-0.07.jpg': (NOT_IN_CONTACT, '', 0)}


def test_a_background_that_is_gone_gives_way_to_the_common_one(hct):
    (hct / 'data3/0-1702509001.1/tactile/2-0.07.jpg').unlink()
    DATASETS['tvl_hct'].verify(hct)  # asks the disk again
    assert records(HCT, hct)['data3/0-1702509001.1/16-0.53.jpg'].reference == hct / 'data3/digit_background.png'


def test_captions_published_apart(hct):
    text(hct / 'contact_text_tvl.csv', 'data1/0-1702507215.6/tactile/16-0.53.jpg,81')
    tokens(hct / 'text/tvl_81.pt', [49406, 5, 49407])
    HCT.verify(hct)
    assert records(HCT, hct)['data1/0-1702507215.6/16-0.53.jpg'].tokens.name == 'tvl_81.pt'
