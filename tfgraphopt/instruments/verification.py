"""Verify: no pass may leave a broken graph behind."""

from __future__ import annotations

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.ir.verify import verify, verify_graph
from tfgraphopt.passes import Context, Pass, Quiet


@attrs.define(slots=True, eq=False)
class Verify(Quiet):
    """Check the module before the first pass, and after every pass the graphs that it changed.

    Raises InvalidGraph with all violations; the manager adds which pass it was.
    """

    _seen: dict[Graph, int] = attrs.field(factory=dict, init=False)

    def enter(self, ctx: Context) -> None:
        """Check the whole module."""
        verify(ctx.module)
        self._seen = {graph: graph.version for graph in ctx.module.graphs()}

    def after(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Check what ``step`` has changed or made."""
        for each in ctx.module.graphs():
            if self._seen.get(each) != each.version:
                verify_graph(each, ctx.module)
                self._seen[each] = each.version

    def exit(self, ctx: Context) -> None:
        """Forget the graphs."""
        self._seen = {}
