"""layout: lay out the tensors of lowered bodies so that as few bytes as possible are permuted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.passes import Context, Pass
from tfgraphopt_layout.problem import TRANSPOSE, Problem, permuted_bytes
from tfgraphopt_layout.rewriting import rewrite
from tfgraphopt_layout.rules import LayoutRule
from tfgraphopt_layout.solving import solve

RULES_HOOK = "tfgraphopt_layout_rules"
LOWERED = "lowered"
MOST_SEARCHES = 8


@attrs.frozen(slots=True)
class Layout(Pass):
    """Choose the order of axes that every layer works in, and fold or cancel transposes accordingly.

    The bytes that transposes move never rise. Dimensions that are not known count as ``nominal``.
    """

    name: ClassVar[str] = "layout"
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("lower",)
    before: ClassVar[tuple[str, ...]] = ("build-engines",)
    dialect: ClassVar[str | None] = "trt"
    nominal: int = attrs.field(default=8, validator=attrs.validators.ge(1))

    def run(self, graph: Graph, ctx: Context) -> None:
        if not any(node.op == TRANSPOSE for node in graph):
            return
        before = permuted_bytes(graph, self.nominal)
        lay_out(graph, ctx.tables.table(RULES_HOOK), self.nominal)
        segment = ctx.report.segments.get(graph.name)
        if segment is not None:
            segment.details.update(_details(before, permuted_bytes(graph, self.nominal)))


def lay_out(graph: Graph, rules: Mapping[str, LayoutRule], nominal: int = 8) -> None:
    """Rewrite ``graph`` in place so that its transposes move as few bytes as the search finds, never more than before.

    A rewritten graph may show the search orders that it could not see before (a rule gives one answer where axes of size one
    could stand anywhere), so it is repeated until it finds nothing.
    """
    for _ in range(MOST_SEARCHES):
        problem = Problem.of(graph, rules, nominal)
        solve(problem)
        rewrite(problem)
        if not problem.choice:
            return


def _details(before: int, after: int) -> dict[str, Any]:
    return {"permuted_bytes_before_layout": before, "permuted_bytes": after}
