"""segment: turn every region that TensorRT can run into a function and one engine node that calls it."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import attrs

from tfgraphopt.config import Config
from tfgraphopt.ir import Attrs, FuncRef, Graph, Module, Node, Value
from tfgraphopt.ir.pack import fingerprint
from tfgraphopt.passes import ENDPOINT, Context, Pass
from tfgraphopt.regions import Outlined, outline
from tfgraphopt.report import SegmentReport, Verdict
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt.transforms.infer_types import TYPES
from tfgraphopt_trt.checks import release
from tfgraphopt_trt.clustering import clusters
from tfgraphopt_trt.engine_kinds import chosen_kind
from tfgraphopt_trt.engine_nodes import PROFILES
from tfgraphopt_trt.hookspecs import EngineKind
from tfgraphopt_trt.owned import owned_functions
from tfgraphopt_trt.profile_points import ProfilePoints, entering, is_free
from tfgraphopt_trt.profiles import Profile
from tfgraphopt_trt.support import Support
from tfgraphopt_trt.units import Units, work_of

SEGMENTS = "segments"
POINTS = "trt.profile-points"
"""The fact that holds what is known of shapes, by the name of the graph."""
_Points = Callable[[Sequence[Sequence[Node]]], ProfilePoints]
"""What is known of the shapes in a graph, with the elements of small integers that enter the given segments."""


@attrs.frozen(slots=True)
class Segment(Pass):
    """Outline maximal acyclic convertible regions; every node gets a verdict with its reason.

    ``min_size`` counts nodes that do work (no constants, no forwarding); by default the configuration's minimum_segment_size.
    """

    name: ClassVar[str] = "segment"
    needs: ClassVar[frozenset[str]] = frozenset({TYPES})
    provides: ClassVar[frozenset[str]] = frozenset({SEGMENTS})
    after: ClassVar[tuple[str, ...]] = (
        "remove-identity", "fold-constants", "cse", "dce", "canonicalize", "inline-functions",
    )  # fmt: skip
    dialect: ClassVar[str | None] = None
    min_size: int | None = None

    def run(self, graph: Graph, ctx: Context) -> None:
        kind = chosen_kind(ctx)
        prefix = kind.prefix or kind.op
        run = _run_number(ctx.module, prefix, ctx.facts.get(ENDPOINT, 0))
        names = (f"{prefix}_{run:03d}_{index:03d}" for index in itertools.count())
        self._segment(graph, ctx, names, lambda groups: ProfilePoints.of(graph, groups, ctx.config))

    def _segment(self, graph: Graph, ctx: Context, names: Iterator[str], points: _Points) -> None:
        """Segment one graph, then the functions of what stays in TensorFlow there."""
        units = Units.form(graph)
        verdicts = Support.of(ctx).judge(graph)
        release(graph, verdicts)
        label = {n: n.device if v.status == "converted" else None for n, v in verdicts.items()}
        groups = clusters(graph, label, is_free)
        kept = []
        for group in groups:
            reason = too_small(group, self._least(ctx.config)) or no_work(group)
            if reason:
                verdicts.update((n, attrs.evolve(verdicts[n], status=reason[0], reason=reason[1])) for n in group)
            else:
                kept.append(group)
        kept = _limited(kept, ctx, verdicts)
        _settle_constants(graph, verdicts, {n for g in kept for n in g})
        known = functools.cache(lambda: points(kept))
        segments: dict[str, str] = {}
        for group in kept:
            ctx.facts.setdefault(POINTS, {})[graph.name] = known()
            name = next(names)
            segments.update(dict.fromkeys(make_segment(graph, group, ctx, name, known(), units), name))
        _report(graph, verdicts, units, segments, ctx)
        units.dissolve(graph)
        erase_dead(graph, keep_stateful=graph is not ctx.module.main)
        for owned in owned_functions(graph, ctx.module):
            owned.learn_types()
            inside = functools.partial(known().within, owned.operands, owned.function, ctx.module.functions)
            self._segment(owned.function, ctx, names, inside)

    def _least(self, config: Config) -> int:
        return config.minimum_segment_size if self.min_size is None else self.min_size


def too_small(group: Sequence[Node], least: int) -> tuple[str, str] | None:
    """The status and the reason of nodes whose segment is not worth an engine, or None when it is."""
    size = sum(work_of(n) for n in group)
    if size >= least:
        return None
    return "segment too small", f"its segment has {size} nodes that do work; minimum_segment_size is {least}"


def no_work(group: Sequence[Node]) -> tuple[str, str] | None:
    """The status and the reason of nodes whose segment computes nothing that an engine is for, or None."""
    if not entering(group):
        return "segment dropped", "its segment reads nothing but constants; an engine needs an input"
    if any(v.dtype.is_floating for n in group for v in n.outputs):
        return None
    return "segment dropped", "its segment computes integers only (shapes, indices); an engine would not pay"


def _limited(kept: list[list[Node]], ctx: Context, verdicts: dict[Node, Verdict]) -> list[list[Node]]:
    """Keep the largest segments when the caller limits their number."""
    limit = ctx.config.options.get("max_engines", 0)
    if not limit or len(kept) <= limit:
        return kept
    largest = sorted(kept, key=len, reverse=True)[:limit]
    for group in kept:
        if group not in largest:
            reason = f"only the {limit} largest segments are wanted (max_engines)"
            verdicts.update((n, attrs.evolve(verdicts[n], status="segment dropped", reason=reason)) for n in group)
    return [g for g in kept if g in largest]


def _settle_constants(graph: Graph, verdicts: dict[Node, Verdict], members: set[Node]) -> None:
    """A constant is converted when an engine reads it; otherwise it stays with its readers."""
    for node in graph:
        if is_free(node) and not any(u in members for u in node.users):
            verdicts[node] = attrs.evolve(
                verdicts[node], status="not a candidate", reason="a constant that only TensorFlow reads"
            )


def _report(
    graph: Graph, verdicts: Mapping[Node, Verdict], units: Units, segments: Mapping[str, str], ctx: Context
) -> None:
    """Verdicts on the user's nodes, by their names; other graphs than the main one put their own name before them."""
    prefix = "" if graph is ctx.module.main else f"{graph.name}:"
    for node, verdict in verdicts.items():
        for member in units.of(node):
            segment = segments.get(member.name, "")
            own = attrs.evolve(verdict, node=member.name, op=member.op, origin=member.origin, segment=segment)
            ctx.report.verdicts[prefix + member.name] = own


