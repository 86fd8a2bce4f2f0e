"""gsrobotics on video files in place of the device.

The tests run on a small stand-in for its class `GelSightMini`, and all of them on the true one too where
VISUOTACTILE_GSROBOTICS names a clone of https://github.com/gelsightinc/gsrobotics (GPL-3.0; it needs scipy).
"""

import os
import runpy
import sys
import time
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.sensors import gsrobotics_adapter
from visuotactile_ros.sensors.frame_grabber import is_device_lost
from visuotactile_ros.sensors.gsrobotics_adapter import GsroboticsSource, load_gsrobotics
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.jpeg_decoding import JpegDecoder

SENSOR = SensorIdentity('left', 'gelsight_mini', '2BNN4ZE7')
VENDOR_PICTURE = ImageGeometry(0.15, 0, False, 320, 240)
DATA = Path(__file__).resolve().parent.parent / 'data'
REAL_FRAMES = sorted((DATA / 'real_frames').glob('gelsight_mini*.jpg'))[:3]
TRUE_FOLDER = os.environ.get('VISUOTACTILE_GSROBOTICS')

# What the adapter uses of gsrobotics, with the same silences: a camera that cannot be opened or read is no error.
STAND_IN = """
import glob

import cv2
from utilities.sizes import middle


class Opened:
    def __init__(self, device):
        self.device, self.cap = device, cv2.VideoCapture(device)
        self.release = self.cap.release


class GelSightMini:
    camera = None

    def __init__(self, target_width=320, target_height=240, border_fraction=0.15):
        self.size, self.border_fraction = (target_width, target_height), border_fraction

    def get_device_list(self):
        return dict(enumerate(glob.glob('/dev/v4l/by-id/*')))

    def select_device(self, device_idx):
        self.camera = Opened(self.get_device_list()[device_idx])

    def start(self):
        pass

    def update(self, dt):
        good, image = self.camera.cap.read()
        return cv2.resize(middle(image, self.border_fraction)[..., ::-1], self.size) if good else None
"""
SIZES = """
def middle(image, fraction):
    rows, columns = (int(size * fraction) for size in image.shape[:2])
    return image[rows:len(image) - rows, columns:image.shape[1] - columns]
"""


@pytest.fixture(params=['stand_in', 'true'] if TRUE_FOLDER else ['stand_in'])
def folder(request, tmp_path):
    if request.param == 'true':
        return Path(TRUE_FOLDER)
    (tmp_path / 'gsrobotics' / 'utilities').mkdir(parents=True)
    (tmp_path / 'gsrobotics' / 'utilities' / 'gelsightmini.py').write_text(STAND_IN)
    (tmp_path / 'gsrobotics' / 'utilities' / 'sizes.py').write_text(SIZES)
    return tmp_path / 'gsrobotics'


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    """Give a video of real gel pictures at 640x480 and what OpenCV reads from it (BGR)."""
    path = str(tmp_path_factory.mktemp('film') / 'gel.avi')
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'MJPG'), 25.0, (640, 480))
    for picture in REAL_FRAMES:
        writer.write(cv2.resize(cv2.imread(str(picture)), (640, 480)))
    writer.release()
    reader = cv2.VideoCapture(path)
    return path, [reader.read()[1] for _ in REAL_FRAMES]


@pytest.fixture
def by_id(tmp_path, monkeypatch):
    """Stand in for /dev/v4l/by-id: gives a function that adds a node, which is a link to a file, and lists all."""
    links = []

    def plug(serial, content, node='video-index0'):
        links.append(str(tmp_path / f'usb-Arducam_GelSight_Mini_R0B_{serial[:4]}-{serial[4:]}_{serial}-{node}'))
        Path(links[-1]).symlink_to(content)
        return links

    monkeypatch.setattr('glob.glob', lambda pattern: links.copy() if pattern == '/dev/v4l/by-id/*' else [])
    return plug


@pytest.fixture
def cameras(monkeypatch):
    """List what is opened with OpenCV."""
    opened, opencv_capture = [], cv2.VideoCapture
    monkeypatch.setattr('cv2.VideoCapture', lambda path: opened.append(opencv_capture(path)) or opened[-1])
    return opened


def source(folder, geometry=VENDOR_PICTURE, sensor=SENSOR):
    return GsroboticsSource(sensor, folder, 25.0, geometry)


def test_frames_are_rgb_stamped_and_counted(folder, film, by_id):
    by_id('2BNN4ZE7', film[0])
    opened = source(folder)
    opened.open()
    before_ns = time.time_ns()
    frames = [opened.grab() for _ in REAL_FRAMES]
    assert before_ns <= frames[0].stamp_ns <= frames[1].stamp_ns <= time.time_ns()
    assert [frame.sequence for frame in frames] == list(range(len(REAL_FRAMES)))
    assert frames[0].sensor == SENSOR and opened.nominal_period_s == pytest.approx(0.04)
    np.testing.assert_array_equal(frames[0].image_hwc, VENDOR_PICTURE.apply(film[1][0]))


