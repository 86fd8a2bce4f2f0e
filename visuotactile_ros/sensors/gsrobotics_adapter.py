"""GsroboticsSource: a GelSight Mini read through gsrobotics, GelSight's own software, where a copy of it lies.

gsrobotics is GPL-3.0 and no package: this package neither contains nor requires it, and loads it only from the folder
that a user names.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.sensors.discovery import canonical_serial, lost_device_error, same_serial
from visuotactile_ros.sensors.image_geometry import ImageGeometry

# Linux lists a camera as usb-<maker>_<product>_<serial>-video-index<number>, and only its first node carries pictures.
# gsrobotics takes all nodes, those of webcams too, in the order in which the folder lists them.
PRODUCT, PICTURE_NODE = 'GelSight_Mini', '-video-index0'


class GsroboticsSource:
    """Reads one GelSight Mini, found by its serial number, through the class `GelSightMini` of gsrobotics.

    That class crops and resizes; the rotation and the mirror are ours. It asks the camera for the size of the result
    and sets neither rate nor exposure nor white balance. A stamp is taken when it returns, which is after it has
    decoded, cropped and resized.

    Args:
        sensor: Identity that every frame carries. Its serial, with or without the dash, chooses the device; without one
            the only GelSight Mini is taken at the first opening, and from then on no other.
        folder: Copy of github.com/gelsightinc/gsrobotics, of 2025 or later.
        rate_hz: Rate that is expected of the device, which is not told.
        geometry: Shape of the frames and the way there.

    Raises:
        ConfigurationError: The folder is another one, or what gsrobotics imports is missing.
    """

    def __init__(self, sensor: SensorIdentity, folder: Path, rate_hz: float, geometry: ImageGeometry):
        self.sensor = sensor
        self.nominal_period_s = 1.0 / rate_hz
        self._library = load_gsrobotics(folder)
        self._border_fraction = geometry.border_fraction
        size_px = (geometry.width_px, geometry.height_px)
        self._size_before_turn_px = size_px[::-1] if geometry.rotate_quarter_turns % 2 == 1 else size_px
        self._turn = dataclasses.replace(geometry, border_fraction=0.0)
        self._gelsight: Any = None
        self._sequence = 0

    def open(self) -> None:
        """Find the device by its serial and open it; does nothing where it is open.

        Raises:
            SensorError: The device is missing or in use.
        """
        if self._gelsight is not None:
            return
        gelsight = self._library.GelSightMini(*self._size_before_turn_px, self._border_fraction)
        try:
            serial = self._select(gelsight)
            gelsight.start()
        except BaseException:
            if gelsight.camera is not None:
                gelsight.camera.release()
            raise
        self._gelsight, self.sensor = gelsight, dataclasses.replace(self.sensor, serial=serial)

    def _select(self, gelsight: Any) -> str:
        """Open the device that the serial names, and return its serial."""
        name, wanted = self.sensor.name, self.sensor.serial
        devices = gelsight.get_device_list()
        serials = {index: path.removesuffix(PICTURE_NODE).rpartition('_')[2] for index, path in devices.items()
                   if path.endswith(PICTURE_NODE)}
        minis = [index for index in serials if PRODUCT in devices[index]]
        fitting = [index for index in serials if same_serial(serials[index], wanted)] if wanted else minis
        if len(fitting) != 1:
            raise SensorError(f'{name}: serial {wanted!r} fits {len(fitting)} GelSight Minis; found: '
                              f'{", ".join(sorted(serials[index] for index in minis)) or "none"}',
                              'Check cable and serial')
        path = devices[fitting[0]]
        try:
            gelsight.select_device(fitting[0])
        except Exception as error:  # gsrobotics lists the devices again, and trips over one that has gone meanwhile
            raise SensorError(f'{name}: {path} went while it was opened ({error!r})', 'Check its cable') from error
        if gelsight.camera.device != path:
            raise SensorError(f'{name}: {gelsight.camera.device} was opened instead of {path}',
                              'Open it again once no device is being plugged')
        if not gelsight.camera.cap.isOpened():  # gsrobotics only prints this
            raise SensorError(f'{name}: {path} cannot be opened',
                              'Check cable and permissions, and close other programs that use it')
        return canonical_serial(serials[fitting[0]])

    def _read(self, gelsight: Any) -> Any:
        """Return the next picture, uint8 [H, W, 3] RGB, cropped and resized."""
        try:
            image_rgb = gelsight.update(0.0)
        except Exception as error:  # whatever a driver raises, as with a crop of nothing
            raise SensorError(f'{self.sensor.name}: gsrobotics fails with {error!r}',
                              'Check border_fraction and the folder of gsrobotics') from error
        if image_rgb is None:  # its only sign of an unplugged device, for ever
            raise SensorError(f'{self.sensor.name}: the GelSight Mini gave no frame',
                              'Check cable and USB bandwidth') from lost_device_error(gelsight.camera.device)
        return image_rgb

    def grab(self) -> Frame | None:
        """Wait for the next frame of the device.

        Raises:
            SensorError: The device gave no frame within the driver's time limit.
        """
        if self._gelsight is None:
            raise SensorError(f'{self.sensor.name} is not open', 'Call open() first')
        sequence, self._sequence = self._sequence, self._sequence + 1
        image_rgb = self._read(self._gelsight)
        stamp_ns = time.time_ns()
        return Frame(self._turn.apply(image_rgb[:, :, ::-1]), stamp_ns, self.sensor, sequence)

    def close(self) -> None:
        """Release the device; does nothing where it is closed. The next open looks for the serial anew."""
        if self._gelsight is not None:
            self._gelsight.camera.release()
            self._gelsight = None


def load_gsrobotics(folder: Path) -> ModuleType:
    """Import `utilities.gelsightmini` of gsrobotics and leave no trace of that name in sys.path and sys.modules.

    Half the world has a module `utilities`: ours must not shadow another one, nor be shadowed by it.

    Args:
        folder: Copy of github.com/gelsightinc/gsrobotics.

    Raises:
        ConfigurationError: The folder is another one, or something that gsrobotics imports is missing.
    """
    utilities = folder.expanduser().resolve() / 'utilities'
    if not (utilities / 'gelsightmini.py').is_file():
        raise ConfigurationError(f'{folder} has no utilities/gelsightmini.py',
                                 'Set gsrobotics_path to a clone of https://github.com/gelsightinc/gsrobotics')
    others = _forget_utilities()
    package = ModuleType('utilities')
    package.__path__ = [str(utilities)]
    sys.modules['utilities'] = package
    try:
        return importlib.import_module('utilities.gelsightmini')
    except ImportError as error:
        raise ConfigurationError(f'gsrobotics in {folder} cannot be imported ({error})',
                                 'Install what is missing: it needs scipy beside what this package needs') from error
    finally:
        _forget_utilities()
        sys.modules.update(others)


def _forget_utilities() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.split('.')[0] == 'utilities']
    return {name: sys.modules.pop(name) for name in names}
