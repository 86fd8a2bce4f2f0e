"""Settings that every node of the package has."""

from __future__ import annotations

from dataclasses import dataclass

from visuotactile_ros.parameters.definition import check_settings, setting


@dataclass(frozen=True)
class ManagedNodeParameters:
    """How a node starts."""

    autostart: bool = setting(True, 'Configure and activate by itself after the start; false waits for a manager')

    def __post_init__(self):
        check_settings(self)
