"""StrangenessAlarm: many strange embeddings in a short time, without flicker."""

from __future__ import annotations

from collections import deque

from visuotactile_ros.errors import ConfigurationError


class StrangenessAlarm:
    """Tells when the frames of one sensor have become unlike those that its model was validated on.

    A single strange frame is no news: the threshold of a model card lies at a quantile of its own validation data. The
    alarm begins when a large share of the newest frames is strange, and ends when few are.

    Args:
        threshold: Distance above which a frame is strange, `card.out_of_distribution.threshold`.
        window_frames: How many of the newest frames count; before there are so many, the missing ones count as usual.
        on_share: Share of strange frames at which the alarm begins, 0..1.
        off_share: Share of strange frames at which the alarm ends, 0..1, below `on_share`.

    Attributes:
        is_on: Whether the alarm is on.

    Raises:
        ConfigurationError: The window is empty, or the shares are not in order.
    """

    def __init__(self, threshold: float, window_frames: int, on_share: float, off_share: float):
        if window_frames < 1 or not 0.0 <= off_share < on_share <= 1.0:
            raise ConfigurationError(
                f'an alarm over {window_frames} frames begins at a share of {on_share} and ends at {off_share}',
                'Let it end at a lower share than it begins, over one frame or more')
        self._threshold, self._on_share, self._off_share = threshold, on_share, off_share
        self._strange: deque[bool] = deque([False] * window_frames, maxlen=window_frames)
        self.is_on = False

    @property
    def strange_share(self) -> float:
        """Share of strange frames in the window, 0..1."""
        return sum(self._strange) / len(self._strange)

    def update(self, distance: float) -> bool:
        """Take in the distance of the next frame.

        Args:
            distance: From `TactileEncoder.out_of_distribution_distance`. One that is not a number is strange.

        Returns:
            Whether the alarm is on now.
        """
        self._strange.append(not distance <= self._threshold)
        self.is_on = self.strange_share > self._off_share if self.is_on else self.strange_share >= self._on_share
        return self.is_on
