"""PerceptionParameters: sensors, kinds and models that fit together."""

import pytest

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.perception import PerceptionParameters


@pytest.mark.parametrize('values', [
    {}, {'camera': ''}, {'sensors': (), 'sensor_kinds': ()}, {'camera': '', 'camera_model': ''},
    {'sensors': (), 'sensor_kinds': (), 'model': ''},
    {'sensors': ['left'], 'sensor_kinds': ['a_kind_of_my_own'], 'model': '/home/me/models/mine'},
])
def test_settings_that_fit_together(values):
    PerceptionParameters(**values)


@pytest.mark.parametrize(('values', 'words'), [
    ({'sensors': ('left',)}, '1 sensors have 2 sensor_kinds'), ({'sensor_kinds': ()}, '2 sensors have 0 sensor_kinds'),
    ({'sensors': (), 'sensor_kinds': (), 'camera': ''}, 'no sensor and no camera'),
    ({'sensors': ('left', 'left')}, 'not all different'), ({'camera': 'left'}, 'not all different'),
    ({'sensors': ('left', '../right')}, 'cannot be part of a topic'), ({'sensors': ('', 'right')}, 'cannot be part'),
    ({'camera': 'wrist camera'}, 'cannot be part of a topic'), ({'model': ''}, 'model is empty'),
    ({'camera_model': ''}, 'camera_model is empty'), ({'inference_threads': 0}, 'between 1 and 64'),
    ({'warning_latency_ms': float('nan')}, 'not finite'), ({'silent_after_s': 0.0}, 'between 0.05'),
])
def test_settings_that_do_not(values, words):
    with pytest.raises(ConfigurationError, match=words):
        PerceptionParameters(**values)
