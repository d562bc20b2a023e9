"""Timing and op counts: what passes cost and what they did, in numbers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import attrs

from tfgraphopt.ir import Graph, Module
from tfgraphopt.passes import Context, Pass, Quiet
from tfgraphopt.report import PassTiming


@attrs.define(slots=True, eq=False)
class Timing(Quiet):
    """Write into ``report.timings`` how long each pass took on each graph."""

    _started: float = attrs.field(default=0.0, init=False)
    _nodes: int = attrs.field(default=0, init=False)

    def before(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Start the clock."""
        self._nodes = len(graph)
        self._started = time.perf_counter()

    def after(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Stop the clock."""
        seconds = time.perf_counter() - self._started
        ctx.report.timings.append(PassTiming(str(step), graph.name, seconds, self._nodes, len(graph)))


@attrs.frozen(slots=True)
class OpCounts:
    """How one pass changed the number of nodes of each op, as (before, after) pairs of the ops that changed."""

    step: str
    graph: str
    changes: Mapping[str, tuple[int, int]]

    def __str__(self) -> str:
        shown = (f"{op} {after - before:+} ({before}->{after})" for op, (before, after) in self.changes.items())
        return f"{self.step}: {', '.join(shown)}"


@attrs.define(slots=True, eq=False)
class OpCountDiff(Quiet):
    """Count ops of the whole module around every pass: ``cse: Transpose -12 (14->2)``.

    ``changes`` has an entry for every run that changed a count; :attr:`total` compares the end with the beginning.
    """

    changes: list[OpCounts] = attrs.field(factory=list, init=False)
    _first: Counter[str] = attrs.field(factory=Counter, init=False)
    _now: Counter[str] = attrs.field(factory=Counter, init=False)
    _version: int = attrs.field(default=-1, init=False)

    def enter(self, ctx: Context) -> None:
        """Count what comes in."""
        self._first = self._now = _counts(ctx.module)
        self._version = ctx.module.version

    def after(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Count again if anything changed."""
        if ctx.module.version == self._version:
            return
        before, self._now, self._version = self._now, _counts(ctx.module), ctx.module.version
        changed = _changes(before, self._now)
        if changed:
            self.changes.append(OpCounts(str(step), graph.name, changed))

    @property
    def total(self) -> OpCounts:
        """The difference between the first and the last count."""
        return OpCounts("all passes", "", _changes(self._first, self._now))

    def __str__(self) -> str:
        return "\n".join(str(c) for c in [*self.changes, self.total])


def _counts(module: Module) -> Counter[str]:
    return Counter(node.op for graph in module.graphs() for node in graph)


def _changes(before: Counter[str], after: Counter[str]) -> dict[str, tuple[int, int]]:
    changed = {op: (before[op], after[op]) for op in before | after if before[op] != after[op]}
    return dict(sorted(changed.items(), key=lambda item: (item[1][1] - item[1][0], item[0])))
