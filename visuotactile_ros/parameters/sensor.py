"""Settings of one sensor: where its frames come from, their shape, and when they are no longer believed."""

from __future__ import annotations

from dataclasses import dataclass

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import check_settings, setting

SENSOR_KINDS = ('gelsight_mini', 'gelsight_mini_markers', 'digit', 'vitactip', 'gelsight', 'wrist_camera')
SENSOR_SOURCES = ('simulated', 'replay', 'device', 'topic')
SENSOR_DRIVERS = ('uvc', 'gsrobotics', 'digit_interface')


@dataclass(frozen=True)
class SensorParameters:
    """Settings of the `sensor` node; a device kind's own values stand in config/<kind>.yaml.

    Raises:
        ConfigurationError: A setting is outside its definition, or two settings contradict each other.
    """

    sensor_name: str = setting('left', 'Role on the robot and name of its topics: left, right, wrist_camera')
    kind: str = setting('gelsight_mini', 'Device kind, as the encoder knows it', choices=SENSOR_KINDS)
    serial: str = setting('', 'Serial number: finds the device and is carried by every frame; empty takes the only '
                              'device of the kind')
    source: str = setting('simulated', 'Where frames come from', choices=SENSOR_SOURCES)
    frame_id: str = setting('', 'Frame of the image header; empty takes the name of the sensor')

    rate_hz: float = setting(30.0, 'Frames per second of a simulated or replayed source; those expected of a topic',
                             unit='Hz', minimum=1.0, maximum=240.0)
    width_px: int = setting(320, 'Width of the published image', unit='px', minimum=16, maximum=4096)
    height_px: int = setting(240, 'Height of the published image', unit='px', minimum=16, maximum=4096)
    border_fraction: float = setting(
        0.0, 'Part of the width and of the height cut off at each border of a frame of a device or topic',
        minimum=0.0, maximum=0.45)
    rotate_quarter_turns: int = setting(
        0, 'Quarter turns clockwise applied to a frame of a device or topic', minimum=0, maximum=3)
    mirror: bool = setting(False, 'Mirror a frame of a device or topic left to right, after the rotation')

    driver: str = setting('uvc', "What reads a device: this package's own driver, or the maker's library",
                          choices=SENSOR_DRIVERS)
    gsrobotics_path: str = setting('', "Folder of the maker's gsrobotics, for the driver of that name")
    device_path: str = setting(
        '', 'V4L2 device in place of the one found by serial, for the driver uvc; prefer a path under /dev/v4l/by-path')
    capture_rate_hz: float = setting(30.0, 'Frames per second asked of the device', unit='Hz', minimum=1.0,
                                     maximum=240.0)
    capture_width_px: int = setting(640, 'Width asked of the device', unit='px', minimum=16, maximum=8192)
    capture_height_px: int = setting(480, 'Height asked of the device', unit='px', minimum=16, maximum=8192)
    capture_fourcc: str = setting('', 'Pixel format asked of the device, four characters; empty leaves it alone')
    camera_controls: str = setting(
        '', "Controls locked on the device as 'NAME=value, NAME=value'; NAME is an OpenCV property without CAP_PROP_")
    led_levels: tuple[int, ...] = setting(
        (15, 15, 15), 'Brightness of the red, green and blue light of a DIGIT; 0 is dark', minimum=0, maximum=15)
    full_decode: bool = setting(
        False, 'Decode MJPG whole before the resize, pixel for pixel as the vendors do and at several times the cost')
    padded_jpeg: bool = setting(
        False, 'Accept MJPG of a device, or JPEG of a topic or bag, with a few needless bytes after each section, as '
               'some webcams send it; damage inside a section then goes unnoticed')
    warm_up_frames: int = setting(5, 'Frames thrown away after opening a device', minimum=0, maximum=1000)

    replay_path: str = setting('', 'Image folder, image, video file or rosbag2/MCAP bag to replay')
    replay_topic: str = setting('', 'Image topic of a bag; empty takes the only one')
    replay_timing: str = setting(
        'steady', 'When the next frame of a replay comes: at rate_hz, as recorded, or once the last was answered',
        choices=('steady', 'recorded', 'lockstep'))
    replay_answer_topic: str = setting(
        '/tactile/embedding_stamped', 'Stamped answers that a lockstep replay waits for')
    replay_loop: bool = setting(False, 'Start again at the end of a replay')

    image_topic: str = setting('', 'Topic of sensor_msgs/Image or CompressedImage to take frames from')

    world_address: str = setting('127.0.0.1', 'Loopback address of the simulated world')
    world_link_port: int = setting(9750, 'TCP port of the simulated world', minimum=1, maximum=65535)
    phase_fraction: float = setting(
        0.0, 'Part of a period by which a simulated sensor is late, so that sensors do not all work at once',
        minimum=0.0, maximum=1.0)
    simulation_seed: int = setting(0, 'Seed of the noise of a simulated sensor', minimum=0, maximum=2**31 - 1)

    max_frame_age_ms: float = setting(
        200.0, 'A frame older than this is refused', unit='ms', minimum=1.0, maximum=10000.0)
    dead_after_periods: int = setting(
        10, 'Periods without a frame after which a source counts as dead and is opened again', minimum=2, maximum=1000)
    frozen_after_frames: int = setting(
        15, 'Identical frames in a row after which a source counts as frozen', minimum=2, maximum=10000)
    black_below_level: float = setting(
        5.0, 'Mean grey level below which a frame is black', unit='grey levels', minimum=0.0, maximum=255.0)
    black_after_frames: int = setting(
        5, 'Black frames in a row after which a source counts as black', minimum=1, maximum=10000)

    has_gel: bool = setting(True, 'Whether contact is sensed; false for a camera that looks at the scene')
    reference_frames: int = setting(
        15, 'Frames averaged into the no-contact reference', minimum=3, maximum=200)
    # Ball presses on a real GelSight Mini measure 0.9 to 1.7, on a GelSight 2.8 to 5.6; pixel noise of 1.5 levels
    # measures 0.01. (Measured on the real frames of test/data; Source: Taxim calibration sets, MIT.)
    reference_disagreement_level: float = setting(
        0.5, 'Largest mean difference of a frame from its reference while that is taken', unit='grey levels',
        minimum=0.0, maximum=255.0)
    contact_on_level: float = setting(
        0.5, 'Mean difference from the reference above which there is contact', unit='grey levels',
        minimum=0.0, maximum=255.0)
    contact_off_level: float = setting(
        0.3, 'Mean difference from the reference below which contact ends', unit='grey levels',
        minimum=0.0, maximum=255.0)
    touched_imprint_level: float = setting(
        8.0, 'Imprint above which a gel counts as touched while its reference is taken', unit='grey levels',
        minimum=0.0, maximum=255.0)
    touched_change_level: float = setting(
        4.0, 'Change since the last stored reference above which a gel counts as touched', unit='grey levels',
        minimum=0.0, maximum=255.0)
    reference_folder: str = setting(
        '', 'Folder of the references kept by serial number; empty is visuotactile_ros in the state folder of the user')
    shear: bool = setting(False, 'Whether shear, twist and slip of the gel are measured and published')
    depth: bool = setting(False, 'Whether depth and normals of the gel are measured and published')

    def __post_init__(self):
        check_settings(self)
        if not self.sensor_name.isidentifier():
            raise ConfigurationError(f'sensor_name is {self.sensor_name!r}, which cannot be part of a topic',
                                     'Use letters, digits and underscores, as in left')
        if self.contact_off_level > self.contact_on_level:
            raise ConfigurationError(
                f'contact_off_level {self.contact_off_level} is above contact_on_level {self.contact_on_level}',
                'Let contact end at a lower level than it begins')
        if len(self.capture_fourcc) not in (0, 4):
            raise ConfigurationError(f'capture_fourcc is {self.capture_fourcc!r}, not four characters',
                                     'Write for example MJPG')
        if self.source == 'replay' and not self.replay_path:
            raise ConfigurationError('source is replay but replay_path is empty',
                                     'Set replay_path to an image folder, a video file or a bag')
        if self.source == 'topic' and not self.image_topic:
            raise ConfigurationError('source is topic but image_topic is empty',
                                     'Set image_topic, for example to /camera/image_raw')
        for name in ('shear', 'depth'):
            if getattr(self, name) and not self.has_gel:
                raise ConfigurationError(f'{name} is true but has_gel is false', f'Set {name} to false')
        if self.driver == 'gsrobotics' and not self.gsrobotics_path:
            raise ConfigurationError('driver is gsrobotics but gsrobotics_path is empty',
                                     'Set gsrobotics_path to the folder that holds utilities/gelsightmini.py')
        if self.device_path and self.driver != 'uvc':
            raise ConfigurationError(f'device_path is {self.device_path} but driver is {self.driver}, which finds its '
                                     f'device by serial only', 'Leave device_path empty, or set driver to uvc')
        if len(self.led_levels) != 3 or not all(type(level) is int for level in self.led_levels):
            raise ConfigurationError(f'led_levels is {self.led_levels!r}, not three whole numbers',
                                     'Give red, green and blue, as in [15, 15, 15]')
