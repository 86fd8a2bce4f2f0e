"""Errors of shear, twist, slip and depth against the simulator's truth, depth also on real ball presses, and time.

`python -m training.evaluation.bench_shear --output shear.json`

Every contact is pressed in six frames and then moved in fifteen; the errors are those of the moved frames. Shear is
compared with the true motion of the gel at the middle of the true contact, in pixels of 320 x 240.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from training.datasets.sampled_contacts import sample_press
from training.fit_gel_optics import BALL_RADIUS_PX, FRAMES, MM_PER_PX, X_PX, Y_PX, read_presses, split
from visuotactile_ros.command_line import command
from visuotactile_ros.files import write_atomically
from visuotactile_ros.sensors.photometric_stereo import PhotometricStereo
from visuotactile_ros.sensors.recorded_images import read_image
from visuotactile_ros.sensors.reference_frame import robust_mean
from visuotactile_ros.sensors.shear import ShearEstimator
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_optics import GelRenderer
from visuotactile_ros.simulation.gel_surface import COARSE, press
from visuotactile_ros.simulation.objects import ObjectParameters
from visuotactile_ros.simulation.sensor_profiles import SENSOR_PROFILES, SensorProfile

MARKER_KINDS = ('gelsight_mini_markers', 'vitactip')
CLEAR_KINDS = ('gelsight_mini', 'digit')
PRESS_FRAMES, MOVE_FRAMES, SLIP_FRAMES = 6, 15, 40
ROUGH_FROM_MM = 0.02
SLIP_LOAD_PX = 8.0


class SlippingGel(GelRenderer):
    """A gel whose contact slides from its rim inwards.

    A brush model: every place follows the object up to what friction can hold there, which falls from the middle of
    the contact to its rim like the pressure under a ball. Without `largest_mm` nothing slides.
    """

    def __init__(self, profile: SensorProfile, seed: int):
        super().__init__(profile, seed)
        self.largest_mm: float | None = None
        self.true_share = 0.0

    def _displacement_mm(self, contact: ContactState, sign: float) -> np.ndarray:
        motion = super()._displacement_mm(contact, sign)
        if self.largest_mm is None or sign < 0:
            return motion
        surface = self._cached_surface
        patch = surface.contact_share > 0.5
        depth = cv2.distanceTransform(np.pad(patch.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        holds_mm = self.largest_mm * (1.0 - (1.0 - depth / depth.max()) ** 2)
        asked_mm = np.linalg.norm(motion, axis=2)
        self.true_share = float((asked_mm > holds_mm)[patch].mean())
        followed = np.minimum(asked_mm, holds_mm) * patch
        weight = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), 4.0)
        near = cv2.GaussianBlur(followed.astype(np.float32), (0, 0), 4.0) / np.maximum(weight, 1e-3)
        followed = np.where(patch, followed, np.minimum(asked_mm, near * surface.shear_following))
        share = cv2.GaussianBlur(followed.astype(np.float32), (0, 0), 1.5) / np.maximum(asked_mm, 1e-9)
        return motion * np.minimum(share, 1.0)[..., None]


def reference_of(renderer: GelRenderer, rng: np.random.Generator) -> np.ndarray:
    """No-contact reference, as the sensor node takes it."""
    return robust_mean([renderer.render(ContactState(), rng) for _ in range(15)])


def pressed_then_moved(contact: ContactState) -> Iterator[tuple[ContactState, bool]]:
    """Contact states of one press and the motion after it, and whether that has begun."""
    still = dataclasses.replace(contact, shear_mm=(0.0, 0.0), twist_deg=0.0)
    for share in np.linspace(1.0 / PRESS_FRAMES, 1.0, PRESS_FRAMES):
        yield dataclasses.replace(still, normal_force_n=contact.normal_force_n * share), False
    yield still, False
    for share in np.linspace(1.0 / MOVE_FRAMES, 1.0, MOVE_FRAMES):
        yield dataclasses.replace(contact, shear_mm=tuple(share * np.array(contact.shear_mm)),
                                  twist_deg=share * contact.twist_deg), True


def true_shear_px(profile: SensorProfile, contact: ContactState) -> np.ndarray:
    """Motion of the gel at the middle of the contact (x, y), pixels."""
    rows, columns = np.nonzero(press(profile, dataclasses.replace(contact, shear_mm=(0.0, 0.0), twist_deg=0.0))
                               .contact_share > 0.5)
    middle_mm = (np.array([columns.mean(), rows.mean()]) * COARSE + 1.5 - [159.5, 119.5]) * profile.mm_per_px
    lever_mm, turn = middle_mm - contact.offset_mm, np.deg2rad(contact.twist_deg)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ lever_mm
    return (contact.shear_mm + turned - lever_mm) / profile.mm_per_px


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 90th percentile."""
    return {'p50': float(np.median(values)), 'p90': float(np.quantile(values, 0.9))}


