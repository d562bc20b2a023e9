"""A function of a library as a module of its own, to be optimised like a frozen graph, and that module as a function again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2
from tensorflow.python.framework import versions

from tfgraphopt.errors import GraphDefError
from tfgraphopt.graphdef.attributes import attr_of_proto, attr_to_proto
from tfgraphopt.graphdef.exporter import export_function, function_names
from tfgraphopt.graphdef.importer import import_graph_def
from tfgraphopt.ir import UNKNOWN_SHAPE, AttrValue, DType, Graph, Module, Node, OpTable, TensorType, Value
from tfgraphopt.regions import copy_nodes

FunctionDef: TypeAlias = Any
Library: TypeAlias = Mapping[str, FunctionDef]
Copying: TypeAlias = Callable[[Graph, Iterable[Node], dict[Value, Value], Mapping[str, Value]], dict[Node, Node]]
_FED = "Placeholder"


def called_names(nodes: Iterable[node_def_pb2.NodeDef]) -> set[str]:
    """Every name that nodes may call: their ops, and the functions in their attributes."""
    names: set[str] = set()
    for node in nodes:
        names.add(node.op)
        for value in node.attr.values():
            references = [value.func] if value.HasField("func") else value.list.func
            names |= {r.name for r in references}
    return names


def reachable(library: Library, roots: Iterable[str]) -> dict[str, FunctionDef]:
    """The functions of ``library`` that ``roots`` may call over any number of steps, themselves included, in its order."""
    found: set[str] = set()
    waiting = [r for r in roots if r in library]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(called_names(library[name].node_def) & library.keys() - found)
    return {name: function for name, function in library.items() if name in found}


def function_module(library: Library, name: str, inputs: Sequence[str], outputs: Sequence[str], ops: OpTable) -> Module:
    """The module whose main graph is function ``name``: its arguments are placeholders that have the names ``inputs``.

    Args:
        library: functions by name.
        name: the function; it must not be polymorphic.
        inputs, outputs: what its arguments and results are called; an output gets a suffix where a node has its name.
        ops: op definitions.

    Raises:
        GraphDefError: there is no such function, or it cannot be imported.
    """
    proto = graph_pb2.GraphDef()
    proto.versions.producer = versions.GRAPH_DEF_VERSION
    proto.library.function.extend(reachable(library, [name]).values())
    module = import_graph_def(proto, [], ops=ops)
    body = module.functions.get(name)
    if body is None:
        raise GraphDefError(f"function {name!r} cannot be optimised", why="there is none, or its types are not known")
    main = module.main
    values = {v: _placeholder(main, v, given) for v, given in zip(body.inputs, inputs, strict=True)}
    clones = copy_nodes(main, body, values)
    taken = {n.name for n in main}
    main.set_outputs([values[v] for v in body.outputs], [_free(o, taken) for o in outputs])
    main.set_keep({key: clones[node] for key, node in body.keep.items()})
    if not _is_called(module, name):
        module.functions.pop(name)
    return module


def _placeholder(graph: Graph, value: Value, name: str) -> Value:
    attributes: dict[str, AttrValue] = {"dtype": value.dtype, "shape": value.shape}
    return graph.add(_FED, [], attributes, name=name, origin=(name,), types=[value.type]).output


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_output"
    taken.add(name)
    return f"{name}:0"


def _is_called(module: Module, name: str) -> bool:
    nodes = [n for g in module.graphs("tf") if g.name != name for n in g]
    return any(n.op == name or name in function_names(n.attrs.values()) for n in nodes)


def module_functions(
    module: Module, original: FunctionDef, inputs: Sequence[str],
    copy: Copying = lambda graph, nodes, values, arguments: copy_nodes(graph, nodes, values),
    made: Mapping[str, Graph] | None = None,
) -> tuple[FunctionDef, list[FunctionDef]]:  # fmt: skip
    """A module that :func:`function_module` made, as a function with the signature of ``original``; and the functions it calls.

    ``copy(graph, nodes, values, arguments)`` copies the nodes of the main graph, as :func:`tfgraphopt.regions.copy_nodes` does, and may
    put what it makes of the arguments (by name) in the place of some; ``made`` are the functions that it has made then.
    """
    name = original.signature.name
    graph = Graph(name, module.ops)
    graph.source = (original, -1)
    graph.attrs = _attrs_of(module, original)
    main = module.main
    arguments = _arguments(graph, original, inputs, main)
    values = {node.outputs[0]: arguments[node.name] for node in main if node.op == _FED and node.name in arguments}
    clones = copy(graph, [n for n in main if not n.outputs or n.outputs[0] not in values], values, arguments)
    graph.set_outputs([values[v] for v in main.outputs], [a.name for a in original.signature.output_arg])
    graph.set_keep({key: clones[node] for key, node in main.keep.items() if node in clones})
    called = [export_function(n, g, True) for n, g in {**module.functions, **({} if made is None else made)}.items()]
    called += [f for f in module.opaque_functions.values() if isinstance(f, function_pb2.FunctionDef)]
    return export_function(name, graph, False), called


def _arguments(graph: Graph, original: FunctionDef, inputs: Sequence[str], main: Graph) -> dict[str, Value]:
    """The formal inputs of ``graph``, as the signature of ``original`` has them, by the names of the placeholders in ``main``."""
    arguments = {}
    for given, arg in zip(inputs, original.signature.input_arg, strict=True):
        node = main.find(given)  # there is none where nothing needed it
        type_ = TensorType(DType.of_number(arg.type), UNKNOWN_SHAPE) if node is None else node.outputs[0].type
        arguments[given] = graph.add_input(arg.name, type_)
        graph.reserve(arg.name)
    return arguments


def _attrs_of(module: Module, original: FunctionDef) -> dict[str, Any]:
    return {key: attr_of_proto(value) for key, value in original.attr.items()}


def with_attrs(function: FunctionDef, attributes: Mapping[str, AttrValue]) -> FunctionDef:
    """A copy of ``function`` that has ``attributes`` besides its own."""
    copy = function_pb2.FunctionDef()
    copy.CopyFrom(function)
    for key, value in attributes.items():
        copy.attr[key].CopyFrom(attr_to_proto(value))
    return copy


def rename_calls(function: FunctionDef, names: Mapping[str, str]) -> FunctionDef:
    """A copy of ``function`` that goes by its new name and calls functions by their new names."""
    copy = function_pb2.FunctionDef()
    copy.CopyFrom(function)
    copy.signature.name = names.get(copy.signature.name, copy.signature.name)
    for node in copy.node_def:
        node.op = names.get(node.op, node.op)
        for value in node.attr.values():
            for reference in [value.func] if value.HasField("func") else value.list.func:
                reference.name = names.get(reference.name, reference.name)
    return copy
