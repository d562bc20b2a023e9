"""Running totals along an axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfgraphopt.ir import Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.axes import one_axis
from tfgraphopt_converters.dtypes import FLOATS, NUMBERS, require
from tfgraphopt_converters.unary import log1p
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, Weights, converter

Combine = Callable[[LayerBuilder, Value, Value], Value]


@converter("Cumsum")
def convert_cumsum(b: LayerBuilder, x: Operand, axis: Weights, *, exclusive: bool, reverse: bool) -> Value:
    """Running sums."""
    require(b, NUMBERS, x)
    return b.cumulative(x, one_axis(axis, len(x.shape)), "sum", exclusive, reverse)


@converter("Cumprod")
def convert_cumprod(b: LayerBuilder, x: Operand, axis: Weights, *, exclusive: bool, reverse: bool) -> Value:
    """Running products, in log2(n) steps over n elements; of an unknown number, each result by a reduction of its own."""
    require(b, NUMBERS, x)
    along = one_axis(axis, len(x.shape))
    if x.shape[along] is None:
        return b.reduce(triangle(b, x, along, 1.0, exclusive, reverse), "prod", (along + 1,), keep_dims=False)
    return scanned(b, x, along, _product, 1.0, exclusive, reverse)


@converter("CumulativeLogsumexp")
def convert_cumulative_logsumexp(
    b: LayerBuilder, x: Operand, axis: Weights, *, exclusive: bool, reverse: bool
) -> Value:
    """Running ``log(sum(exp(x)))``, in log2(n) stable steps over n elements; of an unknown number, each by a reduction."""
    require(b, FLOATS, x)
    along = one_axis(axis, len(x.shape))
    if x.shape[along] is None:
        return _log_sum_of(b, triangle(b, x, along, -np.inf, exclusive, reverse), along + 1)
    return scanned(b, x, along, _log_sum, -np.inf, exclusive, reverse)


def scanned(
    b: LayerBuilder, x: Value, axis: int, combine: Combine, neutral: float, exclusive: bool, reverse: bool
) -> Value:
    """The running ``combine`` of ``x`` along ``axis`` (Hillis and Steele, Data parallel algorithms, 1986).

    Args:
        b: where the layers go.
        x: any rank, the size of ``axis`` known.
        axis: counted from the front.
        combine: an associative function of two tensors.
        neutral: what ``combine`` ignores.
        exclusive: leave the element itself out.
        reverse: from the end.
    """
    count = x.shape[axis]
    assert count is not None, "the number of steps depends on it"
    if exclusive:
        x = _shifted(b, x, axis, -1 if reverse else 1, neutral)
    distance = 1
    while distance < count:
        x = combine(b, x, _shifted(b, x, axis, -distance if reverse else distance, neutral))
        distance *= 2
    return x


def _shifted(b: LayerBuilder, x: Value, axis: int, distance: int, fill: float) -> Value:
    """``x`` moved by ``distance`` places towards the end of ``axis``, with ``fill`` in front."""
    rank = len(x.shape)
    start = [0] * rank
    start[axis] = -distance
    shape = x.shape.static() if x.shape.is_static else b.shape(x)
    return b.slice(x, start, shape, (1,) * rank, mode="fill", fill=b.constant(fill, x.dtype))


def triangle(b: LayerBuilder, x: Value, axis: int, neutral: float, exclusive: bool, reverse: bool) -> Value:
    """For every place along ``axis`` the elements that its running total takes, along a new axis behind; ``neutral`` elsewhere."""
    behind = len(x.shape) - axis - 1
    numbers = sizes.iota(b, sizes.size_of(b, x, axis))
    place, element = (b.unsqueeze(numbers, new) for new in ((1,), (0,)))
    first, second = (place, element) if reverse else (element, place)
    inside = b.elementwise(first, second, "less")
    if not exclusive:
        inside = b.elementwise(inside, b.elementwise(first, second, "equal"), "or")
    mask = b.unsqueeze(inside, tuple(range(2, 2 + behind))) if behind else inside
    return b.select(mask, b.unsqueeze(x, (axis,)), b.constant(np.array(neutral), x.dtype))


def _log_sum_of(b: LayerBuilder, x: Value, axis: int) -> Value:
    """``max + log(sum(exp(x - max)))`` along ``axis``; nothing but -infinity, or a maximum of infinity, is its own result."""
    largest = b.reduce(x, "max", (axis,), keep_dims=True)
    finite = b.unary(b.unary(largest, "isinf"), "not")
    base = b.select(finite, largest, b.scalar(0, largest))
    total = b.reduce(b.unary(b.elementwise(x, base, "sub"), "exp"), "sum", (axis,), keep_dims=True)
    return b.squeeze(b.elementwise(base, b.unary(total, "log"), "sum"), (axis,))


def _product(b: LayerBuilder, x: Value, y: Value) -> Value:
    return b.elementwise(x, y, "prod")


def _log_sum(b: LayerBuilder, x: Value, y: Value) -> Value:
    """``max + log1p(exp(-|x - y|))``; equal infinities have no difference."""
    largest = b.elementwise(x, y, "max")
    same = b.elementwise(x, y, "equal")
    distance = b.select(same, b.scalar(0, x), b.unary(b.elementwise(x, y, "sub"), "abs"))
    return b.elementwise(largest, log1p(b, b.unary(b.unary(distance, "neg"), "exp")), "sum")


CONVERTERS: tuple[Converter, ...] = (convert_cumsum, convert_cumprod, convert_cumulative_logsumexp)
