"""Reductions, softmax, normalisation, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfgraphopt.ir import Node
from tfgraphopt_openvino.layers.attributes import flag, integer, ints, number, text
from tfgraphopt_openvino.mapping import OpenVinoLayer, Unmapped, Writer

_REDUCTIONS: Mapping[str, str] = {
    "sum": "reduce_sum", "prod": "reduce_prod", "max": "reduce_max", "min": "reduce_min", "avg": "reduce_mean",
}  # fmt: skip


def _reduce(w: Writer, node: Node) -> Sequence[Any]:
    x, operation = w.tensor(node.inputs[0]), text(node, "operation")
    if operation == "avg" and not node.inputs[0].dtype.is_floating:
        raise Unmapped("OpenVINO's CPU engine averages integers in floating point")
    return [getattr(w.ops, _REDUCTIONS[operation])(x, w.indices(ints(node, "axes")), flag(node, "keep_dims")).output(0)]


def _softmax(w: Writer, node: Node) -> Sequence[Any]:
    return [w.ops.softmax(w.tensor(node.inputs[0]), integer(node, "axis")).output(0)]


def _normalization(w: Writer, node: Node) -> Sequence[Any]:
    x, scale, bias = (w.tensor(v) for v in node.inputs)
    axes, groups = ints(node, "axes"), integer(node, "groups")
    normal = _grouped(w, node, x, axes, groups) if groups > 1 else _normal(w, x, axes, number(node, "epsilon"))
    return [w.ops.add(w.ops.multiply(normal, scale), bias).output(0)]


def _normal(w: Writer, x: Any, axes: Sequence[int], epsilon: float) -> Any:
    return w.ops.mvn(x, w.indices(axes), True, epsilon, "INSIDE_SQRT")


def _grouped(w: Writer, node: Node, x: Any, axes: Sequence[int], groups: int) -> Any:
    """Each group as one row: that is the whole of it only where all spatial axes are normalised."""
    if sorted(axes) != list(range(2, len(node.inputs[0].shape))):
        raise Unmapped("OpenVINO normalises groups over all spatial axes only")
    rows = w.ops.reshape(x, w.indices([0, groups, -1]), special_zero=True)
    normal = _normal(w, rows, [2], number(node, "epsilon"))
    return w.ops.reshape(normal, w.ops.shape_of(x, "i64"), special_zero=False)


def _attention(w: Writer, node: Node) -> Sequence[Any]:
    """Its own scale is switched off: ours is in the query."""
    one = w.ops.constant(1.0, w.tensor(node.inputs[0]).get_element_type())
    query, key, value = (w.tensor(v) for v in node.inputs)
    return [w.ops.scaled_dot_product_attention(query, key, value, scale=one, causal=False).output(0)]


LAYERS = (
    OpenVinoLayer("trt.reduce", _reduce), OpenVinoLayer("trt.softmax", _softmax),
    OpenVinoLayer("trt.normalization", _normalization), OpenVinoLayer("trt.attention", _attention),
)  # fmt: skip
