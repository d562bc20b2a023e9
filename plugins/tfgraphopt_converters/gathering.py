"""Picking and placing elements by index: gather, scatter, one-hot, where, select, searches in sorted lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.axes import axis_of, one_axis
from tfgraphopt_converters.dtypes import FLOATS, INTEGERS, NUMBERS, require
from tfgraphopt_converters.sizes import Size
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Weights, converter

# -- gather ----------------------------------------------------------------------------------------------------------


def _indices(b: LayerBuilder, x: Value) -> Value:
    """Indices in an integer type that TensorRT gathers by."""
    return x if x.dtype in INTEGERS else b.cast(x, DType.INT32)


@converter("Gather")
def gather(b: LayerBuilder, params: Operand, indices: Operand) -> Value:
    """Slices of the first axis.

    Indices out of range, for which TensorFlow raises an error on a CPU, are not noticed.
    """
    return b.gather(params, _indices(b, indices), 0)


@converter("GatherV2")
def gather_v2(b: LayerBuilder, params: Operand, indices: Operand, axis: Weights, *, batch_dims: int) -> Value:
    """Slices along a constant axis, with any number of batch axes (several are joined into one around the layer).

    Indices out of range, for which TensorFlow raises an error on a CPU and gives zeros on a GPU, are not noticed.
    """
    along = one_axis(axis, len(params.shape))
    batch = batch_dims + len(indices.shape) if batch_dims < 0 else batch_dims
    indices = _indices(b, indices)
    if batch <= 1:
        return b.gather(params, indices, along, batch_dims=batch)
    own, rows = sizes.sizes_of(b, params), sizes.sizes_of(b, indices)
    count = sizes.product(b, own[:batch])
    joined = sizes.reshape(b, params, [count, *own[batch:]])
    wanted = sizes.reshape(b, indices, [count, *rows[batch:]])
    found = b.gather(joined, wanted, along - batch + 1, batch_dims=1)
    return sizes.reshape(b, found, [*own[:along], *rows[batch:], *own[along + 1 :]])


@converter("GatherNd")
def gather_nd(b: LayerBuilder, params: Operand, indices: Operand, *, bad_indices_policy: str = "") -> Value:
    """Elements or slices by coordinates. Indices out of range, an error in TensorFlow on a CPU, are not noticed."""
    _check_policy(bad_indices_policy)
    _depth(indices)
    return b.gather(params, _indices(b, indices), mode="nd")


def _check_policy(policy: str) -> None:
    if policy == "IGNORE":
        raise Unsupported("TensorRT cannot ignore indices out of range (bad_indices_policy IGNORE)")


def _depth(indices: Value) -> int:
    depth = indices.shape[-1]
    if not depth:
        raise Unsupported(f"the number of coordinates in each index is {depth}; TensorRT needs a known one above 0")
    return depth


# -- scatter ---------------------------------------------------------------------------------------------------------

# TensorRT's scatter keeps one of several updates of an element, no matter which. Where indices may name an element twice,
# every element of the result is compared with every index instead: a select and a reduction.

MOST_COMPARED = 1 << 22
"""Elements of the largest comparison that pays; an unknown size counts as NOMINAL."""
NOMINAL = 64

_NEUTRAL: dict[str, Callable[[DType], float]] = {
    "sum": lambda dtype: 0,
    "max": lambda dtype: -np.inf if dtype in FLOATS else np.iinfo(dtype.np).min,
    "min": lambda dtype: np.inf if dtype in FLOATS else np.iinfo(dtype.np).max,
}


def _are_distinct(b: LayerBuilder, indices: Value) -> bool:
    """Whether ``indices`` are known, and no two of them are equal."""
    tensor = b.tensor_of(indices)
    if tensor is None:
        return False
    rows = tensor.numpy().reshape(-1, _depth(indices))
    return len(np.unique(rows, axis=0)) == len(rows)


def _combined(b: LayerBuilder, own: Sequence[Size], indices: Value, updates: Value, operation: str) -> Value:
    """The ``operation`` (sum, max, min) over the updates of every element of a tensor with dimensions ``own``.

    Raises:
        Unsupported: so many comparisons do not pay, or the element type is none that TensorRT computes in.
    """
    require(b, NUMBERS, updates)
    depth, batch = _depth(indices), len(indices.shape) - 1
    count = sizes.product(b, sizes.sizes_of(b, indices)[:batch])
    places, inner = sizes.product(b, own[:depth]), sizes.product(b, own[depth:])
    compared = math.prod(n if isinstance(n, int) else NOMINAL for n in (count, places, inner))
    if compared > MOST_COMPARED:
        raise Unsupported(
            "TensorRT's scatter keeps one of several updates of an element that is named twice, and to compare each of "
            f"{_said(count)} indices with each of {_said(places)} places of {_said(inner)} elements does not pay"
        )
    rows = _row_numbers(b, sizes.reshape(b, b.cast(indices, DType.INT64), [count, depth]), own[:depth])
    hit = b.elementwise(rows, b.unsqueeze(sizes.iota(b, places), (0,)), "equal")
    listed = sizes.reshape(b, updates, [count, 1, inner])
    neutral = b.constant(np.array(_NEUTRAL[operation](updates.dtype)), updates.dtype)
    found = b.reduce(b.select(b.unsqueeze(hit, (2,)), listed, neutral), operation, (0,), keep_dims=False)
    return sizes.reshape(b, found, own)


def _said(size: Size) -> str:
    return str(size) if isinstance(size, int) else "an unknown number of"


def _row_numbers(b: LayerBuilder, indices: Value, own: Sequence[Size]) -> Value:
    """Coordinates [n, depth] as places in a list of all elements, [n, 1]."""
    total: Value | None = None
    for axis in range(len(own)):
        column = b.gather(indices, b.constant(np.array([axis], np.int32)), 1)
        step = sizes.product(b, own[axis + 1 :])
        factor = b.constant(np.array([step], np.int64)) if isinstance(step, int) else step
        part = column if step == 1 else b.elementwise(column, factor, "prod")
        total = part if total is None else b.elementwise(total, part, "sum")
    assert total is not None, "there is a coordinate"
    return total


@converter("ScatterNd")
def scatter_nd(
    b: LayerBuilder, indices: Operand, updates: Operand, shape: Weights | Operand, *, bad_indices_policy: str = ""
) -> Value:
    """Updates in a tensor of zeros, added up where an element is named twice.

    A scatter layer for constant indices that are all different, else by comparing indices with places. Indices out of
    range, an error in TensorFlow on a CPU, are not noticed.
    """
    _check_policy(bad_indices_policy)
    own = sizes.elements(b, shape)
    if not _are_distinct(b, indices):
        return _combined(b, own, indices, updates, "sum")
    zero = Tensor.of(np.zeros((), updates.dtype.np), updates.dtype)
    return b.scatter(sizes.filled(b, zero, own), _indices(b, indices), updates)


@converter("TensorScatterUpdate")
def tensor_scatter_update(
    b: LayerBuilder, tensor: Operand, indices: Operand, updates: Operand, *, bad_indices_policy: str = ""
) -> Value:
    """A tensor with some elements or slices replaced; of constant indices that repeat the last counts, as in TensorFlow.

    Which update an element gets that run-time indices name twice is open in TensorRT, as TensorFlow's documentation
    leaves it open.
    """
    _check_policy(bad_indices_policy)
    _depth(indices)
    if b.tensor_of(indices) is not None and not _are_distinct(b, indices):
        indices, updates = _last_of_each(b, indices, updates)
    return b.scatter(tensor, _indices(b, indices), updates)


def _last_of_each(b: LayerBuilder, indices: Value, updates: Value) -> tuple[Value, Value]:
    """Constant indices without those that another one repeats later, and the updates that are left."""
    known = b.tensor_of(indices)
    assert known is not None
    depth, batch = _depth(indices), len(indices.shape) - 1
    rows = known.numpy().reshape(-1, depth)
    _, backwards = np.unique(rows[::-1], axis=0, return_index=True)
    kept = np.sort(len(rows) - 1 - backwards)
    listed = sizes.reshape(b, updates, [len(rows), *sizes.sizes_of(b, updates)[batch:]])
    return b.constant(rows[kept], known.dtype), b.gather(listed, b.constant(kept.astype(np.int32)), 0)


_COMBINE = {
    "TensorScatterAdd": "sum",
    "TensorScatterSub": "sub",
    "TensorScatterMax": "max",
    "TensorScatterMin": "min",
}


@converter(*_COMBINE)
def tensor_scatter_combine(
    b: LayerBuilder, tensor: Operand, indices: Operand, updates: Operand, *, bad_indices_policy: str = ""
) -> Value:
    """A tensor with updates combined into some elements.

    Gather, compute and scatter for constant indices that are all different, else by comparing indices with places.
    """
    _check_policy(bad_indices_policy)
    require(b, NUMBERS, tensor)
    operation = _COMBINE[b.op]
    if not _are_distinct(b, indices):
        over = "sum" if operation == "sub" else operation
        return b.elementwise(tensor, _combined(b, sizes.sizes_of(b, tensor), indices, updates, over), operation)
    where = _indices(b, indices)
    combined = b.elementwise(b.gather(tensor, where, mode="nd"), updates, operation)
    return b.scatter(tensor, where, combined)


# -- one-hot ---------------------------------------------------------------------------------------------------------


@converter("OneHot")
def one_hot(
    b: LayerBuilder, indices: Operand, depth: Weights | Operand, on_value: Operand, off_value: Operand, *, axis: int
) -> Value:
    """A comparison with 0..depth-1 that selects on or off; exact for negative and too large indices, which give off
    everywhere.
    """
    along = axis_of(axis, len(indices.shape) + 1)
    numbers = _indices(b, indices)
    places = sizes.iota(b, sizes.elements(b, depth)[0], numbers.dtype)
    behind = len(indices.shape) - along
    row = b.unsqueeze(places, tuple(range(1, 1 + behind)))
    hit = b.elementwise(b.unsqueeze(numbers, (along,)), row, "equal")
    return b.select(hit, on_value, off_value)


# -- choosing --------------------------------------------------------------------------------------------------------


@converter("Select")
def select(b: LayerBuilder, condition: Operand, t: Operand, e: Operand) -> Value:
    """Elementwise choice; a condition of one dimension chooses whole rows."""
    if len(condition.shape) == 1 and len(t.shape) > 1:
        condition = b.unsqueeze(condition, tuple(range(1, len(t.shape))))
    return b.select(condition, t, e)


@converter("SelectV2")
def select_v2(b: LayerBuilder, condition: Operand, t: Operand, e: Operand) -> Value:
    """Elementwise choice with broadcasting."""
    return b.select(condition, t, e)


@converter("Where")
def where(b: LayerBuilder, input: Operand) -> Value:
    """Coordinates of the elements that are not zero. TensorRT for RTX cannot build this (it has no NonZero kernels)."""
    if not len(input.shape):
        raise Unsupported("Where of a scalar has coordinates without entries, which TensorRT's NonZero does not make")
    return b.transpose(b.non_zero(input, DType.INT64), (1, 0))


# -- sorted lists ----------------------------------------------------------------------------------------------------


def _count(b: LayerBuilder, hits: Value, dtype: DType) -> Value:
    """How many of ``hits`` hold along the last axis."""
    return b.reduce(b.cast(hits, dtype), "sum", (len(hits.shape) - 1,), keep_dims=False)


@converter("Bucketize")
def bucketize(b: LayerBuilder, input: Operand, *, boundaries: Sequence[float]) -> Value:
    """The number of boundaries that are not above each element (all of them for NaN, as TensorFlow's search finds)."""
    if not boundaries:
        return sizes.filled(b, Tensor.of(np.zeros((), np.int32)), sizes.sizes_of(b, input))
    x = b.unsqueeze(b.cast(input, DType.FLOAT), (len(input.shape),))
    edges = b.constant(np.array(boundaries, np.float32))
    return _count(b, b.unary(b.elementwise(x, edges, "less"), "not"), DType.INT32)


def _against(b: LayerBuilder, sorted_inputs: Value, values: Value, relation: str) -> Value:
    """``values`` on the left of ``relation`` against every element of ``sorted_inputs``: [rows, values, elements]."""
    require(b, NUMBERS, values)
    return b.elementwise(b.unsqueeze(values, (2,)), b.unsqueeze(sorted_inputs, (1,)), relation)


@converter("LowerBound")
def lower_bound(b: LayerBuilder, sorted_inputs: Operand, values: Operand, *, out_type: DType) -> Value:
    """The number of elements below each value."""
    return _count(b, _against(b, sorted_inputs, values, "greater"), out_type)


@converter("UpperBound")
def upper_bound(b: LayerBuilder, sorted_inputs: Operand, values: Operand, *, out_type: DType) -> Value:
    """The number of elements not above each value."""
    return _count(b, b.unary(_against(b, sorted_inputs, values, "less"), "not"), out_type)


# -- vectors ---------------------------------------------------------------------------------------------------------


@converter("Cross")
def cross(layers: LayerBuilder, a: Operand, b: Operand) -> Value:
    """The cross product of the vectors along the last axis."""
    require(layers, NUMBERS, a)
    last = len(a.shape) - 1
    next_, after = (layers.constant(np.array(order, np.int32)) for order in ((1, 2, 0), (2, 0, 1)))
    turned = [(layers.gather(x, next_, last), layers.gather(x, after, last)) for x in (a, b)]
    left = layers.elementwise(turned[0][0], turned[1][1], "prod")
    right = layers.elementwise(turned[0][1], turned[1][0], "prod")
    return layers.elementwise(left, right, "sub")


CONVERTERS: tuple[Any, ...] = (
    gather,
    gather_v2,
    gather_nd,
    scatter_nd,
    tensor_scatter_update,
    tensor_scatter_combine,
    one_hot,
    select,
    select_v2,
    where,
    bucketize,
    lower_bound,
    upper_bound,
    cross,
)
