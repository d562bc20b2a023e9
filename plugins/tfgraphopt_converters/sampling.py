"""Where resampled elements lie and what they weigh, in TensorFlow's own single-precision arithmetic.

The tables are what TensorFlow's CPU kernels compute (resize_nearest_neighbor_op, resize_bicubic_op, resize_area_op,
scale_and_translate_op), so that a conversion by tables meets its results also where TensorRT's own resampling rounds
differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs
import numpy as np

from tfgraphopt.ir.tensor import Array

F = np.float32


@attrs.frozen(slots=True)
class Taps:
    """For each of the result's elements along an axis: which elements of the operand count, and with what weight ([new,
    taps]).
    """

    places: Array
    weights: Array


@attrs.frozen(slots=True)
class Resampling:
    """One axis that goes from ``old`` to ``new`` elements."""

    old: int
    new: int
    align_corners: bool = False
    half_pixel_centers: bool = False

    @property
    def scale(self) -> np.float32:
        """Elements of the operand for one of the result."""
        if self.align_corners and self.new > 1:
            return F(self.old - 1) / F(self.new - 1)
        return F(self.old) / F(self.new)

    def centres(self) -> Array:
        """Where the result's elements lie among the operand's."""
        numbers = np.arange(self.new, dtype=F)
        return (numbers + F(0.5)) * self.scale - F(0.5) if self.half_pixel_centers else numbers * self.scale

    def nearest(self) -> Array:
        """The operand's element for each of the result's, as the nearest-neighbour kernel picks it."""
        numbers = np.arange(self.new, dtype=F)
        at = (numbers + F(0.5)) * self.scale if self.half_pixel_centers else numbers * self.scale
        picked = np.floor(at) + (at - np.floor(at) >= F(0.5)) if self.align_corners else np.floor(at)
        return np.asarray(np.clip(picked, 0, self.old - 1), np.int32)

    def exact_nearest(self) -> Array:
        """The same without rounding errors of the coordinates."""
        numbers = np.arange(self.new, dtype=np.int64)
        if self.align_corners and self.new > 1:
            last, steps = self.old - 1, self.new - 1
            picked = (2 * numbers * last + steps) // (2 * steps)
        elif self.half_pixel_centers:
            picked = (2 * numbers + 1) * self.old // (2 * self.new)
        else:
            picked = numbers * self.old // self.new
        return np.minimum(picked, self.old - 1).astype(np.int32)

    @property
    def is_whole_ratio(self) -> bool:
        """Whether one size is a multiple of the other, and no coordinate lies where single precision decides."""
        whole = self.old % self.new == 0 or self.new % self.old == 0
        return whole and not self.align_corners and np.array_equal(self.nearest(), self.exact_nearest())

    def cubic(self) -> Taps:
        """Bicubic: coefficients from a table of 1024 steps; Keys' -0.5 without outside elements for half-pixel centres,
        else -0.75.
        """
        centres = self.centres()
        first = np.floor(centres).astype(np.int64)
        weights = cubic_weights(self.half_pixel_centers)[
            np.rint((centres - first.astype(F)) * F(STEPS)).astype(np.int64)
        ]
        wanted = first[:, None] + np.arange(-1, 3)
        places = np.clip(wanted, 0, self.old - 1)
        if self.half_pixel_centers:
            weights = _normalised(np.where(places == wanted, weights, F(0)))
        return Taps(places.astype(np.int32), weights)

    def area(self) -> Taps:
        """Area: every element of the operand weighs as much of it as the result's element covers."""
        low, high = (np.arange(i, self.new + i, dtype=F) * self.scale for i in (0, 1))
        first, last = np.floor(low).astype(np.int64), np.ceil(high).astype(np.int64)
        wanted = first[:, None] + np.arange(max(int((last - first).max()), 1))
        covered = np.minimum(wanted + 1, high[:, None]) - np.maximum(wanted, low[:, None])
        weights = np.where(wanted < last[:, None], covered, 0).astype(F) / self.scale
        return Taps(np.clip(wanted, 0, self.old - 1).astype(np.int32), weights)


STEPS = 1024
"""Into how many steps TensorFlow divides the way from one element to the next, for cubic weights."""


