"""Procedural surface textures: periodic height tiles, one recipe a texture kind."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

TILE_PX = 256
TILE_WAVELENGTHS = 16
TEXTURE_KINDS = ('brushed', 'polished', 'pitted', 'grain', 'moulded', 'ribs', 'pebble', 'weave', 'fibre', 'fractal')
# How strongly a texture shows in the colour itself (dark grain, pale fibres).
COLOUR_OF_TEXTURE = {'brushed': 0.12, 'polished': 0.03, 'pitted': 0.15, 'grain': 0.35, 'moulded': 0.08, 'ribs': 0.08,
                     'pebble': 0.22, 'weave': 0.25, 'fibre': 0.08, 'fractal': 0.40}


@lru_cache(maxsize=64)
def texture_tile(kind: str, anisotropy: float, seed: int) -> np.ndarray:
    """Height of a texture over a square that repeats without a seam.

    Args:
        kind: One of TEXTURE_KINDS.
        anisotropy: 0 isotropic … 1 fully directional; lines run along x.
        seed: Seed of the random phases.

    Returns:
        float32 [256, 256], -1 (valley) … 1 (peak), 16 dominant wavelengths a side; do not write to it.
    """
    rng = np.random.default_rng(seed)
    height = _RECIPES[kind](rng, anisotropy)
    height = height - height.mean()
    tile = np.clip(height / max(np.quantile(np.abs(height), 0.99), 1e-9), -1.0, 1.0).astype(np.float32)
    tile.flags.writeable = False
    return tile


def sample_texture(kind: str, anisotropy: float, seed: int, wavelength_mm: float, x_mm: np.ndarray,
                   y_mm: np.ndarray, pitch_mm: float) -> np.ndarray:
    """Height of a texture at given places.

    Args:
        kind: As in `texture_tile`.
        anisotropy: As in `texture_tile`.
        seed: As in `texture_tile`.
        wavelength_mm: Dominant wavelength, millimetres.
        x_mm: float32 [H, W], places in the object's own frame, millimetres.
        y_mm: float32 [H, W], likewise.
        pitch_mm: Distance between neighbouring places, millimetres; finer detail is averaged away.

    Returns:
        float32 [H, W], -1 … 1.
    """
    tile = texture_tile(kind, anisotropy, seed)
    tile_px_per_mm = TILE_PX / TILE_WAVELENGTHS / wavelength_mm
    step_tile_px = tile_px_per_mm * pitch_mm
    if step_tile_px > 1.0:
        blur_px = 0.4 * step_tile_px
        margin = int(4 * blur_px) + 1
        wrapped = cv2.copyMakeBorder(tile, margin, margin, margin, margin, cv2.BORDER_WRAP)
        tile = cv2.GaussianBlur(wrapped, (0, 0), blur_px)[margin:-margin, margin:-margin]
    return cv2.remap(tile, x_mm * np.float32(tile_px_per_mm), y_mm * np.float32(tile_px_per_mm), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_WRAP)


def _band_noise(rng, anisotropy, low=0.7, high=1.3, falloff=0.0):
    """Random waves between two frequencies (in cycles a wavelength), their energy falling as frequency^-falloff."""
    frequency_y, frequency_x, radius, sine_squared = _frequency_grid()
    band = (radius >= low) & (radius <= high)
    directional = np.exp(-12.0 * anisotropy / (1.02 - anisotropy) * sine_squared)
    amplitude = np.where(band, directional * np.maximum(radius, 1e-6) ** -falloff, 0.0)
    phases = np.exp(2j * np.pi * rng.random(radius.shape))
    noise = np.fft.irfft2(amplitude * phases, s=(TILE_PX, TILE_PX))
    return noise / max(noise.std(), 1e-12)


@lru_cache(maxsize=1)
def _frequency_grid():
    frequency_y = np.fft.fftfreq(TILE_PX, 1.0 / TILE_PX)[:, None] / TILE_WAVELENGTHS
    frequency_x = np.fft.rfftfreq(TILE_PX, 1.0 / TILE_PX)[None, :] / TILE_WAVELENGTHS
    radius = np.hypot(frequency_x, frequency_y)
    return frequency_y, frequency_x, radius, frequency_x ** 2 / np.maximum(radius, 1e-9) ** 2


def _plane():
    axis = np.arange(TILE_PX) * (TILE_WAVELENGTHS / TILE_PX)
    return np.meshgrid(axis, axis)


def _brushed(rng, anisotropy):
    return _band_noise(rng, anisotropy, 0.6, 3.0, 0.5)


def _polished(rng, anisotropy):
    return _band_noise(rng, anisotropy, 0.4, 1.2)


def _pitted(rng, anisotropy):
    pits = np.maximum(_band_noise(rng, 0.0, 1.0, 1.8) - 1.6, 0.0)
    return 0.35 * _band_noise(rng, anisotropy, 0.4, 1.0) - 2.5 * pits


def _grain(rng, anisotropy):
    rings = np.sin(2.5 * _band_noise(rng, anisotropy, 0.1, 1.0))
    return rings + 0.5 * _band_noise(rng, anisotropy, 1.0, 3.0)


def _moulded(rng, anisotropy):
    return np.tanh(1.5 * _band_noise(rng, anisotropy))


def _ribs(rng, anisotropy):
    x, y = _plane()
    phase = 2 * np.pi * rng.random(2)
    ribs = np.tanh(2.0 * np.sin(2 * np.pi * y + phase[1]))
    studs = np.tanh(2.0 * np.sin(2 * np.pi * x + phase[0])) * ribs
    return anisotropy * ribs + (1.0 - anisotropy) * studs + 0.1 * _band_noise(rng, 0.0, 1.0, 3.0)


def _pebble(rng, anisotropy):
    return np.sqrt(np.abs(_band_noise(rng, anisotropy, 0.3, 0.7)))


def _weave(rng, anisotropy):
    x, y = _plane()
    x, y = x + 0.04 * _band_noise(rng, 0.0, 0.2, 1.0), y + 0.04 * _band_noise(rng, 0.0, 0.2, 1.0)
    warp = np.abs(np.sin(np.pi * x)) ** 0.7 * (1.0 + 0.9 * _over_under(x, y))
    weft = np.abs(np.sin(np.pi * y)) ** 0.7 * (1.0 - 0.9 * _over_under(x, y))
    return (1.0 - 0.5 * anisotropy) * warp + (1.0 + 0.5 * anisotropy) * weft


def _over_under(x, y):
    return np.sign(np.sin(np.pi * x) * np.sin(np.pi * y)) * np.abs(np.sin(np.pi * x) * np.sin(np.pi * y)) ** 0.3


def _fibre(rng, anisotropy):
    return -np.abs(_band_noise(rng, anisotropy, 0.3, 1.0)) - np.abs(_band_noise(rng, anisotropy, 0.5, 1.6))


def _fractal(rng, anisotropy):
    return _band_noise(rng, anisotropy, 0.2, 6.0, 1.3)


_RECIPES = {'brushed': _brushed, 'polished': _polished, 'pitted': _pitted, 'grain': _grain, 'moulded': _moulded,
            'ribs': _ribs, 'pebble': _pebble, 'weave': _weave, 'fibre': _fibre, 'fractal': _fractal}
