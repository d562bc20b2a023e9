"""Resizing of images, as TensorFlow's CPU kernels compute it.

Bilinear resizing, and nearest-neighbour resizing by whole ratios, are TensorRT's resize layer in N,C,H,W. The rest are
gathers of the elements that TensorFlow picks, weighted with its own coefficients: TensorFlow quantises bicubic weights
to 1024 steps and decides ties of nearest neighbours in single precision, which no setting of TensorRT's layer repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt.ir.tensor import Array
from tfgraphopt_converters import run_time_sampling, sizes
from tfgraphopt_converters.dtypes import FLOATS
from tfgraphopt_converters.layout import from_channels_first, to_channels_first
from tfgraphopt_converters.sampling import KERNELS, Resampling, Taps, scaled_and_translated
from tfgraphopt_converters.sizes import Cut, Size
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Weights, converter

HEIGHT, WIDTH = 1, 2


def _sizes(b: LayerBuilder, images: Value, size: Tensor | Value) -> tuple[tuple[Size, Size], tuple[Size, Size]]:
    """Old and new (height, width)."""
    old = (sizes.size_of(b, images, HEIGHT), sizes.size_of(b, images, WIDTH))
    new = sizes.elements(b, size)
    return old, (new[0], new[1])


def _by_layer(b: LayerBuilder, images: Value, new: Sequence[Size], mode: str, coordinates: str, rounding: str) -> Value:
    x = to_channels_first(b, images, "NHWC")
    batch, channels = sizes.size_of(b, x, 0), sizes.size_of(b, x, 1)
    size = sizes.pack(b, [batch, channels, *new])
    return from_channels_first(b, b.resize(x, size, mode, coordinates, rounding=rounding), "NHWC")


def _coordinates(align_corners: bool, half_pixel_centers: bool) -> str:
    return "align_corners" if align_corners else "half_pixel" if half_pixel_centers else "asymmetric"


# -- bilinear --------------------------------------------------------------------------------------------------------


@converter("ResizeBilinear")
def resize_bilinear(
    b: LayerBuilder, images: Operand, size: Weights | Operand, *, align_corners: bool, half_pixel_centers: bool
) -> Value:
    """Linear interpolation; corners aligned, half-pixel centres, or TensorFlow 1's asymmetric coordinates. Any sizes
    may be unknown.
    """
    x = b.cast(images, DType.FLOAT)
    _, new = _sizes(b, x, size)
    single = [a for a, n in ((HEIGHT, new[0]), (WIDTH, new[1])) if align_corners and n == 1]
    x = sizes.cut(b, x, {a: Cut(0, 1) for a in single})  # one element is the first one: no corner to align
    return _by_layer(b, x, new, "linear", _coordinates(align_corners, half_pixel_centers), "floor")


# -- nearest neighbour -----------------------------------------------------------------------------------------------


@converter("ResizeNearestNeighbor")
def resize_nearest_neighbor(
    b: LayerBuilder, images: Operand, size: Weights | Operand, *, align_corners: bool, half_pixel_centers: bool
) -> Value:
    """The nearest element: a resize layer for floats and whole ratios, else a gather along each axis that changes."""
    old, new = _sizes(b, images, size)
    known = [
        Resampling(o, n, align_corners, half_pixel_centers)
        for o, n in zip(old, new, strict=True)
        if isinstance(o, int) and isinstance(n, int)
    ]
    if images.dtype in FLOATS and len(known) == 2 and all(r.is_whole_ratio for r in known):
        rounding = "half_up" if half_pixel_centers else "floor"
        return _by_layer(b, images, new, "nearest", _coordinates(False, half_pixel_centers), rounding)
    for axis, o, n in ((HEIGHT, old[0], new[0]), (WIDTH, old[1], new[1])):
        images = _nearest_along(b, images, axis, o, n, align_corners, half_pixel_centers)
    return images


def _nearest_along(b: LayerBuilder, x: Value, axis: int, old: Size, new: Size, align: bool, half: bool) -> Value:
    if isinstance(old, int) and isinstance(new, int):
        places = Resampling(old, new, align, half).nearest()
        return x if np.array_equal(places, np.arange(old)) else b.gather(x, b.constant(places), axis)
    return b.gather(x, run_time_sampling.nearest(b, old, new, align, half), axis)


# -- weighted elements -----------------------------------------------------------------------------------------------


def weighted(b: LayerBuilder, x: Value, axis: int, taps: Taps) -> Value:
    """``x`` resampled along ``axis``."""
    return _gathered(b, x, axis, b.constant(taps.places), b.constant(_behind(taps.weights, x, axis), DType.FLOAT))


def _behind(weights: Array, x: Value, axis: int) -> Array:
    return weights.reshape(*weights.shape, *(1,) * (len(x.shape) - axis - 1))


def _gathered(b: LayerBuilder, x: Value, axis: int, places: Value, weights: Value) -> Value:
    """Gather the elements that count, multiply, add up."""
    picked = b.gather(x, places, axis)
    return b.reduce(b.elementwise(picked, weights, "prod"), "sum", (axis + 1,), keep_dims=False)


def _product(b: LayerBuilder, x: Value, axis: int, weights: Value) -> Value:
    """``x`` with all its elements along ``axis`` weighted by each row of ``weights``, [new, old]."""
    perm = (0, 2, 1, 3) if axis == HEIGHT else (0, 1, 2, 3)
    return b.transpose(b.matrix_multiply(b.expand_to(weights, 4), b.transpose(x, perm)), perm)


Along = Callable[[LayerBuilder, Value, int, Size, Size], Value]
"""Resamples a tensor along an axis, from one size to another."""


def _resampled(b: LayerBuilder, images: Value, size: Tensor | Value, along: Along) -> Value:
    old, new = _sizes(b, images, size)
    x = b.cast(images, DType.FLOAT)
    for axis, o, n in ((HEIGHT, old[0], new[0]), (WIDTH, old[1], new[1])):
        x = along(b, x, axis, o, n)
    return x


@converter("ResizeBicubic")
def resize_bicubic(
    b: LayerBuilder, images: Operand, size: Weights | Operand, *, align_corners: bool, half_pixel_centers: bool
) -> Value:
    """Cubic interpolation with TensorFlow's quantised weights. Any sizes may be unknown."""
    if align_corners and half_pixel_centers:
        raise Unsupported("align_corners together with half_pixel_centers, which TensorFlow refuses")

    def along(b: LayerBuilder, x: Value, axis: int, old: Size, new: Size) -> Value:
        if isinstance(old, int) and isinstance(new, int):
            return weighted(b, x, axis, Resampling(old, new, align_corners, half_pixel_centers).cubic())
        places, weights = run_time_sampling.cubic(b, old, new, align_corners, half_pixel_centers)
        behind = tuple(range(2, len(x.shape) - axis + 1))
        return _gathered(b, x, axis, places, b.unsqueeze(weights, behind))

    return _resampled(b, images, size, along)


