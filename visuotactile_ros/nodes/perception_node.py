"""perception: images of every sensor in, embeddings and calibrated predictions out."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray, String

from visuotactile_ros.errors import MessageError, ModelError
from visuotactile_ros.frame import Frame, Prediction, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.inference.out_of_distribution import StrangenessAlarm
from visuotactile_ros.parameters.perception import PerceptionParameters
from visuotactile_ros.resources import model_folder
from visuotactile_ros.ros_interface import messages
from visuotactile_ros.ros_interface.diagnostics import ERROR, OK, WARN, Health, RecentEvents
from visuotactile_ros.ros_interface.image_codec import decode_image
from visuotactile_ros.ros_interface.managed_node import ManagedNode
from visuotactile_ros.ros_interface.node_main import run_node
from visuotactile_ros.ros_interface.qos import LATCHED, NEWEST_SUBSCRIPTION, STREAM_PUBLISHER

PARAMETER_GROUPS = (('', PerceptionParameters),)
LOG_PERIOD_S = 5.0
JOIN_TIMEOUT_S = 5.0


@dataclass(eq=False)
class _Stream:
    """One sensor: where its images come from, which model encodes them, and what became of them."""

    sensor: SensorIdentity
    topic: str
    encoder: TactileEncoder
    newest: Image | None = None
    received: int = 0
    dropped: int = 0
    refused: int = 0
    last_received_s: float | None = None
    published: RecentEvents = field(default_factory=RecentEvents)
    strangeness: StrangenessAlarm | None = None


def model_description(encoder: TactileEncoder, sensors: list[str]) -> dict:
    """What `model_info` says about one model."""
    card = encoder.card
    return {'name': card.name, 'sha256': card.sha256, 'licence': card.licence, 'sensors': sensors,
            'embedding_size': card.output('embedding').shape[-1], 'embedding_unit': 'unit length',
            'heads': {name: {'classes': list(head.classes), 'unit': 'probability'}
                      for name, head in card.heads.items()},
            'training': dict(card.training)}


class PerceptionNode(ManagedNode):
    """One worker takes the newest image of every sensor that has one, all in one call, and queues none.

    Subscribes to `<sensor>/image_raw` of the tactile sensors and `/<camera>/image_raw`. Publishes, each once for every
    encoded frame: `embedding` (std_msgs/Float32MultiArray), `embedding_stamped` (sensor_msgs/Image 32FC1), one
    Float32MultiArray of probabilities under the name of each head, `<head>/classification` where vision_msgs is
    installed; and once, latched, `model_info` (std_msgs/String, JSON).
    """

    def __init__(self, **node_arguments):
        super().__init__('perception', PARAMETER_GROUPS, **node_arguments)
        self._topic_publishers = {}
        self._image_subscriptions = []
        self._streams: list[_Stream] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._worker: threading.Thread | None = None

    def configure(self) -> None:
        """Load, check and warm up the models, then declare the topics.

        Raises:
            ModelError: A model folder is refused.
        """
        settings: PerceptionParameters = self.parameters[PerceptionParameters]
        self._settings = settings
        self._latency_ms = RecentEvents()
        self._model_fault = ''
        described = []
        if settings.sensors:
            touch = TactileEncoder(model_folder(settings.model), settings.inference_threads)
            self._streams += [_Stream(SensorIdentity(name, kind), f'{name}/image_raw', touch)
                              for name, kind in zip(settings.sensors, settings.sensor_kinds, strict=True)]
            described.append(model_description(touch, list(settings.sensors)))
        if settings.camera:
            camera = TactileEncoder(model_folder(settings.camera_model), settings.inference_threads)
            self._streams.append(_Stream(SensorIdentity(settings.camera, 'wrist_camera'),
                                         f'/{settings.camera}/image_raw', camera))
            described.append(model_description(camera, [settings.camera]))
        for stream in self._streams:
            card = stream.encoder.card
            if card.sensor_ids and stream.sensor.kind not in card.sensor_ids:
                self.get_logger().warning(f'{card.name} has not seen a {stream.sensor.kind!r} in training; '
                                          f'{stream.sensor.name} runs as an unknown kind.')
        self._reset_alarms()
        self._declare_topics()
        self._topic_publishers['model_info'].publish(messages.json_message({'models': described}))

    def _reset_alarms(self) -> None:
        settings = self.parameters[PerceptionParameters]
        for stream in self._streams:
            is_known = stream.sensor.kind in stream.encoder.card.out_of_distribution
            stream.strangeness = StrangenessAlarm(
                settings.strange_window_frames, settings.strange_on_share,
                settings.strange_off_share) if is_known else None

    def _declare_topics(self) -> None:
        heads = {head for stream in self._streams for head in stream.encoder.card.heads}
        types = {'embedding': Float32MultiArray, 'embedding_stamped': Image, **dict.fromkeys(heads, Float32MultiArray)}
        if messages.Classification is not None:
            types.update({f'{head}/classification': messages.Classification for head in heads})
        self._topic_publishers = {topic: self.create_publisher(kind, topic, STREAM_PUBLISHER)
                                  for topic, kind in types.items()}
        self._topic_publishers['model_info'] = self.create_publisher(String, 'model_info', LATCHED)

    def cleanup(self) -> None:
        """Forget models and topics."""
        for publisher in self._topic_publishers.values():
            self.destroy_publisher(publisher)
        self._topic_publishers, self._streams = {}, []

    def activate(self) -> None:
        """Listen to the sensors and encode."""
        self._stopping = False
        self._worker = self.start_worker(self._encode_newest, 'inference')
        self._image_subscriptions = [
            self.create_subscription(Image, stream.topic, partial(self._on_image, stream), NEWEST_SUBSCRIPTION)
            for stream in self._streams]

    def deactivate(self) -> None:
        """Stop to listen, and to encode after the call in progress."""
        for subscription in self._image_subscriptions:
            self.destroy_subscription(subscription)
        self._image_subscriptions = []
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._worker is not None:
            self._worker.join(JOIN_TIMEOUT_S)
            self._worker = None
        for stream in self._streams:
            stream.newest = None
        self._reset_alarms()

    def health(self) -> Health:
        """Latency, rates, dropped and refused images, and how strange the embeddings are."""
        p50_ms, p95_ms = self._latency_ms.percentiles(50, 95)
        values = {'stamp_to_published_p50_ms': p50_ms, 'stamp_to_published_p95_ms': p95_ms}
        silent, strange, now_s = [], [], time.monotonic()
        for stream in self._streams:
            name = stream.sensor.name
            values.update({f'{name}.published_hz': stream.published.rate_hz(), f'{name}.received': stream.received,
                           f'{name}.dropped': stream.dropped, f'{name}.refused': stream.refused})
            if stream.strangeness is not None:
                values[f'{name}.strange_share'] = stream.strangeness.strange_share
                if stream.strangeness.is_on:
                    strange.append(name)
            if stream.last_received_s is None or now_s - stream.last_received_s > self._settings.silent_after_s:
                silent.append(name)
        if self._model_fault:
            return Health(ERROR, self._model_fault, values)
        if silent:
            return Health(ERROR, f'no images from {", ".join(silent)}', values)
        if p95_ms > self._settings.warning_latency_ms:
            return Health(WARN, f'embeddings are {p95_ms:.0f} ms behind their frames', values)
        if strange:
            return Health(WARN, f'{", ".join(strange)}: frames unlike those the model was trained on', values)
        return Health(OK, 'encoding', values)

    def _on_image(self, stream: _Stream, message: Image) -> None:
        with self._changed:
            stream.received += 1
            stream.last_received_s = time.monotonic()
            if stream.newest is not None:
                stream.dropped += 1
            stream.newest = message
            self._changed.notify()

    def _take_newest(self) -> list[tuple[_Stream, Image]]:
        """Wait for images and take them; empty when the node stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or any(stream.newest is not None for stream in self._streams))
            if self._stopping:
                return []
            taken = [(stream, stream.newest) for stream in self._streams if stream.newest is not None]
            for stream, _ in taken:
                stream.newest = None
            return taken

    def _encode_newest(self) -> None:
        while taken := self._take_newest():
            waiting: dict[TactileEncoder, list[tuple[_Stream, Frame]]] = {}
            for stream, message in taken:
                try:
                    image = decode_image(message)
                except MessageError as error:
                    stream.refused += 1
                    self.get_logger().error(f'{stream.topic}: {error}', throttle_duration_sec=LOG_PERIOD_S)
                    continue
                frame = Frame(image, messages.ns_from_time(message.header.stamp), stream.sensor, stream.received)
                waiting.setdefault(stream.encoder, []).append((stream, frame))
            for encoder, ready in waiting.items():
                try:
                    predictions = encoder.encode([frame for _, frame in ready])
                    self._model_fault = ''
                except ModelError as error:
                    self._model_fault = str(error)
                    self.get_logger().error(self._model_fault, throttle_duration_sec=LOG_PERIOD_S)
                    continue
                for (stream, _), prediction in zip(ready, predictions, strict=True):
                    self._publish(stream, prediction)

    def _publish(self, stream: _Stream, prediction: Prediction) -> None:
        card, publishers = stream.encoder.card, self._topic_publishers
        publishers['embedding_stamped'].publish(messages.stamped_embedding_message(prediction))
        self._latency_ms.add((time.time_ns() - prediction.stamp_ns) / 1e6)
        publishers['embedding'].publish(messages.embedding_message(prediction, card.name))
        for head, description in card.heads.items():
            publishers[head].publish(messages.head_message(prediction, head, description.classes))
            if messages.Classification is not None:
                publishers[f'{head}/classification'].publish(
                    messages.classification_message(prediction, head, description.classes))
        stream.published.add()
        if stream.strangeness is not None:
            stream.strangeness.update(stream.encoder.strangeness(prediction))


def main(arguments: list[str] | None = None) -> int:
    """Run the perception node."""
    return run_node(PerceptionNode, arguments)


if __name__ == '__main__':
    sys.exit(main())
