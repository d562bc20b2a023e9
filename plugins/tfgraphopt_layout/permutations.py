"""Permutations of axes: a tensor in order ``p`` has the original's axis ``p[i]`` as its axis ``i``."""

from __future__ import annotations

from collections.abc import Sequence

from tfgraphopt.ir import Dim, Shape, TensorType

Perm = tuple[int, ...]


def identity(rank: int) -> Perm:
    """The order that changes nothing."""
    return tuple(range(rank))


def is_identity(perm: Perm) -> bool:
    """Whether ``perm`` changes nothing."""
    return perm == tuple(range(len(perm)))


def compose(first: Perm, then: Perm) -> Perm:
    """The order in which a tensor is that is brought into order ``first``, and the result of that into order ``then``."""
    return tuple(first[axis] for axis in then)


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes ``perm``."""
    result = [0] * len(perm)
    for place, axis in enumerate(perm):
        result[axis] = place
    return tuple(result)


def between(have: Perm, want: Perm) -> Perm:
    """The permutation that takes a tensor from order ``have`` to order ``want``."""
    places = inverse(have)
    return tuple(places[axis] for axis in want)


def pick(values: Sequence[int], perm: Perm) -> tuple[int, ...]:
    """A list of one number an axis, in order ``perm``."""
    return tuple(values[axis] for axis in perm)


def permuted(type: TensorType, perm: Perm) -> TensorType:
    """The type of a tensor of ``type`` in order ``perm``."""
    return type.with_shape(Shape(type.shape[axis] for axis in perm))


def moving(perm: Perm, dims: Sequence[Dim]) -> Perm:
    """The order of the axes that have more than one element: two orders that agree in it are the same in memory."""
    return tuple(axis for axis in perm if dims[axis] != 1)


def without(perm: Perm, dropped: Sequence[int]) -> Perm:
    """The order of the axes that remain when ``dropped`` are taken away, counted anew."""
    gone = set(dropped)
    number = {axis: i for i, axis in enumerate(a for a in range(len(perm)) if a not in gone)}
    return tuple(number[axis] for axis in perm if axis not in gone)


def insertion(perm: Perm, added: Sequence[int]) -> Perm:
    """The inverse of :func:`without`: an order of all axes in which each of ``added`` stays behind its predecessor.

    ``perm`` is the order of the other axes, counted without ``added``.
    """
    fresh = set(added)
    kept = [a for a in range(len(perm) + len(fresh)) if a not in fresh]
    behind: dict[int, list[int]] = {-1: []}
    owner = -1
    for axis in range(len(perm) + len(fresh)):
        if axis in fresh:
            behind[owner].append(axis)
        else:
            owner = axis
            behind[owner] = []
    result = list(behind[-1])
    for place in perm:
        result += [kept[place], *behind[kept[place]]]
    return tuple(result)
