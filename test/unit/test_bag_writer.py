"""Bags that the recorder writes: what is in them, who can read them, and what is left of a damaged one."""

import json
import resource
import shutil
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from scripted_source import wait_until

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.parameters.recorder import RecorderParameters
from visuotactile_ros.ros_interface.bag_queue import DROPPED_KEY, BagQueue
from visuotactile_ros.ros_interface.bag_writer import NO_TIME_NS, BagWriter, qos_description
from visuotactile_ros.ros_interface.image_codec import decode_image, decode_vector
from visuotactile_ros.ros_interface.message_definitions import message_definition
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.recorded_images import count_pictures
from visuotactile_ros.sensors.replay import ReplaySource

TYPES = get_typestore(Stores.ROS2_JAZZY)
IMAGE, TOPIC = 'sensor_msgs/msg/Image', '/tactile/left/image_raw'
STAMP_NS = 1_700_000_000_123_456_789
PIXEL_BYTES = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1, 'yuv422': 2, 'yuv422_yuy2': 2}
INFINITE = {'sec': 9223372036, 'nsec': 854775807}
RELIABLE = {'history': 'keep_last', 'depth': 5, 'reliability': 'reliable', 'durability': 'volatile',
            'deadline': INFINITE, 'lifespan': INFINITE, 'liveliness': 'automatic',
            'liveliness_lease_duration': INFINITE, 'avoid_ros_namespace_conventions': False}


def image_message(height, width, encoding='rgb8', step=0, data=None, is_bigendian=0, stamp_ns=STAMP_NS):
    """A sensor_msgs/Image as rosbags knows it."""
    step = step or width * PIXEL_BYTES[encoding]
    data = np.random.default_rng(height * width).integers(0, 256, height * step, np.uint8) if data is None else data
    time = TYPES.types['builtin_interfaces/msg/Time'](stamp_ns // 10**9, stamp_ns % 10**9)
    header = TYPES.types['std_msgs/msg/Header'](time, 'left')
    return TYPES.types[IMAGE](header, height, width, encoding, is_bigendian, step, data)


def picture(number, height=6, width=8):
    """Message of a picture that differs from that of every other number, and its RGB."""
    rgb = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    return bytes(TYPES.serialize_cdr(image_message(height, width, data=rgb.ravel()), IMAGE)), rgb


def replay(path, height=6, width=8, topic=''):
    """Every frame until the end, and the error that ended it or None."""
    source = ReplaySource(SensorIdentity('replay', 'digit'), path, topic, 30.0, False,
                          ImageGeometry(0.0, 0, False, width, height), 'fastest')
    frames = []
    try:
        source.open()
        while True:
            frame = source.grab()
            if frame is None:
                return frames, None
            frames.append(frame.image_hwc)
    except SensorError as error:
        return frames, error
    finally:
        source.close()


def write_pictures(folder, count, close=True, **arguments):
    """A bag of pictures, each flushed; gives the size of the file after each."""
    bag = BagWriter(folder, **arguments)
    bag.add_topic(TOPIC, IMAGE)
    sizes = []
    for number in range(count):
        bag.write(TOPIC, picture(number)[0], STAMP_NS + number, STAMP_NS + number - 5)
        bag.flush()
        sizes.append(mcap_of(folder).stat().st_size)
    if close:
        bag.close()
    return sizes


def mcap_of(folder):
    return folder / f'{folder.name}_0.mcap'


def records_of(folder, topic=None):
    with mcap_of(folder).open('rb') as stream:
        return [(channel.topic, message.log_time, message.publish_time, message.sequence, message.data)
                for _, channel, message in make_reader(stream, validate_crcs=True).iter_messages(topic)]


@pytest.fixture(scope='module')
def module_folder(tmp_path_factory):
    return tmp_path_factory.mktemp('bags')


@st.composite
def image_messages(draw, height, width):
    encoding = draw(st.sampled_from(sorted(PIXEL_BYTES)))
    step = width * PIXEL_BYTES[encoding] + draw(st.integers(0, 7))
    data = np.frombuffer(draw(st.binary(min_size=height * step, max_size=height * step)), np.uint8)
    stamp_ns = draw(st.integers(0, 2**31 * 10**9 - 1))
    return image_message(height, width, encoding, step, data, draw(st.integers(0, 1)), stamp_ns)


@settings(max_examples=6)
@given(st.integers(1, 5), st.sampled_from([2, 4, 6]), st.data())
def test_every_image_comes_back_bit_for_bit(module_folder, height, width, data):
    messages = data.draw(st.lists(image_messages(height, width), min_size=1, max_size=12))
    folder = Path(tempfile.mkdtemp(dir=module_folder)) / 'bag'
    bag = BagWriter(folder, data.draw(st.sampled_from(['none', 'lz4', 'zstd'])))
    bag.add_topic(TOPIC, IMAGE)
    written = []
    for number, message in enumerate(messages):
        content = bytes(TYPES.serialize_cdr(message, IMAGE))
        # They come back in the order of their arrival, whenever they were sent.
        published_ns, sequence = data.draw(st.integers(0, 2**63)), data.draw(st.integers(0, 2**32 - 1))
        bag.write(TOPIC, content, STAMP_NS + number, published_ns, sequence)
        written.append((TOPIC, STAMP_NS + number, published_ns, sequence, content))
    bag.close()
    assert records_of(folder) == written
    with AnyReader([folder]) as reader:
        assert [(time_ns, content) for _, time_ns, content in reader.messages()] == \
            [(record[1], record[4]) for record in written]
        assert reader.deserialize(written[0][4], IMAGE).header.stamp == messages[0].header.stamp
    frames, error = replay(folder, height, width)
    assert error is None
    np.testing.assert_array_equal(frames, [decode_image(message) for message in messages])


@settings(max_examples=4)
@given(st.lists(st.tuples(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9), st.booleans()), min_size=1))
def test_vectors_of_either_byte_order_come_back(module_folder, vectors):
    folder = Path(tempfile.mkdtemp(dir=module_folder)) / 'bag'
    bag = BagWriter(folder)
    bag.add_topic('/tactile/embedding_stamped', IMAGE)
    for number, (vector, is_bigendian) in enumerate(vectors):
        data = np.frombuffer(np.array(vector, '>f4' if is_bigendian else '<f4').tobytes(), np.uint8)
        message = image_message(1, len(vector), '32FC1', 4 * len(vector), data, int(is_bigendian))
        bag.write('/tactile/embedding_stamped', bytes(TYPES.serialize_cdr(message, IMAGE)), STAMP_NS + number, STAMP_NS)
    bag.close()
    received = [decode_vector(TYPES.deserialize_cdr(record[4], IMAGE)) for record in records_of(folder)]
    assert [vector.tolist() for vector in received] == [vector for vector, _ in vectors]


