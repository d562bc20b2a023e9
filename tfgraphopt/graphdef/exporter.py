"""Module to GraphDef."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2

from tfgraphopt.errors import GraphDefError
from tfgraphopt.graphdef.attributes import attr_to_proto
from tfgraphopt.ir import AttrValue, FuncRef, Graph, Module, Node, Tensor, Value

GraphDef: TypeAlias = Any


def export_graph_def(module: Module, *, verbatim: bool = True) -> GraphDef:
    """The GraphDef of a Module; what the caller fetched is there under the same names.

    ``verbatim`` gives functions that nobody changed back as they came instead of writing them anew.

    Raises:
        GraphDefError: its constants do not fit into one.
    """
    _check_size(module)
    proto = graph_pb2.GraphDef()
    proto.versions.producer, proto.versions.min_consumer = module.versions[:2]
    proto.versions.bad_consumers.extend(module.versions[2])
    _export_main(module.main, proto)
    for name, function in module.functions.items():
        proto.library.function.append(export_function(name, function, verbatim))
    for opaque in module.opaque_functions.values():
        assert isinstance(opaque, function_pb2.FunctionDef)
        proto.library.function.append(opaque)
    for function_name, gradient in module.gradients:
        proto.library.gradient.add(function_name=function_name, gradient_func=gradient)
    return proto


def _check_size(module: Module) -> None:
    """Before gigabytes are copied into what nobody could write or run."""
    values = [v for g in module.graphs("tf") for n in g for v in n.attrs.values() if isinstance(v, Tensor | bytes)]
    size = sum(v.num_bytes if isinstance(v, Tensor) else len(v) for v in values)
    if size >= MOST_BYTES:
        raise GraphDefError(
            f"there is no GraphDef of this model: its constants and plans have {size / 1e9:.2f} GB",
            why="a protocol buffer ends at 2 GB",
            hint="take the result's function, or save() it: a SavedModel keeps weights in variables and plans in files. What wants a "
            "frozen graph (the command line's input, INT8 calibration, verify, bench) needs a smaller model",
        )  # fmt: skip


MOST_BYTES = 1 << 31


def _export_main(graph: Graph, proto: GraphDef) -> None:
    displaced, wrappers = _output_wrappers(graph)
    renamed = {name: _free_name(graph, f"{name}_replaced") for name in displaced}
    for node in graph:
        export_node(node, proto.node.add(), lambda v: reference(v, renamed), renamed)
    for name, values in wrappers.items():
        wrapper = proto.node.add(name=name, op="Identity" if len(values) == 1 else "IdentityN")
        wrapper.input.extend(reference(v, renamed) for v in values)
        types: AttrValue = values[0].dtype if len(values) == 1 else tuple(v.dtype for v in values)
        wrapper.attr["T"].CopyFrom(attr_to_proto(types))


def _output_wrappers(graph: Graph) -> tuple[set[str], dict[str, list[Value]]]:
    """Nodes to write so that every output is found under its name, and nodes that have to give a name up for it."""
    wanted: dict[str, dict[int, Value]] = {}
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        node_name, _, index = name.partition(":")
        wanted.setdefault(node_name, {})[int(index or 0)] = value
    wrappers: dict[str, list[Value]] = {}
    for name, values in wanted.items():
        node = graph.find(name)
        if node is None or any(v.producer is not node or v.index != i for i, v in values.items()):
            filler = next(iter(values.values()))
            wrappers[name] = [values.get(i, filler) for i in range(max(values) + 1)]
    return {n for n in wrappers if graph.find(n) is not None}, wrappers


def _free_name(graph: Graph, name: str) -> str:
    while graph.find(name) is not None:
        name += "_"
    return name


def reference(value: Value, renamed: Mapping[str, str]) -> str:
    """How a node of a GraphDef refers to ``value``, under the new names of nodes."""
    if value.producer is None:
        return value.name_hint
    name = renamed.get(value.producer.name, value.producer.name)
    return name if value.index == 0 else f"{name}:{value.index}"


def export_node(
    node: Node, proto: node_def_pb2.NodeDef, refer: Callable[[Value], str], renamed: Mapping[str, str]
) -> None:
    extra = node.graph.extras.get(node.name)
    if isinstance(extra, node_def_pb2.NodeDef) and extra.op == node.op:
        proto.experimental_debug_info.CopyFrom(extra.experimental_debug_info)
        if extra.HasField("experimental_type"):
            proto.experimental_type.CopyFrom(extra.experimental_type)
    proto.name, proto.op, proto.device = renamed.get(node.name, node.name), node.op, node.device
    proto.input.extend(refer(v) for v in node.inputs)
    proto.input.extend("^" + renamed.get(c.name, c.name) for c in node.control)
    kinds = {a.name: a.kind for a in node.definition.attrs} if node.definition else {}
    for name, value in node.attrs.items():
        if name == "_class":
            value = _live_colocation(node.graph, value)
            if not value:
                continue
        proto.attr[name].CopyFrom(attr_to_proto(value, kinds.get(name, "")))


def _live_colocation(graph: Graph, value: AttrValue) -> AttrValue:
    """Colocation with a node that is gone would make TensorFlow refuse the graph."""
    if not isinstance(value, tuple):
        return value
    return tuple(v for v in value if not str(v).startswith("loc:@") or graph.find(str(v)[5:]) is not None)


def export_function(name: str, graph: Graph, verbatim: bool) -> function_pb2.FunctionDef:
    source, version = graph.source if isinstance(graph.source, tuple) else (None, -1)
    if verbatim and isinstance(source, function_pb2.FunctionDef) and version == graph.version:
        return source
    proto = function_pb2.FunctionDef()
    if isinstance(source, function_pb2.FunctionDef):
        proto.CopyFrom(source)
        for field in ("node_def", "ret", "control_ret", "attr"):
            proto.ClearField(field)
    _export_signature(name, graph, proto)
    for key, value in graph.attrs.items():
        proto.attr[key].CopyFrom(attr_to_proto(value))
    for node in graph:
        export_node(node, proto.node_def.add(), _function_reference, {})
    for out, returned in zip(graph.output_names, graph.outputs, strict=True):
        proto.ret[out] = _function_reference(returned)
    for key, node in graph.keep.items():
        proto.control_ret[key] = node.name
    return proto


def original_name(graph: Graph) -> str:
    """The name of the FunctionDef that a function was imported from, or is a changed copy of; its own where there is none."""
    source = graph.source[0] if isinstance(graph.source, tuple) else None
    return str(source.signature.name) if isinstance(source, function_pb2.FunctionDef) else graph.name


def _export_signature(name: str, graph: Graph, proto: function_pb2.FunctionDef) -> None:
    signature = proto.signature
    same_args = [a.name for a in signature.input_arg] == [v.name_hint for v in graph.inputs]
    signature.name = name
    if not same_args:
        signature.ClearField("input_arg")
        proto.ClearField("arg_attr")
        for index, value in enumerate(graph.inputs):
            signature.input_arg.add(name=value.name_hint, type=value.dtype.number)
            if value.shape.rank is not None:
                proto.arg_attr[index].attr["_output_shapes"].CopyFrom(attr_to_proto((value.shape,), "list(shape)"))
    if [a.name for a in signature.output_arg] != list(graph.output_names):
        signature.ClearField("output_arg")
        for out, value in zip(graph.output_names, graph.outputs, strict=True):
            signature.output_arg.add(name=out, type=value.dtype.number)
    del signature.control_output[:]
    signature.control_output.extend(graph.keep)
    signature.is_stateful = signature.is_stateful or any(
        n.definition is not None and n.definition.stateful for n in graph
    )


def _function_reference(value: Value) -> str:
    producer = value.producer
    if producer is None:
        return value.name_hint
    assert producer.definition is not None
    for arg, part in producer.definition.slices(producer.definition.outputs, producer.attrs).items():
        if part.start <= value.index < part.stop:
            return f"{producer.name}:{arg}:{value.index - part.start}"
    raise GraphDefError(f"result {value.index} of {producer.op} has no argument name", where=(producer.name,))


def opaque_to_bytes(name: str, function: object) -> bytes:
    """The bytes of a function that a module carries along unread."""
    if not isinstance(function, function_pb2.FunctionDef):
        raise GraphDefError(f"function {name!r} is a {type(function).__name__}, not a FunctionDef")
    data: bytes = function.SerializeToString(deterministic=True)
    return data


def opaque_of_bytes(data: bytes) -> tuple[str, object]:
    """Name and value of a function that :func:`opaque_to_bytes` wrote."""
    function = function_pb2.FunctionDef.FromString(data)
    return function.signature.name, function


def function_names(values: Iterable[AttrValue]) -> set[str]:
    """Names of the functions that attribute values refer to."""
    found: set[str] = set()
    for value in values:
        items = value if isinstance(value, tuple) else (value,)
        for ref in items:
            if isinstance(ref, FuncRef):
                found |= {ref.name} | function_names(v for _, v in ref.attrs)
    return found
