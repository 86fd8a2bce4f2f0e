"""ObjectFolder Real, 1.0 and 2.0."""

import pytest
from miniature_trees import objectfolder_1, objectfolder_2, of_real, text

from training.datasets.published import DATASETS
from visuotactile_ros.errors import ConfigurationError

REAL = DATASETS['of_real']


def records(name, root):
    return {record.id: record for record in DATASETS[name].records(root)}


def test_a_hundred_real_objects_are_split_60_20_20(tmp_path):
    of_real(tmp_path)
    tally = REAL.verify(tmp_path).tally
    assert {split: len(objects) for split, objects in tally.objects.items()} == {
        'train': 60, 'validation': 20, 'test': 20}


def test_the_split_does_not_depend_on_what_was_downloaded(tmp_path):
    of_real(tmp_path / 'all')
    (tmp_path / 'all/7').rename(tmp_path / '7')
    (tmp_path / 'part').mkdir()
    (tmp_path / '7').rename(tmp_path / 'part/7')
    part = records('of_real', tmp_path / 'part')
    of_real(tmp_path / 'again')
    whole = records('of_real', tmp_path / 'again')
    assert {record.split for record in part.values()} == {whole['7/0/1.png'].split}


def test_lists_from_elsewhere_give_materials_views_captions_and_contact(tmp_path):
    of_real(tmp_path)
    found = records('of_real', tmp_path)
    assert [name for name in found if name.startswith('7/')] == ['7/0/1.png', '7/0/2.png', '7/0/10.png']
    listed = found['7/0/2.png']
    assert listed.view == tmp_path / '7/tactile_data/0/0/camera/2.png' and listed.tokens.name == 'obj_5.pt'
    assert listed.labels == {'material': 0, 'contact': 1}
    assert found['7/0/1.png'].labels == {'material': 0, 'contact': 0} and found['7/0/1.png'].view is None


def test_without_those_lists_the_notes_say_what_is_not_known(tmp_path):
    of_real(tmp_path)
    for name in ('objectfolder_real_metadata.csv', 'contact_text_obj.csv'):
        (tmp_path / name).unlink()
    verification = REAL.verify(tmp_path)
    assert [note.split(':')[0] for note in verification.notes] == ['no materials', 'no views, captions and contact']
    assert records('of_real', tmp_path)['7/0/2.png'].labels == {}


def test_an_unknown_material_is_an_error(tmp_path):
    of_real(tmp_path)
    text(tmp_path / 'objectfolder_real_metadata.csv', 'Index,Name,Material\n1,Spoon,Cheese')
    with pytest.raises(ConfigurationError, match='Cheese'):
        REAL.verify(tmp_path)


def test_the_benchmark_is_divided_at_object_100(tmp_path):
    objectfolder_1(tmp_path / 'one')
    objectfolder_2(tmp_path / 'two')
    one, two = records('objectfolder_1', tmp_path / 'one'), records('objectfolder_2', tmp_path / 'two')
    assert {record.object for record in one.values()} == {'1', '2', '20', '100'}
    assert {record.object for record in two.values()} == {'101', '102', '200', '1000'}
    assert {record.split for record in one.values()} == {'train', 'validation', 'test'}
    assert one['20/1'].split == 'validation' and one['20/1'].labels == {'material': 6}
    assert one['20/1'].view is None and two['200/1'].view == tmp_path / 'two/vision/200/1.png'
    assert one['1/0'].sensor == 'tacto' and two['101/0'].sensor == 'taxim'


@pytest.mark.parametrize('content', ['[1]', '{"train": [["a", 1]]}', '{"train": [1]}', '{'])
def test_a_damaged_split_is_one_error(tmp_path, content):
    objectfolder_1(tmp_path)
    text(tmp_path / 'split.json', content)
    with pytest.raises(ConfigurationError, match='Download'):
        DATASETS['objectfolder_1'].verify(tmp_path)
