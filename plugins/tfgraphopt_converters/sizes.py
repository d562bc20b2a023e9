"""Sizes that are numbers where they are known and int64 shape tensors of one element where they are not, and arithmetic
with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import attrs
import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt_trt.builder import LayerBuilder, Unsupported

Size = int | Value
"""A number, or a run-time tensor int64[1] that holds it."""


# -- reading ---------------------------------------------------------------------------------------------------------


def shape_tensor(b: LayerBuilder, x: Value) -> Value:
    """The dimensions of ``x`` as int64[rank]; TensorRT does not tell those of uint8 tensors, so a cast does."""
    return b.shape(b.cast(x, DType.FLOAT) if x.dtype is DType.UINT8 else x)


def size_of(b: LayerBuilder, x: Value, axis: int) -> Size:
    """The size of ``x`` along ``axis``."""
    dim = x.shape[axis]
    return dim if dim is not None else b.slice(shape_tensor(b, x), (axis,), (1,))


def sizes_of(b: LayerBuilder, x: Value) -> tuple[Size, ...]:
    """The size of ``x`` along every axis; one shape layer serves all."""
    if x.shape.is_static:
        return x.shape.static()
    shape = shape_tensor(b, x)
    return tuple(b.slice(shape, (i,), (1,)) if d is None else d for i, d in enumerate(x.shape))


def elements(b: LayerBuilder, vector: Tensor | Value) -> tuple[Size, ...]:
    """The elements of an integer scalar or list; Unsupported when the length of a list is known only at run time."""
    tensor = vector if isinstance(vector, Tensor) else b.tensor_of(vector)
    if tensor is not None:
        return tuple(int(n) for n in tensor.numpy().reshape(-1))
    assert isinstance(vector, Value)
    count = vector.shape.num_elements
    if count is None:
        raise Unsupported(f"the length of %{vector.name} is known only at run time")
    flat = b.cast(vector if len(vector.shape) == 1 else b.reshape(vector, (count,)), DType.INT64)
    return (flat,) if count == 1 else tuple(b.slice(flat, (i,), (1,)) for i in range(count))


def is_static(sizes: Iterable[Size]) -> bool:
    """Whether all of ``sizes`` are numbers."""
    return all(isinstance(s, int) for s in sizes)


# -- arithmetic ------------------------------------------------------------------------------------------------------


def _compute(b: LayerBuilder, operation: str, x: Size, y: Size) -> Value:
    left, right = (b.constant(np.array([n], np.int64)) if isinstance(n, int) else n for n in (x, y))
    return b.elementwise(left, right, operation)


def _binary(operation: str, known: Callable[[int, int], int], neutral: int | None) -> Callable[..., Size]:
    def compute(b: LayerBuilder, x: Size, y: Size) -> Size:
        if isinstance(x, int) and isinstance(y, int):
            return known(x, y)
        if neutral is not None and isinstance(y, int) and y == neutral:
            return x
        return _compute(b, operation, x, y)

    compute.__doc__ = f"``{operation}`` of two sizes, at once when both are numbers."
    return compute


add = _binary("sum", lambda x, y: x + y, 0)
subtract = _binary("sub", lambda x, y: x - y, 0)
multiply = _binary("prod", lambda x, y: x * y, 1)
floor_divide = _binary("floor_div", lambda x, y: x // y, 1)
largest = _binary("max", max, None)
smallest = _binary("min", min, None)


def ceil_divide(b: LayerBuilder, x: Size, y: int) -> Size:
    """``x / y`` rounded up, for a positive ``y``."""
    return floor_divide(b, add(b, x, y - 1), y)


def modulo(b: LayerBuilder, x: Size, y: Size) -> Size:
    """``x - y * floor(x / y)``."""
    return subtract(b, x, multiply(b, floor_divide(b, x, y), y))


def if_negative(b: LayerBuilder, x: Size, then: Callable[[], Size]) -> Size:
    """``then()`` when ``x`` is negative, else ``x``; ``then`` is not called when ``x`` is known not to be."""
    if isinstance(x, int):
        return then() if x < 0 else x
    other = then()
    tensor = b.constant(np.array([other], np.int64)) if isinstance(other, int) else other
    return b.select(_compute(b, "less", x, 0), tensor, x)


def product(b: LayerBuilder, sizes: Iterable[Size]) -> Size:
    """The product of ``sizes``."""
    ordered = sorted(sizes, key=lambda s: isinstance(s, int), reverse=True)  # the numbers first: they cost nothing
    result: Size = 1
    for size in ordered:
        result = multiply(b, size, result)
    return result


def total(b: LayerBuilder, sizes: Iterable[Size]) -> Size:
    """The sum of ``sizes``."""
    ordered = sorted(sizes, key=lambda s: isinstance(s, int), reverse=True)
    result: Size = 0
    for size in ordered:
        result = add(b, size, result)
    return result


# -- writing ---------------------------------------------------------------------------------------------------------


def pack(b: LayerBuilder, sizes: Sequence[Size]) -> tuple[int, ...] | Value:
    """``sizes`` as a list of numbers, or as one int64 shape tensor when any of them is known only at run time."""
    numbers = tuple(s for s in sizes if isinstance(s, int))
    if len(numbers) == len(sizes):
        return numbers
    return vector(b, sizes)


def vector(b: LayerBuilder, sizes: Sequence[Size]) -> Value:
    """``sizes`` as an int64 tensor; neighbouring numbers become one constant."""
    parts: list[Value] = []
    run: list[int] = []
    for size in [*sizes, None]:
        if isinstance(size, int):
            run.append(size)
            continue
        if run:
            parts.append(b.constant(np.array(run, np.int64)))
        run = []
        if size is not None:
            parts.append(size)
    return b.concatenation(parts, 0)


def scalar_of(b: LayerBuilder, size: Size, dtype: DType) -> Value:
    """``size`` as a tensor without dimensions."""
    if isinstance(size, int):
        return b.constant(np.array(size, dtype.np))
    return b.cast(b.reshape(size, ()), dtype)


def iota(b: LayerBuilder, count: Size, dtype: DType = DType.INT64) -> Value:
    """0, 1, ... ``count`` - 1."""
    if isinstance(count, int):
        return b.constant(np.arange(count), dtype)
    counted = dtype if dtype in _FILLED else DType.INT64
    zero, one = b.constant(np.array(0), counted), b.constant(np.array([1]), counted)
    return b.cast(b.linspace(count, zero, one), dtype)


_FILLED = frozenset({DType.FLOAT, DType.INT32, DType.INT64})


def reshape(b: LayerBuilder, x: Value, sizes: Sequence[Size], copied: Collection[int] = ()) -> Value:
    """``x`` with dimensions ``sizes``, without run-time shape arithmetic where at most one of them is unknown.

    ``copied`` are positions that have the very size that ``x`` has at the same position.
    """
    unknown = [i for i, s in enumerate(sizes) if not isinstance(s, int) and i not in copied]
    if len(unknown) > 1 or any(isinstance(s, int) and s == 0 for s in sizes):  # a 0 would be a copy
        return b.reshape_to(x, vector(b, sizes))
    dims = [s if isinstance(s, int) else -1 if i in unknown else 0 for i, s in enumerate(sizes)]
    return b.reshape(x, dims)


# -- cutting ---------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Cut:
    """What to take of one axis: ``size`` elements from ``start`` in steps of ``stride``."""

    start: Size
    size: Size
    stride: Size = 1


def cut(
    b: LayerBuilder, x: Value, cuts: Mapping[int, Cut], mode: str = "strict_bounds", fill: Value | None = None
) -> Value:
    """``x`` cut along the axes in ``cuts`` and whole along the others, by one slice layer (or none)."""
    cuts = {a: c for a, c in cuts.items() if not _is_whole(x, a, c)}
    if not cuts:
        return x
    parts = [cuts[i] if i in cuts else Cut(0, size_of(b, x, i)) for i in range(len(x.shape))]
    start, size, stride = (pack(b, [getattr(c, field) for c in parts]) for field in ("start", "size", "stride"))
    return b.slice(x, start, size, stride, mode=mode, fill=fill)


def _is_whole(x: Value, axis: int, part: Cut) -> bool:
    return all(isinstance(n, int) for n in (part.start, part.size, part.stride)) and (
        (part.start, part.size, part.stride) == (0, x.shape[axis], 1)
    )


def take(b: LayerBuilder, x: Value, axis: int, index: Size) -> Value:
    """``x`` at ``index`` along ``axis``, which disappears."""
    return b.squeeze(cut(b, x, {axis: Cut(index, 1)}), (axis,))


def backwards(b: LayerBuilder, x: Value, axes: Iterable[int]) -> Value:
    """``x`` turned around along ``axes``."""
    lengths = {a: size_of(b, x, a) for a in axes if x.shape[a] not in (0, 1)}
    return cut(b, x, {a: Cut(subtract(b, n, 1), n, -1) for a, n in lengths.items()})


# -- repeating -------------------------------------------------------------------------------------------------------


def broadcast(b: LayerBuilder, x: Value, sizes: Sequence[Size]) -> Value:
    """``x`` repeated along its axes of size one up to ``sizes``, as numpy broadcasts.

    A slice layer with stride 0 (TensorRT's own way to broadcast a copy); an axis that may or may not have size one gets
    the stride ``min(size, 2) - 1`` at run time.
    """
    x = b.expand_to(x, len(sizes))
    own = sizes_of(b, x)
    cuts = {}
    for axis, (have, want) in enumerate(zip(own, sizes, strict=True)):
        if isinstance(have, int) and have != 1:
            continue  # TensorFlow has checked that it is the wanted size
        stride: Size = 0 if isinstance(have, int) else subtract(b, smallest(b, have, 2), 1)
        if not (isinstance(have, int) and isinstance(want, int) and want == 1):
            cuts[axis] = Cut(0, want, stride)
    return cut(b, x, cuts)


_SMALL = 1024
"""Up to so many elements a constant costs the engine less than a layer."""


def filled(b: LayerBuilder, value: Tensor | Value, sizes: Sequence[Size]) -> Value:
    """A tensor of dimensions ``sizes`` whose elements are all ``value`` (one element)."""
    rank = len(sizes)
    if isinstance(value, Tensor):
        dims = [s for s in sizes if isinstance(s, int)]
        if len(dims) == rank and 0 < math.prod(dims) <= _SMALL:
            return b.constant(np.full(dims, value.numpy().reshape(())), value.dtype)
        return broadcast(b, b.constant(value.reshape((1,) * rank)), sizes)
    return value if rank == 0 else broadcast(b, b.reshape(value, (1,) * rank), sizes)
