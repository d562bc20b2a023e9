"""Structural equality of attribute values, graphs and modules."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tfgraphopt.ir.core import Graph, Module, Node, Value
from tfgraphopt.ir.opdef import AttrValue, FuncRef

if TYPE_CHECKING:
    from tfgraphopt.ir.opdef import Attrs


def equal(a: Graph | Module, b: Graph | Module) -> bool:
    """Whether two graphs, or two modules, consist of the same nodes in the same order, wired and named alike.

    What belongs to an importer (``source``, ``extras``) is not compared, nor are versions of mutation.
    """
    return next(differences(a, b), None) is None


def differences(a: Graph | Module, b: Graph | Module) -> Iterator[str]:
    """Each way in which ``b`` differs from ``a``, as one line; nothing when they are equal."""
    if isinstance(a, Module) and isinstance(b, Module):
        yield from _module_differences(a, b)
    elif isinstance(a, Graph) and isinstance(b, Graph):
        yield from _graph_differences(a, b)
    else:
        yield f"a {type(a).__name__} is no {type(b).__name__}"


def same_attr(a: object, b: object) -> bool:
    """Whether two attribute values are the same: types count (1 is not 1.0), zeros are signed, NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same_attr(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, FuncRef) and isinstance(b, FuncRef):
        return a.name == b.name and same_attr(_ordered(a.attrs), _ordered(b.attrs))
    return a == b


def attr_key(value: object) -> object:
    """A hashable key that two attribute values share exactly when :func:`same_attr` holds."""
    if isinstance(value, tuple):
        return tuple(attr_key(v) for v in value)
    if isinstance(value, FuncRef):
        return (FuncRef, value.name, attr_key(_ordered(value.attrs)))
    if isinstance(value, float):
        return (float, "nan" if math.isnan(value) else struct.pack("d", value))
    return (type(value), value)


def same_attrs(a: Attrs, b: Attrs) -> bool:
    """Whether two sets of attributes have the same names and the same values."""
    return a.keys() == b.keys() and all(same_attr(value, b[name]) for name, value in a.items())


def _ordered(pairs: Iterable[tuple[str, AttrValue]]) -> tuple[tuple[str, AttrValue], ...]:
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


def _module_differences(a: Module, b: Module) -> Iterator[str]:
    yield from _graph_differences(a.main, b.main)
    yield from _graphs_differences("function", a.functions, b.functions)
    yield from _graphs_differences("lowered body", a.lowered, b.lowered)
    for what in ("versions", "gradients"):
        if getattr(a, what) != getattr(b, what):
            yield f"{what} {getattr(a, what)} became {getattr(b, what)}"
    if a.opaque_functions.keys() != b.opaque_functions.keys():
        yield f"opaque functions {sorted(a.opaque_functions)} became {sorted(b.opaque_functions)}"


def _graphs_differences(what: str, a: Mapping[str, Graph], b: Mapping[str, Graph]) -> Iterator[str]:
    if list(a) != list(b):
        yield f"{what}s {list(a)} became {list(b)}"
    for name in a.keys() & b.keys():
        yield from _graph_differences(a[name], b[name])


def _graph_differences(a: Graph, b: Graph) -> Iterator[str]:
    for line in [*_interface_differences(a, b), *_body_differences(a, b)]:
        yield f"graph {a.name!r}: {line}"


def _interface_differences(a: Graph, b: Graph) -> Iterator[str]:
    for what in ("name", "dialect", "output_names"):
        if getattr(a, what) != getattr(b, what):
            yield f"{what} {getattr(a, what)!r} became {getattr(b, what)!r}"
    if [(v.name, v.type) for v in a.inputs] != [(v.name, v.type) for v in b.inputs]:
        yield f"inputs {list(a.inputs)} became {list(b.inputs)}"
    if _names(a.outputs) != _names(b.outputs):
        yield f"outputs {_names(a.outputs)} became {_names(b.outputs)}"
    if {k: n.name for k, n in a.keep.items()} != {k: n.name for k, n in b.keep.items()}:
        yield f"kept nodes {sorted(a.keep)} became {sorted(b.keep)}"
    if not same_attrs(a.attrs, b.attrs):
        yield f"attributes {a.attrs} became {b.attrs}"


def _body_differences(a: Graph, b: Graph) -> Iterator[str]:
    mine, theirs = [n.name for n in a], [n.name for n in b]
    if mine != theirs:
        changed = sorted(set(mine) ^ set(theirs))
        yield f"nodes differ: {changed}" if changed else f"the order of nodes {mine} became {theirs}"
        return
    for one, two in zip(a, b, strict=True):
        for line in _node_differences(one, two):
            yield f"{one.op} node {one.name!r}: {line}"


def _node_differences(a: Node, b: Node) -> Iterator[str]:
    for what in ("op", "device", "origin"):
        if getattr(a, what) != getattr(b, what):
            yield f"{what} {getattr(a, what)!r} became {getattr(b, what)!r}"
    if _names(a.inputs) != _names(b.inputs):
        yield f"inputs {_names(a.inputs)} became {_names(b.inputs)}"
    if {c.name for c in a.control} != {c.name for c in b.control}:
        yield f"control {[c.name for c in a.control]} became {[c.name for c in b.control]}"
    if [v.type for v in a.outputs] != [v.type for v in b.outputs]:
        yield f"results {[v.type for v in a.outputs]} became {[v.type for v in b.outputs]}"
    for name in sorted(a.attrs.keys() | b.attrs.keys()):
        if name not in a.attrs or name not in b.attrs or not same_attr(a.attrs[name], b.attrs[name]):
            yield f"attribute {name!r} {a.attrs.get(name)!r} became {b.attrs.get(name)!r}"


def _names(values: Iterable[Value]) -> list[str]:
    return [v.name for v in values]
