"""Synthetic inputs that look like the real thing: photograph-like images and the sound of a short melody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
SAMPLE_RATE = 22_050
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STDDEV = (0.229, 0.224, 0.225)
_TRIADS = ((48, 52, 55), (45, 48, 52), (41, 45, 48), (43, 47, 50))
_SCALE = (60, 62, 64, 65, 67, 69, 71, 72)

_CONTRAST = 80.0
"""Makes the standard deviation of pixels about 55: that of the noise before is 0.69."""


def _interpolation(size: int, cells: int) -> npt.NDArray[np.float64]:
    """Matrix (size, cells + 1) that interpolates a row of grid points linearly."""
    position = np.linspace(0.0, cells, size, endpoint=False)
    left = position.astype(int)
    matrix = np.zeros((size, cells + 1))
    matrix[np.arange(size), left] = 1.0 - (position - left)
    matrix[np.arange(size), left + 1] += position - left
    return matrix


def image(height: int, width: int, channels: int, rng: np.random.Generator) -> Floats:
    """One photograph-like image (height, width, channels) of values 0 to 255.

    Octaves of value noise, amplitude halved as frequency doubles (the 1/f spectrum of natural images), each channel a
    mix of one common and one own component, contrast and brightness drawn anew for each image.
    """
    total = np.zeros((height, width, channels))
    for octave in range(1, 8):
        cells = min(2**octave, height, width)
        grid = rng.normal(size=(cells + 1, cells + 1, channels)) + 1.5 * rng.normal(size=(cells + 1, cells + 1, 1))
        rows, columns = _interpolation(height, cells), _interpolation(width, cells)
        total += 0.5**octave * np.einsum("hi,wj,ijc->hwc", rows, columns, grid, optimize=True)
    return np.clip(_CONTRAST * rng.uniform(0.9, 1.1) * total + rng.uniform(110.0, 140.0), 0.0, 255.0).astype(np.float32)


def _images(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    batch, height, width, channels = shape
    return np.stack([image(height, width, channels, rng) for _ in range(batch)])


def _note(midi: int, seconds: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A plucked tone: eight slightly inharmonic partials, each decaying faster than the one below, 8 ms attack."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    frequency = 440.0 * 2.0 ** ((midi - 69) / 12.0)
    partials = np.arange(1, 9)[:, None]
    phases = rng.uniform(0.0, 2.0 * np.pi, size=(8, 1))
    waves = np.sin(2.0 * np.pi * frequency * partials * np.sqrt(1.0 + 3e-4 * partials**2) * time + phases)
    decays = np.exp(-time * (1.5 + 0.8 * partials)) / partials**1.2
    return np.asarray((waves * decays).sum(axis=0) * np.minimum(time / 0.008, 1.0))


def melody(samples: int, rng: np.random.Generator) -> Floats:
    """`samples` of mono audio at 22,050 Hz, peak 0.8: four melody notes and one triad a second, soft noise."""
    audio = np.zeros(samples + 2 * SAMPLE_RATE)
    for beat in range(samples * 4 // SAMPLE_RATE + 1):
        start = beat * SAMPLE_RATE // 4
        chord = _TRIADS[rng.integers(len(_TRIADS))] if beat % 4 == 0 else ()
        for midi in (*chord, _SCALE[rng.integers(len(_SCALE))]):
            tone = _note(midi, 1.2, rng)
            audio[start : start + tone.size] += tone * rng.uniform(0.5, 1.0)
    audio = audio[:samples] + rng.normal(scale=1e-3, size=samples)
    loud: Floats = (0.8 * audio / np.abs(audio).max()).astype(np.float32)
    return loud


def _caffe(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    return np.asarray(_images(shape, rng)[..., ::-1] - np.array([103.939, 116.779, 123.68]), np.float32)


def _torch(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    unit = _images(shape, rng) / np.float32(255.0)
    normal: Floats = ((unit - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STDDEV)).astype(np.float32)
    return normal


def _melodies(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    return np.stack([melody(shape[1], rng)[:, None] for _ in range(shape[0])])


FEEDS: Mapping[str, Callable[[tuple[int, ...], np.random.Generator], Floats]] = MappingProxyType(
    {
        "image": _images,
        "image_torch": _torch,
        "image_signed": lambda shape, rng: (_images(shape, rng) - np.float32(127.5)) / np.float32(128.0),
        "image_caffe": _caffe,
        "audio": _melodies,
        "tokens": lambda shape, rng: rng.integers(1, 1000, shape).astype(np.float32),
        "normal": lambda shape, rng: rng.normal(size=shape).astype(np.float32),
    }
)
"""Kind of input -> function(shape, generator) that draws one batch of it."""
