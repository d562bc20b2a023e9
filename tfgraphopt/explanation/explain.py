"""Explaining an optimisation: a watcher around its passes sees what happens, and asks plugins for advice on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError, GraphDefError
from tfgraphopt.explanation.views import (
    View,
    ViewNode,
    snapshot,
    view_after,
    view_before,
    views_of_functions_after,
    views_of_functions_before,
    views_of_layers,
)
from tfgraphopt.graphdef import GraphDef, infer_at, original_name
from tfgraphopt.instruments import Journal
from tfgraphopt.instruments.journal import Event
from tfgraphopt.ir import Graph, Module, Shape, TensorType, Value
from tfgraphopt.optimization import Result, optimize_graph_def
from tfgraphopt.passes import Context, Pass, Quiet
from tfgraphopt.plugins import Tables
from tfgraphopt.report import Report, SegmentReport

Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


@attrs.frozen(slots=True)
class Boundary:
    """One tensor that crosses between TensorFlow and an engine, or between two engines.

    Attributes:
        segment: the engine.
        direction: ``in`` or ``out``.
        tensor: its name in the optimised graph; ``node`` is the caller's node that computes it.
        type: element type and dimensions, ? where unknown.
        bytes: its size at the optimal shapes of the first profile; None where they are not known.
        others: the nodes on the other side.
    """

    segment: str
    direction: str
    tensor: str
    node: str
    type: str
    bytes: int | None
    others: tuple[str, ...]


@attrs.frozen(slots=True)
class Explanation:
    """All there is to say of one optimisation.

    Attributes:
        report: verdicts, segments, advice, timings.
        config: what was asked for.
        boundaries: every tensor that goes into an engine or out of one.
        provenance: per node of the caller what passes did to it and to what came of it, in order.
        views: the graph before, the graph after, the body of every engine, and the functions that the two graphs run.
        result: what the optimisation gave.
    """

    report: Report
    config: Config
    boundaries: tuple[Boundary, ...]
    provenance: Mapping[str, tuple[Event, ...]]
    views: tuple[View, ...]
    result: Result = attrs.field(repr=False)

    @property
    def boundary_bytes(self) -> int:
        """Bytes that cross, as far as they are known."""
        return sum(b.bytes or 0 for b in self.boundaries)

    def to_json(self) -> dict[str, Any]:
        """The report's tree, with boundaries and provenance (the views are for pages)."""
        provenance = {name: [attrs.asdict(e) for e in events] for name, events in self.provenance.items()}
        return {
            **self.report.to_json(),
            "boundaries": [attrs.asdict(b) for b in self.boundaries],
            "provenance": provenance,
        }


def explain_graph_def(
    graph_def: GraphDef,
    outputs: Sequence[str],
    config: Config | None = None,
    *,
    tables: Tables | None = None,
    progress: Progress = _silent,
) -> Explanation:
    """Explain what an optimisation of a frozen graph with ``config`` would do; nothing is built, no TensorRT is needed.

    Raises: what :func:`tfgraphopt.optimize_graph_def` raises.
    """
    watcher = Watcher()
    config = attrs.evolve(config or Config(), engine="none")
    result = optimize_graph_def(graph_def, outputs, config, tables=tables, instruments=[watcher], progress=progress)
    return watcher.explanation(result)


@attrs.define(slots=True, eq=False)
class _Seen:
    """What was seen of one module: its nodes at the beginning, types found since, and every change."""

    module: Module
    before: list[ViewNode]
    functions: Mapping[str, list[ViewNode]]
    copies: dict[str, str] = attrs.field(factory=dict)
    types: dict[tuple[str, int], TensorType] = attrs.field(factory=dict)
    journal: Journal = attrs.field(factory=Journal)


