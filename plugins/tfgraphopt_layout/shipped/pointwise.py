"""Layers that work element by element or along axes that they know by number."""

from __future__ import annotations

from typing import Any

from tfgraphopt.ir import Node
from tfgraphopt_layout.permutations import Perm, insertion, without
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, axis_rule, everywhere, moved_axes, pointwise_rule


def _reduce(node: Node, slot: Slot, perm: Perm) -> Carried:
    """Without ``keep_dims`` the reduced axes are missing in the result."""
    axes: Any = node.attrs["axes"]
    if node.attrs["keep_dims"]:
        return everywhere(node, perm, {"axes": moved_axes(axes, perm)})
    whole = insertion(perm, axes) if slot.result else perm
    return Carried((whole,), (without(whole, axes),), {"axes": moved_axes(axes, whole)})


def _normalization(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """In groups, the batch and the channels have their fixed places."""
    groups: Any = node.attrs["groups"]
    if groups > 1 and perm[:2] != (0, 1):
        return None
    return everywhere(node, perm, {"axes": moved_axes(node.attrs["axes"], perm)})


def _quantize(node: Node, slot: Slot, perm: Perm) -> Carried:
    """The scale has no axes of the tensor; its one axis, if any, stays."""
    x, scale = perm, tuple(range(len(node.inputs[1].shape)))
    return Carried((x, scale), (x,), {"axis": moved_axes(node.attrs["axis"], perm)})


RULES: tuple[LayoutRule, ...] = (
    pointwise_rule("trt.identity", "trt.cast", "trt.activation", "trt.unary", "trt.elementwise", "trt.select"),
    axis_rule("trt.softmax", "trt.concatenation", "trt.topk", "trt.cumulative"),
    axis_rule("trt.reverse_sequence", attributes=("batch_axis", "sequence_axis")),
    LayoutRule(("trt.reduce",), _reduce),
    LayoutRule(("trt.normalization",), _normalization),
    LayoutRule(("trt.quantize", "trt.dequantize"), _quantize),
)
