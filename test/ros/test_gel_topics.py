"""Shear, slip, depth and normals as the sensor node publishes them: rendered gels from a folder."""

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Vector3Stamped
from rclpy.lifecycle import TransitionCallbackReturn
from ros_graph import wait_until
from sensor_msgs.msg import Image
from std_msgs.msg import Bool

from visuotactile_ros.nodes.sensor_node import SensorNode
from visuotactile_ros.ros_interface.messages import ns_from_time
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.objects import ObjectParameters
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES

LEFT, FREE_FRAMES = '/tactile/left', 20
BALL = ObjectParameters(material='metal', shape='sphere', radius_mm=7.0, youngs_modulus_mpa=1e5)


def contact(depth_share=1.0, shear_x_mm=0.0):
    return ContactState(normal_force_n=6.0 * depth_share, shear_mm=(shear_x_mm, 0.0), object=BALL)


@pytest.fixture
def press(tmp_path):
    """Make a folder of a gel that is free, pressed by a ball and then sheared to the right by 1 mm."""
    def render(kind):
        renderer, rng = GelRenderer(SENSOR_PROFILES[kind], 3), np.random.default_rng(0)
        states = [contact(0.0)] * FREE_FRAMES + [contact(share) for share in (0.2, 0.5, 1.0)]
        states += [contact(1.0, shear_mm) for shear_mm in np.linspace(0.0, 1.0, 10)] + [contact(1.0, 1.0)] * 5
        for number, state in enumerate(states):
            image_bgr = cv2.cvtColor(renderer.render(state, rng), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(tmp_path / f'{number:03d}.png'), image_bgr)
        return {'kind': kind, 'source': 'replay', 'replay_path': str(tmp_path), 'replay_timing': 'steady',
                'reference_frames': 5, 'touched_imprint_level': 25.0, 'frozen_after_frames': 10000}
    return render


def test_a_sheared_marker_gel_is_told_in_pixels_with_the_stamps_of_its_frames(graph, press):
    shears, slips = graph.listen(Vector3Stamped, f'{LEFT}/shear', 50), graph.listen(Bool, f'{LEFT}/slip', 50)
    images, fields = graph.listen(Image, f'{LEFT}/image_raw', 50), graph.listen(Image, f'{LEFT}/displacement', 50)
    node = graph.add(SensorNode, LEFT, **press('gelsight_mini_markers'), shear=True, frame_id='left_gel')
    wait_until(node.finished.is_set)
    wait_until(lambda: len(shears) == len(slips) == len(fields) > 10)
    stamps_ns = [ns_from_time(message.header.stamp) for message in shears]
    assert set(stamps_ns) <= {ns_from_time(message.header.stamp) for message in images}
    assert stamps_ns == sorted(stamps_ns) and shears[-1].header.frame_id == 'left_gel'
    assert abs(shears[0].vector.x) < 0.5 and abs(shears[0].vector.y) < 0.5
    # 1 mm of a gel that is 18.9 mm and 320 pixels wide.
    assert shears[-1].vector.x == pytest.approx(320 / 18.9, rel=0.2)
    assert abs(shears[-1].vector.y) < 2.0 and abs(shears[-1].vector.z) < 2.0
    assert not any(message.data for message in slips)
    assert (fields[-1].encoding, fields[-1].height) == ('32FC4', 1)
    markers = np.frombuffer(fields[-1].data, '<f4').reshape(-1, 4)
    in_the_middle = np.linalg.norm(markers[:, :2] - [160, 120], axis=1) < 30
    assert np.nanmedian(markers[in_the_middle, 2]) == pytest.approx(shears[-1].vector.x, rel=0.2)


def test_the_depth_of_a_clear_gel_is_published_in_metres_and_nothing_about_slip(graph, press):
    depths, normals = graph.listen(Image, f'{LEFT}/depth', 50), graph.listen(Image, f'{LEFT}/normals', 50)
    shears = graph.listen(Vector3Stamped, f'{LEFT}/shear', 50)
    node = graph.add(SensorNode, LEFT, **press('gelsight_mini'), shear=True, depth=True)
    assert graph.helper.count_publishers(f'{LEFT}/slip') == 0
    wait_until(node.finished.is_set)
    wait_until(lambda: len(depths) == len(normals) == len(shears) > 10)
    free, pressed = (np.frombuffer(depths[index].data, '<f4').reshape(240, 320) for index in (0, -1))
    assert depths[-1].encoding == '32FC1' and np.abs(free).max() < 2e-4
    assert 3e-4 < pressed.max() < 3e-3 and pressed[120, 160] > 0.5 * pressed.max()
    assert normals[-1].encoding == '32FC3'
    lengths = np.linalg.norm(np.frombuffer(normals[-1].data, '<f4').reshape(-1, 3), axis=1)
    assert lengths == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize('settings, told', [
    ({'kind': 'gelsight_mini_markers', 'depth': True}, 'the colours of a gelsight_mini_markers tell no depth'),
    ({'kind': 'wrist_camera', 'shear': True}, 'a wrist_camera has no gel'),
])
def test_what_a_kind_of_sensor_cannot_tell_is_refused_at_configure(graph, tmp_path, capfd, settings, told):
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((240, 320, 3), np.uint8))
    node = graph.add(SensorNode, LEFT, active=False, source='replay', replay_path=str(tmp_path), **settings)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert told in capfd.readouterr().err
