"""One graph as bytes and back: to send it to a worker process, to keep it in a reproducer, to tell it from others.

Layout: 4 bytes magic, 4 bytes version, 8 bytes length of the header, the header in JSON, then the elements of the
constants, each at a multiple of 64 bytes from the end of the header. All numbers are little-endian. Nothing in it is
executed.

``unpack(pack(g))`` has the nodes, names, order, types, attributes, control edges, origins, outputs and kept nodes of
``g``. What belongs to an importer (``source``, ``extras``) does not travel.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.errors import GraphDefError
from tfgraphopt.ir.body import Body
from tfgraphopt.ir.core import Graph, Node, Value
from tfgraphopt.ir.opdef import AttrPlaceholder, AttrValue, FuncRef, OpTable
from tfgraphopt.ir.tensor import Array, Tensor
from tfgraphopt.ir.types import DType, Shape, TensorType

MAGIC = b"tgog"
VERSION = 1
_PREFIX = struct.Struct("<4sIQ")
_ALIGN = 64

Json = Any


def pack(graph: Graph) -> bytes:
    """``graph`` as bytes; the same graph always gives the same bytes.

    Raises:
        TypeError: an attribute is of a kind that the IR does not know (the message names node and attribute).
    """
    blobs = _Blobs()
    header = json.dumps(_graph_to_json(graph, blobs.add), separators=(",", ":")).encode()
    return b"".join([_PREFIX.pack(MAGIC, VERSION, len(header)), header, *blobs.parts])


def unpack(data: bytes | memoryview, ops: OpTable) -> Graph:
    """The graph that :func:`pack` made ``data`` from; constants are views of ``data``.

    Args:
        data: what :func:`pack` gave.
        ops: the definitions that the nodes shall have; result types are taken from ``data``, not inferred.

    Raises:
        GraphDefError: the bytes are not a packed graph of this version, or are cut short.
    """
    view = memoryview(data)
    header, start = _header(view)
    return _Reader(view[start:], ops).graph(header)


def fingerprint(graph: Graph) -> str:
    """SHA-256 (hex) over everything that :func:`pack` writes, constants by their digest."""
    header = _graph_to_json(graph, lambda tensor: {"type": str(tensor.type), "sha256": tensor.digest})
    return hashlib.sha256(json.dumps(header, separators=(",", ":")).encode()).hexdigest()


# -- writing ---------------------------------------------------------------------------------------------------------

Keep = Callable[[Tensor], Json]


@attrs.define(slots=True)
class _Blobs:
    """The elements of the constants; a tensor that occurs twice is written once."""

    parts: list[bytes | memoryview] = attrs.field(factory=list)
    size: int = 0
    known: dict[int, tuple[Json, Tensor]] = attrs.field(factory=dict)

    def add(self, tensor: Tensor) -> Json:
        if id(tensor) not in self.known:
            data = _elements(tensor)
            dims = list(tensor.shape.static())
            place = {"dtype": tensor.dtype.text, "dims": dims, "at": self.size, "bytes": len(data)}
            padding = bytes(-len(data) % _ALIGN)
            self.parts += [data, padding]
            self.size += len(data) + len(padding)
            self.known[id(tensor)] = (place, tensor)  # holding the tensor keeps its id from being reused
        return self.known[id(tensor)][0]


def _elements(tensor: Tensor) -> bytes | memoryview:
    array = tensor.numpy()
    if tensor.dtype is DType.STRING:
        return json.dumps([_attr_to_json(text, _no_tensor) for text in array.reshape(-1).tolist()]).encode()
    return np.asarray(array, order="C").reshape(-1).view(np.uint8).data


def _no_tensor(tensor: Tensor) -> Json:
    raise TypeError("a tensor cannot hold a tensor")


def _graph_to_json(graph: Graph, keep: Keep) -> Json:
    values = [*graph.inputs, *(v for node in graph for v in node.outputs)]
    number = {value: i for i, value in enumerate(values)}
    order = {node: i for i, node in enumerate(graph)}
    return {
        "name": graph.name,
        "dialect": graph.dialect,
        "attrs": _attrs_to_json(graph.attrs, keep, graph.name),
        "inputs": [[v.name_hint, _type_to_json(v.type)] for v in graph.inputs],
        "nodes": [_node_to_json(node, number, order, keep) for node in graph],
        "outputs": [number[v] for v in graph.outputs],
        "output_names": list(graph.output_names),
        "keep": {name: order[node] for name, node in graph.keep.items()},
    }


def _node_to_json(node: Node, number: Mapping[Value, int], order: Mapping[Node, int], keep: Keep) -> Json:
    data = {
        "op": node.op,
        "name": node.name,
        "inputs": [number[v] for v in node.inputs],
        "control": [order[c] for c in node.control],
        "attrs": _attrs_to_json(node.attrs, keep, node.name),
        "types": [_type_to_json(v.type) for v in node.outputs],
        "hints": [v.name_hint for v in node.outputs] if any(v.name_hint for v in node.outputs) else [],
        "origin": list(node.origin),
        "device": node.device,
    }
    return {k: v for k, v in data.items() if v}


def _type_to_json(type: TensorType) -> Json:
    return [type.dtype.text, None if type.shape.dims is None else list(type.shape.dims)]


def _attrs_to_json(values: Mapping[str, AttrValue], keep: Keep, where: str) -> Json:
    found = {}
    for name in sorted(values):
        try:
            found[name] = _attr_to_json(values[name], keep)
        except TypeError as error:
            raise TypeError(f"attribute {name!r} of {where!r}: {error}") from error
    return found


def _attr_to_json(value: Any, keep: Keep) -> Json:
    if isinstance(value, Tensor):
        return {"tensor": keep(value)}
    if isinstance(value, tuple):
        return [_attr_to_json(item, keep) for item in value]
    if isinstance(value, Body):
        return {"graph": _graph_to_json(value.graph, keep)}
    write = _WRITERS.get(type(value))
    if write is None:
        raise TypeError(f"cannot write {value!r}, a {type(value).__name__}")
    return write(value)


def _float_to_json(value: float) -> Json:
    return {"float": value.hex()} if value != value or value in (float("inf"), float("-inf")) else value


def _func_to_json(value: FuncRef) -> Json:
    return {"func": value.name, "attrs": [[k, _attr_to_json(v, _no_tensor)] for k, v in value.attrs]}


_WRITERS: Mapping[type, Callable[[Any], Json]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    int: lambda value: value,
    str: lambda value: value,
    float: _float_to_json,
    bytes: lambda value: {"bytes": base64.b64encode(value).decode()},
    DType: lambda value: {"dtype": value.text},
    Shape: lambda value: {"shape": None if value.dims is None else list(value.dims)},
    FuncRef: _func_to_json,
    AttrPlaceholder: lambda value: {"placeholder": value.name},
}


# -- reading ---------------------------------------------------------------------------------------------------------


def _header(view: memoryview) -> tuple[Json, int]:
    if len(view) < _PREFIX.size or bytes(view[:4]) != MAGIC:
        raise GraphDefError("these bytes are not a packed graph")
    _, version, length = _PREFIX.unpack(view[: _PREFIX.size])
    if version != VERSION:
        raise GraphDefError(f"the packed graph is of version {version}; this tfgraphopt reads version {VERSION}")
    start = _PREFIX.size + length
    try:
        return json.loads(bytes(view[_PREFIX.size : start])), start
    except ValueError as error:
        raise GraphDefError("the packed graph is cut short or damaged", why=str(error)) from error


@attrs.define(slots=True)
class _Reader:
    """Rebuilds a graph; ``blobs`` are the elements of its constants."""

    blobs: memoryview
    ops: OpTable
    tensors: dict[tuple[Any, ...], Tensor] = attrs.field(factory=dict)

    def graph(self, data: Json) -> Graph:
        graph = Graph(data["name"], self.ops, data["dialect"])
        graph.attrs.update(self._attrs(data["attrs"]))
        values = [graph.add_input(name, _type(kind)) for name, kind in data["inputs"]]
        nodes: list[Node] = []
        for item in data["nodes"]:
            nodes.append(self._node(graph, item, values, nodes))
            values += nodes[-1].outputs
        graph.set_outputs([values[i] for i in data["outputs"]], data["output_names"])
        graph.set_keep({name: nodes[i] for name, i in data["keep"].items()})
        return graph

    def _node(self, graph: Graph, item: Json, values: Sequence[Value], nodes: Sequence[Node]) -> Node:
        node = graph.add(
            item["op"],
            [values[i] for i in item.get("inputs", ())],
            self._attrs(item.get("attrs", {})),
            name=item["name"],
            control=[nodes[i] for i in item.get("control", ())],
            device=item.get("device", ""),
            origin=item.get("origin", ()),
            types=[_type(t) for t in item.get("types", ())],
        )
        for value, hint in zip(node.outputs, item.get("hints", ()), strict=False):
            value.name_hint = hint
        return node

    def _attrs(self, data: Mapping[str, Json]) -> dict[str, AttrValue]:
        return {name: self._attr(value) for name, value in data.items()}

    def _attr(self, data: Json) -> AttrValue:
        if isinstance(data, list):
            return tuple(self._attr(item) for item in data)
        if not isinstance(data, dict):
            return data  # type: ignore[no-any-return]  # None, bool, int, float or str
        if "tensor" in data:
            return self._tensor(data["tensor"])
        if "graph" in data:
            return Body(self.graph(data["graph"]))
        read: AttrValue = _READERS[next(iter(data))](data)
        return read

    def _tensor(self, place: Json) -> Tensor:
        key = (place["at"], place["dtype"], *place["dims"])
        if key not in self.tensors:
            self.tensors[key] = self._load(place)
        return self.tensors[key]

    def _load(self, place: Json) -> Tensor:
        dtype, dims = DType.of_text(place["dtype"]), tuple(place["dims"])
        data = self.blobs[place["at"] : place["at"] + place["bytes"]]
        if len(data) != place["bytes"]:
            raise GraphDefError("the packed graph is cut short", why=f"a constant {dtype}{list(dims)} is incomplete")
        array = _strings(data) if dtype is DType.STRING else np.frombuffer(data, dtype.np)
        shaped = array.reshape(dims)
        return Tensor(dtype, Shape(dims), lambda: shaped)


def _strings(data: memoryview) -> Array:
    texts = [_READERS["bytes"](t) if isinstance(t, dict) else t for t in json.loads(bytes(data))]
    array = np.empty(len(texts), np.object_)
    array[:] = texts
    return array


def _type(data: Json) -> TensorType:
    return TensorType(DType.of_text(data[0]), Shape(data[1]))


def _func(data: Json) -> FuncRef:
    reader = _Reader(memoryview(b""), OpTable())
    return FuncRef(data["func"], tuple((k, reader._attr(v)) for k, v in data["attrs"]))


_READERS: Mapping[str, Callable[[Json], Any]] = {
    "float": lambda data: float.fromhex(data["float"]),
    "bytes": lambda data: base64.b64decode(data["bytes"]),
    "dtype": lambda data: DType.of_text(data["dtype"]),
    "shape": lambda data: Shape(data["shape"]),
    "func": _func,
    "placeholder": lambda data: AttrPlaceholder(data["placeholder"]),
}
