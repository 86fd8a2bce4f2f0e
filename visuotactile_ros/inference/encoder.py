"""TactileEncoder: frames in, embeddings and calibrated predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from visuotactile_ros.errors import ModelError
from visuotactile_ros.frame import Frame, Prediction
from visuotactile_ros.inference.heads import calibrated_probabilities
from visuotactile_ros.inference.model_card import REMEDY
from visuotactile_ros.inference.model_folder import load_model_folder
from visuotactile_ros.inference.out_of_distribution import strangeness

# Embeddings are unit length in the graph; int8 arithmetic leaves far less than this.
_UNIT_LENGTH_TOLERANCE = 1e-2


def resize_for_model(image_hwc: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Stretch an image to the size of the model; the one preprocessing step outside the graph.

    Shrinking averages areas: LINEAR reads only 2 × 2 pixels a result, so that fine texture and small markers alias,
    and roughness is what they carry. AREA costs 0.3 ms for 320 × 240 → 128 × 128 (LINEAR 0.04 ms), 1 % of two cores
    at 75 frames/s. Enlarging is bilinear, where AREA would repeat pixels.

    Args:
        image_hwc: uint8 [H, W, 3], RGB.
        height_px: Height of the model's frames.
        width_px: Width of the model's frames.

    Returns:
        uint8 [height_px, width_px, 3], RGB, C-contiguous.
    """
    height, width = image_hwc.shape[:2]
    if (height, width) == (height_px, width_px):
        return np.ascontiguousarray(image_hwc)
    shrinks = height >= height_px and width >= width_px
    return cv2.resize(image_hwc, (width_px, height_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


class TactileEncoder:
    """An encoder from its model folder, ready to run; the wrist camera's encoder is the same class.

    Args:
        folder: The model folder.
        threads: Threads inside one operation of the graph.

    Attributes:
        card: The model card.

    Raises:
        ModelError: The folder is refused, or holds no encoder of single frames.
    """

    def __init__(self, folder: Path | str, threads: int = 1):
        loaded = load_model_folder(folder, threads)
        self.card, self._model = loaded.card, loaded.model
        if self.card.kind != 'encoder':
            raise ModelError(f'{folder} holds a {self.card.kind}, not an encoder', 'Give the folder of an encoder')
        names = {tensor.name for tensor in self.card.inputs}
        if self.card.frame_count != 1 or not names <= {'frames', 'sensor_id'}:
            raise ModelError(f'{folder} takes {sorted(names)} with {self.card.frame_count} frames a sample, '
                             'this runtime gives one frame and sensor_id', REMEDY.replace('<folder>', str(folder)))
        self._takes_sensor_id = 'sensor_id' in names

    def encode(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Encode all frames that are ready in one call of the graph.

        Args:
            frames: Frames of any sensors and sizes. A sensor kind the encoder does not know gets the card's
                unknown_sensor_id.

        Returns:
            One prediction a frame, in order, with the frame's stamp and sensor.

        Raises:
            ModelError: An output is not finite, or an embedding is not unit length; there is no output then.
        """
        if len(frames) == 0:
            return []
        height, width = self.card.image_height_px, self.card.image_width_px
        inputs = {'frames': np.stack([resize_for_model(frame.image_hwc, height, width) for frame in frames])[:, None]}
        if self._takes_sensor_id:
            inputs['sensor_id'] = np.array([self.card.sensor_ids.get(frame.sensor.kind, self.card.unknown_sensor_id)
                                            for frame in frames], dtype=np.int64)
        outputs = self._model.run(inputs)
        embeddings = outputs['embedding']
        lengths = np.linalg.norm(embeddings, axis=1)
        if np.abs(lengths - 1.0).max() > _UNIT_LENGTH_TOLERANCE:
            raise ModelError(f'{self.card.name} gave embeddings of length {lengths.min():.3g} to {lengths.max():.3g}, '
                             'not 1', REMEDY)
        heads = {name: calibrated_probabilities(outputs[name], head.temperature)
                 for name, head in self.card.heads.items()}
        return [Prediction(frame.stamp_ns, frame.sensor, embeddings[index],
                           {name: probabilities[index] for name, probabilities in heads.items()})
                for index, frame in enumerate(frames)]

    def strangeness(self, prediction: Prediction) -> float | None:
        """Say how unlike the model's own data of that sensor kind a prediction is.

        Returns:
            Above 1 for strange data; None where the card has no statistics of the kind.
        """
        statistics = self.card.out_of_distribution.get(prediction.sensor.kind)
        return None if statistics is None else float(strangeness(prediction.embedding, statistics))
