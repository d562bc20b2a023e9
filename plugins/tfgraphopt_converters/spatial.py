"""Windows cut out of images: patches and crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.ir import DType, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.padding import pad_with
from tfgraphopt_converters.sizes import Size
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Weights, converter

# -- patches ---------------------------------------------------------------------------------------------------------


def _patches(
    b: LayerBuilder, x: Value, window: Sequence[int], strides: Sequence[int], rates: Sequence[int], padding: str
) -> Value:
    """Every window of the spatial axes behind the batch, laid out in the last axis: one gather an axis and one
    transpose.
    """
    count = len(window)
    spans = [(k - 1) * r + 1 for k, r in zip(window, rates, strict=True)]
    around = [_around(b, sizes.size_of(b, x, i + 1), spans[i], strides[i], padding) for i in range(count)]
    x = pad_with(b, x, [(0, 0), *around, (0, 0)])
    batch, *spatial, depth = sizes.sizes_of(b, x)
    places = [
        _places(b, n, *one) for n, one in zip(spatial, zip(window, spans, strides, rates, strict=True), strict=True)
    ]
    for i, index in enumerate(places):
        x = b.gather(x, index, 1 + 2 * i)
    whole = range(1, 2 * count, 2)
    x = b.transpose(x, (0, *whole, *range(2, 2 * count + 1, 2), 2 * count + 1))
    found = [_windows(b, n, span, s) for n, span, s in zip(spatial, spans, strides, strict=True)]
    return sizes.reshape(b, x, [batch, *found, sizes.multiply(b, depth, int(np.prod(window)))], range(count + 1))


def _windows(b: LayerBuilder, size: Size, span: int, stride: int) -> Size:
    """How many windows of ``span`` fit."""
    return sizes.add(b, sizes.floor_divide(b, sizes.subtract(b, size, span), stride), 1)


def _around(b: LayerBuilder, size: Size, span: int, stride: int, padding: str) -> tuple[Size, Size]:
    """SAME padding: so much that there are ceil(size / stride) windows, the odd element behind."""
    if padding == "VALID":
        return 0, 0
    count = sizes.ceil_divide(b, size, stride)
    needed = sizes.add(b, sizes.multiply(b, sizes.subtract(b, count, 1), stride), span)
    missing = sizes.largest(b, sizes.subtract(b, needed, size), 0)
    before = sizes.floor_divide(b, missing, 2)
    return before, sizes.subtract(b, missing, before)


def _places(b: LayerBuilder, size: Size, window: int, span: int, stride: int, rate: int) -> Value:
    """The elements of every window along one axis, [windows, window]."""
    inner = np.arange(window, dtype=np.int64)[None, :] * rate
    count = _windows(b, size, span, stride)
    if isinstance(count, int):
        return b.constant(np.arange(count, dtype=np.int64)[:, None] * stride + inner)
    starts = b.elementwise(sizes.iota(b, count), b.constant(np.array([stride], np.int64)), "prod")
    return b.elementwise(b.unsqueeze(starts, (1,)), b.constant(inner), "sum")


def _inner(values: Sequence[int]) -> Sequence[int]:
    if values[0] != 1 or values[-1] != 1:
        raise Unsupported(f"windows {list(values)} along the batch or channel axis")
    return values[1:-1]


@converter("ExtractImagePatches")
def extract_image_patches(
    b: LayerBuilder,
    images: Operand,
    *,
    ksizes: tuple[int, ...],
    strides: tuple[int, ...],
    rates: tuple[int, ...],
    padding: str,
) -> Value:
    """Windows of images as channels, dilated ones too, of any element type; sizes may be unknown."""
    return _patches(b, images, _inner(ksizes), _inner(strides), _inner(rates), padding)


@converter("ExtractVolumePatches")
def extract_volume_patches(
    b: LayerBuilder, input: Operand, *, ksizes: tuple[int, ...], strides: tuple[int, ...], padding: str
) -> Value:
    """Windows of volumes as channels, of known size."""
    if len(b.results[0].shape) != len(input.shape):  # its shape function forgets an axis when a spatial size is unknown
        raise Unsupported(f"TensorFlow itself takes the result to have {len(b.results[0].shape)} dimensions")
    return _patches(b, input, _inner(ksizes), _inner(strides), (1, 1, 1), padding)


# -- crops -----------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Samples:
    """Where a crop samples one axis: coordinates [boxes, samples], which of them are inside, and the axis' size."""

    at: Value
    inside: Value
    size: Size


