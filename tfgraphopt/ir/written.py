"""Graphs as they are written in the text form, and making real ones of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

import attrs

from tfgraphopt.errors import MutationError
from tfgraphopt.ir.body import Body
from tfgraphopt.ir.core import Graph, Node, Value
from tfgraphopt.ir.opdef import ArgDef, AttrValue, FuncRef, OpDef, OpTable
from tfgraphopt.ir.types import TensorType

Ref = tuple[str, int]


@attrs.frozen(slots=True)
class Statement:
    """One node as it is written; ``at`` is where, as with every position here."""

    name: str
    op: str
    inputs: tuple[tuple[Ref, int], ...]
    attrs: Mapping[str, AttrValue]
    control: tuple[tuple[str, int], ...]
    types: tuple[TensorType, ...]
    device: str
    origin: tuple[str, ...]
    at: int


@attrs.frozen(slots=True)
class WrittenGraph:
    """One graph as it is written: values by name, nothing resolved; ``beside`` is the function a lowered body stands beside."""

    keyword: str
    name: str
    inputs: tuple[tuple[str, TensorType, int], ...]
    outputs: tuple[tuple[Ref, str, int], ...]
    keep: tuple[tuple[Ref, str, int], ...]
    dialect: str
    attrs: Mapping[str, AttrValue]
    body: tuple[Statement, ...]
    beside: str = ""


class WrittenBody(Body):
    """The place of a body whose graph is written but not made yet."""

    __slots__ = ("written",)

    def __init__(self, written: WrittenGraph) -> None:
        self.written = written


@attrs.define(slots=True)
class WrittenModule:
    """A module as it is written, the main graph first."""

    versions: tuple[int, int, tuple[int, ...]]
    gradients: tuple[tuple[str, str], ...]
    opaque: dict[str, object] = attrs.field(factory=dict)
    graphs: list[WrittenGraph] = attrs.field(factory=list)


def signature(written: WrittenGraph) -> OpDef:
    """How a function is called as if it were an op (old GraphDefs do that)."""
    inputs = tuple(ArgDef(name, type_.dtype) for name, type_, _ in written.inputs)
    types = {s.name: s.types for s in written.body} | {name: (type_,) for name, type_, _ in written.inputs}
    outputs = []
    for (name, index), label, _ in written.outputs:
        found = types.get(name, ())
        if index < len(found):
            outputs.append(ArgDef(label or name, found[index].dtype))
    return OpDef(written.name, inputs, tuple(outputs), stateful=True)


@attrs.frozen(slots=True)
class Builder:
    """Makes graphs of what was written; ``fail(position, why)`` refuses a place in the text."""

    fail: Callable[[int, str], NoReturn]
    ops: OpTable

    def build(self, written: WrittenGraph) -> Graph:
        """The graph; names that are not defined, or twice, are refused at their place."""
        graph = Graph(written.name, self.ops, written.dialect)
        graph.attrs = {k: self._attr(v) for k, v in written.attrs.items()}
        values: dict[str, tuple[Value, ...]] = {}
        for name, type_, at in written.inputs:
            self._fresh(name, values, at)
            values[name] = (graph.add_input(name, type_),)
        for statement in written.body:
            self._fresh(statement.name, values, statement.at)
            values[statement.name] = self._add(graph, statement, values).outputs
        self._finish(graph, written, values)
        return graph

    def _fresh(self, name: str, values: Mapping[str, object], at: int) -> None:
        if name in values:
            self.fail(at, f"%{name} is defined twice")

    def _add(self, graph: Graph, statement: Statement, values: Mapping[str, tuple[Value, ...]]) -> Node:
        inputs = [self._value(ref, values, at) for ref, at in statement.inputs]
        control = [self._node(graph, name, at) for name, at in statement.control]
        try:
            return graph.add(
                statement.op, inputs, {k: self._attr(v) for k, v in statement.attrs.items()}, name=statement.name,
                control=control, device=statement.device, origin=statement.origin, types=statement.types,
            )  # fmt: skip
        except MutationError as error:
            self.fail(statement.at, str(error))

    def _attr(self, value: AttrValue) -> AttrValue:
        if isinstance(value, tuple):
            return tuple(self._attr(item) for item in value)
        if isinstance(value, FuncRef):
            return FuncRef(value.name, tuple((k, self._attr(v)) for k, v in value.attrs))
        return Body(self.build(value.written)) if isinstance(value, WrittenBody) else value

    def _value(self, ref: Ref, values: Mapping[str, tuple[Value, ...]], at: int) -> Value:
        name, index = ref
        if name not in values:
            self.fail(at, f"%{name} is not defined before this place")
        if index >= len(values[name]):
            self.fail(at, f"%{name} has {len(values[name])} results; there is no %{name}:{index}")
        return values[name][index]

    def _node(self, graph: Graph, name: str, at: int) -> Node:
        node = graph.find(name)
        if node is None:
            self.fail(at, f"node ^{name} is not defined before this place")
        return node

    def _finish(self, graph: Graph, written: WrittenGraph, values: Mapping[str, tuple[Value, ...]]) -> None:
        outputs = [self._value(ref, values, at) for ref, _, at in written.outputs]
        graph.set_outputs(outputs, [label or v.name for v, (_, label, _) in zip(outputs, written.outputs, strict=True)])
        graph.set_keep({label or ref[0]: self._node(graph, ref[0], at) for ref, label, at in written.keep})
