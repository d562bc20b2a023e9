"""Constants, copies, element types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import DType, Node
from tfgraphopt_openvino.mapping import OpenVinoLayer, Writer


def _constant(w: Writer, node: Node) -> Sequence[Any]:
    return [w.tensor(node.output)]


def _identity(w: Writer, node: Node) -> Sequence[Any]:
    return [w.tensor(node.inputs[0])]


def _cast(w: Writer, node: Node) -> Sequence[Any]:
    x, to = w.tensor(node.inputs[0]), node.output.dtype
    if to is DType.BOOL and node.inputs[0].dtype is not DType.BOOL:  # a plain conversion drops fractions first
        return [w.ops.not_equal(x, w.constant(np.zeros((), node.inputs[0].dtype.np))).output(0)]
    return [w.ops.convert(x, w.type(to).to_string()).output(0)]


LAYERS = (
    OpenVinoLayer("trt.constant", _constant), OpenVinoLayer("trt.identity", _identity), OpenVinoLayer("trt.cast", _cast),
)  # fmt: skip