def test_metadata_is_what_ros2_bag_reads(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    folder = tmp_path / 'deep' / 'two'
    bag = BagWriter(folder)
    bag.add_topic(TOPIC, IMAGE, [RELIABLE, RELIABLE])
    for number, time_ns in enumerate((STAMP_NS + 7, STAMP_NS, STAMP_NS + 4)):
        bag.write(TOPIC, picture(number)[0], time_ns, time_ns)
        bag.add_topic(f'/late/{number}', 'std_msgs/msg/String')
    bag.close({'note': 'gefüllt'})
    bag.close()
    span = {'duration': {'nanoseconds': 7}, 'starting_time': {'nanoseconds_since_epoch': STAMP_NS}, 'message_count': 3}
    text = (folder / 'metadata.yaml').read_text()
    metadata = yaml.safe_load(text)['rosbag2_bagfile_information']
    topics = metadata.pop('topics_with_message_count')
    assert metadata == {
        'version': 9, 'storage_identifier': 'mcap', **span, 'compression_format': '', 'compression_mode': '',
        'relative_file_paths': ['two_0.mcap'], 'files': [{'path': 'two_0.mcap', **span}],
        'custom_data': {'note': 'gefüllt'}, 'ros_distro': 'jazzy'}
    assert topics[0] == {'message_count': 3, 'topic_metadata': {
        'name': TOPIC, 'type': IMAGE, 'serialization_format': 'cdr', 'offered_qos_profiles': [RELIABLE, RELIABLE],
        'type_description_hash': 'RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47'}}
    assert [topic['message_count'] for topic in topics[1:]] == [0, 0, 0]
    # yaml-cpp would read these too, but no other bag has them.
    assert '&' not in text and '*' not in text
    with mcap_of(folder).open('rb') as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == 'ros2'
        channel, = [channel for channel in reader.get_summary().channels.values() if channel.topic == TOPIC]
        noted = [yaml.safe_load(record.metadata['serialized_metadata']) for record in reader.iter_metadata()]
    assert yaml.safe_load(channel.metadata['offered_qos_profiles']) == [RELIABLE, RELIABLE]
    assert [note['version'] for note in noted] == [9, 9] and noted[1]['message_count'] == 3


def test_a_bag_without_messages_is_a_bag(tmp_path):
    bag = BagWriter(tmp_path / 'empty')
    bag.add_topic(TOPIC, IMAGE)
    bag.close()
    metadata = yaml.safe_load((tmp_path / 'empty' / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert (metadata['message_count'], metadata['duration']) == (0, {'nanoseconds': 0})
    assert metadata['starting_time'] == {'nanoseconds_since_epoch': NO_TIME_NS}
    frames, error = replay(tmp_path / 'empty')
    assert frames == [] and 'holds no frames' in str(error)


def test_quality_of_service_is_described_as_ros2_bag_does():
    def policy(name):
        return SimpleNamespace(short_key=name)
    infinite = SimpleNamespace(nanoseconds=2**63 - 1)
    profile = SimpleNamespace(
        history=policy('keep_last'), depth=5, reliability=policy('reliable'), durability=policy('volatile'),
        deadline=infinite, lifespan=infinite, liveliness=policy('automatic'), liveliness_lease_duration=infinite,
        avoid_ros_namespace_conventions=False)
    assert qos_description(profile) == RELIABLE


def test_a_bag_that_is_there_is_not_touched(tmp_path):
    write_pictures(tmp_path / 'bag', 2)
    before = mcap_of(tmp_path / 'bag').read_bytes()
    with pytest.raises(ConfigurationError, match='exists already'):
        BagWriter(tmp_path / 'bag')
    assert mcap_of(tmp_path / 'bag').read_bytes() == before
    with pytest.raises(ConfigurationError, match='cannot be made: Not a directory'):
        BagWriter(mcap_of(tmp_path / 'bag') / 'bag')


def test_a_type_of_an_installed_package_is_learnt_with_its_parts(tmp_path, monkeypatch):
    texts = {'Outer': 'std_msgs/Header header\nInner[] parts\nuint8 KIND=3\n', 'Inner': 'float64[3] force # N\n'}
    (tmp_path / 'share/ament_index/resource_index/packages').mkdir(parents=True)
    (tmp_path / 'share/ament_index/resource_index/packages/lab_msgs').touch()
    (tmp_path / 'share/lab_msgs/msg').mkdir(parents=True)
    for name, text in texts.items():
        (tmp_path / f'share/lab_msgs/msg/{name}.msg').write_text(text)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    definition, type_hash = message_definition('lab_msgs/msg/Outer')
    parts = definition.split('=' * 80 + '\n')
    assert 'lab_msgs/Inner[] parts' in parts[0] and 'uint8 KIND=3' in parts[0]
    assert {part.splitlines()[0] for part in parts[1:]} == {
        'MSG: std_msgs/Header', 'MSG: builtin_interfaces/Time', 'MSG: lab_msgs/Inner'}
    assert type_hash.startswith('RIHS01_')


@pytest.mark.parametrize('name', ['nobody_msgs/msg/Nothing', 'std_msgs/msg/Nothing', 'nonsense'])
def test_a_type_that_nobody_knows_is_refused(tmp_path, name):
    bag = BagWriter(tmp_path / 'bag')
    with pytest.raises(ConfigurationError, match=f'the definition of {name} is not known'):
        bag.add_topic('/topic', name)
    bag.close()


@pytest.fixture(scope='module')
def sound_bags(tmp_path_factory):
    """One bag of four pictures for each compression, and the size of its file after each of them."""
    folder = tmp_path_factory.mktemp('sound')
    return {compression: (folder / compression, write_pictures(folder / compression, 4, compression=compression))
            for compression in ('none', 'lz4', 'zstd')}


def damaged_copy(folder, content):
    copy = Path(tempfile.mkdtemp(dir=folder.parent)) / folder.name
    copy.mkdir()
    mcap_of(copy).write_bytes(content)
    return copy


def check_frames_before_damage(frames):
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, picture(number)[1])


@settings(max_examples=30)
@given(st.sampled_from(['none', 'lz4', 'zstd']), st.floats(0, 1, exclude_max=True))
def test_a_bag_cut_off_anywhere_gives_every_frame_that_was_flushed(sound_bags, compression, fraction):
    folder, sizes = sound_bags[compression]
    whole = mcap_of(folder).read_bytes()
    length = int(fraction * len(whole))
    frames, error = replay(damaged_copy(folder, whole[:length]))
    assert error is not None and '\n' not in str(error) and 'ros2 bag reindex' in str(error)
    # The index of a chunk, which nobody misses, may be cut off.
    assert sum(size <= length for size in sizes) <= len(frames) <= 4
    check_frames_before_damage(frames)


@settings(max_examples=30)
@given(st.sampled_from(['none', 'lz4', 'zstd']), st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.booleans())
def test_a_wrong_byte_anywhere_never_gives_a_wrong_frame(sound_bags, compression, fraction, change, is_file):
    folder, _ = sound_bags[compression]
    content = bytearray(mcap_of(folder).read_bytes())
    content[int(fraction * len(content))] ^= change
    copy = damaged_copy(folder, bytes(content))
    frames, error = replay(mcap_of(copy) if is_file else copy)
    # A wrong byte in the index can hide a frame from a reader, who must then know that one is missing.
    assert len(frames) == 4 if error is None else '\n' not in str(error)
    sent = [picture(number)[1].tobytes() for number in range(4)]
    numbers = [sent.index(frame.tobytes()) for frame in frames]
    assert numbers == sorted(set(numbers))


def test_a_cut_off_bag_that_has_its_metadata_is_read_as_far_as_it_goes(sound_bags):
    folder, sizes = sound_bags['none']
    copy = damaged_copy(folder, mcap_of(folder).read_bytes()[:sizes[2]])
    shutil.copy(folder / 'metadata.yaml', copy)
    frames, error = replay(copy)
    assert len(frames) == 3 and 'damaged after 3 images' in str(error)
    check_frames_before_damage(frames)


def test_a_recorder_that_was_killed_leaves_what_was_flushed(tmp_path):
    write_pictures(tmp_path / 'bag', 3, close=False)
    assert not (tmp_path / 'bag' / 'metadata.yaml').exists()
    for path in (tmp_path / 'bag', mcap_of(tmp_path / 'bag')):
        frames, error = replay(path)
        np.testing.assert_array_equal(frames, [picture(number)[1] for number in range(3)])
        assert f'{path} is damaged after 3 images' in str(error)
        assert replay(path, topic='/another')[0] == []


def test_files_of_a_bag_without_metadata_follow_each_other(tmp_path):
    for number in (0, 9, 10):
        bag = BagWriter(tmp_path / f'part{number}')
        bag.add_topic(TOPIC, IMAGE)
        bag.write(TOPIC, picture(number)[0], STAMP_NS + number, STAMP_NS)
        bag.close()
        (tmp_path / 'split').mkdir(exist_ok=True)
        mcap_of(tmp_path / f'part{number}').rename(tmp_path / 'split' / f'split_{number}.mcap')
    frames, error = replay(tmp_path / 'split')
    assert error is None
    np.testing.assert_array_equal(frames, [picture(number)[1] for number in (0, 9, 10)])


def test_two_topics_without_an_index_must_be_chosen_from(tmp_path):
    bag = BagWriter(tmp_path / 'bag')
    for number, topic in enumerate(('/left', '/right')):
        bag.add_topic(topic, IMAGE)
        bag.write(topic, picture(number)[0], STAMP_NS + number, STAMP_NS)
    bag.flush()
    frames, error = replay(tmp_path / 'bag')
    assert frames == [] and 'are /left, /right; asked for the only one' in str(error)
    with pytest.raises(SensorError, match='asked for the only one'):
        count_pictures(tmp_path / 'bag', '')
    count, problem = count_pictures(tmp_path / 'bag', '/right')
    assert count == 1 and 'is damaged after 1 images' in problem
    np.testing.assert_array_equal(replay(tmp_path / 'bag', topic='/right')[0], [picture(1)[1]])


def test_a_full_disk_ends_the_bag_and_leaves_what_was_flushed(tmp_path):
    sizes = write_pictures(tmp_path / 'measure', 3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    bag = BagWriter(tmp_path / 'bag')
    queue = BagQueue(bag, 10**6, 1e-9, 0)
    queue.add_topic(TOPIC, IMAGE)
    for number in range(6):
        assert queue.write(TOPIC, picture(number)[0], STAMP_NS + number, STAMP_NS + number - 5)
    queue.finish()
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[2] + 10, limits[1]))
    try:
        queue.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    # The first three were flushed, one by one; the fourth was lost with its flush.
    assert 'cannot be written: File too large; at most 1 of the messages that count as written are lost. Make room' \
        in queue.fault
    assert not queue.write(TOPIC, b'more', STAMP_NS, STAMP_NS)
    assert bag.message_counts[TOPIC] + queue.dropped[TOPIC] == 7 and queue.waiting_bytes == 0
    frames, error = replay(tmp_path / 'bag')
    np.testing.assert_array_equal(frames, [picture(number)[1] for number in range(3)])
    assert 'damaged after 3 images' in str(error)


def test_a_disk_that_is_nearly_full_closes_the_bag_cleanly(tmp_path):
    queue = BagQueue(BagWriter(tmp_path / 'bag'), 10**6, 1e-9, 2**63)
    queue.add_topic(TOPIC, IMAGE)
    queue.write(TOPIC, picture(0)[0], STAMP_NS, STAMP_NS)
    queue.run()
    assert 'MiB free, less than' in queue.fault
    frames, error = replay(tmp_path / 'bag')
    assert error is None or 'holds no frames' in str(error)
    assert len(frames) + queue.dropped[TOPIC] == 1


def running_queue(folder):
    """A queue that has flushed one picture and goes on."""
    bag = BagWriter(folder)
    queue = BagQueue(bag, 10**6, 1e-9, 0)
    queue.add_topic(TOPIC, IMAGE)
    worker = threading.Thread(target=queue.run)
    worker.start()
    queue.write(TOPIC, picture(0)[0], STAMP_NS, STAMP_NS)
    wait_until(lambda: bag.message_counts.get(TOPIC) == 1 and bag.unflushed_messages == 0)
    return queue, worker


def test_a_bag_that_is_moved_while_it_is_written_is_finished_at_its_new_place(tmp_path):
    queue, worker = running_queue(tmp_path / 'bag')
    (tmp_path / 'bag').rename(tmp_path / 'moved')
    queue.write(TOPIC, picture(1)[0], STAMP_NS + 1, STAMP_NS)
    queue.finish()
    worker.join(10.0)
    assert queue.fault == '' and not (tmp_path / 'bag').exists()
    frames, error = replay(tmp_path / 'moved')
    assert error is None
    np.testing.assert_array_equal(frames, [picture(number)[1] for number in range(2)])
    assert sorted(path.name for path in (tmp_path / 'moved').iterdir()) == ['bag_0.mcap', 'metadata.yaml']


@pytest.mark.parametrize('when', ['while messages come', 'just before its end'])
def test_a_bag_that_is_removed_while_it_is_written_is_one_error(tmp_path, when):
    if when == 'while messages come':
        queue, worker = running_queue(tmp_path / 'bag')
        shutil.rmtree(tmp_path / 'bag')
        wait_until(lambda: queue.fault != '')
    else:
        queue = BagQueue(BagWriter(tmp_path / 'bag'), 10**6, 60.0, 0)
        shutil.rmtree(tmp_path / 'bag')
        queue.finish()
        queue.run()
    assert 'bag_0.mcap was removed, or moved to another disk' in queue.fault and 'Start a new recording' in queue.fault
    assert not queue.write(TOPIC, b'more', STAMP_NS, STAMP_NS) and not (tmp_path / 'bag').exists()


def test_a_queue_takes_what_it_has_room_for_and_counts_the_rest(tmp_path):
    queue = BagQueue(BagWriter(tmp_path / 'bag'), 250, 0.5, 0)
    queue.add_topic('/a', 'std_msgs/msg/String')
    taken = [queue.write('/a', bytes(100), STAMP_NS + number, STAMP_NS) for number in range(5)]
    assert taken == [True, True, False, False, False] and queue.waiting_bytes == 200
    worker = threading.Thread(target=queue.run)
    worker.start()
    queue.finish()
    worker.join(10.0)
    assert not worker.is_alive() and queue.waiting_bytes == 0 and queue.fault == ''
    assert [record[:2] for record in records_of(tmp_path / 'bag')] == [('/a', STAMP_NS), ('/a', STAMP_NS + 1)]
    metadata = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert json.loads(metadata['custom_data'][DROPPED_KEY]) == {'/a': 3}


def test_a_defect_in_the_writer_still_closes_the_bag(tmp_path):
    queue = BagQueue(BagWriter(tmp_path / 'bag'), 250, 0.5, 0)
    queue.write('/never/added', b'x', STAMP_NS, STAMP_NS)
    with pytest.raises(KeyError):
        queue.run()
    assert (tmp_path / 'bag' / 'metadata.yaml').exists()


@pytest.mark.parametrize('setting', [{'topics': ('left',)}, {'namespaces': ('/tactile/',)}, {'topics': (3,)},
                                     {'bag_name': 'a/b'}, {'bag_name': '..'}, {'queue_mib': 0.0},
                                     {'compression': 'gzip'}])
def test_a_setting_that_cannot_be_used_is_refused(setting):
    with pytest.raises(ConfigurationError):
        RecorderParameters(**setting)
