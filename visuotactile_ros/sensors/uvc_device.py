"""UvcDevice: any USB video class camera, which is what GelSight Mini, DIGIT, ViTacTip and webcams are."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import time
from dataclasses import dataclass

import cv2

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.sensors.discovery import (
    find_video_device,
    list_video_devices,
    lost_device_error,
    same_serial,
)
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.jpeg_decoding import JpegDecoder

RATE_TOLERANCE_HZ = 0.5
JPEG_FORMATS = ('MJPG', 'JPEG')
# With one buffer the driver has none to fill while a picture is decoded, and loses the next frame; with OpenCV's four,
# a stalled reader gets pictures four periods old under fresh stamps. A driver may insist on more: this is not checked.
BUFFERS = 2
# OpenCV waits ten seconds for a camera that has stalled, unless told otherwise before its first wait.
os.environ.setdefault('OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT', '1')


@dataclass(frozen=True)
class CaptureMode:
    """What is asked of a device.

    Attributes:
        width_px: Width of its pictures.
        height_px: Height of its pictures.
        rate_hz: Frames a second.
        fourcc: Pixel format, four characters; '' leaves it alone.
        controls: Camera controls to lock, written in this order: name (an OpenCV property without CAP_PROP_) and value.
    """

    width_px: int
    height_px: int
    rate_hz: float
    fourcc: str
    controls: tuple[tuple[str, float], ...]

    def properties(self) -> list[tuple[str, float, float]]:
        """OpenCV properties to set, in order: name without CAP_PROP_, value, and how far off the device may be."""
        # The format is set first: it decides which sizes and rates the device offers.
        format_first = [('FOURCC', float(cv2.VideoWriter.fourcc(*self.fourcc)), 0.0)] if self.fourcc else []
        return [*format_first, ('FRAME_WIDTH', float(self.width_px), 0.0), ('FRAME_HEIGHT', float(self.height_px), 0.0),
                ('FPS', self.rate_hz, RATE_TOLERANCE_HZ),
                *((name, value, 0.0) for name, value in self.controls)]


class UvcDevice:
    """Reads a V4L2 device through OpenCV and refuses it when it is another one or does not do what it was told.

    OpenCV is told to use V4L2, because other back ends accept a device and then ignore every setting. Of a device that
    sends MJPG the compressed pictures are taken: decoded by OpenCV, whole, those of 8 megapixels come at 10 to 18 Hz.

    Args:
        sensor: Identity that every frame carries. Without a serial number the only device of its kind is taken at the
            first opening, and from then on no other.
        device_path: Path of the device; '' finds it by serial number at every opening.
        mode: What is asked of the device.
        warm_up_frames: Frames thrown away after opening, until exposure has settled.
        jpeg_decoder: For the pictures of a device that sends MJPG.
        geometry: Shape of the frames and the way there.
    """

    def __init__(self, sensor: SensorIdentity, device_path: str, mode: CaptureMode, warm_up_frames: int,
                 jpeg_decoder: JpegDecoder, geometry: ImageGeometry):
        self.sensor = sensor
        self.nominal_period_s = 1.0 / mode.rate_hz
        self._device_path, self._warm_up_frames = device_path, warm_up_frames
        self._jpeg_decoder, self._geometry = jpeg_decoder, geometry
        self._capture_shape = (mode.height_px, mode.width_px, 3)
        self._properties = mode.properties()
        self._capture: cv2.VideoCapture | None = None
        self._path, self._origin = device_path, sensor.name
        self._sends_jpeg = False
        self._sequence = 0

    def open(self) -> None:
        """Find and open the device, set it up and read every setting back; does nothing where it is open.

        Raises:
            SensorError: The device is missing, in use, another one, refuses a setting, or gives no frame.
        """
        if self._capture is not None:
            return
        path, serial = self._device_path, self.sensor.serial
        if path == '':
            found = find_video_device(serial, self.sensor.kind)
            path, serial = found.path, found.serial
        self._origin = f'{self.sensor.name}: {path}'
        capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
        try:
            if not capture.isOpened():
                raise SensorError(f'{self._origin} cannot be opened',
                                  'Check cable, device_path and permissions, and close other programs that use it')
            if serial != '':
                # Between finding and opening, or at a fixed path, another sensor may have been plugged in.
                self._refuse_another(path, serial)
            self._set_up(capture)
            for _ in range(self._warm_up_frames):
                if not capture.grab():
                    raise SensorError(f'{self._origin} gives no frame', 'Replug it, or use another USB port')
        except BaseException:
            capture.release()
            raise
        self._capture, self._path = capture, path
        self.sensor = dataclasses.replace(self.sensor, serial=serial)

    def _refuse_another(self, path: str, serial: str) -> None:
        node = os.path.realpath(path)
        actual = next((device.serial for device in list_video_devices() if device.path == node), '')
        if not same_serial(actual, serial):
            raise SensorError(f'{self._origin} has the serial number {actual or "(none)"}, not {serial}',
                              'Plug in the sensor that is meant, or correct serial and device_path')

    def _set_up(self, capture: cv2.VideoCapture) -> None:
        capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
        accepted = {name: capture.set(getattr(cv2, f'CAP_PROP_{name}'), wanted) for name, wanted, _ in self._properties}
        # Read back only now: a width takes effect when the height is set, and a size may change the rate.
        for name, wanted, tolerance in self._properties:
            actual = capture.get(getattr(cv2, f'CAP_PROP_{name}'))
            if not accepted[name] or not abs(actual - wanted) <= tolerance:
                raise SensorError(f'{self._origin} has {name} {_readable(name, actual)}, not '
                                  f'{_readable(name, wanted)}',
                                  'Ask for what v4l2-ctl --list-formats-ext --list-ctrls lists')
        self._sends_jpeg = _fourcc_text(capture.get(cv2.CAP_PROP_FOURCC)) in JPEG_FORMATS
        if self._sends_jpeg and not capture.set(cv2.CAP_PROP_CONVERT_RGB, 0.0):
            raise SensorError(f'{self._origin} does not give its pictures compressed',
                              'Install opencv-python-headless 4.9 or later, below 5')

    def grab(self) -> Frame | None:
        """Wait for the next frame of the device.

        Raises:
            SensorError: The device gave no frame within the driver's time limit, a damaged one, or one of another size.
        """
        if self._capture is None:
            raise SensorError(f'{self.sensor.name} is not open', 'Call open() first')
        grabbed = self._capture.grab()
        stamp_ns = time.time_ns()
        sequence, self._sequence = self._sequence, self._sequence + 1
        retrieved, picture = self._capture.retrieve() if grabbed else (False, None)
        if not retrieved or picture is None:
            self._refuse_lost()
            raise SensorError(f'{self._origin} gave no frame', 'Check cable and USB bandwidth')
        if self._sends_jpeg:
            picture = self._jpeg_decoder.decode(picture.tobytes(), self._origin)
        elif picture.shape != self._capture_shape:
            raise SensorError(f'{self._origin} gave a frame {picture.shape}, not {self._capture_shape}',
                              'Ask for a mode listed by v4l2-ctl --list-formats-ext')
        return Frame(self._geometry.apply(picture), stamp_ns, self.sensor, sequence)

    def _refuse_lost(self) -> None:
        """Tell a device that is gone, which has to be found again, from one that is only silent."""
        error = lost_device_error(self._path)
        if error is not None:
            raise SensorError(f'{self._origin} is gone: {error.strerror}', 'Check the cable, or plug it in') from error

    def close(self) -> None:
        """Release the device; does nothing where it is closed."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def parse_camera_controls(text: str) -> tuple[tuple[str, float], ...]:
    """Read camera controls written as 'NAME=value, NAME=value'.

    Args:
        text: NAME is an OpenCV property without CAP_PROP_, as in `AUTO_WB=0, WB_TEMPERATURE=4500`.

    Raises:
        ConfigurationError: A name is unknown (the nearest is named) or a value is not a number.
    """
    known = [name.removeprefix('CAP_PROP_') for name in dir(cv2) if name.startswith('CAP_PROP_')]
    controls = []
    for item in filter(None, (part.strip() for part in text.split(','))):
        name, _, value = (part.strip() for part in item.partition('='))
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f'camera_controls has the unknown control {name!r}', f'Did you mean {nearest!r}')
        if not re.fullmatch(r'-?[0-9]+(\.[0-9]+)?', value):
            raise ConfigurationError(f'camera_controls has {item!r}', f'Write it as {name}=1')
        controls.append((name, float(value)))
    return tuple(controls)


def _readable(name: str, value: float) -> str:
    return repr(_fourcc_text(value)) if name == 'FOURCC' else f'{value:g}'


def _fourcc_text(value: float) -> str:
    return int(value).to_bytes(4, 'little', signed=value < 0).decode('latin-1')
