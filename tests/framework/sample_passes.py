"""Passes for the framework's tests: small, some of them wrong on purpose."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from tfgraphopt import plugins
from tfgraphopt.graphdef import tf_op_table
from tfgraphopt.ir import Graph, Module
from tfgraphopt.ir.text import parse_graph, parse_module
from tfgraphopt.passes import Context, Fixpoint, Pass, PassManager, Step
from tfgraphopt.report import Report

OPS = tf_op_table()
TEXT = """
graph @main(%x: f32[2]) -> (%r2) {
  %dead = Neg(%x) : f32[2] @ "user/dead"
  %r = Relu(%x) : f32[2] @ "user/r"
  %i = Identity(%r) : f32[2] @ "user/i"
  %r2 = Relu(%i) : f32[2] @ "user/r2"
}
"""


def module(text: str = TEXT) -> Module:
    return Module(parse_graph(text, OPS), OPS)


def with_functions() -> Module:
    """A main graph that calls two functions; a lowered body beside one of them."""
    return parse_module(
        """module {versions = [1,0,[]], gradients = []}
        graph @main(%x: f32[2]) -> (%c) {
          %c = PartitionedCall(%x) {f = @f, Tout = [f32]} : f32[2]
          %d = PartitionedCall(%x) {f = @g, Tout = [f32]} : f32[2]
        }
        function @f(%a: f32[2]) -> (%r) { %r = Relu(%a) : f32[2] }
        function @g(%a: f32[2]) -> (%a) { }
        lowered @f = graph @f(%a: f32[2]) -> (%l) dialect "trt" { %l = trt.relu(%a) : f32[2] }
        """,
        OPS,
    )


def context(found: Module | None = None, config: object = None, **extra: object) -> Context:
    tables = plugins.load(only=[], extra=list(extra.items()))
    return Context(found or module(), config, tables, Report())


def run(steps: list[Step], ctx: Context, *instruments: Any) -> Context:
    PassManager(tuple(steps), instruments).run(ctx)
    return ctx


@attrs.frozen(slots=True)
class Visit(Pass):
    """Writes down which graphs it saw, in the context."""

    name: ClassVar[str] = "visit"

    def run(self, graph: Graph, ctx: Context) -> None:
        ctx.facts.setdefault("visited", []).append(graph.name)


@attrs.frozen(slots=True)
class VisitLowered(Visit):
    """The same on lowered bodies."""

    name: ClassVar[str] = "visit-lowered"
    dialect: ClassVar[str | None] = "trt"


@attrs.frozen(slots=True)
class VisitOnce(Visit):
    """The same on the main graph alone."""

    name: ClassVar[str] = "visit-once"
    dialect: ClassVar[str | None] = None


@attrs.frozen(slots=True)
class Drop(Pass):
    """Removes nodes of one op that nothing reads."""

    name: ClassVar[str] = "drop"
    op: str = "Neg"

    def run(self, graph: Graph, ctx: Context) -> None:
        for node in reversed(graph):
            if node.op == self.op and not node.has_users:
                graph.erase(node)


@attrs.frozen(slots=True)
class Change(Pass):
    """Turns every Relu into another op: a miscompile unless ``op`` is Relu itself."""

    name: ClassVar[str] = "change"
    op: str = "Relu"

    def run(self, graph: Graph, ctx: Context) -> None:
        for node in graph:
            if node.op == "Relu" and node.op != self.op:
                new = graph.add(self.op, [*node.inputs], before=node, types=[node.output.type], origin=node.origin)
                node.output.replace_uses(new.output)
                graph.erase(node)


@attrs.frozen(slots=True)
class Restless(Pass):
    """Never comes to an end."""

    name: ClassVar[str] = "restless"

    def run(self, graph: Graph, ctx: Context) -> None:
        graph.add("NoOp")


@attrs.frozen(slots=True)
class Corrupt(Pass):
    """Leaves a broken graph."""

    name: ClassVar[str] = "corrupt"

    def run(self, graph: Graph, ctx: Context) -> None:
        graph.add("NoOp")
        graph.node("r").output._uses.clear()


@attrs.frozen(slots=True)
class Crash(Pass):
    """Raises in the middle of its work."""

    name: ClassVar[str] = "crash"
    message: str = "oops"

    def run(self, graph: Graph, ctx: Context) -> None:
        graph.add("NoOp", name="half_done")
        raise ZeroDivisionError(self.message)


@attrs.frozen(slots=True)
class NotWanted(Visit):
    """Is never run."""

    name: ClassVar[str] = "not-wanted"

    def applies(self, ctx: Context) -> bool:
        return False


EVERY: dict[str, type[Pass]] = {
    p.name: p for p in (Visit, VisitLowered, VisitOnce, Drop, Change, Restless, Corrupt, Crash, NotWanted)
}

__all__ = ["EVERY", "Fixpoint", "context", "module", "run"]
