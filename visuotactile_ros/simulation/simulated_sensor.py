"""SimulatedSensor: renders what a sensor would see of the simulated world, in the process of the sensor."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.interface import FrameSource
from visuotactile_ros.sensors.pacing import Pacer
from visuotactile_ros.sensors.sources import identity_of, recorded_or_device_source
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.object_view import render_wrist_view
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES
from visuotactile_ros.simulation.world import WristView
from visuotactile_ros.simulation.world_link import WorldLinkClient, record_from_json

# Below the time that a grabber waits for its thread when it stops.
WORLD_START_TIMEOUT_S = 3.0
CAMERA_KIND = 'wrist_camera'

View = Callable[[Any], np.ndarray]
"""Renders what the world link says about a sensor (decoded JSON) as uint8 [H, W, 3] RGB."""


def source_for(parameters: SensorParameters) -> FrameSource:
    """Build the frame source that the settings ask for, simulated, replayed or a device; it is not open yet.

    Raises:
        ConfigurationError: The settings cannot be used.
    """
    if parameters.source != 'simulated':
        return recorded_or_device_source(parameters)
    # The same seed must not give two sensors the same noise.
    seed = parameters.simulation_seed + zlib.crc32(parameters.sensor_name.encode())
    view = _camera_view(seed) if parameters.kind == CAMERA_KIND else _gel_view(parameters.kind, seed)
    return SimulatedSensor(parameters, view)


def _gel_view(kind: str, seed: int) -> View:
    if kind not in SENSOR_PROFILES:
        raise ConfigurationError(f'there is no simulated {kind!r}', f'Choose one of {", ".join(SENSOR_PROFILES)}')
    renderer, rng = GelRenderer(SENSOR_PROFILES[kind], seed), np.random.default_rng(seed)
    return lambda content: renderer.render(record_from_json(ContactState, content), rng)


def _camera_view(seed: int) -> View:
    rng = np.random.default_rng(seed)

    def view(content: Any) -> np.ndarray:
        seen = record_from_json(WristView, content)
        return render_wrist_view(seen.vessel, seen.tilt_deg, seen.fill_fraction, rng)
    return view


class SimulatedSensor:
    """Reads the newest state of the simulated world at its rate and renders it.

    A frame is stamped when the state of the world has been read, which is the simulated moment of exposure; rendering
    comes after it, as decoding does with a device.

    Args:
        parameters: Settings of the sensor; the world link answers to its `sensor_name`.
        view: Renders what the world link answers.
    """

    def __init__(self, parameters: SensorParameters, view: View):
        self.sensor = identity_of(parameters)
        self.nominal_period_s = 1.0 / parameters.rate_hz
        self._phase_fraction = parameters.phase_fraction
        self._size_px = (parameters.width_px, parameters.height_px)
        self._client = WorldLinkClient(parameters.world_address, parameters.world_link_port)
        self._view = view
        self._pacer: Pacer | None = None
        self._sequence = -1

    def open(self) -> None:
        """Wait for the simulated world; does nothing where it is open.

        Raises:
            SensorError: No world answers in time.
        """
        if self._pacer is None:
            self._client.wait_for_server(WORLD_START_TIMEOUT_S)
            self._pacer = Pacer(self.nominal_period_s, self._phase_fraction)

    def grab(self) -> Frame | None:
        """Wait for the next slot of the rate, read the world and render it.

        Raises:
            SensorError: The world does not answer.
        """
        if self._pacer is None:
            raise SensorError(f'{self.sensor.name} is not open', 'Call open() first')
        self._sequence += self._pacer.wait()
        content = self._client.read(self.sensor.name)
        stamp_ns = time.time_ns()
        image = self._view(content)
        if (image.shape[1], image.shape[0]) != self._size_px:
            image = cv2.resize(image, self._size_px, interpolation=cv2.INTER_AREA)
        return Frame(image, stamp_ns, self.sensor, self._sequence)

    def close(self) -> None:
        """Disconnect from the world; does nothing where it is closed."""
        self._client.close()
        self._pacer = None
