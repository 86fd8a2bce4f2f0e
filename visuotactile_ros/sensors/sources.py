"""Which frame source the settings of a sensor ask for; a new kind of source is one more line here."""

from __future__ import annotations

from pathlib import Path

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.digit_interface_adapter import DigitInterfaceSource
from visuotactile_ros.sensors.discovery import canonical_serial
from visuotactile_ros.sensors.gsrobotics_adapter import GsroboticsSource
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.interface import FrameSource
from visuotactile_ros.sensors.jpeg_decoding import JpegDecoder
from visuotactile_ros.sensors.led_control import led_controls
from visuotactile_ros.sensors.replay import ReplaySource
from visuotactile_ros.sensors.uvc_device import CaptureMode, UvcDevice, parse_camera_controls


def recorded_or_device_source(parameters: SensorParameters) -> FrameSource:
    """Build the frame source of a sensor that is not simulated; it is not open yet.

    Raises:
        ConfigurationError: The camera controls cannot be read, the maker's library is missing, or the sensor is
            simulated; `source_for` in `simulation/simulated_sensor.py` knows that too.
    """
    sensor = identity_of(parameters)
    if parameters.source == 'replay':
        # Recordings were cropped and turned when they were taken.
        geometry = ImageGeometry(0.0, 0, False, parameters.width_px, parameters.height_px)
        return ReplaySource(sensor, Path(parameters.replay_path).expanduser(), parameters.replay_topic,
                            parameters.rate_hz, parameters.replay_loop, geometry, parameters.replay_timing,
                            accepts_padding=parameters.padded_jpeg)
    if parameters.source == 'device':
        return _device_source(sensor, parameters)
    raise ConfigurationError(f'the source of {parameters.sensor_name} is {parameters.source!r}',
                             'Choose replay or device')


def identity_of(parameters: SensorParameters) -> SensorIdentity:
    """Return the identity that the frames of a sensor carry, its serial number in the one spelling."""
    return SensorIdentity(parameters.sensor_name, parameters.kind, canonical_serial(parameters.serial))


def geometry_of(parameters: SensorParameters) -> ImageGeometry:
    """Return the way from the picture of a device or of another driver to a frame."""
    return ImageGeometry(parameters.border_fraction, parameters.rotate_quarter_turns, parameters.mirror,
                         parameters.width_px, parameters.height_px)


def _device_source(sensor: SensorIdentity, parameters: SensorParameters) -> FrameSource:
    width_px, height_px = parameters.capture_width_px, parameters.capture_height_px
    geometry = geometry_of(parameters)
    controls = (*led_controls(parameters.kind, parameters.led_levels),
                *parse_camera_controls(parameters.camera_controls))
    mode = CaptureMode(width_px, height_px, parameters.capture_rate_hz, parameters.capture_fourcc, controls)
    if parameters.driver == 'gsrobotics':
        return GsroboticsSource(sensor, Path(parameters.gsrobotics_path).expanduser(), parameters.capture_rate_hz,
                                geometry)
    if parameters.driver == 'digit_interface':
        return DigitInterfaceSource(sensor, mode, geometry)
    reduction = 1 if parameters.full_decode else geometry.largest_reduction(width_px, height_px)
    jpeg_decoder = JpegDecoder(width_px, height_px, reduction, parameters.padded_jpeg)
    return UvcDevice(sensor, parameters.device_path, mode, jpeg_decoder, geometry)