@converter("CropAndResize")
def crop_and_resize(
    b: LayerBuilder, image: Operand, boxes: Operand, box_ind: Operand, crop_size: Weights | Operand,
    *, method: str, extrapolation_value: float,
) -> Value:  # fmt: skip
    """Crops, resized by bilinear interpolation or nearest neighbours: gathers from the image as one list of pixels.

    A ``box_ind`` out of range, for which TensorFlow raises an error, is not noticed.
    """
    rows, columns = sizes.elements(b, crop_size)
    batch, height, width, depth = sizes.sizes_of(b, image)
    pixels = sizes.reshape(b, b.cast(image, DType.FLOAT), [sizes.product(b, (batch, height, width)), depth])
    y, x = _samples(b, boxes, 0, rows, height), _samples(b, boxes, 1, columns, width)
    images = b.unsqueeze(box_ind, (1, 2))
    take = _Taker(b, pixels, images, height, width)
    found = _bilinear(b, take, y, x) if method == "bilinear" else take(_nearest(b, y), _nearest(b, x))
    inside = b.elementwise(b.unsqueeze(y.inside, (2, 3)), b.unsqueeze(x.inside, (1, 3)), "and")
    return b.select(inside, found, b.constant(np.array(extrapolation_value, np.float32)))


def _number(b: LayerBuilder, size: Size) -> Value:
    """``size`` as float32[1, 1]."""
    if isinstance(size, int):
        return b.constant(np.array([[size]], np.float32))
    return b.unsqueeze(b.cast(size, DType.FLOAT), (0,))


def _samples(b: LayerBuilder, boxes: Value, axis: int, count: Size, size: Size) -> _Samples:
    """The coordinates that TensorFlow's kernel computes, in its order of operations."""
    first, last = (b.gather(boxes, b.constant(np.array([c], np.int32)), 1) for c in (axis, axis + 2))
    end = _number(b, sizes.subtract(b, size, 1))
    if count == 1:
        at = _middle(b, first, last, end)
    else:
        span = b.elementwise(b.elementwise(last, first, "sub"), end, "prod")
        step = b.elementwise(span, _number(b, sizes.largest(b, sizes.subtract(b, count, 1), 1)), "div")
        steps = b.elementwise(b.unsqueeze(sizes.iota(b, count, DType.FLOAT), (0,)), step, "prod")
        at = b.elementwise(b.elementwise(first, end, "prod"), steps, "sum")
    if isinstance(count, Value):
        single = b.elementwise(b.unsqueeze(count, (0,)), b.constant(np.array([[1]], np.int64)), "equal")
        at = b.select(single, _middle(b, first, last, end), at)
    zero = _number(b, 0)
    outside = b.elementwise(b.elementwise(at, zero, "less"), b.elementwise(at, end, "greater"), "or")
    inner = b.elementwise(b.elementwise(at, zero, "max"), end, "min")
    return _Samples(inner, b.unary(outside, "not"), size)


def _middle(b: LayerBuilder, first: Value, last: Value, end: Value) -> Value:
    half = b.constant(np.array([[0.5]], np.float32))
    return b.elementwise(b.elementwise(half, b.elementwise(first, last, "sum"), "prod"), end, "prod")


@attrs.frozen(slots=True)
class _Taker:
    """Takes pixels at integer coordinates [boxes, rows] and [boxes, columns]: [boxes, rows, columns, depth]."""

    b: LayerBuilder
    pixels: Value
    images: Value
    height: Size
    width: Size

    def __call__(self, y: Value, x: Value) -> Value:
        b = self.b
        row = b.elementwise(b.elementwise(self.images, self._size(self.height), "prod"), _index(b, y, 2), "sum")
        place = b.elementwise(b.elementwise(row, self._size(self.width), "prod"), _index(b, x, 1), "sum")
        return b.gather(self.pixels, place, 0)

    def _size(self, size: Size) -> Value:
        return self.b.constant(np.array([size], np.int32)) if isinstance(size, int) else self.b.cast(size, DType.INT32)


def _index(b: LayerBuilder, at: Value, new_axis: int) -> Value:
    return b.unsqueeze(b.cast(at, DType.INT32), (new_axis,))


def _nearest(b: LayerBuilder, samples: _Samples) -> Value:
    """C's roundf of coordinates that are not negative."""
    low = b.unary(samples.at, "floor")
    half = b.constant(np.array([[0.5]], np.float32))
    up = b.unary(b.elementwise(b.elementwise(samples.at, low, "sub"), half, "less"), "not")
    return b.elementwise(low, b.cast(up, DType.FLOAT), "sum")


def _bilinear(b: LayerBuilder, take: _Taker, y: _Samples, x: _Samples) -> Value:
    top, bottom = b.unary(y.at, "floor"), b.unary(y.at, "ceil")
    left, right = b.unary(x.at, "floor"), b.unary(x.at, "ceil")
    down = b.unsqueeze(b.elementwise(y.at, top, "sub"), (2, 3))
    across = b.unsqueeze(b.elementwise(x.at, left, "sub"), (1, 3))
    upper = _between(b, take(top, left), take(top, right), across)
    lower = _between(b, take(bottom, left), take(bottom, right), across)
    return _between(b, upper, lower, down)


def _between(b: LayerBuilder, first: Value, second: Value, weight: Value) -> Value:
    return b.elementwise(first, b.elementwise(b.elementwise(second, first, "sub"), weight, "prod"), "sum")


CONVERTERS: tuple[Any, ...] = (extract_image_patches, extract_volume_patches, crop_and_resize)
