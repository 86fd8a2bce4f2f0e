"""Pictures of sensor_msgs/Image and CompressedImage, live or out of a bag: any object with their attributes will do."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from visuotactile_ros.errors import MessageError, SensorError
from visuotactile_ros.sensors.jpeg_decoding import JpegDecoder

# Encoding: (bytes a pixel, how OpenCV makes RGB of it). They are single bytes all of them, so `is_bigendian` says
# nothing about them. yuv422 and yuv422_yuy2 are older names of uyvy and yuyv: two pixels share one colour.
# Source: sensor_msgs/image_encodings.hpp.
ENCODINGS = {'rgb8': (3, None), 'bgr8': (3, cv2.COLOR_BGR2RGB), 'rgba8': (4, cv2.COLOR_RGBA2RGB),
             'bgra8': (4, cv2.COLOR_BGRA2RGB), 'mono8': (1, cv2.COLOR_GRAY2RGB),
             'yuv422': (2, cv2.COLOR_YUV2RGB_UYVY), 'uyvy': (2, cv2.COLOR_YUV2RGB_UYVY),
             'yuv422_yuy2': (2, cv2.COLOR_YUV2RGB_YUY2), 'yuyv': (2, cv2.COLOR_YUV2RGB_YUY2)}
YUV_PIXEL_BYTES = 2
JPEG_BEGIN, PNG_BEGIN, PNG_END = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'
# Place of the bits a channel in the header of a PNG.
PNG_DEPTH = slice(24, 25)
# A damaged header may ask for gigabytes. The largest picture that a sensor may be set to has this many pixels.
LARGEST_PICTURE_PX = 8192 * 8192
REMEDY = 'Check its publisher and the network'


def image_rows(message: Any, pixel_bytes: int) -> np.ndarray:
    """Take the padding off the rows of an image.

    Args:
        message: sensor_msgs/Image, or an object with its attributes.
        pixel_bytes: Bytes a pixel.

    Returns:
        uint8 [height, width * pixel_bytes]; it shares the message's memory.

    Raises:
        MessageError: The image is empty, or size, step and data do not agree.
    """
    height, width, step = message.height, message.width, message.step
    described = f'an image of {width} x {height} {message.encoding} with step {step}'
    if height == 0 or width == 0:
        raise MessageError(f'{described} is empty', 'Check the publisher')
    if step < width * pixel_bytes:
        raise MessageError(f'{described} has rows of at least {width * pixel_bytes} bytes',
                           'Correct the step in the publisher')
    data = np.frombuffer(message.data, dtype=np.uint8)
    if data.size != step * height:
        raise MessageError(f'{described} holds {data.size} bytes, not {step * height}',
                           'Correct the data in the publisher')
    return data.reshape(height, step)[:, :width * pixel_bytes]


def decode_image(message: Any) -> np.ndarray:
    """Image of a message as RGB.

    Args:
        message: sensor_msgs/Image, or an object with its attributes, in rgb8, bgr8, rgba8, bgra8, mono8, or yuv422 in
            either order (BT.601, as cameras send it); rows may be padded.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous; it may share the message's memory, so do not write to it.

    Raises:
        MessageError: The encoding is another one, or size, step and data do not agree.
    """
    if message.encoding not in ENCODINGS:
        raise MessageError(f'the image encoding {message.encoding!r} is not supported',
                           f'Publish one of {", ".join(ENCODINGS)}')
    pixel_bytes, to_rgb = ENCODINGS[message.encoding]
    pixels = image_rows(message, pixel_bytes).reshape(message.height, message.width, pixel_bytes)
    if to_rgb is None:
        return np.ascontiguousarray(pixels)
    if pixel_bytes == YUV_PIXEL_BYTES and message.width % 2 != 0:
        raise MessageError(f'an image {message.encoding} is {message.width} pixels wide, but its pixels come in pairs',
                           'Publish an even width')
    return cv2.cvtColor(pixels, to_rgb)


def decode_compressed_image(message: Any, accepts_padding: bool = False) -> np.ndarray:
    """Image of a compressed message as RGB.

    The content says what it is; `format` is believed in one thing only: pictures that are "compressed rgb8" were
    written with red and blue exchanged. (Source: compressed_image_transport.) A note on the orientation inside the file
    is left aside: the settings of a sensor turn its pictures.

    Args:
        message: sensor_msgs/CompressedImage, or an object with its attributes, holding a JPEG or a PNG of 8 bits.
        accepts_padding: See JpegDecoder.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous.

    Raises:
        MessageError: The content is something else, cut off or damaged. A JPEG has no checksum, so that a wrong byte in
            the middle of one can pass.
    """
    content = bytes(message.data)
    described = f'a compressed image {message.format!r} of {len(content)} bytes'
    is_png = content.startswith(PNG_BEGIN) and content[PNG_DEPTH] != b'\x10'
    if not (is_png or content.startswith(JPEG_BEGIN)):
        raise MessageError(f'{described} is not supported', 'Publish JPEG, or PNG of 8 bits a channel')
    image_bgr = decode_picture(content, described, accepts_padding)
    return image_bgr if 'compressed rgb' in message.format else cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)


def decode_picture(content: bytes, described: str, accepts_padding: bool = False) -> np.ndarray:
    """Decode the bytes of an image file as they are: a note on the orientation inside does not turn the picture.

    Args:
        content: A JPEG, a PNG, or what else OpenCV reads.
        described: What it is, for the error text.
        accepts_padding: See JpegDecoder.

    Returns:
        uint8 [H, W, 3], BGR.

    Raises:
        MessageError: The picture is cut off or damaged, or of a kind that cannot be read.
    """
    if content.startswith(JPEG_BEGIN):
        return _decode_jpeg(content, described, accepts_padding)
    # OpenCV fills up what is missing, depending on its version. Drivers may leave zeros behind a picture.
    if content.startswith(PNG_BEGIN) and not content.rstrip(b'\0').endswith(PNG_END):
        raise MessageError(f'{described} is cut off', REMEDY)
    try:
        image_bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image_bgr = None
    if image_bgr is None:
        raise MessageError(f'{described} is damaged', REMEDY)
    return image_bgr


def _decode_jpeg(content: bytes, described: str, accepts_padding: bool) -> np.ndarray:
    # Imported here as in JpegDecoder.
    try:
        import simplejpeg
        height_px, width_px, *_ = simplejpeg.decode_jpeg_header(content)
    except ImportError as error:
        raise MessageError(f'{described} needs the package simplejpeg', 'Run pip install simplejpeg') from error
    except ValueError as error:
        raise MessageError(f'{described} is damaged: {error}', REMEDY) from error
    if height_px * width_px > LARGEST_PICTURE_PX:
        raise MessageError(f'{described} is damaged: it claims to be {width_px}x{height_px}', REMEDY)
    try:
        return JpegDecoder(width_px, height_px, 1, accepts_padding).decode(content, described)
    except SensorError as error:
        raise MessageError(error.problem, f'{REMEDY}; where this happens with every picture, set padded_jpeg') \
            from error
