"""GelTopics: what is computed from a gel beyond contact, as topics: shear, twist and slip, depth and normals."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import Vector3Stamped
from sensor_msgs.msg import Image
from std_msgs.msg import Bool

from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.ros_interface.messages import (
    depth_message,
    displacement_message,
    normals_message,
    shear_message,
)
from visuotactile_ros.ros_interface.qos import STREAM_PUBLISHER
from visuotactile_ros.sensors.gel_kinds import gel_kind
from visuotactile_ros.sensors.photometric_stereo import PhotometricStereo
from visuotactile_ros.sensors.shear import ShearEstimator


class GelTopics:
    """Publishes what the settings `shear` and `depth` ask for, relative to the namespace of the node.

    Topics: with `shear`, `shear` (geometry_msgs/Vector3Stamped: x and y in pixels, z the twist in degrees) and, on a
    gel with markers, `slip` (std_msgs/Bool) and `displacement` (sensor_msgs/Image 32FC4, a marker a pixel); with
    `depth`, `depth` (32FC1, metres) and `normals` (32FC3, unit length). Nothing is published before there is a
    reference.

    Args:
        node: Node that the topics belong to.
        settings: Its settings.

    Raises:
        ConfigurationError: The kind of sensor has no gel, or one whose colours tell no depth.
    """

    def __init__(self, node: Any, settings: SensorParameters):
        self._node, self._settings = node, settings
        self._publishers = {}
        self._reference_hwc: np.ndarray | None = None
        if settings.depth:
            # Refuses what it cannot measure before the node is configured, and inverts the table then, not at a frame.
            PhotometricStereo(settings.kind, np.zeros((settings.height_px, settings.width_px, 3), np.uint8))
        # A gel without markers looks the same whether it follows an object or lets it slide.
        has_markers = settings.shear and gel_kind(settings.kind).markers is not None
        for is_wanted, topic, message_type in (
                (settings.shear, 'shear', Vector3Stamped), (has_markers, 'slip', Bool),
                (has_markers, 'displacement', Image), (settings.depth, 'depth', Image),
                (settings.depth, 'normals', Image)):
            if is_wanted:
                self._publishers[topic] = node.create_publisher(message_type, topic, STREAM_PUBLISHER)

    def publish(self, frame: Frame, reference_hwc: np.ndarray | None) -> None:
        """Measure one frame and publish.

        Args:
            frame: A frame of the gel.
            reference_hwc: uint8 [H, W, 3], RGB, the gel without contact; None while there is none.

        Raises:
            SensorError: The reference or the frame shows too little; the next one may be better.
        """
        if reference_hwc is None or not self._publishers:
            return
        if reference_hwc is not self._reference_hwc:
            self._shear = ShearEstimator(self._settings.kind, reference_hwc) if self._settings.shear else None
            self._stereo = PhotometricStereo(self._settings.kind, reference_hwc) if self._settings.depth else None
            self._reference_hwc = reference_hwc
        header = frame.stamp_ns, self._settings.frame_id or self._settings.sensor_name
        if self._stereo is not None:
            surface = self._stereo.measure(frame.image_hwc)
            self._publishers['depth'].publish(depth_message(*header, surface.depth_mm))
            self._publishers['normals'].publish(normals_message(*header, surface.normals))
        if self._shear is not None:
            estimate = self._shear.update(frame.image_hwc)
            self._publishers['shear'].publish(shear_message(*header, estimate))
            if estimate.markers is not None:
                self._publishers['displacement'].publish(displacement_message(*header, estimate.markers))
                self._publishers['slip'].publish(Bool(data=estimate.is_slipping))

    def destroy(self) -> None:
        """Take the topics off the node."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
