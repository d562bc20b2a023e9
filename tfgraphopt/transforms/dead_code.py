"""dce: remove what nothing reads."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, Pass


@attrs.frozen(slots=True)
class DeadCodeElimination(Pass):
    """Remove nodes that no output depends on, by data or control.

    Placeholders of the main graph stay: they are the names that callers feed. Stateful nodes of a function stay: running it runs
    them.
    """

    name: ClassVar[str] = "dce"
    after: ClassVar[tuple[str, ...]] = ("cse", "fold-constants", "remove-identity", "canonicalize")

    def run(self, graph: Graph, ctx: Context) -> None:
        erase_dead(graph, keep_placeholders=graph is ctx.module.main, keep_stateful=graph is not ctx.module.main)


def erase_dead(graph: Graph, *, keep_placeholders: bool = True, keep_stateful: bool = False) -> None:
    """Erase every node that nothing reads, last ones first."""
    for node in reversed(graph):
        if node.has_users or (keep_placeholders and node.op in FED) or (keep_stateful and _is_stateful(node)):
            continue
        graph.erase(node)


def _is_stateful(node: Node) -> bool:
    return node.definition is not None and node.definition.stateful


FED = frozenset({"Placeholder", "PlaceholderWithDefault", "PlaceholderV2"})
