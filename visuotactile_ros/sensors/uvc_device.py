"""UvcDevice: any USB video class camera, which is what GelSight Mini, DIGIT, ViTacTip and webcams are."""

from __future__ import annotations

import dataclasses
import difflib
import errno
import os
import re
import time
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.sensors.discovery import (
    LOST_DEVICE_ERRNOS,
    VideoDevice,
    canonical_serial,
    choose_video_device,
    is_same_camera,
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
# What to do about a device that is there and can no longer be opened.
GIVE_ACCESS = 'Let this user read and write it: ros2 run visuotactile_ros doctor says how'
REMEDIES = {errno.EACCES: GIVE_ACCESS, errno.EPERM: GIVE_ACCESS,
            errno.EMFILE: 'Close files of this process, or raise its limit with ulimit -n'}


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
            first opening, and from then on no other, also where it has none: its USB id and product tell it then.
        device_path: Path of the device; '' finds it by serial number at every opening.
        mode: What is asked of the device.
        jpeg_decoder: For the pictures of a device that sends MJPG.
        geometry: Shape of the frames and the way there.
    """

    def __init__(self, sensor: SensorIdentity, device_path: str, mode: CaptureMode, jpeg_decoder: JpegDecoder,
                 geometry: ImageGeometry):
        self.sensor = sensor
        self.nominal_period_s = 1.0 / mode.rate_hz
        self._device_path = device_path
        self._jpeg_decoder, self._geometry = jpeg_decoder, geometry
        self._capture_shape = (mode.height_px, mode.width_px, 3)
        self._properties = mode.properties()
        self._capture: cv2.VideoCapture | None = None
        self._first_opened: VideoDevice | None = None
        self._path, self._origin = device_path, sensor.name
        self._sends_jpeg = False
        self._last_rows: deque[bytes] = deque(maxlen=BUFFERS)
        self._sequence = 0

    def open(self) -> None:
        """Find and open the device, set it up and read every setting back; does nothing where it is open.

        Raises:
            SensorError: The device is missing, in use, another one, or refuses a setting.
        """
        if self._capture is not None:
            return
        path = self._device_path or self._find()
        self._origin = f'{self.sensor.name}: {path}'
        capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
        try:
            if not capture.isOpened():
                raise SensorError(f'{self._origin} cannot be opened',
                                  'Check cable, device_path and permissions, and close other programs that use it')
            # Between finding and opening, or at a fixed path, another camera may have been plugged in.
            node = os.path.realpath(path)
            device = next((device for device in list_video_devices() if device.path == node), None)
            self._refuse_another(device)
            self._set_up(capture)
        except BaseException:
            capture.release()
            raise
        self._capture, self._path = capture, path
        if device is not None:
            self._first_opened = device
            self.sensor = dataclasses.replace(self.sensor, serial=canonical_serial(device.serial))

    def _find(self) -> str:
        """Return the path of the camera that was opened first, or of the one that the serial number names."""
        present, first = list_video_devices(), self._first_opened
        same = [device for device in present if first is not None and is_same_camera(device, first)]
        device = choose_video_device(same or present, self.sensor.serial, self.sensor.kind)
        self._origin = f'{self.sensor.name}: {device.path}'
        self._refuse_another(device)
        return device.path

    def _refuse_another(self, device: VideoDevice | None) -> None:
        """Refuse a camera that is not the one meant; None is a node that is on no list of cameras."""
        first, serial = self._first_opened, self.sensor.serial
        if first is not None:
            if device is None or not is_same_camera(device, first):
                raise SensorError(f'{self._origin} is {_identity(device)}, not the {_identity(first)} opened first',
                                  'Plug the first one in, or deactivate, clean up and configure the node')
        elif serial != '' and (device is None or not same_serial(device.serial, serial)):
            actual = '(none)' if device is None or device.serial == '' else device.serial
            raise SensorError(f'{self._origin} has the serial number {actual}, not {serial}',
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
        self._last_rows = deque(maxlen=max(1, int(capture.get(cv2.CAP_PROP_BUFFERSIZE))))
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
        else:
            self._refuse_incomplete(picture)
        return Frame(self._geometry.apply(picture), stamp_ns, self.sensor, sequence)

    def _refuse_incomplete(self, picture_bgr: np.ndarray) -> None:
        """Refuse a raw picture whose end did not arrive.

        Linux 6.14 and later hand such pictures out, and OpenCV (4.14) passes them on at full size, converted or not.
        What is missing at the end is what the same buffer held before: the end of the picture that came as many
        pictures ago as there are buffers. Only an end that differs from that of the last picture tells, so that an
        edge of one colour, a test picture or a frozen camera is no such case.
        """
        row, is_full = picture_bgr[-1].tobytes(), len(self._last_rows) == self._last_rows.maxlen
        is_old = is_full and row == self._last_rows[0] and row != self._last_rows[-1]
        self._last_rows.append(row)
        if is_old:
            raise SensorError(f'{self._origin} gave a picture without its end', 'Check cable and USB bandwidth')

    def _refuse_lost(self) -> None:
        """Tell a device that is gone, which has to be found again, from one that is only silent."""
        error = lost_device_error(self._path)
        if error is None:
            return
        if error.errno in LOST_DEVICE_ERRNOS:
            raise SensorError(f'{self._origin} is gone: {error.strerror}', 'Check the cable, or plug it in') from error
        raise SensorError(f'{self._origin} cannot be opened: {error.strerror}',
                          REMEDIES.get(error.errno, 'Replug it, and see what dmesg says')) from error

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


def _identity(device: VideoDevice | None) -> str:
    if device is None:
        return 'no camera that is known'
    return f'{device.kind} {device.serial or "without serial"} ({device.product})'


def _readable(name: str, value: float) -> str:
    return repr(_fourcc_text(value)) if name == 'FOURCC' else f'{value:g}'


def _fourcc_text(value: float) -> str:
    return int(value).to_bytes(4, 'little', signed=value < 0).decode('latin-1')
