"""Record: one sample of a published data set, and the form in which its images are stored."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from visuotactile_ros.errors import SensorError

LONGEST_SIDE_PX = 256
# Gels tell shape by colour: quality 95 without thinning out the colours.
_JPEG = {'format': 'JPEG', 'quality': 95, 'subsampling': 0}
# In none of the lists that its data set publishes.
UNLISTED = 'unlisted'


class VideoFrame(NamedTuple):
    """A frame that was never extracted from its video.

    Attributes:
        path: The video.
        index: Number of the frame; the first is 0.
    """

    path: Path
    index: int


# What an adapter gives for an image, read when it is written; what is read back is always bytes.
Image = bytes | Path | VideoFrame | Callable[[], np.ndarray]
IMAGE_FIELDS = ('touch', 'touch_second', 'view', 'reference')
MODALITIES = ('touch', 'view', 'text')


@dataclass(frozen=True)
class Record:
    """One sample. An adapter names its images, `prepare` stores them, `PreparedDataset` gives their bytes.

    Attributes:
        id: Unique in its data set, made of the published names.
        split: Its split; where published lists overlap, the names of all of its splits with a space between.
        sensor: Kind of the tactile sensor; '' for pictures that are no touch.
        object: What was touched, as far as the data set tells objects apart; '' unknown.
        touch: The tactile image.
        touch_second: Image of the second finger in the same grip.
        view: What a camera saw.
        reference: Image of the same gel without contact.
        text: Caption.
        tokens: Caption as token ids of CLIP without padding, where only those are published.
        clip: Recording it is a frame of; '' for single images.
        frame_index: Number of the frame in its clip.
        pair: The same for records of one contact on several sensors; '' for none.
        labels: Class numbers and quantities; what is unknown is left out.
    """

    id: str
    split: str
    sensor: str = ''
    object: str = ''
    touch: Image | None = None
    touch_second: Image | None = None
    view: Image | None = None
    reference: Image | None = None
    text: str = ''
    tokens: Sequence[int] | Path | None = None
    clip: str = ''
    frame_index: int = 0
    pair: str = ''
    labels: Mapping[str, float] = field(default_factory=dict)

    @property
    def images(self) -> dict[str, Image]:
        """The images it has, by IMAGE_FIELDS."""
        return {name: getattr(self, name) for name in IMAGE_FIELDS if getattr(self, name) is not None}

    @property
    def modalities(self) -> list[str]:
        """Those of MODALITIES it has; a caption counts as words and as tokens alike."""
        has_text = self.text != '' or self.tokens is not None
        return [name for name in MODALITIES if (has_text if name == 'text' else name in self.images)]


def stored_image(content: bytes | np.ndarray) -> bytes:
    """Give the bytes that are stored for an image.

    Args:
        content: An image file, or uint8 [H, W, 3] RGB.

    Returns:
        The very same file where its longest side is at most LONGEST_SIDE_PX, else a JPEG of that size, shrunk by
        averaging areas. Arrays that fit become PNG, which loses nothing.

    Raises:
        SensorError: The file is damaged or no image.
    """
    image = PIL.Image.fromarray(content) if isinstance(content, np.ndarray) else _open_image(content)
    longest_px = max(image.size)
    if longest_px > LONGEST_SIDE_PX:
        width, height = (max(1, round(side * LONGEST_SIDE_PX / longest_px)) for side in image.size)
        return _encode(image.convert('RGB').resize((width, height), PIL.Image.Resampling.BOX), **_JPEG)
    return _encode(image, format='PNG') if isinstance(content, np.ndarray) else content


def decode_image(content: bytes) -> np.ndarray:
    """Decode a stored image.

    Returns:
        uint8 [H, W, 3], RGB; its orientation tag is ignored, as the loaders of the data sets do.

    Raises:
        SensorError: The bytes are damaged or no image.
    """
    return np.asarray(_open_image(content).convert('RGB'))


def _open_image(content: bytes) -> PIL.Image.Image:
    try:
        image = PIL.Image.open(io.BytesIO(content))
        image.load()
    # Pillow's readers raise whatever the damage leads to.
    except Exception as error:
        raise SensorError(f'not a readable image ({error})', 'Download it again') from error
    return image


def _encode(image: PIL.Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()
