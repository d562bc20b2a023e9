"""Windows that slide over N,C,spatial, and resampling: the spatial axes may change places among themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import AttrValue, Node
from tfgraphopt_layout.permutations import Perm, identity, pick
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, everywhere

_RESAMPLED = {"linear": 3, "cubic": 2}
"""How many last axes TensorRT resamples in these modes."""


def _spatial(node: Node, perm: Perm, names: Sequence[str]) -> dict[str, AttrValue]:
    """The per-window attributes ``names`` in the new order of the spatial axes."""
    inner = tuple(axis - 2 for axis in perm[2:])
    given: dict[str, Any] = {name: node.attrs[name] for name in names}
    return {name: pick(values, inner) if values else values for name, values in given.items()}


def _convolution(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    if len(perm) < 4 or perm[:2] != (0, 1):
        return None
    return everywhere(node, perm, _spatial(node, perm, ("stride", "dilation", "pre", "post")))


def _pooling(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """Batch and channels are treated alike."""
    if set(perm[:2]) != {0, 1}:
        return None
    return everywhere(node, perm, _spatial(node, perm, ("window", "stride", "pre", "post")))


def _lrn(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    return everywhere(node, perm) if perm[1] == 1 else None


def _resize(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    rank = len(perm)
    last = _RESAMPLED.get(str(node.attrs["mode"]), rank)
    if len(node.inputs[0].shape) != rank or any(axis < rank - last for axis in perm[-last:]):
        return None
    given: dict[str, Any] = {name: node.attrs[name] for name in ("size", "scales")}
    changed: dict[str, AttrValue] = {
        name: None if values is None else tuple(values[axis] for axis in perm) for name, values in given.items()
    }
    sizes = tuple(identity(1) for _ in node.inputs[1:])
    return Carried((perm, *sizes), (perm,), changed, {1: perm} if sizes else {})


RULES: tuple[LayoutRule, ...] = (
    LayoutRule(("trt.convolution", "trt.deconvolution"), _convolution),
    LayoutRule(("trt.pooling",), _pooling),
    LayoutRule(("trt.lrn",), _lrn),
    LayoutRule(("trt.resize",), _resize),
)
