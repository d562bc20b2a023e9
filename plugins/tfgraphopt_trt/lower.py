"""lower: give every segment a second body in ``trt.*`` layers; the first one, in TF ops, stays as the fallback."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.passes import Context, Pass
from tfgraphopt_trt.bodies import lower_body
from tfgraphopt_trt.engine_nodes import OPS, body_of
from tfgraphopt_trt.segment import SEGMENTS
from tfgraphopt_trt.support import Support

LOWERED = "lowered"


@attrs.frozen(slots=True)
class Lower(Pass):
    """Write the lowered body of every segment by running the converters of its nodes."""

    name: ClassVar[str] = "lower"
    needs: ClassVar[frozenset[str]] = frozenset({SEGMENTS})
    provides: ClassVar[frozenset[str]] = frozenset({LOWERED})
    dialect: ClassVar[str | None] = None

    def run(self, graph: Graph, ctx: Context) -> None:
        support = Support.of(ctx)
        for name in ctx.report.segments:
            call = graph.find(name)
            if call is not None and call.op in OPS and name not in ctx.module.lowered:
                body = ctx.module.functions[body_of(call)]
                ctx.module.lowered[name] = lower(body, name, support)


def lower(body: Graph, name: str, support: Support) -> Graph:
    """The body of TF ops as one graph of layers, with the same formal inputs and outputs."""
    return lower_body(body, name, support.fragment, support.layers)
