"""Shapes, transposes, reshapes, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Node
from tfgraphopt_openvino.layers.attributes import integer, ints
from tfgraphopt_openvino.mapping import OpenVinoLayer, Writer


def _shape(w: Writer, node: Node) -> Sequence[Any]:
    return [w.ops.shape_of(w.tensor(node.inputs[0]), "i64").output(0)]


def _transpose(w: Writer, node: Node) -> Sequence[Any]:
    return [w.ops.transpose(w.tensor(node.inputs[0]), w.indices(ints(node, "perm"))).output(0)]


def _reshape(w: Writer, node: Node) -> Sequence[Any]:
    x = w.tensor(node.inputs[0])
    if node.attrs.get("dims") is None:
        return [w.ops.reshape(x, w.tensor(node.inputs[1]), special_zero=False).output(0)]
    return [w.ops.reshape(x, w.indices(ints(node, "dims")), special_zero=True).output(0)]


def _squeeze(w: Writer, node: Node) -> Sequence[Any]:
    return [w.ops.squeeze(w.tensor(node.inputs[0]), w.indices(ints(node, "axes"))).output(0)]


def _unsqueeze(w: Writer, node: Node) -> Sequence[Any]:
    return [w.ops.unsqueeze(w.tensor(node.inputs[0]), w.indices(ints(node, "axes"))).output(0)]


def _concatenation(w: Writer, node: Node) -> Sequence[Any]:
    return [w.ops.concat([w.tensor(v) for v in node.inputs], integer(node, "axis")).output(0)]


LAYERS = (
    OpenVinoLayer("trt.shape", _shape), OpenVinoLayer("trt.transpose", _transpose), OpenVinoLayer("trt.reshape", _reshape),
    OpenVinoLayer("trt.squeeze", _squeeze), OpenVinoLayer("trt.unsqueeze", _unsqueeze),
    OpenVinoLayer("trt.concatenation", _concatenation),
)  # fmt: skip