def cubic_weights(half_pixel_centers: bool) -> Array:
    """The weights of elements -1, 0, 1 and 2 for a place i/1024 behind element 0, as float32[1025, 4]."""
    c, x = F(-0.5 if half_pixel_centers else -0.75), (np.arange(STEPS + 1) * 1.0 / STEPS).astype(F)
    near = ((c + F(2)) * x - (c + F(3))) * x * x + F(1)
    x = x + F(1)
    far = ((c * x - F(5) * c) * x + F(8) * c) * x - F(4) * c
    return np.stack([far, near, near[::-1], far[::-1]], 1)


def _normalised(weights: Array) -> Array:
    total = weights.sum(1, keepdims=True, dtype=F)
    usable = np.abs(total) >= F(1000) * np.finfo(F).tiny
    return np.where(usable, weights / np.where(usable, total, F(1)), weights)


# -- scale and translate ---------------------------------------------------------------------------------------------


def _lanczos(radius: float) -> Callable[[Array], Array]:
    def kernel(x: Array) -> Array:
        safe = np.where(x == 0, F(1), x)
        value = (
            F(radius) * np.sin(F(np.pi) * safe) * np.sin(F(np.pi) * safe / F(radius)) / (F(np.pi) ** 2 * safe * safe)
        )
        return np.where(x > radius, F(0), np.where(x <= 1e-3, F(1), value))

    return kernel


def _keys_cubic(x: Array) -> Array:
    near = ((F(1.5) * x - F(2.5)) * x) * x + F(1)
    far = ((F(-0.5) * x + F(2.5)) * x - F(4)) * x + F(2)
    return np.where(x >= 2, F(0), np.where(x >= 1, far, near))


def _mitchell_cubic(x: Array) -> Array:
    near = ((F(7) / F(6) * x - F(2)) * x) * x + F(16) / F(18)
    far = ((F(-7) / F(18) * x + F(2)) * x - F(10) / F(3)) * x + F(16) / F(9)
    return np.where(x >= 2, F(0), np.where(x >= 1, far, near))


def _gaussian(x: Array) -> Array:
    return np.where(x >= 1.5, F(0), np.exp(-x * x / F(2 * 0.5 * 0.5)))


def _box(x: Array) -> Array:
    return np.where(x < 0.5, F(1), np.where(x == 0.5, F(0.5), F(0)))


KERNELS: Mapping[str, tuple[float, Callable[[Array], Array]]] = {
    "lanczos1": (1.0, _lanczos(1.0)), "lanczos3": (3.0, _lanczos(3.0)), "lanczos5": (5.0, _lanczos(5.0)),
    "gaussian": (1.5, _gaussian), "box": (0.5, _box), "triangle": (1.0, lambda x: np.maximum(F(0), F(1) - x)),
    "keyscubic": (2.0, _keys_cubic), "mitchellcubic": (2.0, _mitchell_cubic),
}  # fmt: skip
"""Radius and function of ScaleAndTranslate's kernels, for distances that are not negative."""


def scaled_and_translated(old: int, new: int, scale: float, translation: float, kernel: str, antialias: bool) -> Taps:
    """ScaleAndTranslate along one axis; elements of the result that lie outside of the operand weigh nothing."""
    radius, function = KERNELS[kernel]
    inverse = F(1) / F(scale)
    shift = -inverse * F(translation)
    width = max(inverse, F(1)) if antialias else F(1)
    centres = (np.arange(new, dtype=F) + F(0.5)) * inverse + shift
    first = np.clip(np.ceil(centres - F(radius) * width - F(0.5)), 0, old - 1).astype(np.int64)
    last = np.clip(np.floor(centres + F(radius) * width - F(0.5)), 0, old - 1).astype(np.int64)
    wanted = first[:, None] + np.arange(min(2 * math.ceil(F(radius) * width) + 1, old))
    weights = function(np.abs((wanted.astype(F) + F(0.5) - centres[:, None]) * (F(1) / width))).astype(F)
    inside = (wanted <= last[:, None]) & ((centres >= 0) & (centres <= old))[:, None]
    return Taps(np.clip(wanted, 0, old - 1).astype(np.int32), _normalised(np.where(inside, weights, F(0))))
