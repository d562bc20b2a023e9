"""Reductions over axes, positions of extremes, and the largest elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.axes import axes_of, one_axis
from tfgraphopt_converters.dtypes import BOOLS, FLOATS, NUMBERS, require
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, Weights, converter

Axes = tuple[int, ...]
Reduction = Callable[[LayerBuilder, Value, Axes, bool], Value]


def reduced(b: LayerBuilder, x: Value, operation: str, axes: Axes, keep_dims: bool) -> Value:
    """TensorRT's reduction; no axes at all mean ``x`` itself."""
    return b.reduce(x, operation, axes, keep_dims) if axes else x


def _layer(operation: str) -> Reduction:
    def apply(b: LayerBuilder, x: Value, axes: Axes, keep_dims: bool) -> Value:
        require(b, NUMBERS, x)
        return reduced(b, x, operation, axes, keep_dims)

    return apply


def _mean(b: LayerBuilder, x: Value, axes: Axes, keep_dims: bool) -> Value:
    """Integers: the sum divided towards zero, as TensorFlow does."""
    require(b, NUMBERS, x)
    if x.dtype in FLOATS or not axes:
        return reduced(b, x, "avg", axes, keep_dims)
    total = b.reduce(x, "sum", axes, keep_dims)
    return b.elementwise(total, b.expand_to(b.cast(_count(b, x, axes), x.dtype), len(total.shape)), "div")


def _count(b: LayerBuilder, x: Value, axes: Axes) -> Value:
    """How many elements of ``x`` one result takes, as an int64 scalar."""
    counts = b.gather(b.shape(x), b.constant(np.asarray(axes, np.int64)))
    return b.reduce(counts, "prod", (0,), False)


def _all(b: LayerBuilder, x: Value, axes: Axes, keep_dims: bool) -> Value:
    """TensorRT reduces no bools: the minimum of 0 and 1."""
    require(b, BOOLS, x)
    return b.cast(b.reduce(b.cast(x, DType.INT32), "min", axes, keep_dims), DType.BOOL) if axes else x


def _any(b: LayerBuilder, x: Value, axes: Axes, keep_dims: bool) -> Value:
    """Not all are false, which is right for no elements too."""
    require(b, BOOLS, x)
    return b.unary(_all(b, b.unary(x, "not"), axes, keep_dims), "not")


def _norm(b: LayerBuilder, x: Value, axes: Axes, keep_dims: bool) -> Value:
    require(b, FLOATS, x)
    return b.unary(reduced(b, b.elementwise(x, x, "prod"), "sum", axes, keep_dims), "sqrt")


FUNCTIONS: dict[str, Reduction] = {
    "Sum": _layer("sum"),
    "Prod": _layer("prod"),
    "Max": _layer("max"),
    "Min": _layer("min"),
    "Mean": _mean,
    "All": _all,
    "Any": _any,
    "EuclideanNorm": _norm,
}
"""TF ops of ``input`` and ``reduction_indices``, which must be a constant."""


def _named(op: str, function: Reduction) -> Converter:
    def convert_reduction(b: LayerBuilder, input: Operand, reduction_indices: Weights, *, keep_dims: bool) -> Value:
        return function(b, input, axes_of(reduction_indices, len(input.shape)), keep_dims)

    convert_reduction.__doc__ = function.__doc__ or f"{op} over constant axes; no axes mean the tensor itself."
    return converter(op)(convert_reduction)


@converter("L2Loss")
def convert_l2_loss(b: LayerBuilder, t: Operand) -> Value:
    """Half the sum of squares of all elements."""
    require(b, FLOATS, t)
    total = reduced(b, b.elementwise(t, t, "prod"), "sum", tuple(range(len(t.shape))), False)
    return b.elementwise(total, b.scalar(0.5, total), "prod")


# -- positions -------------------------------------------------------------------------------------------------------


def _extreme(operation: str) -> Converter:
    def convert_position(b: LayerBuilder, input: Operand, dimension: Weights, *, output_type: DType) -> Value:
        """The position of the first largest (smallest) element along one axis."""
        axis = one_axis(dimension, len(input.shape))
        x = b.cast(input, DType.INT32) if input.dtype is DType.BOOL else input
        require(b, NUMBERS, x)
        if len(x.shape) == 1:  # TensorRT wants two dimensions
            return b.squeeze(b.topk(b.unsqueeze(x, (0,)), operation, 1, 1, output_type)[1], (0, 1))
        return b.squeeze(b.topk(x, operation, 1, axis, output_type)[1], (axis,))

    return converter({"max": "ArgMax", "min": "ArgMin"}[operation])(convert_position)


MAX_K = 3840  # TensorRT's limit


@converter("TopKV2")
def convert_top_k(b: LayerBuilder, input: Operand, k: Weights | Operand, *, index_type: DType) -> list[Value]:
    """The ``k`` (constant or not) largest along the last axis; always sorted, which is one order of unsorted."""
    if isinstance(k, Tensor):
        return _largest(b, input, int(k.numpy().reshape(-1)[0]), index_type)
    count = b.cast(k, DType.INT32)
    return _largest(b, input, count if len(count.shape) == 0 else b.squeeze(count, (0,)), index_type)


def _largest(b: LayerBuilder, x: Value, k: int | Value, indices: DType) -> list[Value]:
    require(b, NUMBERS, x)
    if isinstance(k, int) and not 0 < k <= MAX_K:
        raise Unsupported(f"the {k} largest elements; TensorRT finds 1 to {MAX_K}")
    if len(x.shape) == 1:  # TensorRT wants two dimensions
        return [b.squeeze(found, (0,)) for found in b.topk(b.unsqueeze(x, (0,)), "max", k, 1, indices)]
    return list(b.topk(x, "max", k, len(x.shape) - 1, indices))


def _in_top_k(b: LayerBuilder, predictions: Value, targets: Value, k: Value) -> Value:
    """Fewer than ``k`` classes are larger than the target, the target is a class, and all predictions are finite."""
    places = b.unsqueeze(sizes.iota(b, sizes.size_of(b, predictions, 1), targets.dtype), (0,))
    hit = b.elementwise(places, b.unsqueeze(targets, (1,)), "equal")
    target = b.reduce(b.select(hit, predictions, b.scalar(0, predictions)), "sum", (1,), True)
    larger = b.cast(b.elementwise(predictions, target, "greater"), k.dtype)
    few = b.elementwise(b.reduce(larger, "sum", (1,), False), b.expand_to(k, 1), "less")
    finite = b.unary(b.elementwise(b.unary(predictions, "isnan"), b.unary(predictions, "isinf"), "or"), "not")
    valid = b.elementwise(_any(b, hit, (1,), False), _all(b, finite, (1,), False), "and")
    return b.elementwise(few, valid, "and")


@converter("InTopKV2")
def convert_in_top_k(b: LayerBuilder, predictions: Operand, targets: Operand, k: Operand) -> Value:
    """Whether the target class is among the ``k`` largest predictions; ties count as inside."""
    return _in_top_k(b, predictions, targets, k)


@converter("InTopK")
def convert_old_in_top_k(b: LayerBuilder, predictions: Operand, targets: Operand, *, k: int) -> Value:
    """``k`` as an attribute."""
    return _in_top_k(b, predictions, targets, b.constant(k, targets.dtype))


CONVERTERS: tuple[Converter, ...] = (
    *(_named(op, function) for op, function in FUNCTIONS.items()),
    _extreme("max"), _extreme("min"), convert_top_k, convert_in_top_k, convert_old_in_top_k,
    convert_l2_loss,
)  # fmt: skip
