"""A lowered body as an OpenVINO model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfgraphopt.ir import Graph, Node, Value, constant_of
from tfgraphopt.ir.core import CONSTANT_OPS
from tfgraphopt_openvino.mapping import MappingFailed, OpenVinoLayer, Unmapped, Writer, write_layer
from tfgraphopt_openvino.openvino_api import OpenVino


def build_model(graph: Graph, mappings: Mapping[str, OpenVinoLayer], openvino: OpenVino) -> Any:
    """The ``ov.Model`` that computes ``graph``; inputs and outputs in the graph's order, shapes as far as they are known.

    Raises:
        MappingFailed: a layer cannot be mapped; the message names it and the user's nodes.
    """
    writer = Writer(openvino)
    parameters = [writer.parameter(value) for value in graph.inputs]
    for node in graph:
        if node.op not in CONSTANT_OPS:
            _write(writer, mappings, node)
    results = [writer.ops.result(_computed(writer, value)) for value in graph.outputs]
    model = openvino.module.Model(results, parameters, graph.name)
    _name_operations(model)
    return model


def _computed(writer: Writer, value: Value) -> Any:
    """The tensor of a result. OpenVINO leaves the caller's memory untouched where that is an input itself, so it is moved once."""
    tensor = writer.tensor(value)
    if tensor.get_node().get_type_name() != "Parameter":
        return tensor
    first = writer.indices(0)
    return writer.ops.squeeze(writer.ops.unsqueeze(tensor, first), first).output(0)


def _write(writer: Writer, mappings: Mapping[str, OpenVinoLayer], node: Node) -> None:
    try:
        write_layer(writer, mappings, node)
    except Unmapped as error:
        where = node.origin or (node.name,)
        raise MappingFailed(f"{node.op} {node.name!r} has no OpenVINO form", where=where, why=str(error)) from error
    for value in node.outputs:
        producer = writer.tensor(value).get_node()
        if value.index == 0 and constant_of(value) is None and value not in node.inputs:
            producer.set_friendly_name(node.name)


def _name_operations(model: Any) -> None:
    """Names that depend on the model alone (OpenVINO numbers operations by process), so that equal models are equal bytes."""
    for index, output in enumerate(model.outputs):
        output.get_tensor().set_names({f"output_{index}"})
    taken = set()
    for index, operation in enumerate(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        if name in taken or name.rpartition("_")[0] == operation.get_type_name():
            operation.set_friendly_name(f"{operation.get_type_name()}-{index}")
        taken.add(operation.get_friendly_name())


def refusal(layer: Node, mappings: Mapping[str, OpenVinoLayer], openvino: OpenVino) -> str | None:
    """Why OpenVINO cannot compute ``layer``, found out by mapping it with its operands as inputs; None when it can."""
    if layer.op in CONSTANT_OPS:
        return None
    writer = Writer(openvino)
    try:
        for value in dict.fromkeys(layer.inputs):
            if constant_of(value) is None:
                writer.parameter(value)
        write_layer(writer, mappings, layer)
    except Unmapped as error:
        return str(error)
    return None
