"""Padding of any rank and mode, by one slice layer or a concatenation an axis."""

from __future__ import annotations

from collections.abc import Sequence

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.sizes import Cut, Size
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Weights, converter

Margins = Sequence[tuple[Size, Size]]
"""Before and after, for every axis."""


def margins(b: LayerBuilder, paddings: Tensor | Value) -> Margins:
    """The rows of a paddings operand."""
    flat = sizes.elements(b, paddings)
    return list(zip(flat[::2], flat[1::2], strict=True))


def padded_cuts(b: LayerBuilder, x: Value, around: Margins) -> dict[int, Cut]:
    """The cut of every padded axis that reaches over its ends."""
    cuts = {}
    for axis, (before, after) in enumerate(around):
        if (before, after) != (0, 0):
            length = sizes.add(b, sizes.add(b, sizes.size_of(b, x, axis), before), after)
            cuts[axis] = Cut(sizes.subtract(b, 0, before), length)
    return cuts


def pad_with(b: LayerBuilder, x: Value, around: Margins, fill: Value | None = None) -> Value:
    """``x`` with ``fill`` (a scalar; zero by default) around it."""
    return sizes.cut(b, x, padded_cuts(b, x, around), mode="fill", fill=fill)


@converter("Pad")
def pad(b: LayerBuilder, input: Operand, paddings: Weights | Operand) -> Value:
    """Zeros (False for bool) around the operand; run-time paddings too."""
    return pad_with(b, input, margins(b, paddings))


@converter("PadV2")
def pad_v2(b: LayerBuilder, input: Operand, paddings: Weights | Operand, constant_values: Operand) -> Value:
    """One value, possibly known only at run time, around the operand."""
    if input.dtype is DType.INT8:
        raise Unsupported("TensorRT takes int8 constants only as quantised weights; Pad with zeros is converted")
    return pad_with(b, input, margins(b, paddings), b.reshape(constant_values, ()))


@converter("MirrorPad")
def mirror_pad(b: LayerBuilder, input: Operand, paddings: Weights | Operand, *, mode: str) -> Value:
    """The operand reflected at its edges: without them (REFLECT, one slice layer) or with them (SYMMETRIC, pieces
    backwards).
    """
    around = margins(b, paddings)
    if mode == "REFLECT":
        return sizes.cut(b, input, padded_cuts(b, input, around), mode="reflect")
    for axis, (before, after) in enumerate(around):
        input = _symmetric(b, input, axis, before, after)
    return input


def _symmetric(b: LayerBuilder, x: Value, axis: int, before: Size, after: Size) -> Value:
    size = sizes.size_of(b, x, axis)
    first = Cut(
        sizes.largest(b, sizes.subtract(b, before, 1), 0), before, -1
    )  # TensorRT checks the start of nothing, too
    last = Cut(sizes.subtract(b, size, 1), after, -1)
    head, tail = ([] if part.size == 0 else [sizes.cut(b, x, {axis: part})] for part in (first, last))
    return b.concatenation([*head, x, *tail], axis)


CONVERTERS = (pad, pad_v2, mirror_pad)
