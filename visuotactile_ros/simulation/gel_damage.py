"""Simulated damage of a gel: scratches, bubbles, a lost LED and a shift of colour, on any frame of a sensor kind.

Sizes are typical of worn gels, not measured; depths and slopes turn into colours by the optics of the kind.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.simulation.contact import ContactState
from visuotactile_ros.simulation.gel_surface import COARSE, GelSurface
from visuotactile_ros.simulation.photometry import image_grid, load_optics_table
from visuotactile_ros.simulation.sensor_profiles import IMAGE_HEIGHT, IMAGE_WIDTH, SensorProfile
from visuotactile_ros.simulation.skin_optics import ClearSkinOptics, CoatedGelOptics

MOST_SCRATCHES, SCRATCH_LENGTH_MM, SCRATCH_WIDTH_MM, DEEPEST_SCRATCH_MM = 12, (3.0, 9.0), 0.12, 0.04
# The coat is worn off at the bottom of a scratch and the dark behind it shows; share of the light that is missing.
COAT_LOSS = 0.3
MOST_BUBBLES, BUBBLE_RADIUS_MM, HIGHEST_BUBBLE_SHARE = 8, (0.4, 1.4), 0.12
# A side of the gel is lit by a row of so many LEDs, so far outside the picture and apart (share of its width).
LEDS_OF_A_SIDE, LED_DISTANCE, LED_PITCH = 4, 0.15, 0.3
LARGEST_COLOUR_GAIN = 0.25


@dataclass(frozen=True)
class DamageSeverity:
    """How strong each damage is: 0 none, 1 a gel that nobody would go on using.

    Attributes:
        scratches: Number and depth of scratches.
        bubbles: Number and height of bubbles under the coat.
        lost_light: Light that one LED has lost; at 1 it is dark.
        colour_shift: Shift of the gains of the colours, by age of the gel or a white balance that was not locked.

    Raises:
        ConfigurationError: A severity is outside 0..1.
    """

    scratches: float = 0.0
    bubbles: float = 0.0
    lost_light: float = 0.0
    colour_shift: float = 0.0

    def __post_init__(self):
        for name, severity in dataclasses.asdict(self).items():
            if not 0.0 <= severity <= 1.0:
                raise ConfigurationError(f'the severity of {name} is {severity}', 'Give a number from 0 to 1')


class GelDamage:
    """The same damage for every frame of one unit.

    Args:
        profile: Kind of sensor.
        severity: How strong each damage is.
        seed: Where the damage lies; a larger severity of the same seed is the same damage grown.
    """

    def __init__(self, profile: SensorProfile, severity: DamageSeverity, seed: int):
        # One generator a damage: the severity of one does not move another.
        scratches, bubbles, light, colour = np.random.default_rng(seed).spawn(4)
        depth_mm, coat_cover = _scratches(profile, severity.scratches, scratches)
        height_mm = _bubbles(profile, severity.bubbles, bubbles) - depth_mm
        self._change = _colour_change(profile, height_mm)
        self._gain = _lit_share(profile, severity.lost_light, light) * _colour_gain(severity.colour_shift, colour)
        self._gain *= 1.0 - np.float32(COAT_LOSS) * coat_cover[..., None]

    def apply(self, image_hwc: np.ndarray) -> np.ndarray:
        """Damage the gel of one frame.

        Args:
            image_hwc: uint8 [240, 320, 3], RGB.

        Returns:
            uint8 [240, 320, 3], RGB.
        """
        return np.clip(np.rint((image_hwc + self._change) * self._gain), 0, 255).astype(np.uint8)


def _scratches(profile, severity, rng):
    """Depth in millimetres and worn share 0..1 of the coat, float32 [240, 320] each."""
    cover = np.zeros((IMAGE_HEIGHT, IMAGE_WIDTH), np.float32)
    starts = rng.uniform((0.0, 0.0), (IMAGE_WIDTH, IMAGE_HEIGHT), (MOST_SCRATCHES, 2))
    angles = rng.uniform(0.0, np.pi, MOST_SCRATCHES)
    lengths_px = rng.uniform(*SCRATCH_LENGTH_MM, MOST_SCRATCHES) / profile.mm_per_px
    bend_px = rng.uniform(-0.15, 0.15, MOST_SCRATCHES) * lengths_px
    for index in range(int(np.ceil(severity * MOST_SCRATCHES))):
        along = np.array([np.cos(angles[index]), np.sin(angles[index])])
        position = np.linspace(-0.5, 0.5, 24)[:, None]
        line = starts[index] + position * lengths_px[index] * along \
            + (1.0 - 4.0 * position ** 2) * bend_px[index] * along[::-1] * [-1.0, 1.0]
        one = np.zeros_like(cover)
        # Four binary digits of a pixel keep the line smooth.
        cv2.polylines(one, [np.rint(line * 16).astype(np.int32)], False, 1.0, 1, cv2.LINE_AA, 4)
        cover = np.maximum(cover, one)
    # float32 images are drawn without smoothing, and a groove has slanting sides.
    cover = cv2.GaussianBlur(cover, (0, 0), 0.5 * SCRATCH_WIDTH_MM / profile.mm_per_px)
    cover /= max(float(cover.max()), 1e-6)
    return np.float32(severity * DEEPEST_SCRATCH_MM) * cover, np.float32(severity) * cover


def _bubbles(profile, severity, rng):
    """Height in millimetres, float32 [240, 320]."""
    x, y = image_grid()
    centres = rng.uniform((20.0, 20.0), (IMAGE_WIDTH - 20.0, IMAGE_HEIGHT - 20.0), (MOST_BUBBLES, 2))
    radii_px = rng.uniform(*BUBBLE_RADIUS_MM, MOST_BUBBLES) / profile.mm_per_px
    height = np.zeros((IMAGE_HEIGHT, IMAGE_WIDTH), np.float32)
    for centre, radius_px in list(zip(centres, radii_px))[:int(np.ceil(severity * MOST_BUBBLES))]:
        squared = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius_px ** 2
        cap = severity * HIGHEST_BUBBLE_SHARE * radius_px * profile.mm_per_px * np.maximum(1.0 - squared, 0.0)
        height = np.maximum(height, cap.astype(np.float32))
    return cv2.GaussianBlur(height, (0, 0), 1.0)


def _colour_change(profile, height_mm):
    """What a free surface of this shape changes in the picture: float32 [240, 320, 3], grey levels, RGB."""
    if not height_mm.any():
        return np.zeros((IMAGE_HEIGHT, IMAGE_WIDTH, 3), np.float32)
    coarse = IMAGE_HEIGHT // COARSE, IMAGE_WIDTH // COARSE
    nothing = np.zeros(coarse, np.float32)
    # Nothing touches: the gap to an object is infinite.
    free = GelSurface(height_mm, nothing, np.full_like(height_mm, np.inf), nothing, nothing, nothing,
                      np.zeros((*coarse, 2), np.float32), 0.0)
    return _optics(profile).colour_change(free, ContactState())


@lru_cache(maxsize=8)
def _optics(profile):
    """One unit of the kind stands for all: their gains are of no consequence beside the unknown sizes of the damage."""
    return (ClearSkinOptics if profile.clear_skin else CoatedGelOptics)(profile, np.random.default_rng(0))


def _lit_share(profile, severity, rng):
    """Light that is left at every pixel: float32 [240, 320, 3], RGB."""
    lit = np.ones((IMAGE_HEIGHT, IMAGE_WIDTH, 3), np.float32)
    if severity == 0:
        return lit
    colour, angle, lost_led = rng.integers(3), rng.uniform(0.0, 2 * np.pi), rng.integers(LEDS_OF_A_SIDE)
    if profile.clear_skin:
        # White light of a ring.
        towards_light, channels = np.array([np.cos(angle), np.sin(angle)]), slice(None)
    else:
        towards_light = load_optics_table(profile.optics_table).response[:2, 0, colour]
        towards_light, channels = towards_light / np.linalg.norm(towards_light), slice(colour, colour + 1)
    x, y = image_grid()
    x, y = (x - 159.5) / IMAGE_WIDTH, (y - 119.5) / IMAGE_WIDTH
    reach = LED_DISTANCE + 0.5 * abs(towards_light[0]) + 0.375 * abs(towards_light[1])
    along = (np.arange(LEDS_OF_A_SIDE) - (LEDS_OF_A_SIDE - 1) / 2) * LED_PITCH
    squared = [(x - reach * towards_light[0] + place * towards_light[1]) ** 2
               + (y - reach * towards_light[1] - place * towards_light[0]) ** 2 for place in along]
    light = 1.0 / np.stack(squared)
    lit[..., channels] = (1.0 - severity * light[lost_led] / light.sum(axis=0))[..., None]
    return lit


def _colour_gain(severity, rng):
    """Gain of each colour: float32 [3], of mean 1."""
    direction = rng.standard_normal(3)
    direction -= direction.mean()
    return (1.0 + severity * LARGEST_COLOUR_GAIN * direction / np.abs(direction).max()).astype(np.float32)
