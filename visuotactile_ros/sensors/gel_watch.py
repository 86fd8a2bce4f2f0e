"""GelWatch: what a gel's frames tell beside themselves: contact, its references over the sessions, and its wear."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.gel_health import REMEDIES, GelHealthLimits, drift_over_sessions, gel_health
from visuotactile_ros.sensors.reference_frame import ReferenceFrame
from visuotactile_ros.sensors.reference_store import ReferenceStore, StoredReference, default_reference_folder

# Sources whose pictures are those of the gel with the serial number that they carry.
REAL_SOURCES = ('device', 'topic')


class GelWatch:
    """Takes in every frame of one gel; references of a real sensor with a serial number are kept between sessions.

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
        self._first: StoredReference | None = None
        self._unreadable: tuple[Path, ...] = ()
        self._health: dict[str, float] = {}
        self._refusal = self._warning = ''

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
        if self.in_contact is None:
            return self._refusal or 'no reference yet, so contact is not known'
        return self._warning

    def values(self) -> dict[str, Any]:
        """Contact and health for the diagnostics."""
        if self.in_contact is None:
            return {}
        return {'difference_level': self._reference.difference_level, 'in_contact': self._reference.in_contact,
                **self._health}

    def request_reference(self) -> None:
        """Take the reference anew from the coming frames; `update` tells of its end.

        Raises:
            SensorError: There was no frame yet.
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
            SensorError: A reference that was being taken is refused; without another one, collecting has begun anew.
        """
        with self._lock:
            if self._reference is None:
                self._reference = self._new_reference(frame.sensor)
            was_collecting = self._reference.is_collecting
            try:
                self._reference.update(frame.image_hwc)
            except SensorError as error:
                refusal = self._with_score(error)
                self._refusal = str(refusal)
                raise refusal from None
            finished = was_collecting and not self._reference.is_collecting
        if finished and self._is_kept(frame.sensor):
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
        if self._is_kept(sensor):
            history = self._store.history(sensor.kind, sensor.serial, self._image_settings())
            self._unreadable = history.unreadable
            if history.sessions:
                self._first, earlier_hwc = history.sessions[0], history.sessions[-1].image_hwc
        return ReferenceFrame(
            settings.sensor_name, settings.reference_frames, settings.reference_disagreement_level,
            settings.contact_on_level, settings.contact_off_level, earlier_reference_hwc=earlier_hwc,
            touched_change_level=settings.touched_change_level, touched_imprint_level=settings.touched_imprint_level)

    def _is_kept(self, sensor: SensorIdentity) -> bool:
        return sensor.serial != '' and self._settings.source in REAL_SOURCES

    def _with_score(self, error: SensorError) -> SensorError:
        """Sudden damage of the gel looks like a touch: say what a refused picture means if nothing touches."""
        if self._reference.refused is None or self._first is None:
            return error
        refused_hwc, statistics = self._reference.refused
        health = gel_health(refused_hwc, self._first.image_hwc, statistics, self._limits)
        if health.score == 1.0:
            return error
        part = health.worst_part
        return SensorError(f'{error.problem}; or the gel is damaged ({_words(health.score, part)})',
                           f'Take the object off the gel; if nothing touches it, {REMEDIES[part]}')

    def _keep_and_judge(self, taken: StoredReference) -> None:
        self._first, warnings = self._first or taken, []
        try:
            warnings += self._judge(taken, self._first)
            self._store.save(taken)
        except SensorError as error:
            warnings.append(str(error))
        warnings += [f'{path} is no stored reference. Remove it.' for path in self._unreadable if path.exists()][:1]
        self._warning = ' '.join(warnings)

    def _judge(self, taken: StoredReference, first: StoredReference) -> list[str]:
        drift = drift_over_sessions([first, taken], self._limits)[-1]
        health, part = drift.health, drift.health.worst_part
        self._health = {'gel_score': health.score, 'gel_scratches': health.scratches, 'gel_bubbles': health.bubbles,
                        'gel_lost_light': health.lost_light, 'gel_colour_shift': health.colour_shift,
                        'difference_from_first_level': drift.difference_level}
        if health.score >= self._limits.worn_below_score:
            return []
        return [f'the gel of {taken.kind} {taken.serial} no longer looks as new ({_words(health.score, part)}): '
                f'{REMEDIES[part]}.']

    def _image_settings(self) -> str:
        """What decides how the same gel looks; references of other settings are not compared."""
        settings = self._settings
        return (f'{settings.width_px}x{settings.height_px} border {settings.border_fraction:g} turns '
                f'{settings.rotate_quarter_turns} mirror {settings.mirror} controls {settings.camera_controls} '
                f'light {settings.led_levels}')


def _words(score: float, part: str) -> str:
    return f'score {score:.2f}, {part.replace("_", " ")}'
