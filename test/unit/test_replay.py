"""Recordings as a sensor: folders, images, videos and bags, sound and damaged."""

import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.ros_interface.image_codec import decode_compressed_image
from visuotactile_ros.sensors import replay as replay_module
from visuotactile_ros.sensors.frame_grabber import FrameGrabber
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.pacing import Clock
from visuotactile_ros.sensors.recorded_images import count_pictures
from visuotactile_ros.sensors.replay import LONGEST_GAP_S, ReplaySource
from visuotactile_ros.sensors.sources import recorded_or_device_source

SENSOR = SensorIdentity('replay', 'gelsight_mini')
TYPES = get_typestore(Stores.ROS2_JAZZY)


def rgb_picture(red, height=24, width=32):
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = red, 90
    return picture


def save(path, red):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb_picture(red)[:, :, ::-1])


class SimulatedClock(Clock):
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now_ns = 1_700_000_000_000_000_000
        self.sleeps = 0

    def monotonic_s(self):
        return (self.now_ns - 1_700_000_000_000_000_000) / 1e9

    def wall_ns(self):
        return self.now_ns

    def sleep(self, duration_s, wake=None):
        self.sleeps += duration_s > 0.0
        self.now_ns += round(duration_s * 1e9)


def replay(path, topic='', loop=False, rate_hz=2000.0, **arguments):
    source = ReplaySource(SENSOR, path, topic, rate_hz, loop, ImageGeometry(0.0, 0, False, 32, 24), **arguments)
    source.open()
    return source


def reds(source, limit=50):
    """Red of the middle pixel of each frame until the end."""
    found = []
    for _ in range(limit):
        frame = source.grab()
        if frame is None:
            return found
        found.append(int(frame.image_hwc[12, 16, 0]))
    return found


def test_folder_is_replayed_recursively_in_natural_order_as_rgb(tmp_path):
    for name, red in [('take_10/frame_1.png', 60), ('take_2/frame_10.bmp', 50), ('take_2/frame_9.PNG', 40)]:
        save(tmp_path / name, red)
    (tmp_path / 'labels.csv').write_text('not an image')
    source = replay(tmp_path)
    before_ns = time.time_ns()
    frame = source.grab()
    assert before_ns <= frame.stamp_ns <= time.time_ns()
    assert frame.sensor is SENSOR and frame.sequence == 0
    assert tuple(frame.image_hwc[0, 0]) == (40, 90, 0)
    assert reds(source) == [50, 60]
    assert source.grab() is None


def test_loop_starts_again_and_counts_on(tmp_path):
    for index in range(3):
        save(tmp_path / f'{index}.png', 10 * index)
    source = replay(tmp_path, loop=True)
    frames = [source.grab() for _ in range(7)]
    assert [int(frame.image_hwc[0, 0, 0]) for frame in frames] == [0, 10, 20, 0, 10, 20, 0]
    assert [frame.sequence for frame in frames] == list(range(7))


def test_closed_replay_starts_again_at_its_beginning(tmp_path):
    for index in range(2):
        save(tmp_path / f'{index}.png', 10 * index)
    source = replay(tmp_path)
    source.grab()
    source.open()  # does nothing on an open source
    assert reds(source) == [10]
    source.close()
    source.close()
    with pytest.raises(SensorError, match='not open'):
        source.grab()
    source.open()
    assert reds(source) == [0, 10]


def test_one_image_and_resize(tmp_path):
    cv2.imwrite(str(tmp_path / 'one.jpg'), np.full((480, 640, 3), 77, np.uint8))
    source = replay(tmp_path / 'one.jpg')
    assert source.grab().image_hwc.shape == (24, 32, 3)
    assert source.grab() is None


