"""What can be saved of a segment whose engine cannot be built: the culprit goes back to TensorFlow, the rest is built again."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, PassManager, Step
from tfgraphopt_trt.clustering import clusters
from tfgraphopt_trt.engine_nodes import body_of, put_back
from tfgraphopt_trt.lower import Lower
from tfgraphopt_trt.profile_points import is_free
from tfgraphopt_trt.segment import POINTS, make_segment, no_work, too_small
from tfgraphopt_trt.units import Units

MOST_CULPRITS = 8
"""A segment from which so many culprits were excluded is left in TensorFlow."""
ATTEMPTS = "trt.rescue-attempts"


def rescue(call: Node, error: EngineBuildFailed, ctx: Context, catch_up: Sequence[Step]) -> list[Node]:
    """Put the segment of ``call`` back and make new segments of all but the nodes that ``error`` is about; returns their calls.

    The nodes between culprits are clustered as any others are; what is left too small stays in TensorFlow. The new segments go
    through ``catch_up``, the steps that come between lowering and building.
    """
    name, graph = call.name, call.graph
    body = ctx.module.functions[body_of(call)]
    nodes, guilty = list(body), _guilty(body, error.where)
    attempt = ctx.facts.setdefault(ATTEMPTS, {}).get(name, 0) + 1
    known = set(graph)
    put_back(call, ctx, str(error))
    copies = dict(zip(nodes, [n for n in graph if n not in known], strict=True))  # their names may differ
    if not guilty or attempt > MOST_CULPRITS:
        _note(ctx, name, _why_not(attempt))
        return []
    calls = _segments(name, [c for n, c in copies.items() if n not in guilty], ctx, graph)
    for made in calls:
        ctx.facts[ATTEMPTS][made.name] = attempt
    excluded, rest = ", ".join(n.name for n in nodes if n in guilty), ", ".join(c.name for c in calls)
    _note(ctx, name, f"{excluded} excluded; the rest is {rest or 'too small for engines'}")
    Lower().run(graph, ctx)
    PassManager(tuple(catch_up)).catch_up([ctx.module.lowered[c.name] for c in calls], ctx)
    return calls


def _why_not(attempt: int) -> str:
    if attempt > MOST_CULPRITS:
        return f"left in TensorFlow: {MOST_CULPRITS} culprits were excluded and it still cannot be built"
    return "left in TensorFlow: no single node is at fault"


def _note(ctx: Context, segment: str, text: str) -> None:
    note_step(ctx, segment, text)
    ctx.report.say(f"{segment}: {text}")


def note_step(ctx: Context, segment: str, text: str) -> None:
    """Add a line to what the report says of the attempts to build ``segment``."""
    ctx.report.segments[segment].details.setdefault("build_steps", []).append(text)


def _guilty(body: Graph, where: Sequence[str]) -> set[Node]:
    """The nodes of a body that an error names, by their own names or by the user's nodes that they come from."""
    blamed = set(where)
    return {n for n in body if not is_free(n) and blamed & {n.name, *n.origin}}


def _segments(failed: str, nodes: Sequence[Node], ctx: Context, graph: Graph) -> list[Node]:
    wanted = {n.name for n in nodes if not is_free(n)}
    units = Units.form(graph)
    label = {n: n.device if wanted.issuperset(m.name for m in units.of(n)) else None for n in graph}
    made = []
    for group in clusters(graph, label, is_free):
        refused = too_small(group, ctx.config.minimum_segment_size) or no_work(group)
        if refused:
            _judge(ctx, [m.name for n in group for m in units.of(n)], *refused, segment="")
            continue
        name = _next_name(failed, ctx)
        names = make_segment(graph, group, ctx, name, ctx.facts[POINTS][graph.name], units)
        made.append(graph.node(name))
        _judge(ctx, [*names, *_constants(made[-1], ctx)], "converted", "", name)
    units.dissolve(graph)
    return made


def _constants(call: Node, ctx: Context) -> list[str]:
    """The user's constants in a segment, whose copies may have other names by now."""
    return [o for n in ctx.module.functions[body_of(call)] if is_free(n) for o in n.origin]


def _judge(ctx: Context, names: Sequence[str], status: str, reason: str, segment: str) -> None:
    for name in names:
        if name in ctx.report.verdicts:
            old = ctx.report.verdicts[name]
            ctx.report.verdicts[name] = attrs.evolve(old, status=status, reason=reason, segment=segment)


def _next_name(failed: str, ctx: Context) -> str:
    """The name after that of the last segment of the same run."""
    stem = failed.rpartition("_")[0]
    numbers = [int(n.rpartition("_")[2]) for n in ctx.report.segments if n.rpartition("_")[0] == stem]
    return f"{stem}_{max(numbers) + 1:03d}"
