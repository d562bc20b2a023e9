"""What the shape rules of the layers share: checks with a reason, typed access to attributes, broadcasting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tfgraphopt.ir import Attrs, Dim, DType, Shape, TensorType, Value
from tfgraphopt_trt.layerdef import LayerError

FLOATS = frozenset({DType.FLOAT, DType.HALF, DType.BFLOAT16})
WIDE = FLOATS | {DType.INT32, DType.INT64}
NUMBERS = WIDE | {DType.INT8}
MOVABLE = NUMBERS | {DType.BOOL}
ANY = MOVABLE | {DType.UINT8}
INDICES = frozenset({DType.INT32, DType.INT64})
QUANTISED = frozenset({DType.INT8, DType.FLOAT8_E4M3FN, DType.INT4})
MAX_RANK = 8


def check(holds: bool, reason: str) -> None:
    """LayerError with ``reason`` unless ``holds``."""
    if not holds:
        raise LayerError(reason)


def check_dtype(value: Value, allowed: Iterable[DType], what: str) -> DType:
    """The element type of ``value``; LayerError when ``what`` does not take it."""
    check(value.dtype in allowed, f"TensorRT's {what} does not take {value.dtype.tf_name} tensors (%{value.name})")
    return value.dtype


def check_same(values: Sequence[Value], what: str) -> None:
    """LayerError when the operands differ in element type (strongly typed networks convert nothing by themselves)."""
    kinds = {v.dtype for v in values}
    check(len(kinds) == 1, f"the operands of {what} differ in element type: {', '.join(str(v.dtype) for v in values)}")


def dims_of(value: Value) -> tuple[Dim, ...]:
    """The dimensions of ``value``; LayerError when its rank is unknown."""
    dims = value.shape.dims
    if dims is None:
        raise LayerError(f"the rank of %{value.name} is unknown")
    return dims


def check_axis(axis: int, rank: int, what: str) -> int:
    """``axis`` when it counts from 0 within ``rank``."""
    check(0 <= axis < rank, f"axis {axis} of {what} is not one of the {rank} axes (they count from 0)")
    return axis


def check_axes(axes: Sequence[int], rank: int, what: str) -> tuple[int, ...]:
    """``axes`` when they are distinct and within ``rank``."""
    check(len(set(axes)) == len(axes), f"the axes of {what} repeat: {tuple(axes)}")
    return tuple(check_axis(a, rank, what) for a in axes)


def check_arity(inputs: Sequence[Value], low: int, high: int, what: str) -> None:
    """LayerError unless ``what`` got between ``low`` and ``high`` operands."""
    check(low <= len(inputs) <= high, f"{what} takes {low} to {high} operands, not {len(inputs)}")


def check_rank(dims: Sequence[Dim], what: str) -> Shape:
    """The shape of ``dims``; LayerError beyond TensorRT's eight dimensions."""
    check(len(dims) <= MAX_RANK, f"{what} has {len(dims)} dimensions; TensorRT has at most {MAX_RANK}")
    return Shape(dims)


def broadcast(what: str, *shapes: Sequence[Dim]) -> tuple[Dim, ...]:
    """The common shape of operands of equal rank, where axes of size one are repeated."""
    ranks = {len(s) for s in shapes}
    check(len(ranks) == 1, f"the operands of {what} differ in rank: {', '.join(str(Shape(s)) for s in shapes)}")
    return tuple(_broadcast_dim(what, column) for column in zip(*shapes, strict=True))


def _broadcast_dim(what: str, column: Sequence[Dim]) -> Dim:
    large = {d for d in column if d is not None and d != 1}
    check(len(large) <= 1, f"the operands of {what} have dimensions {column}, which do not broadcast")
    if large:
        return large.pop()
    return None if None in column else 1


def merge_dims(what: str, a: Sequence[Dim], b: Sequence[Dim]) -> tuple[Dim, ...]:
    """What both descriptions of one shape know; LayerError when they contradict each other."""
    first, second = Shape(a), Shape(b)
    check(first.compatible(second), f"{what}: shapes {first} and {second} contradict each other")
    return first.merge(second).known()


def product(dims: Iterable[Dim]) -> Dim:
    """The product of ``dims``, None when one is unknown (and none is zero)."""
    total: Dim = 1
    for dim in dims:
        if dim == 0:
            return 0
        total = None if dim is None or total is None else total * dim
    return total


def typed(dtype: DType, dims: Sequence[Dim]) -> list[TensorType]:
    """One result type."""
    return [TensorType(dtype, check_rank(dims, "the result"))]


# -- attributes ------------------------------------------------------------------------------------------------------


def ints(attrs: Attrs, name: str) -> tuple[int, ...]:
    """A list-of-integers attribute."""
    value: Any = attrs[name]
    return tuple(int(v) for v in value)


def integer(attrs: Attrs, name: str) -> int:
    """An integer attribute."""
    value: Any = attrs[name]
    return int(value)


def number(attrs: Attrs, name: str) -> float:
    """A float attribute."""
    value: Any = attrs[name]
    return float(value)


def text(attrs: Attrs, name: str, allowed: Iterable[str] = ()) -> str:
    """A word; LayerError when it is not one of ``allowed``."""
    value = attrs[name]
    words = tuple(allowed)
    check(
        isinstance(value, str) and (not words or value in words), f"{name} {value!r} is not one of {', '.join(words)}"
    )
    return str(value)


def flag(attrs: Attrs, name: str) -> bool:
    """A boolean attribute."""
    return bool(attrs[name])


def element_type(attrs: Attrs, name: str, allowed: Iterable[DType]) -> DType:
    """An element-type attribute; LayerError when it is not one of ``allowed``."""
    value = attrs[name]
    if not isinstance(value, DType) or value not in allowed:
        raise LayerError(f"{name} cannot be {value!r}")
    return value