@pytest.mark.parametrize('content', ['folder', 'video', 'bag'])
def test_pictures_are_counted_damaged_ones_too(tmp_path, content):
    if content == 'folder':
        for index in range(4):
            save(tmp_path / f'{index}.png', index)
        (tmp_path / '1.png').write_bytes(b'damaged')
        path = tmp_path
    elif content == 'video':
        path = tmp_path / 'film.avi'
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 25.0, (32, 24))
        for index in range(4):
            writer.write(rgb_picture(index))
        writer.release()
    else:
        damaged = image_message(0)
        damaged.encoding = 'bayer_rggb8'
        path = write_bag(tmp_path / 'bag', {'/image': [image_message(1)] * 3 + [damaged], '/other': []})
    assert count_pictures(path, '') == (4, '')


@pytest.mark.parametrize('name', ['', 'missing'])
def test_what_holds_no_picture_cannot_be_counted(tmp_path, name):
    with pytest.raises(SensorError):
        count_pictures(tmp_path / name, '')


def test_damaged_image_fails_alone(tmp_path):
    for index in range(3):
        save(tmp_path / f'{index}.png', 10 * index)
    (tmp_path / '1.png').write_bytes((tmp_path / '1.png').read_bytes()[:20])
    source = replay(tmp_path)
    assert source.grab().sequence == 0
    with pytest.raises(SensorError, match=r'1\.png is not a readable image'):
        source.grab()
    assert source.grab().sequence == 2
    assert source.grab() is None


@pytest.mark.parametrize('content', [b'', b'no image at all'])
def test_file_that_only_pretends_to_be_an_image_is_refused(tmp_path, content):
    (tmp_path / 'one.png').write_bytes(content)
    with pytest.raises(SensorError, match='not a readable image'):
        replay(tmp_path).grab()


@pytest.mark.parametrize(('name', 'content', 'match'), [
    ('missing', None, 'does not exist'), ('notes.txt', b'text', 'neither an image, a video nor a bag'),
    ('film.mp4', b'no video', 'not a readable video'), ('bag.mcap', b'no bag', 'not a readable bag')])
def test_file_without_frames_is_refused_at_opening(tmp_path, name, content, match):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SensorError, match=match) as caught:
        replay(tmp_path / name)
    assert '\n' not in str(caught.value)


def test_folder_without_frames_is_refused_at_opening_again_and_again(tmp_path):
    (tmp_path / 'labels.csv').write_text('a,b')
    source = ReplaySource(SENSOR, tmp_path, '', 30.0, False, ImageGeometry(0.0, 0, False, 32, 24))
    for _ in range(2):
        with pytest.raises(SensorError, match='holds no frames'):
            source.open()


