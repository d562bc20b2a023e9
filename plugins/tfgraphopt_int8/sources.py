"""Which tensor of the caller's graph a tensor of a lowered body is: what is recorded there holds here.

Statistics of magnitudes do not change when a tensor is transposed or reshaped, so a tensor equals another one here when it holds
the same elements in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph, Node, Value
from tfgraphopt.passes import Context, Pass
from tfgraphopt.transforms.identity import FORWARDING
from tfgraphopt_trt.engine_nodes import body_of
from tfgraphopt_trt.engine_ops import OPS

ORIGINAL = "int8.original"
MOVING = frozenset({"trt.transpose", "trt.reshape", "trt.squeeze", "trt.unsqueeze", "trt.identity"})
"""Layers that hand all elements of their first operand on."""


@attrs.frozen(slots=True)
class Original:
    """The caller's graph, as far as names go: per node, its readers (seen through Identity nodes) and how many results it has."""

    readers: Mapping[str, frozenset[str]]
    results: Mapping[str, int]

    @classmethod
    def of(cls, graph: Graph) -> Original:
        """The names of ``graph``."""
        readers: dict[str, set[str]] = {n.name: set() for n in graph}
        for node in reversed(graph):
            onwards = readers[node.name] if node.op in FORWARDING else {node.name}
            for value in node.inputs:
                if value.producer is not None:
                    readers[value.producer.name] |= onwards
        return cls({n: frozenset(r) for n, r in readers.items()}, {n.name: len(n.outputs) for n in graph})

    def last(self, names: frozenset[str]) -> str | None:
        """The one node among ``names`` that no other of them reads; None when there are several, or none in this graph."""
        known = [n for n in names if n in self.readers]
        ends = [n for n in known if not self.readers[n] & (names - {n})]
        return ends[0] if len(ends) == 1 else None

    def tensor(self, node: Node, index: int) -> str | None:
        """The tensor of this graph that result ``index`` of ``node`` is, a node of TensorFlow ops made from this graph."""
        same = self.results.get(node.name) == len(node.outputs)  # a loop may have lost results that nobody reads
        if same and node.origin in ((), (node.name,)):
            return node.name if index == 0 else f"{node.name}:{index}"
        name = self.last(frozenset(node.origin))
        return name if name is not None and index == 0 and self.results[name] == 1 else None


@attrs.frozen(slots=True)
class NoteTensors(Pass):
    """Remember the names of the graph before anything is rewritten, so that recorded statistics find their tensors."""

    name: ClassVar[str] = "int8-note-tensors"
    before: ClassVar[tuple[str, ...]] = (
        "infer-types", "remove-identity", "inline-functions", "canonicalize", "fold-constants", "fuse", "cse", "dce",
    )  # fmt: skip
    dialect: ClassVar[str | None] = None

    def applies(self, ctx: Context) -> bool:
        return bool(ctx.config.precision == "int8")

    def run(self, graph: Graph, ctx: Context) -> None:
        ctx.facts.setdefault(ORIGINAL, Original.of(graph))


@attrs.frozen(slots=True)
class Sources:
    """Finds the tensors of one lowered body in the caller's graph; ``call`` is its engine node."""

    original: Original
    ctx: Context
    call: Node | None

    @classmethod
    def of(cls, graph: Graph, ctx: Context) -> Sources:
        """For lowered body ``graph``; without notes of the caller's graph nothing is found."""
        original = ctx.facts.get(ORIGINAL) or Original({}, {})
        return cls(original, ctx, ctx.module.main.find(graph.name))

    def tensor_of(self, value: Value) -> str | None:
        """The caller's tensor that has the elements of ``value``, or None when none is known to."""
        value = base_of(value)
        if value.producer is None:
            return self._fed(value)
        names = frozenset(value.producer.origin)
        if value.index or not _is_final(value, names):
            return None
        name = self.original.last(names)
        return name if name is not None and self.original.results[name] == 1 else None

    def _fed(self, value: Value) -> str | None:
        """A formal input is an operand of the engine node."""
        if self.call is None:
            return None
        operand = self.call.inputs[value.index]
        while operand.producer is not None and operand.producer.op in OPS:
            body = self.ctx.module.functions[body_of(operand.producer)]
            inner = body.outputs[operand.index]
            if inner.producer is not None:
                return self.original.tensor(inner.producer, inner.index)
            operand = operand.producer.inputs[inner.index]
        return None if operand.producer is None else self.original.tensor(operand.producer, operand.index)


def base_of(value: Value) -> Value:
    """The tensor whose elements ``value`` has in another order or shape."""
    while value.producer is not None and value.producer.op in MOVING:
        value = value.producer.inputs[0]
    return value


def _is_final(value: Value, names: frozenset[str]) -> bool:
    """Whether nothing but moves of its elements is left to do for the nodes ``names``."""
    return not any(names & frozenset(user.origin) for user in _readers(value))


def _readers(value: Value) -> Iterator[Node]:
    """The layers that compute something from ``value``, seen through moves."""
    for user in value.users:
        if user.op in MOVING and user.inputs[0] is value:
            yield from _readers(user.outputs[0])
        else:
            yield user
