"""Loops and conditionals, which stay in TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Node
from tfgraphopt_openvino.mapping import OpenVinoLayer, Unmapped, Writer


def _stays(w: Writer, node: Node) -> Sequence[Any]:
    raise Unmapped(f"{node.op}: loops and conditionals stay in TensorFlow, with OpenVINO engines in their functions")


LAYERS = (OpenVinoLayer("trt.loop", _stays), OpenVinoLayer("trt.conditional", _stays))
