"""Layers that are done at once when the operand is a constant."""

from __future__ import annotations

from collections.abc import Sequence

from tfgraphopt.ir import Value
from tfgraphopt_trt.builder import LayerBuilder


def reshaped(b: LayerBuilder, x: Value, dims: Sequence[int]) -> Value:
    """``x`` with fully given dimensions; no layer when it has them already or is a constant."""
    if x.shape.dims == tuple(dims):
        return x
    tensor = b.tensor_of(x)
    return b.reshape(x, dims) if tensor is None else b.constant(tensor.reshape(dims))
