"""Reshape, squeeze and unsqueeze.

A reshape cuts both shapes into groups of neighbouring axes with equally many elements; it commutes with every permutation that
moves whole groups. Where it merges axes and only constants of matrix products read the result, the constants take any permutation
of the merged axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from tfgraphopt.ir import Dim, Node, Value, constant_of
from tfgraphopt_layout.permutations import Perm, identity, insertion, inverse, without
from tfgraphopt_layout.rules import Carried, LayoutRule, Scramble, Slot

Size = int | str
"""A dimension: a number, or a name for one that is not known."""


@attrs.frozen(slots=True)
class Group:
    """Axes of the operand that hold the same elements as axes of the result (axes of size one belong to none)."""

    sources: tuple[int, ...]
    results: tuple[int, ...]


# -- groups ----------------------------------------------------------------------------------------------------------


def groups_of(node: Node) -> tuple[Group, ...] | None:
    """The smallest groups of a reshape, or None when too little is known of its dimensions."""
    sizes = _named_sizes(node)
    return None if sizes is None else _grouped(*sizes)


def _named_sizes(node: Node) -> tuple[list[Size], list[Size]] | None:
    """The dimensions of operand and result, equal names for equal unknown ones."""
    source, result = node.inputs[0].shape.known(), node.outputs[0].shape.known()
    given: Any = node.attrs.get("dims")
    copied = [i for i, d in enumerate(given or ()) if d == 0]
    names: list[Size] = [f"d{i}" if d is None else d for i, d in enumerate(source)]
    rest = [n for i, n in enumerate(names) if isinstance(n, str) and i not in copied]
    unknown = [j for j, d in enumerate(result) if d is None and j not in copied]
    if len(rest) != len(unknown) or len(unknown) > 1 or 0 in (*source, *result):
        return None
    if _known_product(source, copied) != _known_product(result, copied):
        return None
    made: list[Size] = [names[j] if j in copied else d if d is not None else rest[0] for j, d in enumerate(result)]
    return names, made


def _known_product(dims: Sequence[Dim], but: Sequence[int]) -> int:
    total = 1
    for axis, dim in enumerate(dims):
        total *= 1 if dim is None or axis in but else dim
    return total


def _grouped(source: Sequence[Size], result: Sequence[Size]) -> tuple[Group, ...] | None:
    left = [i for i, d in enumerate(source) if d != 1]
    right = [j for j, d in enumerate(result) if d != 1]
    found: list[Group] = []
    while left and right:
        group = _first_group(source, result, left, right)
        if group is None:
            return None
        found.append(group)
        del left[: len(group.sources)], right[: len(group.results)]
    return None if left or right else tuple(found)


def _first_group(
    source: Sequence[Size], result: Sequence[Size], left: Sequence[int], right: Sequence[int]
) -> Group | None:
    """Takes axes from both sides, from the one with fewer elements so far, until the sides hold the same."""
    a, b = _Content(), _Content()
    i = j = 0
    a.add(source[left[0]])
    b.add(result[right[0]])
    i = j = 1
    while not a.equals(b):
        behind_a = a.lacks(b)
        if behind_a and i < len(left):
            a.add(source[left[i]])
            i += 1
        elif j < len(right):
            b.add(result[right[j]])
            j += 1
        elif i < len(left):
            a.add(source[left[i]])
            i += 1
        else:
            return None
    return Group(tuple(left[:i]), tuple(right[:j]))


@attrs.define(slots=True)
class _Content:
    """A product of numbers and names."""

    number: int = 1
    names: list[str] = attrs.field(factory=list)

    def add(self, size: Size) -> None:
        if isinstance(size, str):
            self.names.append(size)
        else:
            self.number *= size

    def equals(self, other: _Content) -> bool:
        return self.number == other.number and sorted(self.names) == sorted(other.names)

    def lacks(self, other: _Content) -> bool:
        return len(self.names) < len(other.names) or (
            len(self.names) == len(other.names) and self.number < other.number
        )


# -- reshape ---------------------------------------------------------------------------------------------------------


def _reshape(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    groups = groups_of(node)
    if groups is None or (slot.index == 1 and not slot.result):
        return None
    sides = [(g.results, g.sources) if slot.result else (g.sources, g.results) for g in groups]
    order = _order([mine for mine, _ in sides], perm)
    if order is None:
        return None if slot.result else _flattened(node, groups, perm)
    opposite = node.inputs[0] if slot.result else node.outputs[0]
    other = _arranged(len(opposite.shape), [sides[g][1] for g in order], order)
    source, result = (other, perm) if slot.result else (perm, other)
    return _with_dims(node, source, result)


def _order(blocks: Sequence[tuple[int, ...]], perm: Perm) -> list[int] | None:
    """The blocks in the order that ``perm`` brings them into, or None when it tears one apart or turns one inside out."""
    owner = {axis: index for index, block in enumerate(blocks) for axis in block}
    axes = [a for a in perm if a in owner]
    order = list(dict.fromkeys(owner[a] for a in axes))
    return order if axes == [a for index in order for a in blocks[index]] else None


def _arranged(rank: int, blocks: Sequence[tuple[int, ...]], order: Sequence[int]) -> Perm:
    """The order of ``rank`` axes in which ``blocks`` follow each other; axes of size one stay behind their predecessors."""
    if list(order) == sorted(order):
        return identity(rank)
    axes = [a for block in blocks for a in block]
    units = [a for a in range(rank) if a not in axes]
    return insertion(without(tuple(a for a in range(rank) if a in units) + tuple(axes), units), units)


def _with_dims(node: Node, source: Perm, result: Perm) -> Carried | None:
    """The reshape to the permuted dimensions: numbers, one of which may be unknown; or the permuted run-time shape."""
    if len(node.inputs) == 2:
        return Carried((source, identity(1)), (result,), lists={1: result})
    shape = node.outputs[0].shape.known()
    dims = [shape[axis] for axis in result]
    if dims.count(None) > 1:
        return _with_copies(node, source, result, dims)
    return Carried((source,), (result,), {"dims": tuple(-1 if d is None else d for d in dims)})


def _with_copies(node: Node, source: Perm, result: Perm, dims: Sequence[Dim]) -> Carried | None:
    """Several unknown dimensions: all but one must be copies of the operand's at the same place."""
    given: Any = node.attrs["dims"]
    wanted = []
    for place, (axis, dim) in enumerate(zip(result, dims, strict=True)):
        if dim is None and given[axis] == 0 and place < len(source) and source[place] == axis:
            wanted.append(0)
        else:
            wanted.append(-1 if dim is None else dim)
    return Carried((source,), (result,), {"dims": tuple(wanted)}) if wanted.count(-1) <= 1 else None


