"""inline-functions: put the bodies of called functions in place of the calls."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.graphdef import function_names
from tfgraphopt.ir import FuncRef, Graph, Module, Node
from tfgraphopt.passes import Context, Pass
from tfgraphopt.regions import inline

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


@attrs.frozen(slots=True)
class InlineFunctions(Pass):
    """Inline PartitionedCall and StatefulPartitionedCall, and nodes whose op is a function of the graph.

    Functions that are marked ``_noinline``, and functions that call themselves, are left alone.
    """

    name: ClassVar[str] = "inline-functions"
    before: ClassVar[tuple[str, ...]] = ("infer-types",)

    def run(self, graph: Graph, ctx: Context) -> None:
        used = reachable(ctx.module, [ctx.module.main])
        while _inline_once(graph, ctx):  # a copied body may hold calls of its own
            pass
        others = [f for name, f in ctx.module.functions.items() if name not in used]
        for name in used - reachable(ctx.module, [ctx.module.main, *others]):
            ctx.module.functions.pop(name, None)


def _inline_once(graph: Graph, ctx: Context) -> bool:
    found = False
    for node in graph:
        body = _body(node, graph, ctx)
        if body is not None and not _reaches(body, {graph.name}, ctx):
            inline(graph, node, body)
            found = True
    return found


def reachable(module: Module, roots: list[Graph]) -> set[str]:
    """The functions that ``roots`` may call, over any number of steps."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        graph = waiting.pop()
        for name in function_names(v for n in graph for v in n.attrs.values()) | {n.op for n in graph}:
            body = module.functions.get(name)
            if body is not None and name not in found:
                found.add(name)
                waiting.append(body)
    return found


def _body(node: Node, graph: Graph, ctx: Context) -> Graph | None:
    """The function that ``node`` calls, when it can be inlined."""
    ref = node.attrs.get("f") if node.op in CALLS else None
    name = ref.name if isinstance(ref, FuncRef) else node.op
    body = ctx.module.functions.get(name)
    if (
        body is None
        or body is graph
        or body.attrs.get("_noinline")
        or len(body.inputs) != len(node.inputs)
        or len(body.outputs) != len(node.outputs)
    ):
        return None
    return body


def _reaches(body: Graph, avoid: set[str], ctx: Context, seen: frozenset[str] = frozenset()) -> bool:
    """Whether ``body`` calls, over any number of steps, itself or one of ``avoid``."""
    if body.name in seen or body.name in avoid:
        return True
    inner = seen | {body.name}
    called = (_body(n, body, ctx) for n in body)
    return any(_reaches(c, avoid, ctx, inner) for c in called if c is not None)
