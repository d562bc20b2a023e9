"""Cumulative sums, reversed sequences, one-hot, ramps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Node
from tfgraphopt_openvino.layers.attributes import flag, integer, ints
from tfgraphopt_openvino.mapping import TYPES, OpenVinoLayer, Writer


def _cumulative(w: Writer, node: Node) -> Sequence[Any]:
    axis = w.indices(integer(node, "axis"))
    return [w.ops.cum_sum(w.tensor(node.inputs[0]), axis, flag(node, "exclusive"), flag(node, "reverse")).output(0)]


def _reverse(w: Writer, node: Node) -> Sequence[Any]:
    x, lengths = (w.tensor(v) for v in node.inputs)
    return [w.ops.reverse_sequence(x, lengths, integer(node, "batch_axis"), integer(node, "sequence_axis")).output(0)]


def _one_hot(w: Writer, node: Node) -> Sequence[Any]:
    indices, values, depth = (w.tensor(v) for v in node.inputs)
    off, on = (w.ops.gather(values, w.indices(i), w.indices(0)) for i in (0, 1))
    return [w.ops.one_hot(indices, depth, on, off, integer(node, "axis")).output(0)]


def _linspace(w: Writer, node: Node) -> Sequence[Any]:
    """One ramp an axis, added up."""
    start, delta = (w.tensor(v) for v in node.inputs[:2])
    rank, dtype = node.inputs[1].shape.static()[0], TYPES[node.output.dtype]
    result = start
    for axis in range(rank):
        size = (
            w.indices(ints(node, "shape")[axis])
            if len(node.inputs) == 2
            else _element(w, w.tensor(node.inputs[2]), axis)
        )
        ramp = w.ops.range(w.indices(0), size, w.indices(1), "i64")
        steps = w.ops.multiply(w.ops.convert(ramp, dtype), _element(w, delta, axis))
        dims = [-1 if i == axis else 1 for i in range(rank)]
        result = w.ops.add(result, w.ops.reshape(steps, w.indices(dims), special_zero=False))
    return [result.output(0)]


def _element(w: Writer, values: Any, index: int) -> Any:
    return w.ops.gather(values, w.indices(index), w.indices(0))


LAYERS = (
    OpenVinoLayer("trt.cumulative", _cumulative), OpenVinoLayer("trt.reverse_sequence", _reverse),
    OpenVinoLayer("trt.one_hot", _one_hot), OpenVinoLayer("trt.linspace", _linspace),
)  # fmt: skip
