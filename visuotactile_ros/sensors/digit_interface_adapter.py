"""DigitInterfaceSource: a DIGIT read through digit-interface, the library of its makers, where that is installed.

The library is CC BY-NC 4.0: it is no requirement of this package and is imported only by who asks for it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.sensors.discovery import canonical_serial, lost_device_error, same_serial
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.uvc_device import CaptureMode

# Below it, the library divides the light by 17, so that its own full light becomes none.
# (Source: digit-interface 0.2.1.)
FIRST_FIRMWARE_WITH_LIGHT = 200
LIGHT_LEVELS = 4096
REMEDY = 'Check cable and permissions, and close other programs that use it'


class DigitInterfaceSource:
    """Reads one DIGIT, found by its serial number, through the class `Digit` of digit-interface 0.2.1.

    Frames are in the orientation of the chip, as those of UvcDevice are, not turned as the library turns them by
    default. A stamp is taken when the library returns, which is after it has decoded the picture.

    Args:
        sensor: Identity that every frame carries. Its serial chooses the device; without one the only DIGIT is taken at
            the first opening, and from then on no other.
        mode: A size and rate that the library offers, no fourcc, and of the controls ZOOM alone, which is the light;
            without it the library's own full light stays.
        geometry: Shape of the frames and the way there.

    Raises:
        ConfigurationError: The library is missing, or the mode is not one of its own.
    """

    def __init__(self, sensor: SensorIdentity, mode: CaptureMode, geometry: ImageGeometry):
        self.sensor = sensor
        self.nominal_period_s = 1.0 / mode.rate_hz
        self._library = _load_digit_interface()
        self._stream, self._light = _stream_of(mode, self._library), _light_of(mode)
        self._rate_hz, self._capture_shape = int(mode.rate_hz), (mode.height_px, mode.width_px, 3)
        self._geometry = geometry
        self._digit: Any = None
        self._sequence = 0

    def open(self) -> None:
        """Find the device by its serial, open it and set it up; does nothing where it is open.

        Raises:
            SensorError: The device is missing, in use, or of a firmware that the library leaves dark.
        """
        if self._digit is not None:
            return
        with self._library_errors('cannot be opened'):
            digit = self._connect()
            try:
                digit.set_resolution(self._stream)
                digit.set_fps(self._rate_hz)
                if self._light is not None:
                    digit.set_intensity_rgb(self._light >> 8, self._light >> 4 & 15, self._light & 15)
            except BaseException:
                digit.disconnect()
                raise
        self._digit = digit
        self.sensor = dataclasses.replace(self.sensor, serial=canonical_serial(digit.serial))

    def _connect(self) -> Any:
        name, wanted = self.sensor.name, self.sensor.serial
        entries = self._library.DigitHandler.list_digits()
        serials = sorted({entry['serial'] for entry in entries})
        fitting = [serial for serial in serials if wanted == '' or same_serial(serial, wanted)]
        if len(fitting) != 1:
            raise SensorError(f'{name}: serial {wanted!r} fits {len(fitting)} DIGITs; found: '
                              f'{", ".join(serials) or "none"}', 'Check cable and serial')
        serial = fitting[0]
        digit = self._library.Digit(serial, name)
        if digit.revision < FIRST_FIRMWARE_WITH_LIGHT:
            raise SensorError(f'{name}: DIGIT {serial} has firmware {digit.revision}, for which digit_interface turns '
                              f'the light off', 'Update its firmware, or read it as a plain USB camera')
        # A kernel lists a node without pictures under the same serial, and the library takes whichever comes first.
        failures = []
        for node in (entry['dev_name'] for entry in entries if entry['serial'] == serial):
            digit.dev_name = node
            try:
                digit.connect()
                return digit
            except Exception as error:  # the library raises nothing more telling
                failures.append(repr(error))
        raise SensorError(f'{name}: DIGIT {serial} cannot be opened ({"; ".join(failures)})', REMEDY)

    @contextmanager
    def _library_errors(self, what: str) -> Iterator[None]:
        """Turn whatever the library raises, mostly bare Exceptions, into a SensorError."""
        try:
            yield
        except SensorError:
            raise
        except Exception as error:
            lost = None if self._digit is None else lost_device_error(self._digit.dev_name)
            raise SensorError(f'{self.sensor.name}: the DIGIT {what} ({error!r})', REMEDY) from lost or error

    def grab(self) -> Frame | None:
        """Wait for the next frame of the device.

        Raises:
            SensorError: The device gave no frame within the driver's time limit, or one of another size.
        """
        if self._digit is None:
            raise SensorError(f'{self.sensor.name} is not open', 'Call open() first')
        sequence, self._sequence = self._sequence, self._sequence + 1
        with self._library_errors('gave no frame'):
            image_bgr = self._digit.get_frame(transpose=True)  # the flag reads backwards: as the chip gives it
        stamp_ns = time.time_ns()
        if image_bgr.shape != self._capture_shape:
            raise SensorError(f'{self.sensor.name}: the DIGIT gave a frame {image_bgr.shape}, not '
                              f'{self._capture_shape}', 'Replug it, and keep OpenCV below 5')
        return Frame(self._geometry.apply(image_bgr), stamp_ns, self.sensor, sequence)

    def close(self) -> None:
        """Release the device; does nothing where it is closed. The next open looks for the serial anew."""
        if self._digit is not None:
            self._digit.disconnect()
            self._digit = None


def _load_digit_interface() -> ModuleType:
    try:
        import digit_interface
    except ImportError as error:
        raise ConfigurationError(f'digit_interface cannot be imported ({error})',
                                 'Run: pip install --no-deps digit-interface') from error
    return digit_interface


def _stream_of(mode: CaptureMode, library: ModuleType) -> dict[str, Any]:
    """Return the library's description of a size; its rates are checked too."""
    if mode.fourcc != '':
        raise ConfigurationError(f'capture_fourcc is {mode.fourcc!r}, which digit_interface cannot set',
                                 'Leave it empty')
    streams = {(stream['resolution']['width'], stream['resolution']['height'], rate_hz): stream
               for stream in library.Digit.STREAMS.values() for rate_hz in stream['fps'].values()}
    wanted = (mode.width_px, mode.height_px, mode.rate_hz)
    if wanted not in streams:
        offered = ', '.join(f'{width}x{height} at {rate_hz}' for width, height, rate_hz in sorted(streams))
        raise ConfigurationError(f'digit_interface has no {mode.width_px}x{mode.height_px} at {mode.rate_hz:g} Hz',
                                 f'Choose one of {offered}')
    return streams[wanted]


def _light_of(mode: CaptureMode) -> int | None:
    """Return the 12 bits of the light, four a colour, red first; None where the mode says nothing of it."""
    controls = dict(mode.controls)
    light = controls.pop('ZOOM', None)
    if controls:
        raise ConfigurationError(f'camera_controls has {", ".join(controls)}, which digit_interface cannot set',
                                 'Leave camera_controls empty')
    if light is None:
        return None
    if light not in range(LIGHT_LEVELS):
        raise ConfigurationError(f'camera_controls has ZOOM={light:g}, which is no light of a DIGIT',
                                 'Set led_levels instead')
    return int(light)
