"""Matrix products and einsum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Node
from tfgraphopt_openvino.layers.attributes import flag, text
from tfgraphopt_openvino.mapping import OpenVinoLayer, Writer


def _matmul(w: Writer, node: Node) -> Sequence[Any]:
    a, b = (w.tensor(v) for v in node.inputs)
    return [w.ops.matmul(a, b, flag(node, "transpose_a"), flag(node, "transpose_b")).output(0)]


def _einsum(w: Writer, node: Node) -> Sequence[Any]:
    return [w.ops.einsum([w.tensor(v) for v in node.inputs], text(node, "equation").replace(" ", "")).output(0)]


LAYERS = (OpenVinoLayer("trt.matrix_multiply", _matmul), OpenVinoLayer("trt.einsum", _einsum))
