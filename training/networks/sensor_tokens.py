"""Sensor tokens: what a touch tower is told about the sensor that took a frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_DEVIATION = 0.02


class SensorTokens(nn.Module):
    """L learned tokens for each sensor, and L universal ones that stand for any.

    Args:
        width: Width of the tokens.
        sensors: S, number of known sensors. Id S is an unknown sensor: its tokens are the universal ones.
        tokens: L, tokens a sensor.

    Source: AnyTouch, section 4.5; the spread of the first values is that of the published code.
    """

    def __init__(self, width: int, sensors: int, tokens: int):
        super().__init__()
        self.universal = sensors
        self.table = nn.Parameter(_DEVIATION * torch.randn(sensors + 1, tokens, width))

    def forward(self, sensor_id: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Look tokens up.

        Args:
            sensor_id: int64 [B], 0..S.
            hidden: bool [B], samples that get the universal tokens instead of their own; None means none.

        Returns:
            float32 [B, L, width], eq. 7 of AnyTouch.
        """
        return self.table[sensor_id if hidden is None else sensor_id.masked_fill(hidden, self.universal)]
