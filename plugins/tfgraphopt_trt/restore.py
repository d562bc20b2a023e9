"""restore-engines: put the TensorFlow bodies of engine nodes back, so that their engines are built anew."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import FuncRef, Graph, Node
from tfgraphopt.passes import Context, Pass
from tfgraphopt.regions import inline
from tfgraphopt_trt.engine_ops import OPS


@attrs.frozen(slots=True)
class RestoreEngines(Pass):
    """Restore engines that cannot run: those of TF-TRT (for TensorRT 8 or older), and nodes that were never given a plan.

    Where the option ``rebuild`` asks for it, all of them: to optimise a graph that holds engines for another GPU, version or range
    of shapes.
    """

    name: ClassVar[str] = "restore-engines"
    before: ClassVar[tuple[str, ...]] = ("inline-functions", "infer-types", "segment")

    def run(self, graph: Graph, ctx: Context) -> None:
        every = bool(ctx.config.options.get("rebuild", False))
        for node in graph:
            if node.op in OPS and (every or not node.attrs.get("plan_digest")):
                _restore(node, ctx)


def _restore(node: Node, ctx: Context) -> None:
    body = ctx.module.functions.get(_body_name(node))
    if body is None or (len(body.inputs), len(body.outputs)) != (len(node.inputs), len(node.outputs)):
        ctx.report.say(
            f"{node.name} cannot be built anew: it has no TensorFlow body (TF-TRT's remove_native_segments leaves none); optimise the "
            "model that it was made of"
        )
        return
    ctx.report.say(f"the segment of {node.name} was put back and is converted afresh")
    inline(node.graph, node, body, prefix="")
    if not any(_calls(n, body.name) for g in ctx.module.graphs("tf") for n in g):
        ctx.module.functions.pop(body.name)


def _body_name(node: Node) -> str:
    """The function with the segment; older versions of TF-TRT named it in another attribute, or by the node."""
    ref = node.attrs.get("segment_func")
    named = ref.name if isinstance(ref, FuncRef) else ""
    old = node.attrs.get("segment_funcdef_name")
    return named or (old.decode() if isinstance(old, bytes) else str(old or "")) or f"{node.name}_native_segment"


def _calls(node: Node, function: str) -> bool:
    return any(isinstance(v, FuncRef) and v.name == function for v in node.attrs.values())