def motion_errors(kind: str, contacts: int, hidden_share: float = 0.0, twists: bool = True, rough: bool | None = None,
                  object_moves: bool = False) -> dict[str, dict[str, float]]:
    """Errors over random contacts on different units.

    Args:
        kind: Device kind.
        contacts: How many.
        hidden_share: Share of the markers, drawn anew for every contact, that vanish with the press.
        twists: Whether the contacts turn.
        rough: Only objects with a texture of ROUGH_FROM_MM or more (True) or less (False); None takes all.
        object_moves: The object is placed anew and shaded anew in every frame, instead of its imprint carried along.
    """
    # What presses is the same whatever else is drawn.
    contact_rng, rng, profile = np.random.default_rng(1), np.random.default_rng(2), SENSOR_PROFILES[kind]
    shear_errors, twist_errors, true_shears, true_twists = [], [], [], []
    for index in range(contacts):
        renderer = GelRenderer(profile, index)
        estimator = ShearEstimator(kind, reference_of(renderer, rng))
        contact = sample_press(contact_rng, 'train')[0]
        while rough is not None and (contact.object.texture_amplitude_mm >= ROUGH_FROM_MM) != rough:
            contact = sample_press(contact_rng, 'train')[0]
        if not twists:
            contact = dataclasses.replace(contact, twist_deg=0.0)
        if hidden_share > 0.0:
            markers = renderer._markers_mm
            renderer._markers_mm = markers[rng.random(len(markers)) >= hidden_share]
        for state, has_moved in pressed_then_moved(contact):
            shown = state if not object_moves else dataclasses.replace(
                state, shear_mm=(0.0, 0.0), twist_deg=0.0, orientation_deg=state.orientation_deg + state.twist_deg,
                offset_mm=tuple(np.add(state.offset_mm, state.shear_mm)))
            estimate = estimator.update(renderer.render(shown, rng))
            if has_moved:
                true_px = true_shear_px(profile, state)
                shear_errors.append(float(np.linalg.norm(estimate.shear_px - true_px)))
                twist_errors.append(abs(estimate.twist_deg - state.twist_deg))
                true_shears.append(float(np.linalg.norm(true_px)))
                true_twists.append(abs(state.twist_deg))
    return {'shear_error_px': quantiles(shear_errors), 'twist_error_deg': quantiles(twist_errors),
            'true_shear_px': quantiles(true_shears), 'true_twist_deg': quantiles(true_twists)}


