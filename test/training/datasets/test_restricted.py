"""Pickles of others: what is needed is read, and nothing that a file asks for is run."""

import os
import pickle

import numpy as np
import pytest
import torch
from miniature_trees import tokens

from training.datasets.published.restricted import read_name_lists, read_token_pair
from visuotactile_ros.errors import ConfigurationError


class Malicious:
    """Creates a file when it is unpickled the usual way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Malicious(tmp_path / 'trap')))
    assert (tmp_path / 'trap').is_dir()


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('content', [lambda trap: trap, lambda trap: (torch.ones(3), trap),
                                     lambda trap: {'ids': torch.ones(3), 'mask': trap}])
def test_a_malicious_caption_runs_nothing(tmp_path, content, zipped):
    torch.save(content(Malicious(tmp_path / 'trap')), tmp_path / 'tag_0.pt', _use_new_zipfile_serialization=zipped)
    with pytest.raises(ConfigurationError, match='no pair of token ids and mask.*could run a program'):
        read_token_pair(tmp_path / 'tag_0.pt')
    assert not (tmp_path / 'trap').exists()


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_a_malicious_raw_pickle_runs_nothing(tmp_path):
    (tmp_path / 'tag_0.pt').write_bytes(pickle.dumps(Malicious(tmp_path / 'trap')))
    with pytest.raises(ConfigurationError):
        read_token_pair(tmp_path / 'tag_0.pt')
    assert not (tmp_path / 'trap').exists()


@pytest.mark.parametrize('content', [
    lambda trap: {'train': trap}, lambda trap: trap, lambda trap: {'train': [trap]}, lambda trap: {trap: []}])
def test_a_malicious_split_runs_nothing(tmp_path, content):
    np.save(tmp_path / 'split_3.npy', np.array(content(Malicious(tmp_path / 'trap')), dtype=object))
    with pytest.raises(ConfigurationError, match='no lists of names'):
        read_name_lists(tmp_path / 'split_3.npy')
    assert not (tmp_path / 'trap').exists()


def test_token_ids_end_with_their_mask(tmp_path):
    tokens(tmp_path / 'a.pt', [49406, 320, 1125, 49407])
    assert read_token_pair(tmp_path / 'a.pt') == [49406, 320, 1125, 49407]
    torch.save([torch.tensor([[5, 6, 0]]), torch.tensor([[1, 1, 0]])], tmp_path / 'b.pt')
    assert read_token_pair(tmp_path / 'b.pt') == [5, 6]


@pytest.mark.parametrize('content', [
    torch.ones(4), (torch.ones(3), torch.ones(4)), (torch.ones(3), torch.tensor([0, 1, 1])), {}, ('a', 'b'), 3])
def test_anything_but_a_pair_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'a.pt')
    with pytest.raises(ConfigurationError, match='no pair of token ids and mask'):
        read_token_pair(tmp_path / 'a.pt')


@pytest.mark.parametrize('names', [['ball', 'cup'], np.array(['ball', 'cup'], dtype=object),
                                   [np.str_('ball'), np.str_('cup')], ('ball', 'cup')])
def test_name_lists_are_read_in_any_of_their_forms(tmp_path, names):
    np.save(tmp_path / 'split_3.npy', {'train': names, 'test': ['can']})
    assert read_name_lists(tmp_path / 'split_3.npy') == {'train': ['ball', 'cup'], 'test': ['can']}


@pytest.mark.parametrize('content', [np.arange(3), np.array({'train': 3}, dtype=object), np.array([{}, {}])])
def test_other_arrays_are_refused(tmp_path, content):
    np.save(tmp_path / 'split_3.npy', content)
    with pytest.raises(ConfigurationError, match='no lists of names'):
        read_name_lists(tmp_path / 'split_3.npy')


def test_missing_files_are_named(tmp_path):
    for read in (read_token_pair, read_name_lists):
        with pytest.raises(ConfigurationError, match='a.pt cannot be read'):
            read(tmp_path / 'a.pt')
