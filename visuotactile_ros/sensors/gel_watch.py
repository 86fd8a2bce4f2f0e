"""GelWatch: what a gel's frames tell beside themselves: contact, its references over the sessions, and its wear."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.gel_health import GelHealthLimits, drift_over_sessions
from visuotactile_ros.sensors.reference_frame import ReferenceFrame
from visuotactile_ros.sensors.reference_store import ReferenceStore, StoredReference, default_reference_folder


class GelWatch:
    """Takes in every frame of one gel; references of a sensor with a serial number are kept from session to session.

    Args:
        settings: Settings of the sensor.
        limits: When a gel counts as worn.
    """

    def __init__(self, settings: SensorParameters, limits: GelHealthLimits | None = None):
        self._settings, self._limits = settings, limits or GelHealthLimits()
        self._store = ReferenceStore(Path(settings.reference_folder).expanduser() if settings.reference_folder
                                     else default_reference_folder())
        self._lock = threading.Lock()
        self._reference: ReferenceFrame | None = None
        self._judging: threading.Thread | None = None
        self._health: dict[str, float] = {}
        self._warning = ''

    @property
    def in_contact(self) -> bool | None:
        """Whether something touches; None before there is a reference."""
        return None if self.reference_hwc is None else self._reference.in_contact

    @property
    def reference_hwc(self) -> np.ndarray | None:
        """The no-contact reference, uint8 [H, W, 3], RGB; None before there is one."""
        return None if self._reference is None else self._reference.image_hwc

    @property
    def warning(self) -> str:
        """What a person should know of the gel, one line, or ''."""
        return 'no reference yet, so contact is not known' if self.in_contact is None else self._warning

    def values(self) -> dict[str, Any]:
        """Contact and health for the diagnostics."""
        if self._reference is None:
            return {}
        return {'difference_level': self._reference.difference_level, 'in_contact': self._reference.in_contact,
                **self._health}

    def request_reference(self) -> None:
        """Take the reference anew from the coming frames.

        Raises:
            SensorError: Something touches the gel, or there was no frame yet.
        """
        with self._lock:
            if self._reference is None:
                raise SensorError(f'{self._settings.sensor_name} has given no frame yet', 'Wait for the first frame')
            self._reference.request()

    def update(self, frame: Frame) -> bool:
        """Take in the next frame.

        Returns:
            Whether a new reference was finished by it.

        Raises:
            SensorError: A reference that was being taken is refused; collecting has begun anew.
        """
        with self._lock:
            if self._reference is None:
                self._reference = self._new_reference(frame.sensor)
            was_collecting = self._reference.is_collecting
            self._reference.update(frame.image_hwc)
            finished = was_collecting and not self._reference.is_collecting
        if finished and frame.sensor.serial != '':
            taken = StoredReference(frame.sensor.kind, frame.sensor.serial, frame.stamp_ns, self._reference.image_hwc,
                                    self._reference.statistics, self._image_settings())
            # To judge and to write takes longer than a frame may wait.
            self._judging = threading.Thread(target=self._keep_and_judge, args=(taken,), daemon=True,
                                             name='judge reference')
            self._judging.start()
        return finished

    def close(self) -> None:
        """Wait for a reference that is being kept."""
        if self._judging is not None:
            self._judging.join()

    def _new_reference(self, sensor: SensorIdentity) -> ReferenceFrame:
        settings, earlier_hwc = self._settings, None
        if sensor.serial != '':
            history = self._store.history(sensor.kind, sensor.serial, self._image_settings())
            earlier_hwc = history.sessions[-1].image_hwc if history.sessions else None
        return ReferenceFrame(
            settings.sensor_name, settings.reference_frames, settings.reference_disagreement_level,
            settings.contact_on_level, settings.contact_off_level, earlier_reference_hwc=earlier_hwc,
            touched_change_level=settings.touched_change_level, touched_imprint_level=settings.touched_imprint_level)

    def _keep_and_judge(self, taken: StoredReference) -> None:
        try:
            self._store.save(taken)
            history = self._store.history(taken.kind, taken.serial, taken.image_settings)
            newest = drift_over_sessions([*history.sessions[:1], *history.sessions[-1:]], self._limits)[-1]
        except SensorError as error:
            self._warning = str(error)
            return
        health = newest.health
        self._health = {'gel_score': health.score, 'gel_scratches': health.scratches, 'gel_bubbles': health.bubbles,
                        'gel_lost_light': health.lost_light, 'gel_colour_shift': health.colour_shift,
                        'difference_from_first_level': newest.difference_level}
        if health.score < self._limits.worn_below_score:
            self._warning = f'the gel of {taken.kind} {taken.serial} is worn: score {health.score:.2f}. Change it soon.'
        elif history.unreadable:
            self._warning = f'{history.unreadable[0]} is no stored reference. Remove it.'
        else:
            self._warning = ''

    def _image_settings(self) -> str:
        """What decides how the same gel looks; references of other settings are not compared."""
        settings = self._settings
        return (f'{settings.width_px}x{settings.height_px} border {settings.border_fraction:g} turns '
                f'{settings.rotate_quarter_turns} mirror {settings.mirror} controls {settings.camera_controls} '
                f'light {settings.led_levels}')
