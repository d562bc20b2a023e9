"""Slices, and padding by their out-of-bounds modes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.ir import Node
from tfgraphopt_openvino.layers.attributes import text
from tfgraphopt_openvino.mapping import OpenVinoLayer, Unmapped, Writer
from tfgraphopt_trt.shape_values import Values, known_values, slice_numbers

_FAR_BEFORE = -(2**31)
"""A stop before the first element, whatever the size of the axis."""


@attrs.frozen(slots=True)
class _Numbers:
    """One of start, size and stride: what is known of it, and the tensor that has all of it."""

    known: Values
    tensor: Any

    @property
    def is_known(self) -> bool:
        return None not in self.known

    def static(self) -> list[int]:
        return [v for v in self.known if v is not None]


def _numbers(w: Writer, node: Node, name: str, rank: int) -> _Numbers:
    known = slice_numbers(known_values, node.inputs, node.attrs, name) or (None,) * rank
    names: Any = node.attrs["operands"]
    if None in known:
        return _Numbers(known, w.ops.convert(w.tensor(node.inputs[1 + names.index(name)]), "i64"))
    return _Numbers(known, w.indices([v for v in known if v is not None]))


@attrs.frozen(slots=True)
class _Cut:
    """One slice while it is written."""

    w: Writer
    x: Any
    start: _Numbers
    size: _Numbers
    stride: _Numbers
    fill: Any

    @property
    def is_contiguous(self) -> bool:
        return self.stride.is_known and set(self.stride.static()) <= {1}


def _slice(w: Writer, node: Node) -> Sequence[Any]:
    rank = len(node.inputs[0].shape)
    if rank == 0:
        return [w.tensor(node.inputs[0])]
    names: Any = node.attrs["operands"]
    x = w.tensor(node.inputs[0])
    fill = w.tensor(node.inputs[1 + names.index("fill")]) if "fill" in names else w.like(x, 0)
    start, size, stride = (_numbers(w, node, name, rank) for name in ("start", "size", "stride"))
    cut = _Cut(w, x, start, size, stride, fill)
    return [_MODES[text(node, "mode")](cut).output(0)]


def _strict(cut: _Cut) -> Any:
    w = cut.w
    if not cut.stride.is_known or 0 in cut.stride.static():
        raise Unmapped("OpenVINO's slice needs known steps other than zero")
    if cut.start.is_known and cut.size.is_known:
        stops = [_stop(*t) for t in zip(cut.start.static(), cut.size.static(), cut.stride.static(), strict=True)]
        return w.ops.slice(cut.x, cut.start.tensor, w.indices(stops), cut.stride.tensor)
    if min(cut.stride.static()) < 0:
        raise Unmapped("OpenVINO's slice backwards needs known bounds")
    stop = w.ops.add(cut.start.tensor, w.ops.multiply(cut.size.tensor, cut.stride.tensor))
    return w.ops.slice(cut.x, cut.start.tensor, stop, cut.stride.tensor)


def _stop(start: int, size: int, stride: int) -> int:
    stop = start + size * stride
    return _FAR_BEFORE if stop < 0 else stop


def _padded(mode: str) -> Callable[[_Cut], Any]:
    """Padding on both sides, then the slice: what a contiguous slice with ends outside of its input is."""

    def write(cut: _Cut) -> Any:
        if not cut.is_contiguous:
            raise Unmapped("OpenVINO pads only slices with step one")
        w = cut.w
        zero = w.indices(0)
        end = w.ops.add(cut.start.tensor, cut.size.tensor)
        before = w.ops.maximum(w.ops.negative(cut.start.tensor), zero)
        after = w.ops.maximum(w.ops.subtract(end, w.ops.shape_of(cut.x, "i64")), zero)
        if cut.start.is_known:
            before = w.indices([max(-s, 0) for s in cut.start.static()])
        padded = _pad(w, cut, before, after, mode)
        if cut.start.is_known and max(cut.start.static()) <= 0 and _takes_the_rest(cut):
            return padded
        begin = w.ops.add(cut.start.tensor, before)
        return w.ops.slice(padded, begin, w.ops.add(begin, cut.size.tensor), cut.stride.tensor)

    return write


def _takes_the_rest(cut: _Cut) -> bool:
    """Whether the slice ends behind the input along every axis, so that nothing is left to cut off."""
    dims = cut.x.get_partial_shape()
    sizes = zip(cut.start.known, cut.size.known, dims, strict=True)
    return all(d.is_static and s is not None and n is not None and s + n >= d.get_length() for s, n, d in sizes)


def _pad(w: Writer, cut: _Cut, before: Any, after: Any, mode: str) -> Any:
    dims = cut.x.get_partial_shape()
    if cut.start.is_known and cut.size.is_known and dims.is_static:
        ends = zip(cut.start.static(), cut.size.static(), dims.to_shape(), strict=True)
        after = w.constant(np.array([max(s + n - d, 0) for s, n, d in ends], np.int64))
    fill = cut.fill if mode == "constant" else None
    return w.ops.pad(cut.x, before, after, mode, fill)


def _wrap(cut: _Cut) -> Any:
    raise Unmapped("OpenVINO has no slice that wraps around")


_MODES: Mapping[str, Callable[[_Cut], Any]] = {
    "strict_bounds": _strict, "fill": _padded("constant"), "clamp": _padded("edge"), "reflect": _padded("reflect"), "wrap": _wrap,
}  # fmt: skip


LAYERS = (OpenVinoLayer("trt.slice", _slice),)
