"""ReferenceStore: the no-contact references of every sensor on disk, several sessions of each.

A session is two files in `<folder>/<kind>/<serial>/`, named by the time of the capture: a PNG with the picture and a
JSON with the rest. The JSON is written last and holds the hash of the PNG, so a session is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.sensors.reference_frame import NoContactStatistics

FORMAT_VERSION = 1
NEWEST_SESSIONS_KEPT = 50
LONGEST_NAME = 120
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, eq=False)
class StoredReference:
    """The no-contact reference of one session of one sensor.

    Attributes:
        kind: Device kind, as in `SensorIdentity`.
        serial: Serial number of the device, not empty.
        captured_ns: Stamp of its last frame, nanoseconds since the epoch.
        image_hwc: uint8 [H, W, 3], RGB.
        statistics: Of its frames.
        image_settings: What shapes the picture beside the sensor (crop, rotation, camera controls), as one line; only
            references with the same settings can be compared.
    """

    kind: str
    serial: str
    captured_ns: int
    image_hwc: np.ndarray
    statistics: NoContactStatistics
    image_settings: str = ''


@dataclass(frozen=True, eq=False)
class ReferenceHistory:
    """What is stored of one sensor.

    Attributes:
        sessions: References with the settings asked for, oldest first; the first is that of the new gel.
        unreadable: JSON files of sessions that are damaged or of another format, left aside.
    """

    sessions: tuple[StoredReference, ...]
    unreadable: tuple[Path, ...]


def default_reference_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where references lie unless told otherwise: below XDG_STATE_HOME, or ~/.local/state where that is not set."""
    state = Path(environment.get('XDG_STATE_HOME', ''))
    # A relative path is to be ignored. (Source: XDG Base Directory Specification 0.8.)
    return (state if state.is_absolute() else Path.home() / '.local' / 'state') / 'visuotactile_ros' / 'references'


class ReferenceStore:
    """Keeps the first reference of every sensor and its newest ones.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def folder_of(self, kind: str, serial: str) -> Path:
        """Folder of one sensor, always two levels below that of the store; remove or rename it after a gel is changed.

        Raises:
            SensorError: The sensor has no serial number, or an absurdly long one.
        """
        if serial == '':
            raise SensorError(f'a {kind} without a serial number cannot be told from another',
                              'Set serial to keep its references')
        return self._folder / _file_name(kind) / _file_name(serial)

    def save(self, reference: StoredReference) -> Path:
        """Store one session; of the older ones, the first with each settings and the newest stay.

        Returns:
            Its JSON file.

        Raises:
            SensorError: The sensor has no serial number, a session that is no older is stored, or the folder cannot be
                written.
        """
        folder = self.folder_of(reference.kind, reference.serial)
        captured = EPOCH + timedelta(microseconds=reference.captured_ns // 1000)
        path = folder / f'{captured:%Y%m%dT%H%M%S_%f}Z.json'
        png = cv2.imencode('.png', reference.image_hwc[:, :, ::-1])[1].tobytes()
        content = {'format_version': FORMAT_VERSION, 'kind': reference.kind, 'serial': reference.serial,
                   'captured': captured.isoformat(), 'captured_ns': reference.captured_ns,
                   'image_settings': reference.image_settings, 'frames': reference.statistics.frames,
                   'noise_level': reference.statistics.noise_level, 'png_sha256': hashlib.sha256(png).hexdigest()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            newest = max(folder.glob('*.json'), default=None)
            # The oldest is that of the new gel; a clock that stands in the past must not give it another one.
            if newest is not None and path.name <= newest.name:
                raise SensorError(f'the reference of {reference.serial} is of {captured:%Y-%m-%d %H:%M} UTC and not '
                                  f'stored: {newest} is not older',
                                  'Set the clock and call ~/capture_reference; if the clock is right, remove that file')
            with path.with_suffix('.png').open('wb') as file:
                file.write(png)
                file.flush()
                os.fsync(file.fileno())
            write_atomically(path, json.dumps(content, indent=2) + '\n')
            self._remove_old(folder)
        except OSError as error:
            raise SensorError(f'the reference of {reference.serial} cannot be stored: {error}',
                              'Make the folder writable, or set XDG_STATE_HOME to another one') from error
        return path

    def history(self, kind: str, serial: str, image_settings: str = '') -> ReferenceHistory:
        """Read the sessions of one sensor that can be compared with pictures of these settings.

        Raises:
            SensorError: The sensor has no serial number.
        """
        sessions, unreadable = [], []
        for path in sorted(self.folder_of(kind, serial).glob('*.json')):
            try:
                reference = _read(path)
            except (OSError, ValueError, KeyError, TypeError, OverflowError):
                unreadable.append(path)
                continue
            if (reference.kind, reference.serial, reference.image_settings) == (kind, serial, image_settings):
                sessions.append(reference)
        return ReferenceHistory(tuple(sessions), tuple(unreadable))

    def _remove_old(self, folder: Path) -> None:
        paths = sorted(folder.glob('*.json'))
        seen_settings = set()
        for path in paths[:-NEWEST_SESSIONS_KEPT]:
            try:
                settings = json.loads(path.read_bytes())['image_settings']
            except (ValueError, KeyError, TypeError):
                continue
            if settings in seen_settings:
                path.unlink(missing_ok=True)
                path.with_suffix('.png').unlink(missing_ok=True)
            seen_settings.add(settings)


def _file_name(text: str) -> str:
    """Turn any text into the name of one file or folder; different texts give different names."""
    # Without its dots no text can be '.' or '..', and without its slashes none can name another folder.
    name = quote(text, safe='').replace('.', '%2E')
    if not 0 < len(name) <= LONGEST_NAME:
        raise SensorError(f'{text[:40]!r} cannot name a folder', 'Give the kind and the serial number of the device')
    return name


def _read(path: Path) -> StoredReference:
    content = json.loads(path.read_bytes())
    if content['format_version'] != FORMAT_VERSION:
        raise ValueError(content['format_version'])
    png = path.with_suffix('.png').read_bytes()
    if hashlib.sha256(png).hexdigest() != content['png_sha256']:
        raise ValueError('png_sha256')
    image_bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    statistics = NoContactStatistics(int(content['frames']), float(content['noise_level']))
    return StoredReference(content['kind'], content['serial'], int(content['captured_ns']),
                           np.ascontiguousarray(image_bgr[:, :, ::-1]), statistics, content['image_settings'])
