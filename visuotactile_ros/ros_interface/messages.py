"""Frames and predictions as standard ROS messages; the only place that knows which field holds what."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped, Vector3Stamped
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32MultiArray, MultiArrayDimension, String

from visuotactile_ros.errors import MessageError
from visuotactile_ros.frame import Frame, Prediction
from visuotactile_ros.ros_interface.image_codec import encode_floats, encode_image
from visuotactile_ros.sensors.marker_tracking import DisplacementField
from visuotactile_ros.sensors.shear import ShearEstimate

try:
    from vision_msgs.msg import Classification, ObjectHypothesis
except ImportError:  # Not among the PyPI wheels of ROS; the Float32MultiArray topics carry the same numbers.
    Classification = None


def time_from_ns(stamp_ns: int) -> Time:
    """Time message of nanoseconds since the epoch."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=seconds, nanosec=nanoseconds)


def ns_from_time(stamp: Time) -> int:
    """Nanoseconds since the epoch of a time message."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def image_message(frame: Frame, frame_id: str) -> Image:
    """rgb8 image stamped at the grab, in the coordinate frame `frame_id`."""
    message = _stamped(Image(), frame.stamp_ns, frame_id)
    encode_image(message, frame.image_hwc)
    return message


def depth_message(stamp_ns: int, frame_id: str, depth_mm: np.ndarray) -> Image:
    """32FC1 image in metres, as REP 118 has it, of a depth float32 [H, W] in millimetres."""
    message = _stamped(Image(), stamp_ns, frame_id)
    encode_floats(message, depth_mm[..., None] / np.float32(1000.0))
    return message


def normals_message(stamp_ns: int, frame_id: str, normals: np.ndarray) -> Image:
    """32FC3 image of unit normals, float32 [H, W, 3] (x right, y down, z towards the camera)."""
    message = _stamped(Image(), stamp_ns, frame_id)
    encode_floats(message, normals)
    return message


def _stamped(message: Any, stamp_ns: int, frame_id: str) -> Any:
    message.header.stamp = time_from_ns(stamp_ns)
    message.header.frame_id = frame_id
    return message


def _labelled_array(sensor: str, label: str, values: np.ndarray) -> Float32MultiArray:
    message = Float32MultiArray()
    size = values.size
    message.layout.dim = [MultiArrayDimension(label=sensor, size=1, stride=size),
                          MultiArrayDimension(label=label, size=size, stride=size)]
    message.data.frombytes(np.ascontiguousarray(values, dtype=np.float32).view(np.uint8))
    return message


def embedding_message(prediction: Prediction, model_name: str) -> Float32MultiArray:
    """[1, D] array: `dim[0].label` is the sensor, `dim[1].label` the model."""
    return _labelled_array(prediction.sensor.name, model_name, prediction.embedding)


def stamped_embedding_message(prediction: Prediction) -> Image:
    """32FC1 image of one row with the source frame's stamp; `frame_id` is the sensor's name."""
    message = _stamped(Image(), prediction.stamp_ns, prediction.sensor.name)
    encode_floats(message, prediction.embedding[None, :, None])
    return message


def head_message(prediction: Prediction, head: str, class_names: Sequence[str]) -> Float32MultiArray:
    """[1, classes] probabilities: `dim[0].label` is the sensor, `dim[1].label` the class names with commas between."""
    return _labelled_array(prediction.sensor.name, ','.join(class_names), prediction.heads[head])


def classification_message(prediction: Prediction, head: str, class_names: Sequence[str]) -> Any:
    """vision_msgs/Classification with the source frame's stamp; only where `Classification` is not None."""
    message = _stamped(Classification(), prediction.stamp_ns, prediction.sensor.name)
    message.results = [ObjectHypothesis(class_id=name, score=float(probability))
                       for name, probability in zip(class_names, prediction.heads[head], strict=True)]
    return message


def json_message(content: Any) -> String:
    """One JSON document as a string message."""
    return String(data=json.dumps(content, sort_keys=True))


def encoder_hashes(model_info: String) -> dict[str, str]:
    """Hash of the encoder behind each sensor, from the JSON of `model_info`.

    Raises:
        MessageError: The message is not what the perception node publishes.
    """
    try:
        models = json.loads(model_info.data)['models']
        hashes = {sensor: model['sha256'] for model in models for sensor in model['sensors']}
        if not all(isinstance(text, str) for pair in hashes.items() for text in pair):
            raise TypeError('a sensor or a hash is no text')
        return hashes
    except (ValueError, KeyError, TypeError) as error:
        raise MessageError('model_info is not what a perception node publishes',
                           'Run perception and pouring from the same version') from error


def tilt_message(stamp_ns: int, tilt_deg: float) -> JointState:
    """Tilt of the vessel as the joint `vessel_tilt`, radians."""
    message = JointState(name=['vessel_tilt'], position=[math.radians(tilt_deg)])
    message.header.stamp = time_from_ns(stamp_ns)
    return message


def shear_message(stamp_ns: int, frame_id: str, estimate: ShearEstimate) -> Vector3Stamped:
    """Shear as x and y in pixels of the frame, twist as z in degrees, with the source frame's stamp."""
    message = _stamped(Vector3Stamped(), stamp_ns, frame_id)
    message.vector.x, message.vector.y = estimate.shear_px
    message.vector.z = estimate.twist_deg
    return message


def displacement_message(stamp_ns: int, frame_id: str, field: DisplacementField) -> Image:
    """32FC4 image of one row, a marker a pixel: place without contact (x, y) and displacement (x, y), pixels.

    The displacement of a marker that is not seen is NaN.
    """
    message = _stamped(Image(), stamp_ns, frame_id)
    moved_px = np.where(field.is_seen[:, None], field.moved_px, np.nan)
    encode_floats(message, np.concatenate([field.rest_px, moved_px], axis=1)[None])
    return message


def action_message(stamp_ns: int, action: str, rate_deg_s: float) -> TwistStamped:
    """What the arm is told to do: the action's name as `frame_id`, the tilt rate in rad/s as `angular.y`."""
    message = _stamped(TwistStamped(), stamp_ns, action)
    message.twist.angular.y = math.radians(rate_deg_s)
    return message
