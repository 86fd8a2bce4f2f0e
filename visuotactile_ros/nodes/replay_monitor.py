"""replay_monitor: listens to perception while a recording is replayed and keeps every embedding and prediction."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray, String

from visuotactile_ros.bringup import REPLAYED_SENSOR
from visuotactile_ros.ros_interface.image_codec import decode_vector
from visuotactile_ros.ros_interface.listener import EVERY_MESSAGE, Listener
from visuotactile_ros.ros_interface.messages import ns_from_time
from visuotactile_ros.ros_interface.qos import LATCHED

IMAGE_TOPIC = f'/tactile/{REPLAYED_SENSOR}/image_raw'


class ReplayMonitor(Listener):
    """Collects what perception says about a replay.

    Args:
        domain_id: ROS domain of the graph.

    Attributes:
        model_info: What perception says about its models, {} before it is ready.
        images: Number of images published by the sensor.
        embeddings: One entry a frame: stamp_ns, sensor, embedding and, once they are there, predictions: class
            probabilities by head.
    """

    def __init__(self, domain_id: int):
        super().__init__('replay_monitor', domain_id)
        self.model_info: dict[str, Any] = {}
        self.images = 0
        self.embeddings: list[dict[str, Any]] = []
        self._heads_seen: dict[str, int] = {}
        self.node.create_subscription(Image, IMAGE_TOPIC, self._on_image, EVERY_MESSAGE, raw=True)
        self.node.create_subscription(Image, '/tactile/embedding_stamped', self._on_embedding, EVERY_MESSAGE)
        self.node.create_subscription(String, '/tactile/model_info', self._on_model_info, LATCHED)

    def listeners_of_images(self) -> int:
        """Number of subscribers of the replayed images, this monitor included."""
        return self.node.count_subscribers(IMAGE_TOPIC)

    def complete(self, recorded: int) -> bool:
        """Whether each of so many recorded pictures was published and has its embedding and every prediction."""
        counts = (self.images, len(self.embeddings), *self._heads_seen.values())
        return all(count == recorded for count in counts)

    def _on_image(self, _serialized: bytes) -> None:
        self.images += 1

    def _on_model_info(self, message: String) -> None:
        info = json.loads(message.data)
        for head in {head for model in info['models'] for head in model['heads']} - set(self._heads_seen):
            self._heads_seen[head] = 0
            self.node.create_subscription(Float32MultiArray, f'/tactile/{head}', partial(self._on_head, head),
                                          EVERY_MESSAGE)
        self.model_info = info

    def _on_embedding(self, message: Image) -> None:
        self.embeddings.append({'stamp_ns': ns_from_time(message.header.stamp), 'sensor': message.header.frame_id,
                                'embedding': decode_vector(message).tolist(), 'predictions': {}})

    def _on_head(self, head: str, message: Float32MultiArray) -> None:
        # These messages carry no stamp; perception publishes one a frame, after its embedding and in the same order.
        index = self._heads_seen[head]
        if index < len(self.embeddings):
            names = message.layout.dim[1].label.split(',')
            self.embeddings[index]['predictions'][head] = dict(zip(names, (float(value) for value in message.data)))
            self._heads_seen[head] += 1


def describe_predictions(predictions: dict[str, dict[str, float]]) -> str:
    """Return the likeliest class of every head on one line, with its probability."""
    parts = []
    for head, probabilities in sorted(predictions.items()):
        name, probability = max(probabilities.items(), key=lambda item: -math.inf if math.isnan(item[1]) else item[1])
        parts.append(f'{head} {name} {probability:.2f}')
    return '  '.join(parts)
