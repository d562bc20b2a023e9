"""The verifier: whether the IR obeys its own rules. It reports every violation, not the first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tfgraphopt.errors import InvalidGraph, MutationError
from tfgraphopt.ir.body import bodies_of
from tfgraphopt.ir.core import Graph, Module, Node, Value
from tfgraphopt.ir.names import LEGAL_NAME
from tfgraphopt.ir.opdef import ArgDef, Attrs, AttrValue, FuncRef, OpDef
from tfgraphopt.ir.tensor import Tensor
from tfgraphopt.ir.types import DType

_LEGAL_INPUT = re.compile(r"[^\s:^]+")


def verify(module: Module) -> None:
    """Return if every graph of ``module`` is sound and every function reference resolves.

    Raises:
        InvalidGraph: with all violations, each naming graph, node, op and the nodes of the user that it comes from.
    """
    _raise("the module breaks {} of the IR's rules", violations(module))


def verify_graph(graph: Graph, module: Module | None = None) -> None:
    """Return if ``graph`` alone is sound; with ``module`` its references to functions are checked too.

    Raises:
        InvalidGraph: with all violations.
    """
    _raise(f"graph {graph.name!r} breaks {{}} of the IR's rules", graph_violations(graph, module))


def violations(module: Module) -> list[str]:
    """Every broken rule of every graph of ``module``, one line each; empty when it is sound."""
    found = list(_module_violations(module))
    for graph in module.graphs():
        found += graph_violations(graph, module)
    return found


def graph_violations(graph: Graph, module: Module | None = None) -> list[str]:
    """Every broken rule of ``graph``, one line each."""
    found = list(_links(graph))
    if not found:  # a broken list cannot be walked
        found += _interface(graph)
        for node in graph:
            found += [f"{_label(node)}: {line}" for line in _node(graph, node, module)]
    return [f"graph {graph.name!r}: {line}" for line in found]


def _raise(what: str, found: Sequence[str]) -> None:
    if found:
        raise InvalidGraph(what.format(len(found)), found)


def _label(node: Node) -> str:
    known = f" (from {', '.join(node.origin)})" if node.origin and node.origin != (node.name,) else ""
    return f"{node.op} node {node.name!r}{known}"


# -- the module --------------------------------------------------------------------------------------------------------


def _module_violations(module: Module) -> Iterator[str]:
    for name, function in module.functions.items():
        if function.name != name:
            yield f"function {name!r} holds graph {function.name!r}"
    for name in module.lowered.keys() - module.functions.keys():
        if all(graph.find(name) is None for graph in module.graphs("tf")):
            yield f"lowered body {name!r} stands beside no function and belongs to no node"
    for name in module.opaque_functions.keys() & module.functions.keys():
        yield f"function {name!r} is both read and opaque"
    seen: dict[int, str] = {}
    for graph in module.graphs():
        if id(graph) in seen:
            yield f"graph {graph.name!r} is in the module twice"
        seen[id(graph)] = graph.name


# -- the list of nodes -------------------------------------------------------------------------------------------------


def _links(graph: Graph) -> Iterator[str]:
    """The linked list: links mirror each other, order numbers rise, and it holds exactly the named nodes."""
    walked: dict[Node, None] = {}
    node, before = graph._head, None
    while node is not None and node not in walked:
        walked[node] = None
        if node._prev is not before:
            yield f"{_label(node)}: its predecessor in the list is {node._prev}, not {before}"
        if before is not None and not before._order < node._order:
            yield f"{_label(node)}: its order number does not rise"
        node, before = node._next, node
    if node is not None:
        yield f"{_label(node)}: the list of nodes runs in a circle"
    if graph._tail is not before and node is None:
        yield f"the list ends with {before}, its tail is {graph._tail}"
    yield from _membership(graph, walked)


def _membership(graph: Graph, walked: dict[Node, None]) -> Iterator[str]:
    for node in walked:
        if node._graph is not graph:
            yield f"{_label(node)}: it is in the list but belongs to {node._graph}"
        if graph._nodes.get(node.name) is not node:
            yield f"{_label(node)}: it is not found under its name"
    for name, node in graph._nodes.items():
        if node not in walked:
            yield f"{_label(node)}: it is named {name!r} but is not in the list"


# -- the interface -----------------------------------------------------------------------------------------------------


def _interface(graph: Graph) -> Iterator[str]:
    for index, value in enumerate(graph.inputs):
        if value._graph is not graph or value.producer is not None or value.index != index:
            yield f"input {index} (%{value.name}) is not a formal input of this graph"
        if not _LEGAL_INPUT.fullmatch(value.name_hint):
            yield f"input name {value.name_hint!r} is not legal"
        if value.name_hint in graph._nodes:
            yield f"input %{value.name_hint} has the name of a node"
        yield from (f"input %{value.name}: {line}" for line in _uses(graph, value))
    yield from (f"two inputs are called {name!r}" for name in _repeated(v.name_hint for v in graph.inputs))
    yield from _results(graph)


def _results(graph: Graph) -> Iterator[str]:
    for value in graph.outputs:
        yield from (f"output %{value.name}: {line}" for line in _alive(graph, value))
    if len(graph.output_names) != len(graph.outputs):
        yield f"{len(graph.outputs)} outputs have {len(graph.output_names)} names"
    yield from (f"two outputs are called {name!r}" for name in _repeated(graph.output_names))
    for key, node in graph.keep.items():
        if node._graph is not graph:
            yield f"kept node {key!r} ({node.name!r}) is not in this graph"


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [n for n in names if n in seen or seen.add(n)]  # type: ignore[func-returns-value]


def _alive(graph: Graph, value: Value) -> Iterator[str]:
    producer = value.producer
    if value._graph is not graph:
        yield f"it belongs to graph {value._graph.name!r}"
    elif producer is None:
        if not any(v is value for v in graph.inputs):
            yield "it is no input of this graph"
    elif producer._graph is not graph:
        yield f"its node {producer.name!r} has been erased"
    elif value.index >= len(producer.outputs) or producer.outputs[value.index] is not value:
        yield f"it is not result {value.index} of {producer.name!r}"


def _uses(graph: Graph, value: Value) -> Iterator[str]:
    for user, index in value._uses:
        if user._graph is not graph:
            yield f"its use list names {user.name!r}, which is not in this graph"
        elif index >= len(user.inputs) or user.inputs[index] is not value:
            yield f"its use list names input {index} of {user.name!r}, which reads something else"


# -- one node ----------------------------------------------------------------------------------------------------------


def _node(graph: Graph, node: Node, module: Module | None) -> Iterator[str]:
    if not LEGAL_NAME.fullmatch(node.name):
        yield "its name is not legal"
    yield from _operands(graph, node)
    yield from _waits(graph, node)
    for index, value in enumerate(node.outputs):
        if value._graph is not graph or value.producer is not node or value.index != index:
            yield f"result {index} does not know that it is its result {index}"
        yield from (f"result {index}: {line}" for line in _uses(graph, value))
    if node.definition is not graph.ops.get(node.op):
        yield f"its definition is not that of op {node.op!r}"
    elif node.definition is not None:
        yield from _definition(node, node.definition)
    for body in bodies_of(node):
        yield from graph_violations(body, module)
    if module is not None:
        yield from (f"it refers to function {n!r}, which does not exist" for n in _dangling(module, node))


def _operands(graph: Graph, node: Node) -> Iterator[str]:
    for index, value in enumerate(node.inputs):
        problems = list(_alive(graph, value))
        yield from (f"input {index} (%{value.name}): {line}" for line in problems)
        if (node, index) not in value._uses:
            yield f"input {index} (%{value.name}) does not list it as a use"
        if not problems and value.producer is not None and value.producer._order >= node._order:
            yield f"input {index} (%{value.name}) is computed only after it"


def _waits(graph: Graph, node: Node) -> Iterator[str]:
    for other in node.control:
        if other._graph is not graph:
            yield f"it waits for {other.name!r}, which is not in this graph"
        elif other._order >= node._order:
            yield f"it waits for {other.name!r}, which comes after it"
        if node not in other._control_uses:
            yield f"{other.name!r} does not list it as a control use"
    if len(set(node.control)) != len(node.control):
        yield "it waits twice for one node"
    for user in node._control_uses:
        if user._graph is not graph or node not in user.control:
            yield f"its control uses list {user.name!r}, which does not wait for it"


def _definition(node: Node, definition: OpDef) -> Iterator[str]:
    wrong = list(_attrs(node, definition))
    yield from wrong
    if wrong:
        return  # what follows from the attributes would only repeat it
    if definition.inputs or definition.infer is None:
        yield from _signature("input", [v.dtype for v in node.inputs], definition.inputs, node.attrs)
    if definition.outputs or definition.infer is None:
        yield from _signature("result", [v.dtype for v in node.outputs], definition.outputs, node.attrs)
    if definition.infer is not None:
        yield from _inferred(node, definition)


def _attrs(node: Node, definition: OpDef) -> Iterator[str]:
    for attr in definition.attrs:
        if attr.name not in node.attrs:
            yield f"attribute {attr.name!r} is missing"
        elif not attr.accepts(node.attrs[attr.name]) and not (
            attr.has_default and node.attrs[attr.name] == attr.default
        ):
            yield f"attribute {attr.name!r} must be of kind {attr.kind}, not {node.attrs[attr.name]!r}"
    if node.op == "Const" and _disagrees(node):
        yield "its value, its attribute 'dtype' and its result type disagree"


def _disagrees(node: Node) -> bool:
    dtype, tensor = node.attrs.get("dtype"), node.attrs.get("value")
    if not isinstance(tensor, Tensor):
        return False
    return tensor.dtype is not dtype or any(not tensor.shape.compatible(v.shape) for v in node.outputs)


def _signature(what: str, found: Sequence[DType], args: Sequence[ArgDef], values: Attrs) -> Iterator[str]:
    try:
        expected = [dtype for arg in args for dtype in arg.dtypes(values)]
    except MutationError as error:
        yield error.what
        return
    if len(expected) != len(found):
        yield f"it has {len(found)} {what}s, not {len(expected)}"
        return
    for index, (is_, must) in enumerate(zip(found, expected, strict=True)):
        if is_ is not must:
            yield f"{what} {index} is {is_}, not {must}"


def _inferred(node: Node, definition: OpDef) -> Iterator[str]:
    assert definition.infer is not None
    try:
        types = definition.infer(node.inputs, node.attrs)
    except Exception as error:
        yield f"its result types cannot be inferred: {error}"
        return
    if len(types) != len(node.outputs):
        yield f"it has {len(node.outputs)} results, not {len(types)}"
        return
    for value, type_ in zip(node.outputs, types, strict=True):
        if value.dtype is not type_.dtype or not value.shape.compatible(type_.shape):
            yield f"result {value.index} is {value.type}; its definition infers {type_}"


def _dangling(module: Module, node: Node) -> Iterator[str]:
    """Functions that attributes of the op's definition name and nobody has (an op may stand in for a function)."""
    known = () if node.definition is None else node.definition.attrs
    for name in _references(tuple(node.attrs.get(a.name) for a in known)):
        if name and name not in module.functions and name not in module.opaque_functions and name not in module.ops:
            yield name


def _references(value: AttrValue) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _references(item)
    elif isinstance(value, FuncRef):
        yield value.name
        yield from _references(tuple(v for _, v in value.attrs))
