"""Journal: which pass and which rule made, changed or removed a node."""

from __future__ import annotations

import attrs

from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, Pass, Quiet
from tfgraphopt.rewrite import REWRITE_LOG

MADE, CHANGED, REMOVED = "made", "changed", "removed"


@attrs.frozen(slots=True)
class Event:
    """One thing that happened to one node. ``rule`` is the rewrite rule, where one did it."""

    kind: str
    step: str
    graph: str
    node: str
    op: str
    origin: tuple[str, ...] = ()
    rule: str = ""

    def __str__(self) -> str:
        rule = f" (rule {self.rule})" if self.rule else ""
        return f"{self.op} {self.node!r} {self.kind} by {self.step}{rule} in graph {self.graph!r}"


@attrs.define(slots=True, eq=False)
class Journal(Quiet):
    """Record every change of every graph, in order. It is a listener of the graphs while a pipeline runs."""

    events: list[Event] = attrs.field(factory=list, init=False)
    _step: str = attrs.field(default="", init=False)
    _start: int = attrs.field(default=0, init=False)
    _rewrites: int = attrs.field(default=0, init=False)
    _graphs: list[Graph] = attrs.field(factory=list, init=False)

    # -- questions ---------------------------------------------------------------------------------------------------

    def history(self, node: str, graph: str | None = None) -> list[Event]:
        """Everything that happened to nodes called ``node``."""
        return [e for e in self.events if e.node == node and graph in (None, e.graph)]

    def of_origin(self, name: str) -> list[Event]:
        """Everything that happened to nodes that come from node ``name`` of the caller's graph."""
        return [e for e in self.events if name in e.origin]

    def made(self, node: str) -> Event | None:
        """What made ``node``; None when it was there from the beginning."""
        return self._last(MADE, node)

    def removed(self, node: str) -> Event | None:
        """What removed ``node``; None when nothing did."""
        return self._last(REMOVED, node)

    def by(self, step: str, rule: str = "") -> list[Event]:
        """Everything that a pass (of one rule, when given) did."""
        return [e for e in self.events if e.step.partition("{")[0] == step and rule in ("", e.rule)]

    def _last(self, kind: str, node: str) -> Event | None:
        return next((e for e in reversed(self.events) if e.kind == kind and e.node == node), None)

    # -- an instrument -----------------------------------------------------------------------------------------------

    def enter(self, ctx: Context) -> None:
        """Listen to every graph."""
        for graph in ctx.module.graphs():
            self._listen(graph)

    def exit(self, ctx: Context) -> None:
        """Stop listening."""
        for graph in self._graphs:
            graph.detach(self)
        self._graphs = []

    def before(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """From now on ``step`` is to blame."""
        self._step, self._start = str(step), len(self.events)
        log = ctx.facts.get(REWRITE_LOG)
        self._rewrites = len(log.applied) if log else 0

    def after(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Record graphs that ``step`` made, and name the rules."""
        self._name_rules(ctx)
        for each in ctx.module.graphs():
            if not any(g is each for g in self._graphs):
                self._listen(each)
                for node in each:
                    self.added(node)

    def _listen(self, graph: Graph) -> None:
        graph.attach(self)
        self._graphs.append(graph)

    def _name_rules(self, ctx: Context) -> None:
        log = ctx.facts.get(REWRITE_LOG)
        rules: dict[tuple[str, str, str], str] = {}
        for applied in log.applied[self._rewrites :] if log else ():
            rules.update({(MADE, applied.graph, name): applied.rule for name in applied.made})
            rules.update({(REMOVED, applied.graph, name): applied.rule for name in applied.removed})
        for index in range(self._start, len(self.events)):
            event = self.events[index]
            rule = rules.get((event.kind, event.graph, event.node))
            if rule:
                self.events[index] = attrs.evolve(event, rule=rule)

    # -- a listener --------------------------------------------------------------------------------------------------

    def added(self, node: Node) -> None:
        """Record a new node."""
        self._record(MADE, node)

    def erased(self, node: Node) -> None:
        """Record a node that goes."""
        self._record(REMOVED, node)

    def changed(self, node: Node) -> None:
        """Record a change, once in a row."""
        last = self.events[-1] if self.events else None
        if last is None or (last.kind, last.step, last.node, last.graph) != (
            CHANGED,
            self._step,
            node.name,
            node.graph.name,
        ):
            self._record(CHANGED, node)

    def _record(self, kind: str, node: Node) -> None:
        self.events.append(Event(kind, self._step, node.graph.name, node.name, node.op, node.origin))
