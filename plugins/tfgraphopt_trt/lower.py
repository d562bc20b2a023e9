"""lower: give every segment a second body in ``trt.*`` layers; the first one, in TF ops, stays as the fallback."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.passes import Context, Pass
from tfgraphopt.regions import copy_graph
from tfgraphopt.transforms.canonicalize import apply_hosted
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_trt.bodies import lower_body
from tfgraphopt_trt.engine_nodes import body_of
from tfgraphopt_trt.engine_ops import OPS
from tfgraphopt_trt.segment import SEGMENTS
from tfgraphopt_trt.support import Support
from tfgraphopt_trt.units import unit_copy

LOWERED = "lowered"


@attrs.frozen(slots=True)
class Lower(Pass):
    """Write the lowered body of every segment by running the converters of its nodes.

    It hosts rules: those about TF ops rewrite a copy of the body before its nodes are converted, so that many ops that are one
    layer (layer normalisation, GELU, attention) become that layer; those about layers rewrite what came out, before any other
    pass sees it. ``skip`` names rules to leave out.
    """

    name: ClassVar[str] = "lower"
    needs: ClassVar[frozenset[str]] = frozenset({SEGMENTS})
    provides: ClassVar[frozenset[str]] = frozenset({LOWERED})
    dialect: ClassVar[str | None] = None
    skip: tuple[str, ...] = attrs.field(default=(), converter=tuple)

    def run(self, graph: Graph, ctx: Context) -> None:
        support = Support.of(ctx)
        for call in [n for g in ctx.module.graphs("tf") for n in g if n.op in OPS]:
            name = call.name
            if name in ctx.report.segments and name not in ctx.module.lowered:
                body = ctx.module.functions[body_of(call)]
                lowered = lower(self._composed(body, support, ctx), name, support)
                apply_hosted(self.name, lowered, ctx, self.skip)
                erase_dead(lowered, keep_placeholders=False)
                ctx.module.lowered[name] = lowered

    def _composed(self, body: Graph, support: Support, ctx: Context) -> Graph:
        """A copy of ``body`` with what the rules made of it; ``body`` itself where a new node cannot be converted."""
        copy = copy_graph(body)
        apply_hosted(self.name, copy, ctx, self.skip)
        erase_dead(copy)
        made = [n for n in copy if body.find(n.name) is None and n.op != "Const"]
        refused = {n: reason for n in made if (reason := support.refusal(n))}
        for node, reason in refused.items():
            where = ", ".join(node.origin)
            ctx.report.say(f"{body.name}: lowered op by op, since {node.op} (of {where}) is refused: {reason}")
        return body if refused else copy


def lower(body: Graph, name: str, support: Support) -> Graph:
    """The body of TF ops as one graph of layers, with the same formal inputs and outputs."""
    return lower_body(unit_copy(body), name, support.fragment, support.layers)
