"""Frame and Prediction: the only currency of the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from visuotactile_ros.errors import SensorError


@dataclass(frozen=True)
class SensorIdentity:
    """Which sensor took a frame.

    Attributes:
        name: Role on the robot, and the topic's name: `left`, `right`, `wrist_camera`.
        kind: Device kind the encoder knows: `gelsight_mini`, `digit`, `vitactip`, `wrist_camera`, …
        serial: Serial number of the device; '' where the source has none (a replayed file).
    """

    name: str
    kind: str
    serial: str = ''


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of one sensor.

    Attributes:
        image_hwc: uint8 [H, W, 3], RGB, C-contiguous.
        stamp_ns: Wall-clock nanoseconds since the epoch, taken right after the grab, never rewritten.
        sensor: Who took it.
        sequence: Counts the grabs of this source from 0; a gap is a frame that was skipped.

    Raises:
        SensorError: The image is not what is described above.
    """

    image_hwc: np.ndarray
    stamp_ns: int
    sensor: SensorIdentity
    sequence: int

    def __post_init__(self):
        image = self.image_hwc
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            actual = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
            raise SensorError(f'a frame of {self.sensor.name} is {actual}, not uint8 [H, W, 3]',
                              'Convert it to RGB in the driver')
        if 0 in image.shape:
            raise SensorError(f'a frame of {self.sensor.name} is empty', 'Check the crop of its preset')
        if not image.flags.c_contiguous:
            object.__setattr__(self, 'image_hwc', np.ascontiguousarray(image))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one encoder says about one frame.

    Attributes:
        stamp_ns: Stamp of the source frame, nanoseconds since the epoch.
        sensor: Sensor of the source frame.
        embedding: float32 [D], unit length.
        heads: Calibrated outputs by head name (`material`, `hardness`, `roughness`, `grasp_success`):
            float32 [classes] probabilities that sum to one.
    """

    stamp_ns: int
    sensor: SensorIdentity
    embedding: np.ndarray
    heads: Mapping[str, np.ndarray] = field(default_factory=dict)