def test_video_is_replayed_frame_by_frame(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / 'film.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 25.0, (32, 24))
    for index in range(4):
        writer.write(rgb_picture(60 * index)[:, :, ::-1])
    writer.release()
    assert reds(replay(tmp_path / 'film.avi')) == pytest.approx([0, 60, 120, 180], abs=6)


def image_message(red, encoding='rgb8', padding=0):
    """A sensor_msgs/Image of one colour whose rows may be padded."""
    red_green_blue = rgb_picture(red)
    pixels = {'rgb8': red_green_blue, 'bgr8': red_green_blue[:, :, ::-1], 'mono8': red_green_blue[:, :, :1],
              'rgba8': np.dstack([red_green_blue, red_green_blue[:, :, :1]]),
              'bgra8': np.dstack([red_green_blue[:, :, ::-1], red_green_blue[:, :, :1]])}[encoding]
    rows = pixels.reshape(24, -1)
    data = np.hstack([rows, np.full((24, padding), 255, np.uint8)]).ravel()
    return SimpleNamespace(encoding=encoding, height=24, width=32, step=rows.shape[1] + padding, data=data)


def write_bag(path, messages_by_topic, storage=StoragePlugin.MCAP, times_s=None, image_format='png'):
    """Write a bag of sensor_msgs/Image and, where a message is bytes, sensor_msgs/CompressedImage."""
    header = TYPES.types['std_msgs/msg/Header'](TYPES.types['builtin_interfaces/msg/Time'](5, 0), 'gel')
    with Writer(path, version=9, storage_plugin=storage) as writer:
        for topic, messages in messages_by_topic.items():
            kind = 'CompressedImage' if messages and isinstance(messages[0], bytes) else 'Image'
            message_type = f'sensor_msgs/msg/{kind}' if messages else 'std_msgs/msg/Header'
            connection = writer.add_connection(topic, message_type, typestore=TYPES)
            for index, message in enumerate(messages):
                if isinstance(message, bytes):
                    record = TYPES.types[message_type](header, image_format, np.frombuffer(message, np.uint8))
                else:
                    record = TYPES.types[message_type](header, message.height, message.width, message.encoding, 0,
                                                       message.step, message.data)
                writer.write(connection, round(times_s[index] * 1e9) if times_s else 1000 * index,
                             TYPES.serialize_cdr(record, message_type))
    return path


@pytest.mark.parametrize('storage', list(StoragePlugin))
def test_bag_is_replayed_with_new_stamps(tmp_path, storage):
    bag = write_bag(tmp_path / 'bag', {'/left/image_raw': [image_message(red) for red in (10, 20, 30)],
                                       '/other': []}, storage)
    source = replay(bag)
    frame = source.grab()
    assert abs(time.time_ns() - frame.stamp_ns) < 60e9  # the message is stamped five seconds after 1970
    assert tuple(frame.image_hwc[0, 0]) == (10, 90, 0)
    assert reds(source) == [20, 30]


def test_single_mcap_file_is_a_bag_too(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/left/image_raw': [image_message(10)]})
    assert reds(replay(next(bag.glob('*.mcap')))) == [10]


def grab_times_ms(source, clock, late_s=0.0, limit=20):
    """When each frame came, milliseconds since the replay was opened, to a caller who is slow."""
    times = []
    while len(times) < limit:
        frame = source.grab()
        if frame is None:
            break
        times.append(round((frame.stamp_ns - 1_700_000_000_000_000_000) / 1e6))
        clock.now_ns += round(late_s * 1e9)
    return times


@pytest.mark.parametrize('storage', list(StoragePlugin))
def test_recorded_timing_follows_the_times_of_the_bag_and_cuts_long_gaps(tmp_path, storage):
    times_s = [100.0, 100.04, 100.1, 100.1, 104.6, 104.7]
    bag = write_bag(tmp_path / 'bag', {'/image': [image_message(red) for red in range(6)]}, storage, times_s)
    clock = SimulatedClock()
    source = replay(bag, rate_hz=20.0, timing='recorded', clock=clock)
    assert LONGEST_GAP_S == 2.0
    assert grab_times_ms(source, clock) == [50, 90, 150, 150, 2150, 2250]


def test_recorded_timing_is_kept_by_a_caller_who_is_late_now_and_then(tmp_path):
    times_s = [0.1 * number for number in range(6)]
    bag = write_bag(tmp_path / 'bag', {'/image': [image_message(red) for red in range(6)]}, times_s=times_s)
    clock = SimulatedClock()
    source = replay(bag, rate_hz=10.0, timing='recorded', clock=clock)
    assert grab_times_ms(source, clock, late_s=0.25, limit=2) == [100, 350]
    assert grab_times_ms(source, clock) == [600, 600, 600, 600]
    source.close()
    source.open()
    # What a machine slept through is not caught up with.
    clock.now_ns += 3600 * 10**9
    assert grab_times_ms(source, clock, limit=3)[:2] == [3600600, 3600600]


def test_recorded_timing_goes_round_without_a_jump(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/image': [image_message(1), image_message(2)]}, times_s=[7.0, 7.5])
    clock = SimulatedClock()
    source = replay(bag, loop=True, rate_hz=10.0, timing='recorded', clock=clock)
    assert grab_times_ms(source, clock, limit=5) == [100, 600, 700, 1200, 1300]


def test_a_video_has_times_and_a_folder_has_none(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / 'film.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 25.0, (32, 24))
    for index in range(4):
        writer.write(rgb_picture(60 * index))
    writer.release()
    clock = SimulatedClock()
    assert grab_times_ms(replay(tmp_path / 'film.avi', rate_hz=10.0, timing='recorded', clock=clock), clock) == \
        [100, 140, 180, 220]
    save(tmp_path / 'folder' / '1.png', 10)
    with pytest.raises(SensorError, match='does not say when its frames were taken'):
        replay(tmp_path / 'folder', timing='recorded')


@pytest.mark.parametrize('timing', ['steady', 'recorded', 'fastest'])
def test_every_run_gives_every_frame_in_the_same_order(tmp_path, timing):
    bag = write_bag(tmp_path / 'bag', {'/image': [image_message(red) for red in range(40)],
                                       '/other': [image_message(99)] * 3})
    clock = SimulatedClock()
    runs = [reds(replay(bag, '/image', timing=timing, clock=clock)) for _ in range(2)]
    assert runs == [list(range(40))] * 2
    assert (clock.sleeps == 0) == (timing == 'fastest')


def test_in_lockstep_not_even_a_reader_of_the_newest_frame_misses_one(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/image': [image_message(red) for red in range(10, 60)]})
    for _ in range(2):
        source = ReplaySource(SENSOR, bag, '', 1000.0, False, ImageGeometry(0.0, 0, False, 32, 24), 'lockstep')
        grabber = FrameGrabber(source, SensorParameters(source='replay', replay_path=str(bag), dead_after_periods=1000))
        grabber.start()
        found, sequence = [], -1
        while not (grabber.statistics().ended and len(found) >= 50):
            frame = grabber.wait_for_newer(sequence, 10.0)
            assert frame is not None, grabber.statistics()
            sequence = frame.sequence
            found.append(int(frame.image_hwc[12, 16, 0]))
            source.answered(frame.stamp_ns - 1)  # an answer to an earlier frame says nothing about this one
            source.answered(frame.stamp_ns)
            if len(found) == 50:
                assert grabber.wait_for_newer(sequence, 10.0) is None
        grabber.stop()
        assert found == list(range(10, 60))


def test_a_frame_without_an_answer_is_told_in_lockstep_and_the_next_one_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(replay_module, 'ANSWER_TIMEOUT_S', 0.001)
    bag = write_bag(tmp_path / 'bag', {'/image': [image_message(red) for red in range(3)]})
    source = replay(bag, timing='lockstep')
    source.answered(time.time_ns())  # nobody asked
    assert source.grab().image_hwc[0, 0, 0] == 0
    with pytest.raises(SensorError, match='nobody answered frame 0 of replay'):
        source.grab()
    frame = source.grab()
    assert frame.image_hwc[0, 0, 0] == 1
    source.answered(frame.stamp_ns)
    assert source.grab().image_hwc[0, 0, 0] == 2


def test_a_timing_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match='Choose one of steady, recorded, fastest, lockstep'):
        replay(tmp_path, timing='slow')


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8'])
@pytest.mark.parametrize('padding', [0, 5])
def test_every_encoding_and_row_padding_gives_rgb(tmp_path, encoding, padding):
    bag = write_bag(tmp_path / 'bag', {'/image': [image_message(40, encoding, padding)]})
    expected = np.full((24, 32, 3), 40, np.uint8) if encoding == 'mono8' else rgb_picture(40)
    np.testing.assert_array_equal(replay(bag).grab().image_hwc, expected)


def test_compressed_images_are_decoded_and_a_damaged_one_fails_alone(tmp_path):
    content = cv2.imencode('.png', rgb_picture(70)[:, :, ::-1])[1].tobytes()
    source = replay(write_bag(tmp_path / 'bag', {'/image/compressed': [content, content[:30], content]}))
    assert source.grab().image_hwc[0, 0, 0] == 70
    with pytest.raises(SensorError, match='/image/compressed: .* is cut off. .*, and record the bag again'):
        source.grab()
    assert reds(source) == [70]


def test_topic_chooses_and_must_choose_among_several(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/left/image_raw': [image_message(10)], '/right/image_raw': [image_message(20)]})
    assert reds(replay(bag, '/right/image_raw')) == [20]
    for topic in ('', '/camera'):
        with pytest.raises(SensorError, match='are /left/image_raw, /right/image_raw; asked for'):
            replay(bag, topic)


def test_bag_without_images_is_refused(tmp_path):
    with pytest.raises(SensorError, match='image topics of .* are none'):
        replay(write_bag(tmp_path / 'bag', {'/other': []}))


def test_compressed_images_that_are_cut_off_or_have_red_and_blue_exchanged(tmp_path):
    content = cv2.imencode('.jpg', rgb_picture(70)[:, :, ::-1])[1].tobytes()
    source = replay(write_bag(tmp_path / 'bag', {'/image/compressed': [content[:-40], content + b'\0\0']}))
    with pytest.raises(SensorError, match='a message of /image/compressed: .* is damaged'):
        source.grab()
    np.testing.assert_allclose(source.grab().image_hwc[0, 0], (70, 90, 0), atol=4)
    exchanged = write_bag(tmp_path / 'exchanged', {'/image': [content]}, image_format='rgb8; jpeg compressed rgb8')
    np.testing.assert_allclose(replay(exchanged).grab().image_hwc[0, 0], (0, 90, 70), atol=4)


def test_a_bag_of_pictures_gives_what_a_live_topic_gives(tmp_path):
    # EXIF with Orientation = 6, a quarter turn, which a camera that is mounted on its side may write.
    exif = b'Exif\0\0MM\0\x2a\0\0\0\x08\0\x01' + b'\x01\x12\0\x03\0\0\0\x01\0\x06\0\0' + bytes(4)
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    jpeg = cv2.imencode('.jpg', picture)[1].tobytes()
    turned = jpeg[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + jpeg[2:]
    half = jpeg[:len(jpeg) // 2] + jpeg[-2:]
    deep = cv2.imencode('.png', np.full((24, 32), 300, np.uint16))[1].tobytes()
    source = replay(write_bag(tmp_path / 'bag', {'/image/compressed': [turned, half, deep]}))
    live = decode_compressed_image(SimpleNamespace(format='jpeg', data=turned))
    np.testing.assert_array_equal(source.grab().image_hwc, live)
    for told in ('damaged', 'not supported'):
        with pytest.raises(SensorError, match=told):
            source.grab()


def test_a_jpeg_file_of_which_a_part_is_missing_fails(tmp_path):
    jpeg = cv2.imencode('.jpg', np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))[1].tobytes()
    (tmp_path / '0.jpg').write_bytes(jpeg[:len(jpeg) // 2] + jpeg[-2:])
    with pytest.raises(SensorError, match='0.jpg is not a readable image'):
        replay(tmp_path).grab()


@pytest.mark.parametrize('change', [{'encoding': 'bayer_rggb8'}, {'step': 95}, {'height': 25}, {'width': 0},
                                    {'encoding': 'yuv422', 'width': 31}])
def test_message_that_contradicts_itself_is_refused(tmp_path, change):
    message = image_message(10)
    vars(message).update(change)
    with pytest.raises(SensorError, match='a message of /image'):
        replay(write_bag(tmp_path / 'bag', {'/image': [message]})).grab()


def test_truncated_bag_is_refused_or_ends_in_an_error(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/image': [image_message(10), image_message(20)]})
    mcap = next(bag.glob('*.mcap'))
    mcap.write_bytes(mcap.read_bytes()[:-400])
    with pytest.raises(SensorError, match='bag reindex'):
        reds(replay(bag))


def test_settings_build_a_replay_that_ignores_the_crop_of_the_device(tmp_path):
    picture = rgb_picture(30, 240, 320)
    picture[:20] = 255
    cv2.imwrite(str(tmp_path / 'one.png'), picture[:, :, ::-1])
    source = recorded_or_device_source(SensorParameters(
        source='replay', replay_path=str(tmp_path), border_fraction=0.15, rotate_quarter_turns=1))
    source.open()
    np.testing.assert_array_equal(source.grab().image_hwc, picture)
    assert source.nominal_period_s == pytest.approx(1.0 / 30.0)


def test_simulated_source_is_not_built_here():
    with pytest.raises(ConfigurationError, match='Choose replay or device'):
        recorded_or_device_source(SensorParameters(source='simulated'))
