"""What some data sets publish as pickles, read without running anything a file asks for."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from visuotactile_ros.errors import ConfigurationError

_REMEDY = 'Do not open it by other means: it could run a program. Download it again from its source'


def read_token_pair(path: Path) -> list[int]:
    """Read a caption that was published as a saved pair of tensors: token ids and their mask.

    Args:
        path: A `.pt` file with two tensors of one length.

    Returns:
        The token ids that the mask keeps.

    Raises:
        ConfigurationError: The file is missing, or holds anything but such a pair.
    """
    import torch  # late: of all readers, only this one needs it

    try:
        ids, mask = (tensor.flatten() for tensor in torch.load(path, map_location='cpu', weights_only=True))
        length = int(mask.sum())
        if len(ids) != len(mask) or not mask[:length].all() or mask[length:].any():
            raise ValueError('its mask is no prefix')
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read: {error.strerror}', 'Check the file') from error
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, AttributeError, EOFError, KeyError) as error:
        raise ConfigurationError(f'{path} holds no pair of token ids and mask ({type(error).__name__})',
                                 _REMEDY) from error
    return ids[:length].tolist()


def read_name_lists(path: Path) -> dict[str, list[str]]:
    """Read lists of names by key from a `.npy` file that holds one pickled dictionary.

    Raises:
        ConfigurationError: The file is missing, or holds anything but such a dictionary.
    """
    try:
        with path.open('rb') as file:
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read_header[version](file)
            if shape != () or not dtype.hasobject:
                raise ValueError('not one object')
            content = _PlainUnpickler(file).load().content[0]
        return {str(key): [str(name) for name in _plain(names)] for key, names in content.items()}
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read: {error.strerror}', 'Check the file') from error
    # A damaged pickle fails in as many ways as there are opcodes.
    except Exception as error:
        raise ConfigurationError(f'{path} holds no lists of names ({error})', _REMEDY) from error


class _Inert:
    """Stands in for numpy's array and type: keeps what it is given and calls nothing."""

    def __init__(self, *_: Any):
        self.content: Any = []

    def __setstate__(self, state: tuple) -> None:
        self.content = state[-1]


def _text(_: _Inert, content: bytes) -> str:
    return content.decode('utf-32-le').rstrip('\0')


class _PlainUnpickler(pickle.Unpickler):
    _STAND_INS = {'_reconstruct': _Inert, 'ndarray': _Inert, 'dtype': _Inert, 'scalar': _text}
    _MODULES = ('numpy', 'numpy.core.multiarray', 'numpy._core.multiarray')

    def find_class(self, module: str, name: str) -> Any:
        if module not in self._MODULES or name not in self._STAND_INS:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}')
        return self._STAND_INS[name]


def _plain(names: Any) -> list:
    names = names.content if isinstance(names, _Inert) else names
    if not isinstance(names, (list, tuple, set)):
        raise ValueError('not a list')
    return list(names)
