"""ObjectParameters: the one record that drives an object's touch, look, labels and caption.

`sample_object` draws plausible objects. Two regions of the parameter space are kept out of `train` so that a test on
`held_out` objects measures generalisation, not memory: in every material the middle fifth of its (logarithmic)
texture wavelength band, and one shape a material (`HELD_OUT_SHAPE`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from visuotactile_ros.errors import ConfigurationError

MATERIALS = ('metal', 'glass', 'ceramic', 'wood', 'plastic', 'rubber', 'leather', 'fabric', 'paper', 'stone')
SHAPES = ('flat', 'sphere', 'cylinder', 'edge', 'cone', 'dots')
HARDNESS = ('soft', 'hard')
ROUGHNESS = ('smooth', 'rough')

SOFT_BELOW_MPA = 5.0
ROUGH_FROM_MM = 0.018
HELD_OUT_BAND = (0.4, 0.6)
HELD_OUT_SHAPE = {'metal': 'dots', 'glass': 'cone', 'ceramic': 'edge', 'wood': 'sphere', 'plastic': 'cylinder',
                  'rubber': 'dots', 'leather': 'edge', 'fabric': 'sphere', 'paper': 'cone', 'stone': 'cylinder'}


@dataclass(frozen=True)
class ObjectParameters:
    """An object as touch, vision and language see it.

    Attributes:
        material: One of MATERIALS.
        shape: One of SHAPES.
        radius_mm: Radius of curvature of a sphere, a cylinder, an edge, the tip of a cone or one dot, millimetres;
            without meaning for a flat object.
        youngs_modulus_mpa: Stiffness of the object, megapascal (soft rubber 0.1 … steel 200 000).
        texture_amplitude_mm: Half of the texture's peak-to-valley height, millimetres; 0 is polished.
        texture_wavelength_mm: Dominant wavelength of the texture, millimetres.
        texture_anisotropy: 0 isotropic … 1 fully directional (grain, weave, ridges).
        texture_seed: Seed of the texture's random phases.
        albedo_rgb: Colour seen by a camera, each 0..1.
        gloss: Strength of the highlight seen by a camera, 0 matt … 1 mirror-like.
    """

    material: str = 'plastic'
    shape: str = 'flat'
    radius_mm: float = 30.0
    youngs_modulus_mpa: float = 2000.0
    texture_amplitude_mm: float = 0.0
    texture_wavelength_mm: float = 1.0
    texture_anisotropy: float = 0.0
    texture_seed: int = 0
    albedo_rgb: tuple[float, float, float] = (0.5, 0.5, 0.5)
    gloss: float = 0.2


@dataclass(frozen=True)
class ObjectLabels:
    """Class indices of an object: into MATERIALS, HARDNESS and ROUGHNESS."""

    material: int
    hardness: int
    roughness: int


@dataclass(frozen=True)
class MaterialTraits:
    """What is plausible for one material; ranges are (low, high) and drawn logarithmically unless named otherwise.

    Attributes:
        texture: Texture kind, see `textures.TEXTURE_KINDS`.
        soft_fraction: Share of soft objects, 0..1.
        soft_mpa: Young's modulus of soft objects, megapascal.
        hard_mpa: Young's modulus of hard objects, megapascal.
        rough_fraction: Share of rough objects, 0..1.
        smooth_mm: Texture amplitude of smooth objects, millimetres.
        rough_mm: Texture amplitude of rough objects, millimetres.
        wavelength_mm: Texture wavelength, millimetres.
        anisotropy: Texture anisotropy, drawn linearly.
        colours_rgb: Typical colours, each 0..1; a draw strays from one of them by `colour_spread`.
        colour_spread: Standard deviation of a colour, 0..1.
        gloss: Gloss, drawn linearly.
        texture_words: Adjectives for the texture when it is rough.
    """

    texture: str
    soft_fraction: float
    soft_mpa: tuple[float, float]
    hard_mpa: tuple[float, float]
    rough_fraction: float
    smooth_mm: tuple[float, float]
    rough_mm: tuple[float, float]
    wavelength_mm: tuple[float, float]
    anisotropy: tuple[float, float]
    colours_rgb: tuple[tuple[float, float, float], ...]
    colour_spread: float
    gloss: tuple[float, float]
    texture_words: tuple[str, ...]


_NONE = (1.0, 1.0)
MATERIAL_TRAITS = {
    'metal': MaterialTraits(
        'brushed', 0.0, _NONE, (60000.0, 200000.0), 0.5, (0.003, 0.010), (0.022, 0.05), (0.45, 0.9), (0.9, 1.0),
        ((0.62, 0.64, 0.67), (0.72, 0.70, 0.66), (0.70, 0.55, 0.30)), 0.03, (0.75, 1.0), ('brushed', 'scratched')),
    'glass': MaterialTraits(
        'polished', 0.0, _NONE, (50000.0, 90000.0), 0.25, (0.0005, 0.002), (0.022, 0.05), (2.5, 5.0), (0.0, 0.2),
        ((0.55, 0.75, 0.70), (0.60, 0.70, 0.80), (0.35, 0.55, 0.40)), 0.05, (0.85, 1.0), ('rippled', 'wavy')),
    'ceramic': MaterialTraits(
        'pitted', 0.0, _NONE, (30000.0, 120000.0), 0.5, (0.004, 0.012), (0.025, 0.07), (1.4, 2.6), (0.0, 0.15),
        ((0.92, 0.90, 0.86), (0.80, 0.84, 0.90), (0.75, 0.45, 0.32)), 0.04, (0.5, 0.9), ('pitted', 'pinholed')),
    'wood': MaterialTraits(
        'grain', 0.0, _NONE, (3000.0, 14000.0), 0.6, (0.005, 0.013), (0.022, 0.08), (0.8, 1.8), (0.8, 0.95),
        ((0.55, 0.36, 0.20), (0.70, 0.52, 0.32), (0.38, 0.22, 0.12)), 0.04, (0.05, 0.3), ('grainy', 'grooved')),
    'plastic': MaterialTraits(
        'moulded', 0.3, (0.25, 1.2), (800.0, 3500.0), 0.5, (0.004, 0.012), (0.022, 0.06), (0.45, 1.0), (0.0, 0.2),
        ((0.85, 0.15, 0.15), (0.12, 0.35, 0.80), (0.95, 0.80, 0.10), (0.15, 0.65, 0.30)), 0.06, (0.3, 0.7),
        ('stippled', 'spark-eroded')),
    'rubber': MaterialTraits(
        'ribs', 0.75, (0.12, 1.0), (20.0, 90.0), 0.6, (0.004, 0.013), (0.03, 0.12), (1.0, 2.2), (0.7, 1.0),
        ((0.08, 0.08, 0.09), (0.16, 0.15, 0.15), (0.45, 0.12, 0.10)), 0.02, (0.02, 0.15), ('ribbed', 'ridged')),
    'leather': MaterialTraits(
        'pebble', 0.7, (0.3, 1.5), (20.0, 80.0), 0.6, (0.006, 0.014), (0.025, 0.08), (0.9, 1.9), (0.0, 0.4),
        ((0.36, 0.20, 0.11), (0.16, 0.11, 0.09), (0.58, 0.38, 0.22)), 0.03, (0.15, 0.45), ('pebbled', 'creased')),
    'fabric': MaterialTraits(
        'weave', 0.9, (0.1, 0.8), (10.0, 30.0), 0.75, (0.006, 0.014), (0.03, 0.12), (0.5, 1.3), (0.3, 0.8),
        ((0.20, 0.28, 0.55), (0.80, 0.78, 0.70), (0.55, 0.15, 0.25), (0.30, 0.42, 0.30)), 0.06, (0.0, 0.05),
        ('woven', 'threaded')),
    'paper': MaterialTraits(
        'fibre', 0.25, (0.3, 1.5), (300.0, 3000.0), 0.3, (0.004, 0.010), (0.02, 0.04), (0.5, 1.0), (0.1, 0.4),
        ((0.93, 0.92, 0.88), (0.72, 0.58, 0.40)), 0.02, (0.0, 0.08), ('fibrous', 'fuzzy')),
    'stone': MaterialTraits(
        'fractal', 0.0, _NONE, (20000.0, 80000.0), 0.8, (0.008, 0.014), (0.03, 0.13), (1.5, 4.0), (0.0, 0.2),
        ((0.48, 0.47, 0.45), (0.62, 0.57, 0.48), (0.30, 0.30, 0.33)), 0.03, (0.0, 0.25), ('gritty', 'coarse')),
}
_RADIUS_MM = {'flat': (30.0, 30.0), 'sphere': (2.0, 14.0), 'cylinder': (2.0, 35.0), 'edge': (0.3, 2.0),
              'cone': (0.3, 1.2), 'dots': (0.7, 1.6)}


def sample_object(rng: np.random.Generator, region: str = 'train') -> ObjectParameters:
    """Draw a plausible object.

    Args:
        rng: Source of randomness.
        region: `train`, or `held_out` for objects from the regions that `train` never enters.

    Raises:
        ConfigurationError: The region is neither.
    """
    if region not in ('train', 'held_out'):
        raise ConfigurationError(f'The object region is {region!r}', 'Choose train or held_out')
    material = MATERIALS[rng.integers(len(MATERIALS))]
    traits = MATERIAL_TRAITS[material]
    held_out_by_shape = region == 'held_out' and rng.random() < 0.5
    held_out_by_band = region == 'held_out' and not held_out_by_shape
    other_shapes = [shape for shape in SHAPES if shape != HELD_OUT_SHAPE[material]]
    shape = HELD_OUT_SHAPE[material] if held_out_by_shape else other_shapes[rng.integers(len(other_shapes))]
    low, high = HELD_OUT_BAND
    if held_out_by_band:
        position = rng.uniform(low + 0.02, high - 0.02)
    else:
        position = rng.uniform(0.0, 1.0 - (high - low))
        position = position if position < low - 1e-3 else min(1.0, position + (high - low) + 1e-3)
    shortest, longest = traits.wavelength_mm
    colour = np.array(traits.colours_rgb[rng.integers(len(traits.colours_rgb))])
    colour = np.clip(colour + rng.normal(0.0, traits.colour_spread, 3), 0.02, 0.98)
    return ObjectParameters(
        material=material,
        shape=shape,
        radius_mm=_log_uniform(rng, _RADIUS_MM[shape]),
        youngs_modulus_mpa=_log_uniform(rng, traits.soft_mpa if rng.random() < traits.soft_fraction
                                        else traits.hard_mpa),
        texture_amplitude_mm=_log_uniform(rng, traits.rough_mm if rng.random() < traits.rough_fraction
                                          else traits.smooth_mm),
        texture_wavelength_mm=float(shortest * (longest / shortest) ** position),
        texture_anisotropy=float(rng.uniform(*traits.anisotropy)),
        texture_seed=int(rng.integers(2 ** 31)),
        albedo_rgb=tuple(float(part) for part in colour),
        gloss=float(rng.uniform(*traits.gloss)))


def is_held_out(obj: ObjectParameters) -> bool:
    """Whether an object lies in a region that `sample_object` keeps out of `train`."""
    shortest, longest = MATERIAL_TRAITS[obj.material].wavelength_mm
    position = math.log(obj.texture_wavelength_mm / shortest) / math.log(longest / shortest)
    return HELD_OUT_BAND[0] <= position <= HELD_OUT_BAND[1] or obj.shape == HELD_OUT_SHAPE[obj.material]


def labels_of(obj: ObjectParameters) -> ObjectLabels:
    """Class indices of an object, derived from its parameters alone."""
    return ObjectLabels(MATERIALS.index(obj.material), int(obj.youngs_modulus_mpa >= SOFT_BELOW_MPA),
                        int(obj.texture_amplitude_mm >= ROUGH_FROM_MM))


def caption_of(obj: ObjectParameters, rng: np.random.Generator) -> str:
    """One English sentence that names material, shape, hardness, roughness and texture.

    Args:
        obj: The object.
        rng: Chooses among wordings; the facts are the object's.
    """
    def pick(words):
        return words[rng.integers(len(words))]

    labels = labels_of(obj)
    hardness = pick((('soft', 'yielding', 'compliant'), ('hard', 'rigid', 'firm'))[labels.hardness])
    roughness = pick((('smooth', 'even'), ('rough', 'uneven'))[labels.roughness])
    shape = pick({'flat': ('flat surface', 'plane'), 'sphere': ('ball', 'sphere'), 'cylinder': ('cylinder', 'rod'),
                  'edge': ('edge', 'ridge'), 'cone': ('cone', 'pointed tip'), 'dots': ('row of dots', 'grid of bumps'),
                  }[obj.shape])
    if labels.roughness:
        texture = pick(MATERIAL_TRAITS[obj.material].texture_words)
    else:
        texture = pick(('plain', 'faintly textured'))
    spacing = 'fine' if obj.texture_wavelength_mm < 0.8 else 'medium' if obj.texture_wavelength_mm < 1.8 else 'wide'
    template = pick((
        'A {hardness} {material} {shape}, {roughness} to the touch, with a {texture} finish of {spacing} spacing.',
        'The fingertip presses a {roughness}, {texture} {material} {shape} that feels {hardness}.',
        'Touching {material}: a {hardness} {shape} whose surface is {roughness} and {texture}.',
        'This {shape} is made of {hardness} {material}; its {spacing} texture is {roughness} and {texture}.',
        '{material} {shape}, {hardness}, {roughness}, {texture}.',
    ))
    sentence = template.format(hardness=hardness, roughness=roughness, shape=shape, texture=texture, spacing=spacing,
                               material=obj.material)
    return sentence[0].upper() + sentence[1:]


def _log_uniform(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    low, high = low_high
    return float(low * (high / low) ** rng.random())
