"""Zeros around a tensor, folded into the padding of the convolution or pooling that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import Node, Value, constant_of
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_trt.dimensions import dimension, entries
from tfgraphopt_trt.layerdef import LayerError
from tfgraphopt_trt.simplify.steps import HOST

SLICE = "trt.slice"
Pads = tuple[tuple[int, ...], tuple[int, ...]]


def zero_pads(node: Node) -> Pads:
    """How many zeros a slice layer puts before and after each spatial axis of N,C,spatial; NoMatch when it does anything else."""
    names: Any = node.attrs["operands"]
    if node.attrs["mode"] != "fill" or "start" in names or "stride" in names:
        raise NoMatch("it is not a padding by known numbers")
    stride: Any = node.attrs["stride"]
    if "fill" in names and not _is_zero(node.inputs[1 + names.index("fill")]):
        raise NoMatch("it does not pad with zeros")
    if any(s != 1 for s in stride):
        raise NoMatch("it takes steps")
    pairs = [_pad(node, axis) for axis in range(len(node.output.shape))]
    if pairs[0] != (0, 0) or pairs[1] != (0, 0):
        raise NoMatch("it pads the batch or the channels")
    return tuple(p[0] for p in pairs[2:]), tuple(p[1] for p in pairs[2:])


def _is_zero(value: Value) -> bool:
    tensor = constant_of(value)
    return tensor is not None and not np.any(tensor.numpy())


def _pad(node: Node, axis: int) -> tuple[int, int]:
    names: Any = node.attrs["operands"]
    starts: Any = node.attrs["start"]
    given: Any = node.attrs["size"]
    sizes = entries(node.inputs[1 + names.index("size")]) if "size" in names else given
    start, before = starts[axis], dimension(node.inputs[0], axis)
    size = None if sizes is None else sizes[axis]
    if start == 0 and size is not None and size == before:
        return 0, 0
    if not isinstance(size, int) or not isinstance(before, int) or start > 0 or size + start < before:
        raise NoMatch(f"it does not pad axis {axis} by known numbers")
    return -start, size + start - before


def _added(node: Node, pads: Pads) -> dict[str, Any]:
    """The padding attributes of ``node`` with ``pads`` around its own."""
    if node.attrs["padding"] != "explicit":
        raise NoMatch("its padding depends on the size of its input")
    zeros = (0,) * len(pads[0])
    own: list[Any] = [node.attrs[name] or zeros for name in ("pre", "post")]
    return {
        n: tuple(a + b for a, b in zip(o, p, strict=True)) for n, o, p in zip(("pre", "post"), own, pads, strict=True)
    }


@attrs.frozen(slots=True)
class PadIntoConvolution(Pattern):
    """A convolution of a padded tensor is one with padding."""

    name: ClassVar[str] = "trt-fold-padding-into-convolution"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps) -> Any:
        """A convolution of a slice."""
        return op["trt.convolution"](op[SLICE](...).named("pad"), ...)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The convolution with more padding."""
        node: Node = m.root
        changed = {**node.attrs, **_added(node, zero_pads(m.pad))}
        return op[node.op](m.pad.inputs[0], *node.inputs[1:], like=node.output, **changed)


@attrs.frozen(slots=True)
class PadIntoPooling(Pattern):
    """An average of a padded tensor is one that counts its padding; a maximum of one that is nowhere negative needs no zeros."""

    name: ClassVar[str] = "trt-fold-padding-into-pooling"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps) -> Any:
        """A pooling of a slice."""
        return op["trt.pooling"](op[SLICE](...).named("pad"))

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The pooling with padding."""
        node, x = m.root, m.pad.inputs[0]
        own: list[Any] = [node.attrs[name] for name in ("pre", "post")]
        if any(map(any, own)):
            raise NoMatch("it has padding of its own")
        average = node.attrs["type"] == "average"
        if not average and not never_negative(x):
            raise NoMatch("a zero may be the maximum")
        changed = {**node.attrs, **_added(node, zero_pads(m.pad)), "count_padding": average}
        try:
            return op[node.op](x, **changed)
        except LayerError as error:
            raise NoMatch(str(error)) from error


def never_negative(value: Value) -> bool:
    """Whether no element of ``value`` can be below zero, by the layer that makes it."""
    node = value.producer
    if node is None or node.op != "trt.activation":
        return False
    low: Any = node.attrs["alpha"]
    return node.attrs["type"] in ("relu", "sigmoid", "hard_sigmoid") or (node.attrs["type"] == "clip" and low >= 0)


PATTERNS: Sequence[Pattern] = (PadIntoConvolution(), PadIntoPooling())
