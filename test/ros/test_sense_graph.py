"""sensor and perception together, from files to embeddings."""

import cv2
import numpy as np
from ros_graph import wait_until
from sensor_msgs.msg import Image

from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.inference.encoder import TactileEncoder
from visuotactile_ros.inference.model_folder import write_model_folder
from visuotactile_ros.nodes.perception_node import PerceptionNode
from visuotactile_ros.nodes.sensor_node import SensorNode
from visuotactile_ros.ros_interface.image_codec import decode_image, decode_vector
from visuotactile_ros.ros_interface.messages import ns_from_time
from visuotactile_ros.ros_interface.qos import EMBEDDING_SUBSCRIPTION


def test_an_embedding_is_that_of_the_image_with_its_stamp(graph, tiny_encoder, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'frames').mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / 'frames' / f'{number}.png'), rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    write_model_folder(tmp_path / 'touch', *tiny_encoder())
    images = graph.listen(Image, '/tactile/left/image_raw', 10)
    embeddings = graph.listen(Image, '/tactile/embedding_stamped', EMBEDDING_SUBSCRIPTION)
    graph.add(PerceptionNode, '/tactile', sensors=['left'], sensor_kinds=['digit'], camera='',
              model=str(tmp_path / 'touch'))
    graph.add(SensorNode, '/tactile/left', source='replay', replay_path=str(tmp_path / 'frames'), replay_loop=True,
              kind='digit', rate_hz=20.0, width_px=32, height_px=24)
    wait_until(lambda: len(embeddings) >= 8)
    image_of = {ns_from_time(message.header.stamp): decode_image(message) for message in images}
    encoder = TactileEncoder(tmp_path / 'touch')
    for message in embeddings[:8]:
        assert message.header.frame_id == 'left'
        stamp_ns = ns_from_time(message.header.stamp)
        frame = Frame(image_of[stamp_ns], stamp_ns, SensorIdentity('left', 'digit'), 0)
        np.testing.assert_allclose(decode_vector(message), encoder.encode([frame])[0].embedding, atol=1e-6)
