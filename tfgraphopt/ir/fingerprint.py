"""A digest of what a graph computes: its structure, types and constants."""

from __future__ import annotations

import hashlib

from tfgraphopt.ir.core import Graph, Node, Value
from tfgraphopt.ir.opdef import AttrValue
from tfgraphopt.ir.tensor import Tensor


def fingerprint(graph: Graph) -> str:
    """SHA-256 (hex) over ops, wiring, attributes, types and constants; names of nodes and their origins do not enter."""
    state = hashlib.sha256(graph.dialect.encode())
    number: dict[Value, int] = {}
    for value in graph.inputs:
        number[value] = len(number)
        state.update(str(value.type).encode())
    position: dict[Node, int] = {}
    for node in graph:
        position[node] = len(position)
        for value in node.outputs:
            number[value] = len(number)
        wiring = ([number[v] for v in node.inputs], sorted(position[c] for c in node.control))
        attributes = sorted((k, _text(v)) for k, v in node.attrs.items())
        state.update(repr((node.op, wiring, attributes, [str(v.type) for v in node.outputs], node.device)).encode())
    state.update(repr([number[v] for v in graph.outputs]).encode())
    return state.hexdigest()


def _text(value: AttrValue) -> str:
    if isinstance(value, Tensor):
        return f"{value.type}:{value.digest}"
    if isinstance(value, tuple):
        return f"({','.join(_text(v) for v in value)})"
    return f"{type(value).__name__}:{value!r}"
