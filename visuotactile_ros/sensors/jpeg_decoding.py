"""JpegDecoder: whole pictures out of a camera's MJPG stream, as small as they are needed; damaged ones are refused.

OpenCV gives a JPEG of which a part is missing as a picture that is grey or shifted below the gap, and says nothing.
Such a JPEG is no rare thing: Linux hands out frames with lost USB packets since uvcvideo's `nodrop` is 1 by default.
simplejpeg tells, and its pictures equal OpenCV's bit for bit, because both decode with libjpeg-turbo.
Source: drivers/media/usb/uvc/uvc_driver.c (`uvc_no_drop_param = 1`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from visuotactile_ros.errors import SensorError

# The first complaint of the decoder about a camera that fills up the sections of its JPEG with a few bytes. (Source:
# github.com/Motion-Project/motion/issues/65, Logitech C910; github.com/opencv/opencv/issues/9477, Logitech C270.)
PADDING = re.compile('Corrupt JPEG data: [0-9]+ extraneous bytes before marker 0xd[0-79]')
BLOCK_SIZES_PX = {'444': (8, 8), '422': (16, 8), '420': (16, 16), '440': (8, 16), '411': (32, 8), 'Gray': (8, 8)}
START_OF_SCAN, SECTION_END = b'\xff\xda', re.compile(b'\xff[\xd0-\xd7\xd9]')
RESTART_INTERVAL = re.compile(b'\xff\xdd\x00\x04(..)', re.DOTALL)


@dataclass(frozen=True)
class JpegDecoder:
    """Decodes the pictures of one stream.

    Attributes:
        width_px: Width that every JPEG of the stream must have.
        height_px: Height that every JPEG of the stream must have.
        reduction: 1, 2, 4 or 8: how many times smaller the picture is decoded, which costs a fraction of decoding it
            whole.
        accepts_padding: Whether a few needless bytes after each section are accepted. Damage inside one section of
            such a JPEG goes unnoticed.
    """

    width_px: int
    height_px: int
    reduction: int
    accepts_padding: bool

    def decode(self, jpeg: bytes, origin: str) -> np.ndarray:
        """Decode one JPEG.

        Args:
            jpeg: The bytes of the JPEG; bytes after its end do not matter.
            origin: Where it comes from, for the error text.

        Returns:
            uint8 [ceil(height_px / reduction), ceil(width_px / reduction), 3], BGR.

        Raises:
            SensorError: The JPEG is damaged, incomplete or of another size, or simplejpeg is not installed.
        """
        # Imported here: a camera that sends raw pictures needs no JPEG decoder.
        try:
            import simplejpeg
        except ImportError as error:
            raise SensorError(f'{origin}: MJPG needs the package simplejpeg', 'Run pip install simplejpeg') from error
        size = (-(-self.height_px // self.reduction), -(-self.width_px // self.reduction))
        image_bgr = np.empty((*size, 3), np.uint8)
        try:
            height, width, _, subsampling = simplejpeg.decode_jpeg_header(jpeg)
        except ValueError as error:
            raise _damaged(origin, error) from error
        if (width, height) != (self.width_px, self.height_px):
            raise SensorError(f'{origin} gave a picture of {width}x{height}, not {self.width_px}x{self.height_px}',
                              'Ask for a mode listed by v4l2-ctl --list-formats-ext')
        try:
            simplejpeg.decode_jpeg(jpeg, 'BGR', min_height=size[0], min_width=size[1], buffer=image_bgr)
        except ValueError as error:
            # The decoder goes on after its first complaint: the picture is there when only padding was the matter.
            if not (self.accepts_padding and self._is_padding(str(error), jpeg, subsampling)):
                raise _damaged(origin, error) from error
        return image_bgr

    def _is_padding(self, complaint: str, jpeg: bytes, subsampling: str) -> bool:
        """Whether padding is the complaint and no section is missing, which later complaints would not have told."""
        if PADDING.fullmatch(complaint) is None or subsampling not in BLOCK_SIZES_PX:
            return False
        block_width, block_height = BLOCK_SIZES_PX[subsampling]
        blocks = -(-self.width_px // block_width) * -(-self.height_px // block_height)
        interval = RESTART_INTERVAL.search(jpeg)
        blocks_a_section = int.from_bytes(interval[1], 'big') if interval else blocks
        sections = -(-blocks // blocks_a_section) if blocks_a_section > 0 else 1
        return len(SECTION_END.findall(jpeg, jpeg.find(START_OF_SCAN))) == sections


def _damaged(origin: str, error: ValueError) -> SensorError:
    return SensorError(f'{origin} gave a damaged JPEG ({error})', 'Check cable and USB bandwidth; where this happens '
                       'with every frame, set padded_jpeg or a raw capture_fourcc')
