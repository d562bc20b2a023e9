"""Gather and scatter, top-k, and the layers whose result size depends on the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Node
from tfgraphopt_openvino.layers.attributes import integer, text
from tfgraphopt_openvino.mapping import TYPES, OpenVinoLayer, Unmapped, Writer


def _gather(w: Writer, node: Node) -> Sequence[Any]:
    x, indices = (w.tensor(v) for v in node.inputs)
    mode = text(node, "mode")
    if mode == "nd":
        return [w.ops.gather_nd(x, indices, integer(node, "batch_dims")).output(0)]
    if mode == "element":
        return [w.ops.gather_elements(x, indices, integer(node, "axis")).output(0)]
    return [w.ops.gather(x, indices, w.indices(integer(node, "axis")), integer(node, "batch_dims")).output(0)]


def _scatter(w: Writer, node: Node) -> Sequence[Any]:
    x, indices, updates = (w.tensor(v) for v in node.inputs)
    if text(node, "mode") == "nd":
        return [w.ops.scatter_nd_update(x, indices, updates).output(0)]
    return [w.ops.scatter_elements_update(x, indices, updates, w.indices(integer(node, "axis"))).output(0)]


def _topk(w: Writer, node: Node) -> Sequence[Any]:
    k = w.tensor(node.inputs[1]) if len(node.inputs) == 2 else w.indices(integer(node, "k"))
    made = w.ops.topk(
        w.tensor(node.inputs[0]), k, integer(node, "axis"), text(node, "operation"), "value",
        TYPES[node.outputs[1].dtype], stable=True,
    )  # fmt: skip
    return [made.output(0), made.output(1)]


def _depends_on_data(w: Writer, node: Node) -> Sequence[Any]:
    raise Unmapped(
        f"the size of the result of {node.op} depends on the data; outputs are allocated before OpenVINO runs"
    )


LAYERS = (
    OpenVinoLayer("trt.gather", _gather), OpenVinoLayer("trt.scatter", _scatter), OpenVinoLayer("trt.topk", _topk),
    OpenVinoLayer("trt.non_zero", _depends_on_data), OpenVinoLayer("trt.nms", _depends_on_data),
)  # fmt: skip