def slip_runs(kind: str, contacts: int, largest_share: float) -> dict[str, float]:
    """Load contacts and see when incipient slip is reported.

    Contacts that slide are loaded in one direction until `SLIP_LOAD_PX`. On those that hold, load, twist and force
    wander, which is harder to tell from slip than a load that grows.

    Args:
        kind: Device kind with markers.
        contacts: How many.
        largest_share: The full load over what the middle of a contact can hold; 0 for a contact that holds everywhere.
    """
    rng, profile = np.random.default_rng(2), SENSOR_PROFILES[kind]
    reported_at, slid = [], []
    for index in range(contacts):
        renderer = SlippingGel(profile, index)
        estimator = ShearEstimator(kind, reference_of(renderer, rng))
        contact = sample_press(rng, 'train')[0]
        # Dots slide one by one, all at the same load: there is no rim that goes first.
        while not 25.0 < press(profile, contact).patch_area_mm2 < 160.0 or contact.object.shape == 'dots':
            contact = sample_press(rng, 'train')[0]
        first = None
        for state, has_moved in pressed_then_moved(dataclasses.replace(contact, shear_mm=(0.0, 0.0), twist_deg=0.0)):
            if not has_moved:
                estimator.update(renderer.render(state, rng))
        if largest_share > 0.0:
            renderer.largest_mm = SLIP_LOAD_PX * profile.mm_per_px / largest_share
        for shear_px, twist_deg, grip in _growing_load(rng) if largest_share > 0.0 else _wandering_load(rng):
            state = dataclasses.replace(contact, shear_mm=tuple(shear_px * profile.mm_per_px), twist_deg=twist_deg,
                                        normal_force_n=contact.normal_force_n * grip)
            if estimator.update(renderer.render(state, rng)).is_slipping and first is None:
                first = renderer.true_share
        slid.append(renderer.true_share)
        reported_at.extend([] if first is None else [first])
    return {'contacts': contacts, 'true_slipping_share_at_the_end': float(np.mean(slid)),
            'reported': len(reported_at) / contacts,
            'median_true_share_when_reported': float(np.median(reported_at)) if reported_at else None}


def _growing_load(rng):
    """Shear (x, y) in pixels, twist in degrees and force over the force of the press, frame by frame."""
    direction = rng.normal(size=2)
    for share in np.linspace(1.0 / SLIP_FRAMES, 1.0, SLIP_FRAMES):
        yield share * SLIP_LOAD_PX * direction / np.linalg.norm(direction), 0.0, 1.0


def _wandering_load(rng):
    """The same, at random: 0.7 px, 0.6 degrees a frame, and a grip that varies by a tenth."""
    path = np.cumsum(rng.normal(0.0, [0.7, 0.7, 0.6], (SLIP_FRAMES, 3)), axis=0)
    for frame, (x_px, y_px, twist_deg) in enumerate(path):
        yield np.array([x_px, y_px]), twist_deg, 1.0 + 0.1 * np.sin(frame / 5.0)


def simulated_depth_errors(kind: str, presses: int) -> dict[str, float]:
    """Depth of rendered ball presses: mean absolute error in the contact, mean greatest depth, millimetres."""
    rng, profile = np.random.default_rng(3), SENSOR_PROFILES[kind]
    errors, depths = [], []
    for index in range(presses):
        renderer = GelRenderer(profile, index)
        ball = ObjectParameters(shape='sphere', radius_mm=float(rng.uniform(3.0, 12.0)), youngs_modulus_mpa=1e5)
        contact = ContactState(float(rng.uniform(1.0, 6.0)), offset_mm=tuple(rng.uniform(-3.0, 3.0, 2)), object=ball)
        stereo = PhotometricStereo(kind, reference_of(renderer, rng))
        surface = press(profile, contact)
        inside = cv2.resize(surface.contact_share, (320, 240)) > 0.5
        border = np.concatenate([surface.height_mm[[0, -1]].ravel(), surface.height_mm[:, [0, -1]].ravel()])
        true_mm = surface.height_mm - np.median(border)
        errors.append(np.abs(stereo.measure(renderer.render(contact, rng)).depth_mm - true_mm)[inside].mean())
        depths.append(true_mm.max())
    return {'presses': presses, 'error_in_contact_mm': float(np.mean(errors)), 'depth_mm': float(np.mean(depths))}


def real_depth_errors(frames: Path) -> dict[str, float]:
    """Depth of real presses of a ball of known radius that are held out of the fit, above the rim of the contact."""
    stereo = PhotometricStereo('gelsight', _rgb(frames / 'gelsight_background.jpg'))
    errors, depths = [], []
    for real in split(read_presses(frames, 'gelsight'))[1]:
        distance = np.hypot(X_PX - real.x_px, Y_PX - real.y_px)
        rim_px = 0.95 * min(real.radius_px, 0.98 * BALL_RADIUS_PX)
        ball_mm = MM_PER_PX * np.sqrt(np.maximum(BALL_RADIUS_PX ** 2 - distance ** 2, 0.0))
        depth_mm = stereo.measure(_rgb(frames / real.file)).depth_mm
        rim, inside = np.abs(distance - rim_px) < 1.0, distance < rim_px
        true_mm = ball_mm - MM_PER_PX * np.sqrt(BALL_RADIUS_PX ** 2 - rim_px ** 2)
        errors.append(np.abs(depth_mm - depth_mm[rim].mean() - true_mm)[inside].mean())
        depths.append(true_mm[inside].max())
    return {'presses': len(errors), 'error_in_contact_mm': float(np.mean(errors)), 'depth_mm': float(np.mean(depths))}


