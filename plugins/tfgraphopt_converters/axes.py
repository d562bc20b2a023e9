"""Axes: negative ones, and constants that name them."""

from __future__ import annotations

from tfgraphopt.ir import Tensor
from tfgraphopt_trt.builder import Unsupported


def axis_of(axis: int, rank: int) -> int:
    """``axis`` counted from the front; Unsupported when a tensor of ``rank`` does not have it."""
    if not -rank <= axis < rank:
        raise Unsupported(f"axis {axis} of a tensor with {rank} dimensions")
    return axis % rank


def one_axis(tensor: Tensor, rank: int) -> int:
    """The axis that a constant of one element names."""
    return axis_of(int(tensor.numpy().reshape(-1)[0]), rank)


def axes_of(tensor: Tensor, rank: int) -> tuple[int, ...]:
    """The axes (each once, ascending) that a constant scalar or list names."""
    return tuple(sorted({axis_of(int(a), rank) for a in tensor.numpy().reshape(-1)}))