@pytest.mark.skipif(not TRUE_FOLDER, reason='needs gsrobotics (GPL-3.0): set VISUOTACTILE_GSROBOTICS to a clone of it')
def test_our_own_frame_is_the_vendor_s_bit_for_bit(by_id, tmp_path, monkeypatch):
    """From the camera's JPEGs on: OpenCV reads a folder of them with the decoder that it uses for V4L2, as theirs."""
    for number, picture in enumerate(REAL_FRAMES):
        cv2.imwrite(str(tmp_path / f'{number}.jpg'), cv2.resize(cv2.imread(str(picture)), (3280, 2464)))
    by_id('2BNN4ZE7', tmp_path / '%d.jpg')
    opencv_capture = cv2.VideoCapture
    monkeypatch.setattr('cv2.VideoCapture', lambda link: opencv_capture(os.readlink(link), cv2.CAP_IMAGES))
    decoder = JpegDecoder(3280, 2464, reduction=1, accepts_padding=False)
    for border_fraction, width_px, height_px in ((0.15, 320, 240), (0.0, 640, 480), (0.145, 91, 33)):
        theirs = load_gsrobotics(Path(TRUE_FOLDER)).GelSightMini(width_px, height_px, border_fraction)
        theirs.select_device(0)
        theirs.start()
        geometry = ImageGeometry(border_fraction, 0, False, width_px, height_px)
        through_adapter = source(Path(TRUE_FOLDER), geometry)
        through_adapter.open()
        for number in range(len(REAL_FRAMES)):
            expected = theirs.update(0.0)
            picture_bgr = decoder.decode((tmp_path / f'{number}.jpg').read_bytes(), 'left')
            np.testing.assert_array_equal(geometry.apply(picture_bgr), expected)
            np.testing.assert_array_equal(through_adapter.grab().image_hwc, expected)


@pytest.mark.parametrize(('turns', 'mirror'), [(0, True), (1, False), (2, False), (3, True)])
def test_their_picture_is_turned_and_mirrored_as_ours(folder, film, by_id, turns, mirror):
    by_id('2BNN4ZE7', film[0])
    width, height = (240, 320) if turns % 2 else (320, 240)
    opened = source(folder, ImageGeometry(0.15, turns, mirror, width, height))
    opened.open()
    expected = np.rot90(VENDOR_PICTURE.apply(film[1][0]), -turns)
    np.testing.assert_array_equal(opened.grab().image_hwc, expected[:, ::-1] if mirror else expected)


def test_device_is_chosen_by_its_serial_among_others_and_nodes_without_pictures(folder, film, by_id):
    by_id('2BNN4ZE7', '/nowhere', 'video-index1')
    by_id('2BKRDJGF', '/nowhere')
    by_id('12BNN4ZE7', '/nowhere')
    by_id('2BNN4ZE7', film[0])
    for serial in ('2BNN-4ZE7', '2BNN4ZE7', '2bnn4ze7'):
        opened = source(folder, sensor=SensorIdentity('left', 'gelsight_mini', serial))
        opened.open()
        frame = opened.grab()
        assert frame.sensor == SENSOR  # however the serial is written
        np.testing.assert_array_equal(frame.image_hwc, VENDOR_PICTURE.apply(film[1][0]))


@pytest.mark.parametrize(('serial', 'others', 'match'), [
    ('2BNN-4ZE7', ['2BKRDJGF'], "left: serial '2BNN-4ZE7' fits 0 GelSight Minis; found: 2BKRDJGF. Check cable"),
    ('', ['2BKRDJGF', '28D8N8XZ'], "serial '' fits 2 GelSight Minis; found: 28D8N8XZ, 2BKRDJGF. Check cable"),
    ('', [], "serial '' fits 0 GelSight Minis; found: none. Check cable")])
def test_serial_that_names_no_single_device_is_told_with_those_that_are_there(folder, by_id, serial, others, match):
    for other in others:
        by_id(other, '/nowhere')
    with pytest.raises(SensorError, match=match):
        source(folder, sensor=SensorIdentity('left', 'gelsight_mini', serial)).open()


def test_without_a_serial_the_only_device_is_taken_and_then_no_other(folder, film, by_id):
    by_id('2BNN4ZE7', '/nowhere', 'video-index1')
    links = by_id('2BNN4ZE7', film[0])
    links.append('/dev/v4l/by-id/usb-webcam_0001-video-index0')
    opened = source(folder, sensor=SensorIdentity('left', 'gelsight_mini'))
    opened.open()
    assert opened.grab().sensor == SensorIdentity('left', 'gelsight_mini', '2BNN4ZE7')
    opened.close()
    links.clear()
    by_id('2BKRDJGF', film[0])
    with pytest.raises(SensorError, match="serial '2BNN4ZE7' fits 0 GelSight Minis; found: 2BKRDJGF"):
        opened.open()


def test_camera_that_cannot_be_opened_is_no_silence(folder, by_id):
    by_id('2BNN4ZE7', '/nowhere')
    with pytest.raises(SensorError, match='2BNN4ZE7-video-index0 cannot be opened. Check cable and permissions'):
        source(folder).open()