def _run_number(module: Module, prefix: str, first: int) -> int:
    """The first number under which no engine is named yet (an optimised graph may be optimised again).

    Every endpoint of a model begins with its own number, so that counters tell their engines apart.
    """
    every = (n.name for g in module.graphs("tf") for n in g)
    taken = {name[len(prefix) + 1 :][:3] for name in every if name.startswith(prefix + "_") and "/" not in name}
    return next(i for i in range(first, first + 1000) if f"{i:03d}" not in taken)


def make_segment(
    graph: Graph, group: Sequence[Node], ctx: Context, name: str, points: ProfilePoints, units: Units
) -> list[str]:
    """Turn ``group`` into a function and the engine node ``name``; returns the names of its nodes, constants included."""
    constants = {v.producer for n in group for v in n.inputs if v.producer is not None and is_free(v.producer)}
    members = [m for n in [*group, *constants] for m in units.of(n)]
    names, ops = [m.name for m in members], Counter(m.op for m in members)
    profiles = points.profiles(group, ctx.module.functions)
    collected = {} if isinstance(profiles, str) else points.collected(group, ctx.module.functions)
    kind = chosen_kind(ctx)
    outlined = outline(
        graph, group, op=kind.op, name=name, body_name=f"{name}_native_segment",
        call_attrs=_EngineAttrs(name, kind, ctx.config), device=kind.device,
    )  # fmt: skip
    units.dissolve(outlined.body)
    _name_body(outlined)
    ctx.module.add_function(outlined.body)
    ctx.facts.setdefault(PROFILES, {})[name] = profiles
    segment = ctx.report.segments[name] = _describe(name, outlined, ops, names, profiles)
    if collected:
        segment.details["collected_rows"] = collected
        for tensor, node in collected.items():
            ctx.report.say(_COLLECTED.format(name, tensor, node))
    return names


_COLLECTED = (
    "{}: TensorFlow infers no size for the first axis of %{}, whose rows {} collects: it is taken for the batch"
)


def _name_body(outlined: Outlined) -> None:
    """Give the fallback its final name and mark.

    An eager context holds one function a name in a process, so two models must not share one: the name ends in a digest of the
    body. ``_tf_data_function`` keeps a session's Grappler from rewriting the body with no device known; the engine op has it
    rewritten, with devices, exactly as the original graph is (docs/explanation has the measurements).
    """
    body = outlined.body
    body.attrs["_tf_data_function"] = True
    body.name = f"{body.name}_{fingerprint(body)[:12]}"
    outlined.call.set_attr("segment_func", FuncRef(body.name))


@attrs.frozen(slots=True)
class _EngineAttrs:
    name: str
    kind: EngineKind
    config: Config

    def __call__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Attrs:
        return {
            "segment_func": FuncRef(f"{self.name}_native_segment"), "serialized_segment": "",
            "InT": tuple(v.dtype for v in inputs), "OutT": tuple(v.dtype for v in outputs),
            "input_shapes": tuple(v.shape for v in inputs), "output_shapes": tuple(v.shape for v in outputs),
            "max_batch_size": self.config.max_batch_size, "workspace_size_bytes": self.config.max_workspace_size_bytes,
            "precision_mode": self.config.precision.upper(), "use_calibration": False, "strict": self.config.strict,
            "static_engine": True, "runtime": self.kind.runtime,
        }  # fmt: skip


def _describe(
    name: str, outlined: Outlined, ops: Mapping[str, int], names: Sequence[str], profiles: Sequence[Profile] | str
) -> SegmentReport:
    known = profiles if isinstance(profiles, str) else [[attrs.asdict(p[i]) for i in sorted(p)] for p in profiles]
    return SegmentReport(
        name, nodes=len(names), ops=dict(sorted(ops.items())),
        inputs=[_tensor(v) for v in outlined.call.inputs], outputs=[_tensor(v) for v in outlined.call.outputs],
        details={"profiles": known},
    )  # fmt: skip


def _tensor(value: Value) -> dict[str, object]:
    return {"name": value.name, "type": str(value.type)}