def milliseconds_a_frame(kind: str, contacts: int) -> dict[str, float]:
    """Time of `ShearEstimator.update`, slip included, over pressed and moved contacts."""
    rng, times = np.random.default_rng(4), []
    for index in range(contacts):
        renderer = GelRenderer(SENSOR_PROFILES[kind], index)
        estimator = ShearEstimator(kind, reference_of(renderer, rng))
        for state, _ in pressed_then_moved(sample_press(rng, 'train')[0]):
            image = renderer.render(state, rng)
            start = time.thread_time()
            estimator.update(image)
            times.append(1e3 * (time.thread_time() - start))
    return {'p50': float(np.quantile(times, 0.5)), 'p95': float(np.quantile(times, 0.95))}


def milliseconds_a_depth_map(kind: str, frames: int) -> dict[str, float]:
    """Time of `PhotometricStereo.measure`."""
    rng, times = np.random.default_rng(5), []
    renderer = GelRenderer(SENSOR_PROFILES[kind], 0)
    stereo = PhotometricStereo(kind, reference_of(renderer, rng))
    for _ in range(frames):
        image = renderer.render(sample_press(rng, 'train')[0], rng)
        start = time.thread_time()
        stereo.measure(image)
        times.append(1e3 * (time.thread_time() - start))
    return {'p50': float(np.quantile(times, 0.5)), 'p95': float(np.quantile(times, 0.95))}


def _rgb(path: Path) -> np.ndarray:
    return np.ascontiguousarray(read_image(path)[..., ::-1])


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, help='JSON file to write')
    parser.add_argument('--frames', type=Path, default=FRAMES, help='folder of real frames')
    parser.add_argument('--contacts', type=int, default=12, help='random contacts for each line of the result')
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    contacts = options.contacts
    result = {
        'unit': 'pixels and degrees at 320 x 240; all simulated but depth.gelsight_real',
        'markers': {kind: {'all_markers': motion_errors(kind, contacts),
                           'a_third_hidden': motion_errors(kind, contacts, hidden_share=1.0 / 3.0),
                           'shear_alone': motion_errors(kind, contacts, twists=False)}
                    for kind in MARKER_KINDS},
        'optical_flow': {kind: {'rough_objects': motion_errors(kind, contacts, rough=True),
                                'rough_objects_shaded_anew': motion_errors(kind, contacts, rough=True,
                                                                           object_moves=True),
                                'smooth_objects': motion_errors(kind, contacts, rough=False)}
                         for kind in CLEAR_KINDS},
        'slip': {kind: {'holds': slip_runs(kind, contacts, 0.0), 'rim_slides': slip_runs(kind, contacts, 0.4),
                        'most_slides': slip_runs(kind, contacts, 0.8)} for kind in MARKER_KINDS},
        'depth': {**{kind: simulated_depth_errors(kind, contacts) for kind in CLEAR_KINDS},
                  'gelsight_real': real_depth_errors(options.frames)},
        'milliseconds_a_frame': {
            **{kind: milliseconds_a_frame(kind, contacts) for kind in (*MARKER_KINDS, *CLEAR_KINDS)},
            'depth_map': milliseconds_a_depth_map('gelsight_mini', contacts)},
        'time': 'thread CPU time of one core, 320 x 240',
        'machine': f'{platform.machine()} {platform.system()}, Python {platform.python_version()}'}
    if options.output is not None:
        write_atomically(options.output, json.dumps(result, indent=2) + '\n')
    print(json.dumps(result, indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