@attrs.define(slots=True, eq=False)
class Watcher(Quiet):
    """An instrument that sees everything an explanation needs; ask it for one when the optimisation is over.

    It may be put around the optimisation of a model with several signatures, and asked about each.
    """

    _seen: list[_Seen] = attrs.field(factory=list, init=False)

    def explanation(self, result: Result) -> Explanation:
        """Everything about the optimisation that gave ``result``, around which this instrument was put.

        Raises:
            ConfigError: it was not put around that one.
        """
        module, report = result.module, result.report
        seen = next((s for s in self._seen if s.module is module), None)
        if seen is None:
            raise ConfigError("the watcher did not see this optimisation", hint="pass it in instruments=[...]")
        before = view_before(seen.before, seen.types, report)
        views = (
            before,
            view_after(module, report),
            *views_of_layers(module, report),
            *views_of_functions_before(before, seen.functions, seen.copies, report),
            *views_of_functions_after(module, seen.copies, report),
        )
        return Explanation(report, result.config, _boundaries(module, report), _provenance(seen), views, result)

    # -- an instrument -----------------------------------------------------------------------------------------------

    def enter(self, ctx: Context) -> None:
        """Look at the caller's graph."""
        functions = {name: snapshot(body) for name, body in ctx.module.functions.items()}
        self._seen.append(_Seen(ctx.module, snapshot(ctx.module.main), functions))
        self._now.journal.enter(ctx)

    def exit(self, ctx: Context) -> None:
        """Stop listening."""
        self._now.journal.exit(ctx)

    def before(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Ask plugins for advice."""
        arguments = {"step": step, "graph": graph, "ctx": ctx}
        for advice in ctx.tables.call("tfgraphopt_advice", arguments):
            ctx.report.advice += [a for a in advice if a not in ctx.report.advice]
        self._now.journal.before(step, graph, ctx)

    def after(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Keep what is known of types while the caller's nodes are there."""
        self._now.journal.after(step, graph, ctx)
        known = self._now.copies
        known.update((name, original_name(f)) for name, f in ctx.module.functions.items() if name not in known)
        if not ctx.report.segments:
            self._now.types.update({(n.name, v.index): v.type for n in ctx.module.main for v in n.outputs})

    @property
    def _now(self) -> _Seen:
        return self._seen[-1]


def _provenance(seen: _Seen) -> dict[str, tuple[Event, ...]]:
    found: dict[str, list[Event]] = {n.name: [] for n in seen.before}
    for event in seen.journal.events:
        for name in event.origin:
            if name in found:
                found[name].append(event)
    return {name: tuple(events) for name, events in found.items()}


# -- boundaries ----------------------------------------------------------------------------------------------------------


def _boundaries(module: Module, report: Report) -> tuple[Boundary, ...]:
    return tuple(b for name, segment in report.segments.items() for b in _around(module, name, segment))


def _around(module: Module, name: str, segment: SegmentReport) -> list[Boundary]:
    call = module.main.find(name)
    if call is None:
        return []
    body = module.functions.get(getattr(call.attrs.get("segment_func"), "name", ""))
    inside = _shapes_inside(body, segment) if body is not None else {}
    formals = body.inputs if body is not None else call.inputs
    made = body.outputs if body is not None else call.outputs
    entering = [
        _crossing(name, "in", v, _maker(module, v), inside.get(f)) for v, f in zip(call.inputs, formals, strict=True)
    ]
    return entering + [_crossing(name, "out", v, m, inside.get(m)) for v, m in zip(call.outputs, made, strict=True)]


def _maker(module: Module, value: Value) -> Value:
    """The value in the body of another engine that ``value`` is the result of, or itself."""
    reference = value.producer.attrs.get("segment_func") if value.producer is not None else None
    body = module.functions.get(getattr(reference, "name", ""))
    return value if body is None else body.outputs[value.index]


def _crossing(segment: str, direction: str, value: Value, source: Value, shape: Shape | None) -> Boundary:
    """A boundary whose tensor is ``value`` and which the producer of ``source`` computes."""
    node = source.producer.name if source.producer is not None else source.name
    producers = (value.producer.name,) if value.producer is not None else ()
    others = producers if direction == "in" else tuple(dict.fromkeys(u.name for u in value.users))
    known = value.type if shape is None else value.type.with_shape(shape)
    return Boundary(segment, direction, value.name, node, str(value.type), known.num_bytes, others)


def _shapes_inside(body: Graph, segment: SegmentReport) -> Mapping[Value, Shape]:
    """Shapes of the values of a segment's body at the optimum of its first profile; none when that is not known."""
    profiles = segment.details.get("profiles")
    if not isinstance(profiles, list) or not profiles:
        return {}
    points = {v: Shape(tuple(p["opt"])) for v, p in zip(body.inputs, profiles[0], strict=True)}
    try:
        return {**infer_at(body, points, {}).shapes, **points}
    except GraphDefError:  # shapes that follow from elements of a tensor which is not known here
        return points
