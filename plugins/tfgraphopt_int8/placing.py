"""Writes quantize and dequantize layers into a lowered body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tfgraphopt.ir import DType, Graph, Node, Tensor, Value, constant_of
from tfgraphopt_int8.sites import DEQUANTIZE, QUANTIZE, Use
from tfgraphopt_int8.weights import Form, quantised

CONSTANT = "trt.constant"


def place(graph: Graph, uses: Iterable[Use], scales: Mapping[Value, float], form: Form) -> None:
    """Let every use read its activation through a quantize and a dequantize layer, and its weights through a dequantize layer.

    Layers that read one activation share the pair; ``scales`` has the step of each activation.
    """
    pairs: dict[Value, Value] = {}
    for use in uses:
        value = use.value
        if value not in pairs:
            pairs[value] = _pair(graph, value, scales[value])
        use.node.set_input(use.operand, pairs[value])
        if use.weights is not None:
            _weights(graph, use.node, *use.weights, form)


def _pair(graph: Graph, value: Value, scale: float) -> Value:
    producer = value.producer
    before = next(iter(graph)) if producer is None else graph.successor(producer)
    origin = (value.name,) if producer is None else producer.origin
    name = value.name.replace(":", "_")
    step = graph.add(
        CONSTANT, [], {"value": Tensor.of(np.float32(scale))}, name=f"{name}/scale", before=before, origin=origin
    ).output
    whole = graph.add(
        QUANTIZE, [value, step], {"to": DType.INT8}, name=f"{name}/quantize", before=before, origin=origin
    )
    return graph.add(DEQUANTIZE, [whole.output, step], name=f"{name}/dequantize", before=before, origin=origin).output


def _weights(graph: Graph, node: Node, index: int, axis: int, form: Form) -> None:
    tensor = constant_of(node.inputs[index])
    assert tensor is not None
    whole, scales = quantised(tensor, axis, form, node)
    name = f"{node.name}/weights"
    number = graph.add(CONSTANT, [], {"value": whole}, name=name, before=node, origin=node.origin).output
    step = graph.add(CONSTANT, [], {"value": scales}, name=f"{name}/scale", before=node, origin=node.origin).output
    made = graph.add(
        DEQUANTIZE, [number, step], {"axis": axis}, name=f"{name}/dequantize", before=node, origin=node.origin
    )
    node.set_input(index, made.output)
