"""Sensor-Aware Modulator: scales a tactile feature by how much it looks like its own sensor."""

import torch
from torch import Tensor, nn


class SensorAwareModulator(nn.Module):
    """h + [softmax(W_r h)]_s h.

    A sensor the model does not know has no component of its own. It takes the mean of all components, which is
    exactly 1 / S because they sum to one: the modulation of a sensor about which the router has no opinion.

    Args:
        width: d, width of the feature.
        sensors: S, number of known sensors; id S means unknown.

    Source: TLV-CoRe, section 3.1, eq. 1; the rule for unknown sensors is ours.
    """

    def __init__(self, width: int, sensors: int):
        super().__init__()
        self.sensors = sensors
        self.router = nn.Linear(width, sensors, bias=False)

    def forward(self, feature: Tensor, sensor_id: Tensor) -> Tensor:
        """Modulate.

        Args:
            feature: float32 [B, width].
            sensor_id: int64 [B], 0..S-1 for a known sensor, S for an unknown one.

        Returns:
            float32 [B, width].
        """
        weights = torch.softmax(self.router(feature), dim=-1)
        unknown = torch.full_like(weights[:, :1], 1.0 / self.sensors)
        own = torch.cat([weights, unknown], dim=-1).gather(1, sensor_id[:, None])
        return feature + own * feature
