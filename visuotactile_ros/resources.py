"""Where the files beside the code lie: the package share directory, or the source tree."""

from __future__ import annotations

from pathlib import Path

from visuotactile_ros.errors import ConfigurationError

PACKAGE = 'visuotactile_ros'


def share_folder() -> Path:
    """Return the folder that holds `config/`, `launch/` and `models/`.

    A source tree is used where the code runs from one, so that an edited file is the one that is read.

    Raises:
        ConfigurationError: The package is neither in a source tree nor installed.
    """
    source_tree = Path(__file__).resolve().parent.parent
    if (source_tree / 'config').is_dir() and (source_tree / 'package.xml').is_file():
        return source_tree
    try:
        from ament_index_python.packages import get_package_share_directory
        return Path(get_package_share_directory(PACKAGE))
    except (ImportError, LookupError) as error:
        raise ConfigurationError(
            f'the share folder of {PACKAGE} was not found',
            'Run from the source tree, or build with colcon and source install/setup.bash') from error


def resource_path(relative: str) -> Path:
    """Return the path of a shipped file or folder, for example `config/pouring.yaml` or `models/tlv_core_tiny`.

    Raises:
        ConfigurationError: It does not exist.
    """
    path = share_folder() / relative
    if not path.exists():
        raise ConfigurationError(f'{path} does not exist',
                                 'Restore it from the repository, or install the package again')
    return path


def model_folder(model: str) -> Path:
    """Return the folder of a model that is given by its path, or by its name under `models/` of the package."""
    return Path(model).expanduser() if '/' in model else share_folder() / 'models' / model
