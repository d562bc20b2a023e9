"""Graphs for other programs to show: TensorBoard's graph page, and Netron. Weights and plans are left out, shapes are kept.

Both read a GraphDef without knowing its ops, so the body of an engine is written as one too, its layers as ops ``trt.convolution`` and
so on, with their attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfgraphopt.errors import TfGraphOptError
from tfgraphopt.files import write_atomically
from tfgraphopt.graphdef import GraphDef, attr_to_proto, export_graph_def
from tfgraphopt.ir import Graph, Node, Tensor, Value

if TYPE_CHECKING:
    from tfgraphopt.optimization import Result

MOST_BYTES = 256
"""Constants and texts that are larger are left out."""


def write_tensorboard(result: Result, logdir: Path) -> list[str]:
    """Write every graph of ``result`` as a run of its own below ``logdir``; returns the names of the runs."""
    import tensorflow as tf

    names = []
    for name, graph_def in drawings(result):
        with tf.init_scope():
            writer = tf.summary.create_file_writer(str(logdir / name))
            with writer.as_default(step=0):
                tf.summary.graph(graph_def)
            writer.close()
        names.append(name)
    return names


def write_netron(result: Result, directory: Path) -> list[Path]:
    """Write every graph of ``result`` as a ``.pb`` file in ``directory``; returns their paths."""
    paths = []
    for name, graph_def in drawings(result):
        path = directory / f"{name.replace('/', '-')}.pb"
        write_atomically(path, graph_def.SerializeToString())
        paths.append(path)
    return paths


def drawings(result: Result) -> Iterator[tuple[str, GraphDef]]:
    """The graphs of a result by name: ``original``, ``optimised``, and one for every engine; below its name for each signature."""
    parts = result.parts or {"": result}
    for part_name, part in parts.items():
        prefix = f"{part_name}/" if len(parts) > 1 else ""
        original = _original(result, part_name, part)
        if original is not None:
            yield f"{prefix}original", drawable(original)
        yield f"{prefix}optimised", drawable(part.graph_def)
        for name, body in part.module.lowered.items():
            yield f"{prefix}{name}", drawn_layers(body)


def _original(result: Result, name: str, part: Result) -> GraphDef | None:
    """The graph before; a model is asked for it again, since optimising has changed the one it gave."""
    if part.original is not None or result.model is None:
        return part.original
    from tfgraphopt.optimization import op_table

    (endpoint,) = result.model.endpoints(op_table(result.tables), [name])[:1]
    return export_graph_def(endpoint.module)


# -- GraphDefs -----------------------------------------------------------------------------------------------------------


def drawable(graph_def: GraphDef) -> GraphDef:
    """A copy without large constants, plans and other long texts; element types and shapes stay."""
    made = GraphDef()
    made.CopyFrom(graph_def)
    for nodes in (made.node, *(f.node_def for f in made.library.function)):
        for node in nodes:
            for value in node.attr.values():
                _shorten(value)
    return made


def _shorten(value: Any) -> None:
    if value.HasField("tensor") and value.tensor.ByteSize() > MOST_BYTES:
        dtype, shape = value.tensor.dtype, value.tensor.tensor_shape
        kept = type(value.tensor)(dtype=dtype, tensor_shape=shape)
        value.tensor.CopyFrom(kept)
    elif value.HasField("s") and len(value.s) > MOST_BYTES:
        value.s = f"({len(value.s)} bytes)".encode()


def drawn_layers(body: Graph) -> GraphDef:
    """A body of layers as a GraphDef, a node a layer; formal inputs are placeholders."""
    made = GraphDef()
    for value in body.inputs:
        node = made.node.add(name=_safe(value.name), op="Placeholder")
        node.attr["dtype"].CopyFrom(attr_to_proto(value.dtype))
        node.attr["shape"].CopyFrom(attr_to_proto(value.shape))
    for layer in body:
        _add_layer(made, layer)
    for index, value in enumerate(body.outputs):
        made.node.add(name=f"output_{index}", op="Identity", input=[_source(value)])
    return made


def _add_layer(made: GraphDef, layer: Node) -> None:
    node = made.node.add(name=_safe(layer.name), op=layer.op, input=[_source(v) for v in layer.inputs])
    node.attr["_output_shapes"].CopyFrom(attr_to_proto(tuple(v.shape for v in layer.outputs)))
    if layer.outputs:
        node.attr["dtype"].CopyFrom(attr_to_proto(layer.outputs[0].dtype))
    if layer.origin:
        node.attr["from"].CopyFrom(attr_to_proto(", ".join(layer.origin)))
    for name, value in layer.attrs.items():
        _add_attr(node, name, value)


def _add_attr(node: Any, name: str, value: Any) -> None:
    if isinstance(value, Tensor) and value.num_bytes > MOST_BYTES:
        node.attr[name].CopyFrom(attr_to_proto(str(value.type)))
        return
    try:
        node.attr[name].CopyFrom(attr_to_proto(value))
    except (TypeError, ValueError, TfGraphOptError):  # what GraphDefs have no form for is written as text
        node.attr[name].CopyFrom(attr_to_proto(str(value)))


def _source(value: Value) -> str:
    if value.producer is None:
        return _safe(value.name)
    name = _safe(value.producer.name)
    return name if value.index == 0 else f"{name}:{value.index}"


def _safe(name: str) -> str:
    """A node name; a colon would be read as the number of a result."""
    return name.replace(":", "_")
