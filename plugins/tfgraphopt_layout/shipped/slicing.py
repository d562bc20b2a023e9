"""Slices and paddings, and shapes as tensors."""

from __future__ import annotations

from typing import Any

from tfgraphopt.ir import AttrValue, Node
from tfgraphopt_layout.permutations import Perm, identity, inverse, pick
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot

_PARTS = ("start", "size", "stride")


def _slice(node: Node, slot: Slot, perm: Perm) -> Carried:
    """Start, size and stride are lists of one number an axis, as attributes or as operands."""
    numbers: dict[str, Any] = {name: node.attrs[name] for name in _PARTS}
    changed: dict[str, AttrValue] = {n: None if v is None else pick(v, perm) for n, v in numbers.items()}
    names: Any = node.attrs["operands"]
    lists = {i: perm for i, name in enumerate(names, start=1) if name in _PARTS}
    others = tuple(identity(len(v.shape)) for v in node.inputs[1:])
    return Carried((perm, *others), (perm,), changed, lists)


def _shape(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """The dimensions come in the new order and are put back into the old one."""
    return None if slot.result else Carried((perm,), (identity(1),), listed=inverse(perm))


RULES: tuple[LayoutRule, ...] = (LayoutRule(("trt.slice",), _slice), LayoutRule(("trt.shape",), _shape))
