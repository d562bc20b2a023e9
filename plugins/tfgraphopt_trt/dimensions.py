"""Where the numbers of a shape tensor come from: which dimension of which tensor each of them is, or which number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.ir import Node, Tensor, Value


@attrs.frozen(slots=True)
class DimOf:
    """The size of ``value`` along ``axis``."""

    value: Value
    axis: int


Entry = int | DimOf | None
"""A number, a dimension, or something else."""

MOST_ENTRIES = 64


def dimension(value: Value, axis: int) -> Entry:
    """The size of ``value`` along ``axis``, traced to the tensor that it is taken over from."""
    while True:
        dim = value.shape[axis]
        if dim is not None:
            return dim
        source = _source(value, axis)
        if source is None:
            return DimOf(value, axis)
        value, axis = source


def _source(value: Value, axis: int) -> tuple[Value, int] | None:
    """A tensor that has the same size along some axis, whatever it is."""
    node = value.producer
    rule = None if node is None else _KEPT.get(node.op)
    return None if rule is None or node is None else rule(node, axis)


def _transposed(node: Node, axis: int) -> tuple[Value, int]:
    perm: Any = node.attrs["perm"]
    return node.inputs[0], perm[axis]


def _same(node: Node, axis: int) -> tuple[Value, int]:
    return node.inputs[0], axis


def _batch(node: Node, axis: int) -> tuple[Value, int] | None:
    return (node.inputs[0], 0) if axis == 0 else None


def _joined(node: Node, axis: int) -> tuple[Value, int] | None:
    return None if axis == node.attrs["axis"] else (node.inputs[0], axis)


_KEPT: Mapping[str, Callable[[Node, int], tuple[Value, int] | None]] = {
    "trt.transpose": _transposed, "trt.identity": _same, "trt.cast": _same, "trt.activation": _same, "trt.unary": _same,
    "trt.softmax": _same, "trt.convolution": _batch, "trt.deconvolution": _batch, "trt.pooling": _batch,
    "trt.concatenation": _joined,
}  # fmt: skip


def entries(value: Value) -> tuple[Entry, ...] | None:
    """What each number of a vector (or scalar) of integers is; None when not even their count is known."""
    count = value.shape.num_elements
    if count is None or count > MOST_ENTRIES or not value.dtype.is_integer:
        return None
    node = value.producer
    rule = None if node is None else _RULES.get(node.op)
    found = None if rule is None or node is None else rule(node)
    return (None,) * count if found is None or len(found) != count else tuple(found)


def _constant(node: Node) -> Sequence[Entry] | None:
    tensor = node.attrs["value"]
    return [int(n) for n in tensor.numpy().reshape(-1)] if isinstance(tensor, Tensor) else None


def _shape(node: Node) -> Sequence[Entry]:
    source = node.inputs[0]
    return [dimension(source, axis) for axis in range(len(source.shape))]


def _handed_on(node: Node) -> Sequence[Entry] | None:
    return entries(node.inputs[0])


def _concatenated(node: Node) -> Sequence[Entry] | None:
    parts = [entries(v) for v in node.inputs]
    return None if any(p is None for p in parts) else [e for part in parts for e in part or ()]


def _gathered(node: Node) -> Sequence[Entry] | None:
    source, indices = entries(node.inputs[0]), entries(node.inputs[1])
    if source is None or indices is None or node.attrs["mode"] != "default" or node.attrs["batch_dims"]:
        return None
    return [source[i] if isinstance(i, int) and 0 <= i < len(source) else None for i in indices]


def _sliced(node: Node) -> Sequence[Entry] | None:
    source = entries(node.inputs[0])
    start, size, stride = (node.attrs[n] for n in ("start", "size", "stride"))
    if source is None or node.attrs["operands"] or node.attrs["mode"] != "strict_bounds":
        return None
    if not (isinstance(start, tuple) and isinstance(size, tuple) and isinstance(stride, tuple) and len(start) == 1):
        return None
    return [source[start[0] + i * stride[0]] for i in range(size[0])]


_RULES: Mapping[str, Callable[[Node], Sequence[Entry] | None]] = {
    "trt.constant": _constant, "trt.shape": _shape, "trt.identity": _handed_on, "trt.cast": _handed_on,
    "trt.squeeze": _handed_on, "trt.unsqueeze": _handed_on, "trt.reshape": _handed_on, "trt.concatenation": _concatenated,
    "trt.gather": _gathered, "trt.slice": _sliced,
}  # fmt: skip