@pytest.mark.parametrize(('second_listing', 'match'), [
    (lambda links: [], 'went while it was opened'),
    (lambda links: links[::-1], '2BKRDJGF-video-index0 was opened instead of .*2BNN4ZE7')])
def test_devices_that_change_between_listing_and_opening_never_give_another_sensor(
        folder, film, by_id, monkeypatch, second_listing, match):
    by_id('2BNN4ZE7', film[0])
    links = by_id('2BKRDJGF', film[0])
    listings = iter([links, second_listing(links), links, links])
    monkeypatch.setattr('glob.glob', lambda _: next(listings))
    opened = source(folder)
    with pytest.raises(SensorError, match=match):
        opened.open()
    opened.open()
    assert opened.grab().sequence == 0


def test_unplugged_device_gives_an_error_for_ever_and_is_found_again(folder, film, by_id):
    links = by_id('2BNN4ZE7', film[0])
    opened = source(folder)
    opened.open()
    for _ in REAL_FRAMES:
        opened.grab()
    with pytest.raises(SensorError, match='left: the GelSight Mini gave no frame. Check cable') as failure:
        opened.grab()
    assert not is_device_lost(failure.value)
    Path(links.pop()).unlink()
    for _ in range(2):
        with pytest.raises(SensorError, match='left: the GelSight Mini gave no frame. Check cable') as failure:
            opened.grab()
        assert is_device_lost(failure.value)
    opened.close()
    by_id('2BNN4ZE7', film[0])
    links.insert(0, '/dev/v4l/by-id/usb-webcam-video-index0')  # the index of the same sensor is another now
    opened.open()
    assert opened.grab().sequence == len(REAL_FRAMES) + 3


def test_device_whose_serial_stands_in_its_product_only_carries_it_without_the_dash(folder, film, by_id):
    links = by_id('2BNN4ZE7', film[0])
    link = Path(links[0])
    links[0] = str(link.rename(link.with_name(link.name.replace('_2BNN4ZE7-', '-'))))
    opened = source(folder, sensor=SensorIdentity('left', 'gelsight_mini'))
    opened.open()
    assert opened.sensor == SENSOR


def test_device_that_does_not_start_is_released(folder, film, by_id, cameras, monkeypatch):
    def fail(_):
        raise RuntimeError('no thread')
    by_id('2BNN4ZE7', film[0])
    opened = source(folder)
    monkeypatch.setattr(opened._library.GelSightMini, 'start', fail)
    with pytest.raises(RuntimeError, match='no thread'):
        opened.open()
    assert [camera.isOpened() for camera in cameras] == [False]


def test_whatever_gsrobotics_raises_is_told_in_one_line(folder, film, by_id, monkeypatch):
    def fail(*_):
        raise cv2.error('nothing\nto resize')

    by_id('2BNN4ZE7', film[0])
    opened = source(folder)
    opened.open()
    monkeypatch.setattr('cv2.resize', fail)
    with pytest.raises(SensorError, match='left: gsrobotics fails with .*resize') as caught:
        opened.grab()
    assert '\n' not in str(caught.value)


def test_opening_and_closing_twice_is_allowed(folder, film, by_id, cameras):
    by_id('2BNN4ZE7', film[0])
    opened = source(folder)
    opened.open()
    assert (opened.grab().sequence, opened.open()) == (0, None)
    np.testing.assert_array_equal(opened.grab().image_hwc, VENDOR_PICTURE.apply(film[1][1]))  # the film went on
    opened.close()
    opened.close()
    assert [camera.isOpened() for camera in cameras] == [False]
    with pytest.raises(SensorError, match='not open'):
        opened.grab()


def test_its_module_names_neither_shadow_others_nor_are_shadowed(folder, monkeypatch):
    other, part = types.ModuleType('utilities'), types.ModuleType('utilities.gelsightmini')
    monkeypatch.setitem(sys.modules, 'utilities', other)
    monkeypatch.setitem(sys.modules, 'utilities.gelsightmini', part)
    paths = sys.path.copy()
    assert load_gsrobotics(folder).__file__ == str(folder.resolve() / 'utilities' / 'gelsightmini.py')
    assert {name: module for name, module in sys.modules.items() if name.split('.')[0] == 'utilities'} == {
        'utilities': other, 'utilities.gelsightmini': part}
    assert sys.path == paths


def test_folder_without_gsrobotics_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match='has no utilities/gelsightmini.py. Set gsrobotics_path'):
        source(tmp_path)


def test_what_gsrobotics_lacks_is_named_and_nothing_of_it_stays(tmp_path):
    (tmp_path / 'utilities').mkdir()
    (tmp_path / 'utilities' / 'gelsightmini.py').write_text('import a_module_that_is_missing')
    with pytest.raises(ConfigurationError, match="No module named 'a_module_that_is_missing'.*Install"):
        source(tmp_path)
    assert not {'utilities', 'utilities.gelsightmini'} & set(sys.modules)


def test_importing_the_adapter_imports_nothing_of_the_vendor(monkeypatch):
    monkeypatch.setitem(sys.modules, 'utilities', None)
    assert 'GsroboticsSource' in runpy.run_path(gsrobotics_adapter.__file__)
