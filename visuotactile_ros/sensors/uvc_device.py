"""UvcDevice: any USB video class camera, which is what GelSight Mini, DIGIT, ViTacTip and webcams are."""

from __future__ import annotations

import difflib
import os
import re
import time
from dataclasses import dataclass

import cv2

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.sensors.image_geometry import ImageGeometry

RATE_TOLERANCE_HZ = 0.5
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
        controls: Camera controls to lock, 'NAME=value, …', written in this order.
    """

    width_px: int
    height_px: int
    rate_hz: float
    fourcc: str
    controls: str

    def properties(self) -> list[tuple[str, float, float]]:
        """OpenCV properties to set, in order: name without CAP_PROP_, value, and how far off the device may be.

        Raises:
            ConfigurationError: The controls cannot be read.
        """
        # The format is set first: it decides which sizes and rates the device offers.
        format_first = [('FOURCC', float(cv2.VideoWriter.fourcc(*self.fourcc)), 0.0)] if self.fourcc else []
        return [*format_first, ('FRAME_WIDTH', float(self.width_px), 0.0), ('FRAME_HEIGHT', float(self.height_px), 0.0),
                ('FPS', self.rate_hz, RATE_TOLERANCE_HZ),
                *((name, value, 0.0) for name, value in parse_camera_controls(self.controls))]


class UvcDevice:
    """Reads a V4L2 device through OpenCV and refuses it when it does not do what it was told.

    OpenCV is told to use V4L2, because other back ends accept a device and then ignore every setting.

    Args:
        sensor: Identity that every frame carries.
        device_path: Path of the device; one under /dev/v4l/by-id survives a replug.
        mode: What is asked of the device.
        warm_up_frames: Frames thrown away after opening, until exposure has settled.
        geometry: Shape of the frames and the way there.

    Raises:
        ConfigurationError: The controls of the mode cannot be read.
    """

    def __init__(self, sensor: SensorIdentity, device_path: str, mode: CaptureMode, warm_up_frames: int,
                 geometry: ImageGeometry):
        self.sensor = sensor
        self.nominal_period_s = 1.0 / mode.rate_hz
        self._path, self._warm_up_frames, self._geometry = device_path, warm_up_frames, geometry
        self._capture_shape = (mode.height_px, mode.width_px, 3)
        self._properties = mode.properties()
        self._capture: cv2.VideoCapture | None = None
        self._sequence = 0

    def open(self) -> None:
        """Open the device, set it up and read every setting back; does nothing where it is open.

        Raises:
            SensorError: The device is missing, in use, refuses a setting, or gives no frame.
        """
        if self._capture is not None:
            return
        capture = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        try:
            if not capture.isOpened():
                raise SensorError(f'{self.sensor.name}: {self._path} cannot be opened',
                                  'Check cable, device_path and permissions, and close other programs that use it')
            self._set_up(capture)
            for _ in range(self._warm_up_frames):
                if not capture.grab():
                    raise SensorError(f'{self.sensor.name}: {self._path} gives no frame',
                                      'Replug it, or use another USB port')
        except BaseException:
            capture.release()
            raise
        self._capture = capture

    def _set_up(self, capture: cv2.VideoCapture) -> None:
        capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
        accepted = {name: capture.set(getattr(cv2, f'CAP_PROP_{name}'), wanted) for name, wanted, _ in self._properties}
        # Read back only now: a width takes effect when the height is set, and a size may change the rate.
        for name, wanted, tolerance in self._properties:
            actual = capture.get(getattr(cv2, f'CAP_PROP_{name}'))
            if not accepted[name] or not abs(actual - wanted) <= tolerance:
                raise SensorError(f'{self.sensor.name}: {self._path} has {name} {_readable(name, actual)}, not '
                                  f'{_readable(name, wanted)}',
                                  'Ask for what v4l2-ctl --list-formats-ext --list-ctrls lists')

    def grab(self) -> Frame | None:
        """Wait for the next frame of the device.

        Raises:
            SensorError: The device gave no frame within the driver's time limit, or one of another size.
        """
        if self._capture is None:
            raise SensorError(f'{self.sensor.name} is not open', 'Call open() first')
        grabbed = self._capture.grab()
        stamp_ns = time.time_ns()
        sequence, self._sequence = self._sequence, self._sequence + 1
        decoded, image_bgr = self._capture.retrieve() if grabbed else (False, None)
        if not decoded or image_bgr is None:
            raise SensorError(f'{self.sensor.name}: {self._path} gave no frame', 'Check cable and USB bandwidth')
        if image_bgr.shape != self._capture_shape:
            raise SensorError(f'{self.sensor.name}: {self._path} gave a frame {image_bgr.shape}, not '
                              f'{self._capture_shape}', 'Ask for a mode listed by v4l2-ctl --list-formats-ext')
        return Frame(self._geometry.apply(image_bgr), stamp_ns, self.sensor, sequence)

    def close(self) -> None:
        """Release the device; does nothing where it is closed."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def parse_camera_controls(text: str) -> list[tuple[str, float]]:
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
    return controls


def _readable(name: str, value: float) -> str:
    if name == 'FOURCC':
        return repr(int(value).to_bytes(4, 'little', signed=value < 0).decode('latin-1'))
    return f'{value:g}'
