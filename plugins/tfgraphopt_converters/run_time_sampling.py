"""What :mod:`tfgraphopt_converters.sampling` tabulates, computed by layers where sizes are known only at run time."""

from __future__ import annotations

import numpy as np

from tfgraphopt.ir import DType, Value
from tfgraphopt_converters import run_time_kernels, sizes
from tfgraphopt_converters.sampling import KERNELS, STEPS, cubic_weights
from tfgraphopt_converters.sizes import Size
from tfgraphopt_trt.builder import LayerBuilder


def _float(b: LayerBuilder, size: Size) -> Value:
    """The size as float32[1]."""
    return b.constant(np.array([size], np.float32)) if isinstance(size, int) else b.cast(size, DType.FLOAT)


def _number(b: LayerBuilder, value: float) -> Value:
    return b.constant(np.array([value], np.float32))


def _scale(b: LayerBuilder, old: Size, new: Size, align: bool) -> Value:
    """Elements of the operand for one of the result, as float32[1]; with aligned corners, any number for a single element."""
    less = 1 if align else 0
    steps = sizes.largest(b, sizes.subtract(b, new, less), 1)
    return b.elementwise(_float(b, sizes.subtract(b, old, less)), _float(b, steps), "div")


def _positions(b: LayerBuilder, old: Size, new: Size, align: bool, half: bool) -> Value:
    """Where each of the result's elements lies in the operand, from its edge (``half``) or its first element on, as float32[new]."""
    numbers = sizes.iota(b, new, DType.FLOAT)
    numbers = b.elementwise(numbers, _number(b, 0.5), "sum") if half else numbers
    return b.elementwise(numbers, _scale(b, old, new, align), "prod")


def nearest(b: LayerBuilder, old: Size, new: Size, align: bool, half: bool) -> Value:
    """The operand's element for each of the result's, as int32[new]."""
    at = _positions(b, old, new, align, half)
    low = b.unary(at, "floor")
    if align:
        up = b.unary(b.elementwise(b.elementwise(at, low, "sub"), _number(b, 0.5), "less"), "not")
        low = b.elementwise(low, b.cast(up, DType.FLOAT), "sum")
    return b.cast(b.elementwise(low, _float(b, sizes.subtract(b, old, 1)), "min"), DType.INT32)


def cubic(b: LayerBuilder, old: Size, new: Size, align: bool, half: bool) -> tuple[Value, Value]:
    """The four elements that count for each of the result's, int32[new, 4], and their weights, float32[new, 4]."""
    at = _positions(b, old, new, align, half)
    at = b.elementwise(at, _number(b, 0.5), "sub") if half else at
    low = b.unary(at, "floor")
    step = b.unary(b.elementwise(b.elementwise(at, low, "sub"), _number(b, STEPS), "prod"), "round")
    weights = b.gather(b.constant(cubic_weights(half)), b.cast(step, DType.INT32), 0)
    wanted = b.elementwise(b.unsqueeze(low, (1,)), b.constant(np.array([[-1, 0, 1, 2]], np.float32)), "sum")
    places = b.elementwise(b.elementwise(wanted, _number(b, 0), "max"), _float(b, sizes.subtract(b, old, 1)), "min")
    if half:
        inside = b.cast(b.elementwise(places, wanted, "equal"), DType.FLOAT)
        weights = b.elementwise(weights, inside, "prod")
        weights = b.elementwise(weights, b.reduce(weights, "sum", (1,), keep_dims=True), "div")
    return b.cast(places, DType.INT32), weights


def area(b: LayerBuilder, old: Size, new: Size, align: bool) -> Value:
    """How much of what each of the result's elements covers lies in each of the operand's, as float32[new, old].

    What reaches beyond the end, with aligned corners, counts for the last element.
    """
    scale = _scale(b, old, new, align)
    if align:  # a single element covers everything
        single = b.elementwise(_float(b, new), _number(b, 1), "equal")
        scale = b.select(single, _float(b, old), scale)
    numbers = b.unsqueeze(sizes.iota(b, new, DType.FLOAT), (1,))
    low = b.elementwise(numbers, scale, "prod")
    high = b.elementwise(b.elementwise(numbers, _number(b, 1), "sum"), scale, "prod")
    start = b.unsqueeze(sizes.iota(b, old, DType.FLOAT), (0,))
    end = b.elementwise(b.elementwise(start, _number(b, 1), "sum"), high, "min")
    last = b.elementwise(start, _float(b, sizes.subtract(b, old, 1)), "equal")
    covered = b.elementwise(b.select(last, high, end), b.elementwise(start, low, "max"), "sub")
    return b.elementwise(b.elementwise(covered, _number(b, 0), "max"), scale, "div")


def scaled_and_translated(
    b: LayerBuilder, old: Size, new: Size, scale: Value, translation: Value, kernel: str, antialias: bool
) -> Value:
    """What each of the operand's elements weighs in each of the result's, as float32[new, old]; ``scale`` and ``translation`` are
    float32[1].
    """
    radius = KERNELS[kernel][0]
    inverse = b.elementwise(_number(b, 1), scale, "div")
    shift = b.elementwise(b.unary(inverse, "neg"), translation, "prod")
    width = b.elementwise(inverse, _number(b, 1), "max") if antialias else _number(b, 1)
    numbers = b.elementwise(sizes.iota(b, new, DType.FLOAT), _number(b, 0.5), "sum")
    centres = b.unsqueeze(b.elementwise(b.elementwise(numbers, inverse, "prod"), shift, "sum"), (1,))
    places = b.unsqueeze(sizes.iota(b, old, DType.FLOAT), (0,))
    reach, end = b.elementwise(_number(b, radius), width, "prod"), _float(b, old)
    last = b.elementwise(end, _number(b, 1), "sub")
    first_at = b.unary(b.elementwise(b.elementwise(centres, reach, "sub"), _number(b, 0.5), "sub"), "ceil")
    last_at = b.unary(b.elementwise(b.elementwise(centres, reach, "sum"), _number(b, 0.5), "sub"), "floor")
    outside = [
        b.elementwise(places, _clipped(b, first_at, last), "less"), b.elementwise(places, _clipped(b, last_at, last), "greater"),
        b.elementwise(centres, _number(b, 0), "less"), b.elementwise(centres, end, "greater"),
    ]  # fmt: skip
    distance = b.elementwise(b.elementwise(places, _number(b, 0.5), "sum"), centres, "sub")
    distance = b.unary(b.elementwise(distance, b.elementwise(_number(b, 1), width, "div"), "prod"), "abs")
    weights = run_time_kernels.KERNELS[kernel](b, distance)
    for condition in outside:
        weights = b.select(condition, _number(b, 0), weights)
    return _normalised(b, weights)


def _clipped(b: LayerBuilder, x: Value, last: Value) -> Value:
    return b.elementwise(b.elementwise(x, _number(b, 0), "max"), last, "min")


def _normalised(b: LayerBuilder, weights: Value) -> Value:
    """Rows that add up to one, but for those that add up to nothing."""
    total = b.reduce(weights, "sum", (1,), keep_dims=True)
    usable = b.elementwise(b.unary(total, "abs"), _number(b, float(1000 * np.finfo(np.float32).tiny)), "less")
    return b.elementwise(weights, b.select(usable, _number(b, 1), total), "div")
