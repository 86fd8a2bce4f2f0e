"""Settings of the perception node: which sensors it encodes, with which models, and when it complains."""

from __future__ import annotations

from dataclasses import dataclass

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import check_settings, setting


@dataclass(frozen=True)
class PerceptionParameters:
    """Settings of the `perception` node.

    Raises:
        ConfigurationError: A setting is outside its definition, or two settings contradict each other.
    """

    sensors: tuple[str, ...] = setting(
        ('left', 'right'), 'Tactile sensors to encode; their images come on <sensor>/image_raw')
    sensor_kinds: tuple[str, ...] = setting(
        ('gelsight_mini', 'gelsight_mini'), 'Device kind of each tactile sensor, in the same order')
    model: str = setting(
        'tlv_core_tiny_touch',
        'Model of the tactile sensors: a name under models/ of the package, or the path of a folder')
    camera: str = setting('wrist_camera', 'Camera to encode, image on /<camera>/image_raw; empty for none')
    camera_model: str = setting(
        'tlv_core_tiny_vision', 'Model of the camera: a name under models/ of the package, or the path of a folder')
    inference_threads: int = setting(
        1, 'Threads inside one call of a model; a second one costs far more CPU than it saves time', minimum=1,
        maximum=64)
    warning_latency_ms: float = setting(
        50.0, 'Time from the stamp of a frame to its published embedding above which diagnostics warn', unit='ms',
        minimum=1.0, maximum=10000.0)
    silent_after_s: float = setting(
        1.0, 'Time without a frame of a sensor after which diagnostics report it', unit='s', minimum=0.05,
        maximum=3600.0)

    strange_window_frames: int = setting(30, 'Frames over which the share of strange embeddings is taken', minimum=1,
                                         maximum=10000)
    strange_on_share: float = setting(0.5, 'Share of strange embeddings above which the alarm goes on', minimum=0.0,
                                      maximum=1.0)
    strange_off_share: float = setting(0.2, 'Share of strange embeddings below which the alarm goes off', minimum=0.0,
                                       maximum=1.0)

    def __post_init__(self):
        check_settings(self)
        if len(self.sensors) != len(self.sensor_kinds):
            raise ConfigurationError(
                f'{len(self.sensors)} sensors have {len(self.sensor_kinds)} sensor_kinds',
                'Give one kind for each sensor, in the same order')
        names = [*self.sensors, *([self.camera] if self.camera else [])]
        if not names:
            raise ConfigurationError('perception has no sensor and no camera', 'Name at least one in sensors or camera')
        if len(set(names)) != len(names):
            raise ConfigurationError(f'the sensors {names} are not all different', 'Name each sensor once')
        for name in names:
            if not name.isidentifier():
                raise ConfigurationError(f'sensor {name!r} cannot be part of a topic',
                                         'Use letters, digits and underscores, as in left')
        for needed, model, setting_name in ((self.sensors, self.model, 'model'),
                                            (self.camera, self.camera_model, 'camera_model')):
            if needed and not model:
                raise ConfigurationError(f'{setting_name} is empty', 'Name a folder under models/ or give its path')
