"""restore-engines: put the TensorFlow bodies of engine nodes back, so that their engines are built anew."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import FuncRef, Graph, Node
from tfgraphopt.passes import Context, Pass
from tfgraphopt.regions import inline
from tfgraphopt_trt.engine_nodes import OPS


@attrs.frozen(slots=True)
class RestoreEngines(Pass):
    """Where the option ``rebuild`` asks for it: optimise a graph that holds engines for another GPU, version or range of shapes.

    Engine nodes that TF-TRT wrote are restored as well, as long as they have their native segments.
    """

    name: ClassVar[str] = "restore-engines"
    before: ClassVar[tuple[str, ...]] = ("inline-functions", "infer-types")

    def applies(self, ctx: Context) -> bool:
        return bool(ctx.config.options.get("rebuild", False))

    def run(self, graph: Graph, ctx: Context) -> None:
        for node in graph:
            if node.op in OPS:
                _restore(node, ctx)


def _restore(node: Node, ctx: Context) -> None:
    ref = node.attrs.get("segment_func")
    body = ctx.module.functions.get(ref.name) if isinstance(ref, FuncRef) else None
    if body is None:
        ctx.report.say(f"{node.name} cannot be built anew: it has no TensorFlow body")
        return
    inline(node.graph, node, body, prefix="")
    if not any(_calls(n, body.name) for g in ctx.module.graphs("tf") for n in g):
        ctx.module.functions.pop(body.name)


def _calls(node: Node, function: str) -> bool:
    return any(isinstance(v, FuncRef) and v.name == function for v in node.attrs.values())
