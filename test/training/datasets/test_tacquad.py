"""TacQuad: contact ranges, translated names, views at another rate, spots of one object."""

import pytest
from miniature_trees import tacquad, text

from training.datasets.prepared import PreparedDataset
from training.datasets.published import DATASETS
from training.prepare import main
from visuotactile_ros.errors import ConfigurationError

TACQUAD = DATASETS['tacquad']


@pytest.fixture
def root(tmp_path):
    tacquad(tmp_path / 'tacquad')
    return tmp_path / 'tacquad'


def records(root):
    return {record.id: record for record in TACQUAD.records(root)}


def test_contact_ranges_include_both_ends(root):
    apple = [name for name in records(root) if name.startswith('indoor/apple/')]
    assert apple == ['indoor/apple/gelsight/2', 'indoor/apple/gelsight/3', 'indoor/apple/gelsight/4',
                     'indoor/apple/digit/0', 'indoor/apple/digit/1', 'indoor/apple/duragel/3']


def test_the_gelsight_is_a_mini(root):
    assert {name.split('/')[2]: record.sensor for name, record in records(root).items()} == {
        'gelsight': 'gelsight_mini', 'digit': 'digit', 'duragel': 'duragel'}


def test_yumaoqiu_is_found_as_shuttlecock_with_the_caption_of_its_row(root):
    found = records(root)
    record = found['indoor/shuttlecock2/digit/0']
    assert record.object == 'shuttlecock' and record.tokens.name == 'tacquad_indoor_10.pt'
    assert not any('yumaoqiu' in name for name in found)


def test_views_are_taken_at_the_same_share_of_time(root):
    found = records(root)
    assert found['indoor/cup/gelsight/4'].view.name == '2.png', '6 touches, 3 views: floor(4 / 6 · 3)'
    assert found['indoor/cup/duragel/3'].view.name == '5.png', '4 touches, 7 views: floor(3 / 4 · 7)'


def test_a_stray_file_moves_no_view(root):
    expected = records(root)
    for kind in ('gelsight', 'img_duragel'):
        text(root / 'data_indoor/cup' / kind / 'Thumbs.db', 'no frame')
    TACQUAD.verify(root)  # asks the disk again
    assert records(root) == expected


def test_the_first_frame_is_the_reference_where_it_shows_no_contact(root):
    found = records(root)
    assert found['indoor/cup/gelsight/4'].reference.name == '0.png'
    assert found['indoor/cup/digit/1'].reference is None, 'contact begins with frame 0'


def test_numbers_behind_names_are_spots_of_one_object(root):
    found = records(root)
    assert found['indoor/apple2/digit/0'].object == 'apple' == found['indoor/apple/digit/0'].object
    assert found['indoor/apple2/digit/0'].split == found['indoor/apple/digit/0'].split
    assert found['indoor/apple2/digit/0'].pair != found['indoor/apple/digit/0'].pair


def test_captions_and_partners_survive_preparation(root, tmp_path):
    assert main(['tacquad', str(root), str(tmp_path / 'out')]) == 0
    data = PreparedDataset(tmp_path / 'out')
    record = data[data.index_of('outdoor/wall3/digit/1')]
    assert list(record.tokens) == [49406, 1001, 49407]
    partners = [data[i].id for i in data.partners(data.index_of('outdoor/wall3/digit/1'))]
    assert partners == ['outdoor/wall3/gelsight/2', 'outdoor/wall3/gelsight/3', 'outdoor/wall3/gelsight/4',
                        'outdoor/wall3/duragel/3']
    assert set(data.manifest['objects']) == {'train', 'validation', 'test'}


@pytest.mark.parametrize('row, message', [
    ('apple,1,2', 'has 3 of 7 columns'), ('apple,1,2,3,4,5,x', 'no frame numbers')])
def test_a_damaged_list_is_one_error(root, row, message):
    text(root / 'contact_indoor.csv', row)
    with pytest.raises(ConfigurationError, match=message):
        TACQUAD.verify(root)
