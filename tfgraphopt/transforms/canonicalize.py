"""canonicalize: apply the rules that change no bit of any result."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.passes import Context, Pass
from tfgraphopt.rewrite import REWRITE_BUDGET, REWRITE_LOG, RewriteLog, apply_patterns, hosted


@attrs.frozen(slots=True)
class Canonicalize(Pass):
    """Apply every bit-exact rule of the plugins: what is left in TensorFlow computes exactly what the user's graph computed.

    ``skip`` names rules to leave out.
    """

    name: ClassVar[str] = "canonicalize"
    after: ClassVar[tuple[str, ...]] = ("inline-functions", "infer-types", "remove-identity", "fold-constants")
    before: ClassVar[tuple[str, ...]] = ("cse", "dce")
    skip: tuple[str, ...] = attrs.field(default=(), converter=tuple)

    def run(self, graph: Graph, ctx: Context) -> None:
        """Rewrite ``graph`` until no rule fires."""
        apply_hosted(self.name, graph, ctx, self.skip)


def apply_hosted(host: str, graph: Graph, ctx: Context, skip: tuple[str, ...] = ()) -> None:
    """Apply the rules that name ``host``; the context's log and budget, where there are any, hear of it."""
    rules = [p for p in hosted(ctx.tables.items("tfgraphopt_patterns"), host) if p.name not in skip]
    log = ctx.facts.setdefault(REWRITE_LOG, RewriteLog())
    apply_patterns(graph, rules, ctx.facts.get(REWRITE_BUDGET), log)
