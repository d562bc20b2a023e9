"""Questions that several rules ask about values and constants."""

from __future__ import annotations

import numpy as np

from tfgraphopt.ir import Node, Tensor, Value
from tfgraphopt.matching import NoMatch


def integers(tensor: Tensor) -> list[int]:
    """The elements of an integer tensor of any rank, flat."""
    return [int(n) for n in np.asarray(tensor.numpy()).reshape(-1)]


def rank_of(value: Value) -> int:
    """The rank; NoMatch when it is unknown."""
    if value.shape.rank is None:
        raise NoMatch(f"the rank of %{value.name} is unknown")
    return value.shape.rank


def axes_of(axes: list[int], rank: int) -> list[int]:
    """Axes counted from the front."""
    return [a % rank if rank else 0 for a in axes]


def same_static_shape(one: Value, two: Value) -> bool:
    """Whether both shapes are fully known and equal."""
    return one.shape.is_static and one.shape == two.shape


def keeps_shape(x: Value, other: Tensor) -> bool:
    """Whether broadcasting ``x`` with ``other`` gives a tensor of the shape of ``x`` for certain."""
    dims, rank = other.shape.static(), x.shape.rank
    if not dims:
        return True
    if rank is None or len(dims) > rank:
        return False
    own = x.shape.known()[rank - len(dims) :]
    return all(d == 1 or d == o for d, o in zip(dims, own, strict=True))


def int_attr(node: Node, name: str) -> int:
    """An integer attribute."""
    value = node.attrs[name]
    if not isinstance(value, int):
        raise NoMatch(f"attribute {name!r} of {node.name!r} is {value!r}")
    return value


def ints_attr(node: Node, name: str) -> list[int]:
    """An attribute that is a list of integers."""
    value = node.attrs[name]
    if not isinstance(value, tuple):
        raise NoMatch(f"attribute {name!r} of {node.name!r} is {value!r}")
    return [int(n) for n in value]
