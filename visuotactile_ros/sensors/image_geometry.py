"""What happens to a camera's picture between the device and a Frame: crop, rotate, mirror, resize, BGR to RGB."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError


@dataclass(frozen=True)
class ImageGeometry:
    """Shape of the published image and the way there, applied in the order of the fields.

    Attributes:
        border_fraction: Part of the width and of the height cut off at each border, 0 ≤ fraction < 0.5.
        rotate_quarter_turns: Quarter turns clockwise, 0..3.
        mirror: Whether left and right change places after the rotation.
        width_px: Width of the result.
        height_px: Height of the result.
    """

    border_fraction: float
    rotate_quarter_turns: int
    mirror: bool
    width_px: int
    height_px: int

    def largest_reduction(self, width_px: int, height_px: int) -> int:
        """Say how many times smaller a picture may come without being enlarged on its way to the published size.

        Args:
            width_px: Width of the whole picture.
            height_px: Height of the whole picture.

        Returns:
            The largest of 8, 4, 2 and 1 at which what the crop leaves is no smaller than the result; 1 where not even
            the whole picture is large enough.
        """
        wanted = (self.width_px, self.height_px)
        if self.rotate_quarter_turns % 2 == 1:
            wanted = wanted[::-1]
        for reduction in (8, 4, 2):
            reduced = (-(-width_px // reduction), -(-height_px // reduction))
            if all(size - 2 * self._border_px(size) >= least for size, least in zip(reduced, wanted, strict=True)):
                return reduction
        return 1

    def _border_px(self, size_px: int) -> int:
        return int(self.border_fraction * size_px)

    def apply(self, image_bgr: np.ndarray) -> np.ndarray:
        """Bring a picture of OpenCV into the form of a Frame.

        The crop cuts int(fraction * size) pixels from each border and the resize is bilinear, so that a fraction of
        0.15 gives the picture that GelSight's own software shows. (Source: gsrobotics, 2025-06-25.)

        Args:
            image_bgr: uint8 [H, W, 3], BGR.

        Returns:
            uint8 [height_px, width_px, 3], RGB, C-contiguous.

        Raises:
            SensorError: The picture is not uint8 BGR or nothing is left of it after the crop.
        """
        if not isinstance(image_bgr, np.ndarray) or image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 \
                or image_bgr.shape[2] != 3:
            actual = f'{image_bgr.dtype} {image_bgr.shape}' if isinstance(image_bgr, np.ndarray) else type(image_bgr)
            raise SensorError(f'a picture is {actual}, not uint8 [H, W, 3]', 'Use 8-bit colour pictures')
        height, width = image_bgr.shape[:2]
        rows, columns = self._border_px(height), self._border_px(width)
        image = image_bgr[rows:height - rows, columns:width - columns]
        if image.size == 0:
            raise SensorError(f'nothing is left of a {width}x{height} picture after the crop',
                              'Lower border_fraction or use larger pictures')
        if self.rotate_quarter_turns != 0:
            image = np.rot90(image, -self.rotate_quarter_turns)
        if self.mirror:
            image = image[:, ::-1]
        if image.shape[:2] != (self.height_px, self.width_px):
            image = cv2.resize(np.ascontiguousarray(image), (self.width_px, self.height_px),
                               interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(image[:, :, ::-1])