@converter("ResizeArea")
def resize_area(b: LayerBuilder, images: Operand, size: Weights | Operand, *, align_corners: bool) -> Value:
    """The mean of the area that each element covers: a weighted sum, or between unknown sizes a product of matrices (where what
    is not finite spreads along its row and column).
    """

    def along(b: LayerBuilder, x: Value, axis: int, old: Size, new: Size) -> Value:
        if align_corners and old == 1 and new != 1:
            raise Unsupported("corners aligned with those of a single element; TensorFlow divides by zero")
        if isinstance(old, int) and isinstance(new, int):
            return weighted(b, x, axis, Resampling(old, new, align_corners).area())
        return _product(b, x, axis, run_time_sampling.area(b, old, new, align_corners))

    return _resampled(b, images, size, along)


@converter("ScaleAndTranslate")
def scale_and_translate(
    b: LayerBuilder, images: Operand, size: Weights | Operand, scale: Weights | Operand, translation: Weights | Operand, *,
    kernel_type: str, antialias: bool,
) -> Value:  # fmt: skip
    """Any of the kernels: weighted sums, or where sizes, scale or translation are unknown products of matrices (where what is not
    finite spreads along its row and column).
    """
    if kernel_type not in KERNELS:
        raise Unsupported(f"kernel {kernel_type!r}")

    def along(b: LayerBuilder, x: Value, axis: int, old: Size, new: Size) -> Value:
        factor, shift = (_element(b, t, axis - HEIGHT) for t in (scale, translation))
        known = isinstance(factor, float) and isinstance(shift, float)
        if known and isinstance(old, int) and isinstance(new, int):
            return weighted(b, x, axis, scaled_and_translated(old, new, factor, shift, kernel_type, antialias))
        by, to = (b.constant(np.array([v], np.float32)) if isinstance(v, float) else v for v in (factor, shift))
        weights = run_time_sampling.scaled_and_translated(b, old, new, by, to, kernel_type, antialias)
        return _product(b, x, axis, weights)

    return _resampled(b, images, size, along)


def _element(b: LayerBuilder, vector: Tensor | Value, index: int) -> Any:
    """The element, a float or float32[1]."""
    return float(vector.numpy()[index]) if isinstance(vector, Tensor) else b.slice(vector, (index,), (1,))


CONVERTERS: tuple[Any, ...] = (
    resize_bilinear, resize_nearest_neighbor, resize_bicubic, resize_area, scale_and_translate,
)  # fmt: skip
