"""Multiplications and additions of constants, as data."""

from __future__ import annotations

import attrs
import numpy as np

from tfgraphopt.ir import DType, Node, Tensor, Value, constant_of
from tfgraphopt.ir.tensor import Array
from tfgraphopt.rewrite import NoMatch

HOST = "trt-canonicalize"
FLOATS = frozenset({DType.FLOAT, DType.HALF, DType.BFLOAT16})
MOST_ELEMENTS = 1 << 18
ELEMENTWISE = "trt.elementwise"


@attrs.frozen(slots=True)
class Step:
    """``x * scale + shift`` in double precision; each is an array of the rank of ``x`` that broadcasts, or None when neutral."""

    scale: Array | None
    shift: Array | None

    @property
    def arrays(self) -> list[Array]:
        """Those that are there."""
        return [a for a in (self.scale, self.shift) if a is not None]


def step_of(node: Node, x: Value) -> Step:
    """What an elementwise layer of ``x`` and a constant does.

    Raises:
        NoMatch: it is neither a sum nor a product, or the constant makes ``x`` larger.
    """
    first = node.inputs[0] is x
    tensor = constant_of(node.inputs[1] if first else node.inputs[0])
    if tensor is None or x.dtype not in FLOATS or tensor.num_elements > MOST_ELEMENTS:
        raise NoMatch("it is not a small constant of floating-point numbers")
    if any(c not in (1, d) for c, d in zip(tensor.shape.static(), x.shape.known(), strict=True)):
        raise NoMatch("the constant broadcasts the tensor, or may")
    return _step(str(node.attrs["operation"]), first, tensor.numpy().astype(np.float64))


def _step(operation: str, first: bool, number: Array) -> Step:
    if operation == "sum":
        return Step(None, number)
    if operation == "prod":
        return Step(number, None)
    if operation == "sub":
        return Step(None, -number) if first else Step(np.full((1,) * number.ndim, -1.0), number)
    if operation == "div" and first and not np.any(number == 0):
        return Step(1.0 / number, None)
    raise NoMatch(f"{operation} is neither a sum nor a product with a constant")


def along(array: Array, axis: int, size: int) -> Array:
    """``array`` as a vector along ``axis``; NoMatch when it varies along another axis."""
    if any(d != 1 for i, d in enumerate(array.shape) if i != axis):
        raise NoMatch("the constant does not depend on the channel alone")
    return np.broadcast_to(array.reshape(-1), (size,))


def rounded(array: Array, dtype: DType) -> Tensor:
    """A constant of ``dtype``; NoMatch when a finite number would not stay finite."""
    with np.errstate(over="ignore"):
        made = array.astype(dtype.np)
    if np.any(np.isfinite(array) & ~np.isfinite(made.astype(np.float64))):
        raise NoMatch(f"the folded constant overflows {dtype.tf_name}")
    return Tensor.of(made, dtype)
