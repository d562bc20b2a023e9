"""What counts as true for If and While."""

from __future__ import annotations

from tfgraphopt.ir import DType, Value
from tfgraphopt_trt.builder import LayerBuilder, Unsupported


def truth_of(b: LayerBuilder, x: Value) -> Value:
    """``x`` as one truth value: a number is true unless it is zero, a tensor with dimensions when it has elements."""
    if x.shape.rank:
        count = x.shape.num_elements
        if count is None:
            raise Unsupported(f"%{x.name} is true when it has elements, and how many is known only at run time")
        return b.constant(count > 0, DType.BOOL)
    if x.dtype is DType.BOOL:
        return x
    return b.unary(b.elementwise(x, b.scalar(0, x), "equal"), "not")