# -- flattening before a matrix product ------------------------------------------------------------------------------


def _flattened(node: Node, groups: Sequence[Group], perm: Perm) -> Carried | None:
    """One group that is merged into one axis may be turned inside out, when the products behind it can mix their weights."""
    owner = {axis: index for index, group in enumerate(groups) for axis in group.sources}
    order = [owner[a] for a in perm if a in owner]
    torn = [g for g in groups if [a for a in perm if a in g.sources] != list(g.sources)]
    if order != sorted(order) or len(torn) != 1 or len(torn[0].results) != 1 or len(node.inputs) == 2:
        return None
    (axis,), inner = torn[0].results, torn[0].sources
    dims = [node.inputs[0].shape[a] for a in inner]
    if None in dims or not absorbed_by_products(node.outputs[0], axis):
        return None
    mixed = tuple(inner.index(a) for a in perm if a in inner)
    carried = _with_dims(node, perm, identity(len(node.outputs[0].shape)))
    known = tuple(d for d in dims if d is not None)
    return None if carried is None else attrs.evolve(carried, scramble=Scramble(axis, known, mixed))


def absorbed_by_products(value: Value, axis: int) -> bool:
    """Whether all that reads ``value`` are products that contract ``axis`` with a constant."""
    return bool(value.uses) and not value.is_output and all(_absorbs(n, i, axis) for n, i in value.uses)


def _absorbs(node: Node, index: int, axis: int) -> bool:
    if node.op != "trt.matrix_multiply" or index != 0:
        return False
    rank, tensor = len(node.inputs[0].shape), constant_of(node.inputs[1])
    contracted = rank - 2 if node.attrs["transpose_a"] else rank - 1
    return axis == contracted and tensor is not None and all(d == 1 for d in tensor.shape.static()[:-2])


# -- squeeze, unsqueeze ----------------------------------------------------------------------------------------------


def _squeeze(node: Node, slot: Slot, perm: Perm) -> Carried:
    axes: Any = node.attrs["axes"]
    whole = insertion(perm, axes) if slot.result else perm
    return Carried((whole,), (without(whole, axes),), {"axes": _places(whole, axes)})


def _unsqueeze(node: Node, slot: Slot, perm: Perm) -> Carried:
    axes: Any = node.attrs["axes"]
    whole = perm if slot.result else insertion(perm, axes)
    return Carried((without(whole, axes),), (whole,), {"axes": _places(whole, axes)})


def _places(perm: Perm, axes: Sequence[int]) -> tuple[int, ...]:
    places = inverse(perm)
    return tuple(sorted(places[a] for a in axes))


RULES: tuple[LayoutRule, ...] = (
    LayoutRule(("trt.reshape",), _reshape),
    LayoutRule(("trt.squeeze",), _squeeze),
    LayoutRule(("trt.unsqueeze",), _unsqueeze),
)
