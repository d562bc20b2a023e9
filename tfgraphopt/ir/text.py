"""The text form of the IR: what tests, dumps, diffs and fingerprints are made of.

::

    graph @main(%x: f32[?,224,224,3]) -> (%r as "r:0") {
      %w = Const {value = f32[7,7,3,64] sha:1f3a...}
      %c = Conv2D(%x, %w) {padding = "SAME", strides = [1,2,2,1]} ^init : f32[?,112,112,64] on "/GPU:0" @ "resnet/conv1"
      %r = Relu(%c) : f32[?,112,112,64]
    }

Attributes that the op's definition fills in (defaults, types told by the inputs) are left out. Names and ops are quoted when they
are not plain words. ``#`` starts a comment. Law: ``print(parse(print(g))) == print(g)`` and ``parse(print(g))`` equals ``g``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.errors import MutationError
from tfgraphopt.ir.body import Body
from tfgraphopt.ir.compare import same_attr
from tfgraphopt.ir.core import CONSTANT_OPS, Graph, Module, Node, Value
from tfgraphopt.ir.opdef import ArgDef, AttrPlaceholder, Attrs, AttrValue, FuncRef, OpDef
from tfgraphopt.ir.parse import parse_graph, parse_module
from tfgraphopt.ir.tensor import Tensor
from tfgraphopt.ir.types import DType, Shape

__all__ = ["parse_graph", "parse_module", "print_graph", "print_module"]

SMALL = 16  # elements of a constant that are written out
_LONG_STRINGS = 256  # bytes of text in a constant that are written out
_BARE_NAME = re.compile(r"[A-Za-z0-9_./-]+")
_BARE_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def print_graph(
    graph: Graph, *, normalise: bool = False, small: int = SMALL, tensors: MutableMapping[str, Tensor] | None = None
) -> str:
    """The text of ``graph``.

    Args:
        normalise: leave out names and origins, write every attribute, and bring the nodes into an order that follows from the
            structure: graphs that compute the same in the same way print equally, whatever they were called.
        small: constants of more elements than this are written as type and digest.
        tensors: receives, by digest, the constants that were written as a digest; parsing needs them.
    """
    return _Printer(normalise, small, tensors).graph("graph", graph)


def print_module(
    module: Module, *, normalise: bool = False, small: int = SMALL, tensors: MutableMapping[str, Tensor] | None = None
) -> str:
    """The text of ``module``: its facts, the main graph, the functions, the lowered bodies; see :func:`print_graph`."""
    printer = _Printer(normalise, small, tensors)
    if normalise:
        printer.functions = _function_numbers(module)
    parts = [printer.module_line(module)]
    parts += [f"opaque {printer.symbol(name)}" for name in sorted(module.opaque_functions)]
    parts.append(printer.graph("graph", module.main))
    parts += [printer.graph("function", module.functions[n]) for n in printer.ordered(module.functions)]
    for name in printer.ordered(module.lowered):
        parts.append(f"lowered {printer.symbol(name)} = {printer.graph('graph', module.lowered[name])}")
    return "\n".join(parts)


def quoted(text: str) -> str:
    """``text`` between double quotes, escaped as in JSON."""
    return json.dumps(text)


def _word(text: str) -> str:
    return text if _BARE_WORD.fullmatch(text) else quoted(text)


def _name(sigil: str, text: str) -> str:
    return sigil + (text if _BARE_NAME.fullmatch(text) else quoted(text))


@attrs.define(slots=True)
class _Printer:
    normalise: bool
    small: int
    tensors: MutableMapping[str, Tensor] | None
    functions: dict[str, str] = attrs.field(factory=dict)
    names: dict[Node | Value, str] = attrs.field(factory=dict)

    # -- graphs ------------------------------------------------------------------------------------------------------

    def module_line(self, module: Module) -> str:
        facts: dict[str, AttrValue] = {"gradients": module.gradients, "versions": module.versions}
        return f"module {self.attributes(facts)}"

    def ordered(self, graphs: Mapping[str, Graph]) -> list[str]:
        return sorted(graphs, key=lambda n: int(self.functions.get(n, "f0")[1:])) if self.functions else list(graphs)

    def graph(self, keyword: str, graph: Graph) -> str:
        nodes = _canonical(graph) if self.normalise else list(graph)
        self.names = _numbered(graph, nodes) if self.normalise else {}
        lines = [f"{keyword} {self._header(keyword, graph)} {{"]
        lines += [f"  {self.node(node)}" for node in nodes]
        return "\n".join([*lines, "}", ""])

    def _header(self, keyword: str, graph: Graph) -> str:
        anonymous = self.normalise and keyword == "graph"
        inputs = ", ".join(f"{self.value(v)}: {v.type}" for v in graph.inputs)
        outputs = ", ".join(self._output(v, n) for v, n in zip(graph.outputs, graph.output_names, strict=True))
        parts = [f"{'@graph' if anonymous else self.symbol(graph.name)}({inputs}) -> ({outputs})"]
        if graph.keep:
            parts.append("keep (" + ", ".join(self._kept(graph.keep)) + ")")
        if graph.dialect != "tf":
            parts.append(f"dialect {quoted(graph.dialect)}")
        if graph.attrs:
            parts.append(f"attrs {self.attributes(graph.attrs)}")
        return " ".join(parts)

    def _output(self, value: Value, name: str) -> str:
        plain = self.normalise or name == value.name
        return self.value(value) if plain else f"{self.value(value)} as {quoted(name)}"

    def _kept(self, keep: Mapping[str, Node]) -> list[str]:
        if self.normalise:
            return sorted({self._node_name("%", node) for node in keep.values()}, key=_by_length)
        return [_name("%", n.name) + ("" if key == n.name else f" as {quoted(key)}") for key, n in keep.items()]

    # -- nodes -------------------------------------------------------------------------------------------------------

    def node(self, node: Node) -> str:
        parts = [f"{self._node_name('%', node)} = {_word(node.op)}"]
        if node.inputs:
            parts[0] += "(" + ", ".join(self.value(v) for v in node.inputs) + ")"
        shown = self.shown_attrs(node)
        if shown:
            parts.append(self.attributes(shown))
        if node.control:
            parts.append(", ".join(self._control(node)))
        if node.outputs and not _typed_by_value(node):
            parts.append(": " + ", ".join(str(v.type) for v in node.outputs))
        if node.device:
            parts.append(f"on {quoted(node.device)}")
        if node.origin and not self.normalise:
            parts.append("@ " + ", ".join(quoted(o) for o in node.origin))
        return " ".join(parts)

    def shown_attrs(self, node: Node) -> Mapping[str, AttrValue]:
        if self.normalise:
            return {k: v for k, v in node.attrs.items() if k != "_class"}
        return _told_attrs(node)

    def _control(self, node: Node) -> list[str]:
        names = [self._node_name("^", c) for c in node.control]
        return sorted(names, key=_by_length) if self.normalise else names

    def _node_name(self, sigil: str, node: Node) -> str:
        return _name(sigil, self.names.get(node, node.name))

    def value(self, value: Value) -> str:
        if value.producer is None:
            return _name("%", self.names.get(value, value.name_hint))
        name = self._node_name("%", value.producer)
        return name if value.index == 0 else f"{name}:{value.index}"

    # -- attributes --------------------------------------------------------------------------------------------------

    def symbol(self, name: str) -> str:
        return _name("@", self.functions.get(name, name))

    def attributes(self, values: Mapping[str, AttrValue]) -> str:
        return "{" + ", ".join(f"{_word(k)} = {self.attr(values[k])}" for k in sorted(values)) + "}"

    def attr(self, value: AttrValue) -> str:
        if isinstance(value, tuple):
            return "[" + ",".join(self.attr(v) for v in value) + "]"
        if isinstance(value, Tensor):
            return f"{value.type} {self._elements(value)}"
        if isinstance(value, FuncRef):
            return self.symbol(value.name) + (self.attributes(dict(value.attrs)) if value.attrs else "")
        if isinstance(value, Body):
            return self._body(value)
        return _scalar(value)

    def _body(self, body: Body) -> str:
        inner = _Printer(self.normalise, self.small, self.tensors, self.functions)
        return inner.graph("graph", body.graph).rstrip("\n").replace("\n", "\n  ")

    def _elements(self, tensor: Tensor) -> str:
        if self._is_small(tensor):
            return _nested(tensor)
        if self.tensors is not None:
            self.tensors[tensor.digest] = tensor
        return f"sha:{tensor.digest}"

    def _is_small(self, tensor: Tensor) -> bool:
        if tensor.num_elements > self.small or not tensor.dtype.has_numpy:
            return False
        return tensor.dtype is not DType.STRING or sum(len(s) for s in tensor.numpy().reshape(-1)) <= _LONG_STRINGS


def _by_length(name: str) -> tuple[int, str]:
    return len(name), name


def _scalar(value: AttrValue) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, Shape):
        return f"shape{value}"
    if isinstance(value, AttrPlaceholder):
        return _name("$", value.name)
    return str(value)


def _bytes(data: bytes) -> str:
    plain = (chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in data)
    return 'b"' + "".join(plain) + '"'


def _nested(tensor: Tensor) -> str:
    array = tensor.numpy()
    if array.dtype.kind == "c":  # one more axis: real and imaginary part
        array = np.stack([array.real, array.imag], axis=-1)
    return _nested_array(array)


def _nested_array(array: Any) -> str:
    if not isinstance(array, np.ndarray):  # an element (numpy would strip zero bytes from texts)
        return element_text(array)
    if array.ndim == 0:
        return element_text(array[()])
    return "[" + ",".join(_nested_array(part) for part in array) + "]"


def element_text(element: Any) -> str:
    """One element of a tensor, exactly: floats that no decimal gives back bit by bit are written as bits."""
    if isinstance(element, (str, bytes)):
        return _scalar(element)
    dtype = np.asarray(element).dtype
    if dtype.kind == "b":
        return _scalar(bool(element))
    if dtype.kind in "iu" or "int" in dtype.name:
        return str(int(element))
    bits = np.asarray(element).tobytes()
    for text in (str(element), repr(float(element))):
        if np.asarray(float(text), dtype).tobytes() == bits:
            return text
    return f"0x{int.from_bytes(bits, 'little'):x}"


def _typed_by_value(node: Node) -> bool:
    tensor = node.attrs.get("value")
    return node.op in CONSTANT_OPS and isinstance(tensor, Tensor) and [v.type for v in node.outputs] == [tensor.type]


def _told_attrs(node: Node) -> Mapping[str, AttrValue]:
    """The attributes that the definition does not give back by itself."""
    definition = node.definition
    if definition is None:
        return node.attrs
    candidates = {a.name for a in definition.attrs if a.has_default} | set(
        _deduced([*definition.inputs, *definition.outputs])
    )
    told = {k: v for k, v in node.attrs.items() if k not in candidates}
    for _ in range(3):  # what is told in one round may decide what was deduced in the one before
        missing = _not_given_back(definition, node, told)
        if not missing:
            return told
        told.update(missing)
    return node.attrs


def _not_given_back(definition: OpDef, node: Node, told: Attrs) -> Attrs:
    try:
        again = definition.complete(node.inputs, told)
    except MutationError:
        return node.attrs
    return {k: v for k, v in node.attrs.items() if k not in again or not same_attr(again[k], v)}


def _deduced(args: Sequence[ArgDef]) -> Iterator[str]:
    for arg in args:
        yield from filter(None, (arg.type_attr, arg.number_attr, arg.type_list_attr))


# -- normal form -------------------------------------------------------------------------------------------------------


def _canonical(graph: Graph) -> list[Node]:
    """Depth first from the outputs: an order that depends on the structure alone (dead nodes follow as they stand)."""
    roots = [v.producer for v in graph.outputs if v.producer is not None]
    rank = _ranks(graph) if graph.keep or any(n.control for n in graph) else {}
    kept = sorted(set(graph.keep.values()), key=lambda n: (rank[n], n.position))
    done: dict[Node, None] = {}
    for root in [*roots, *kept, *graph]:
        _visit(root, done, rank)
    return list(done)


def _visit(root: Node, done: dict[Node, None], rank: Mapping[Node, bytes]) -> None:
    stack: list[tuple[Node, Iterator[Node]]] = [(root, _needed(root, rank))]
    while stack:
        node, needed = stack[-1]
        following = next((n for n in needed if n not in done), None)
        if following is not None:
            stack.append((following, _needed(following, rank)))
        else:
            done.setdefault(node)
            stack.pop()


def _needed(node: Node, rank: Mapping[Node, bytes]) -> Iterator[Node]:
    control = sorted(node.control, key=lambda n: (rank[n], n.position)) if node.control else ()
    return iter([*(v.producer for v in node.inputs if v.producer is not None), *control])


def _ranks(graph: Graph) -> dict[Node, bytes]:
    """An order among nodes that no edge orders: digests of what lies below and above them, refined twice."""
    printer = _Printer(True, 0, None)
    rank = {
        n: _digest(n.op, n.device, printer.attributes(printer.shown_attrs(n)), n in graph.keep.values()) for n in graph
    }
    results = {v: i for i, v in reversed(list(enumerate(graph.outputs)))}
    for _ in range(2):
        for node in graph:
            below = [
                rank[v.producer] + bytes([v.index % 256]) if v.producer else str(v.index).encode() for v in node.inputs
            ]
            rank[node] = _digest(rank[node], below, sorted(rank[c] for c in node.control))
        for node in reversed(graph):
            above = sorted(rank[u] + str(i).encode() for v in node.outputs for u, i in v.uses)
            fetched = [results.get(v, -1) for v in node.outputs]
            rank[node] = _digest(rank[node], above, sorted(rank[u] for u in node.control_users), fetched)
    return rank


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).digest()


def _numbered(graph: Graph, nodes: Iterable[Node]) -> dict[Node | Value, str]:
    names: dict[Node | Value, str] = {value: f"in{i}" for i, value in enumerate(graph.inputs)}
    names.update({node: str(i) for i, node in enumerate(nodes)})
    return names


def _function_numbers(module: Module) -> dict[str, str]:
    """New names by the order in which functions are first referred to."""
    names: dict[str, str] = {}
    graphs = [module.main]
    for graph in graphs:
        for node in _canonical(graph):
            for name in _referred(tuple(node.attrs[k] for k in sorted(node.attrs))):
                if name in module.functions and name not in names:
                    names[name] = f"f{len(names)}"
                    graphs.append(module.functions[name])
    for name in [*module.functions, *module.lowered]:
        names.setdefault(name, f"f{len(names)}")
    return names


def _referred(value: AttrValue) -> Iterator[str]:
    """The functions that an attribute value refers to."""
    if isinstance(value, tuple):
        for item in value:
            yield from _referred(item)
    elif isinstance(value, FuncRef):
        yield value.name
        yield from _referred(tuple(v for _, v in value.attrs))
