"""Gather, scatter and one-hot."""

from __future__ import annotations

from typing import Any

from tfgraphopt.ir import Node
from tfgraphopt_layout.permutations import Perm, identity, insertion, without
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, everywhere, moved_axes


def _gather(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    if node.attrs["mode"] == "element":
        return everywhere(node, perm, {"axis": moved_axes(node.attrs["axis"], perm)})
    if node.attrs["mode"] != "default" or node.attrs["batch_dims"] or (slot.index == 1 and not slot.result):
        return None
    return _taken_back(node, perm) if slot.result else _taken(node, perm)


def _taken(node: Node, perm: Perm) -> Carried:
    """The axes of the indices stand where the gathered axis was."""
    axis: Any = node.attrs["axis"]
    count = len(node.inputs[1].shape)
    made: list[int] = []
    for old in perm:
        made += range(axis, axis + count) if old == axis else [old if old < axis else old - 1 + count]
    return Carried((perm, identity(count)), (tuple(made),), {"axis": perm.index(axis)})


def _taken_back(node: Node, perm: Perm) -> Carried | None:
    """The axes of the indices must still stand together and in order."""
    axis: Any = node.attrs["axis"]
    count = len(node.inputs[1].shape)
    block = list(range(axis, axis + count))
    if count == 0:
        source = insertion(perm, [axis])
    else:
        start = perm.index(axis)
        if list(perm[start : start + count]) != block:
            return None
        source = without(perm, block[1:])
    return _taken(node, source)


def _scatter(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    if node.attrs["mode"] != "element":
        return None
    return everywhere(node, perm, {"axis": moved_axes(node.attrs["axis"], perm)})


def _one_hot(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """A new axis among those of the indices."""
    axis: Any = node.attrs["axis"]
    if not slot.result and slot.index != 0:
        return None
    whole = perm if slot.result else insertion(perm, [axis])
    return Carried((without(whole, [axis]), identity(1), ()), (whole,), {"axis": whole.index(axis)})


RULES: tuple[LayoutRule, ...] = (
    LayoutRule(("trt.gather",), _gather),
    LayoutRule(("trt.scatter",), _scatter),
    LayoutRule(("trt.one_hot",), _one_hot),
)
