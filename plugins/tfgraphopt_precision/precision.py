"""precision: run what loses nothing by it in float16 or bfloat16, by casts in the lowered bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from tfgraphopt.config import Config
from tfgraphopt.ir import DType, Graph
from tfgraphopt.passes import Context, Pass
from tfgraphopt.plugins import Tables
from tfgraphopt_precision.costs import cast_bytes
from tfgraphopt_precision.deciding import Decider
from tfgraphopt_precision.modes import MODES, Mode, mode_of
from tfgraphopt_precision.plan import FLOAT32, LayerPrecision, PrecisionPlan
from tfgraphopt_precision.ranges import Ranges
from tfgraphopt_precision.rewriting import copied, is_assigned, rewrite
from tfgraphopt_precision.rules import RuleSet, Surroundings
from tfgraphopt_precision.settings import Settings
from tfgraphopt_precision.slots import CAST

RULES_HOOK = "tfgraphopt_precision_rules"
STATES = "precision.states"
REST = "precision.rest"
"""A fact that the INT8 plugin leaves: the precision of the layers that it does not quantise."""
LOWERED = "lowered"


@attrs.define(slots=True)
class State:
    """What the pass did to one body: the body as it was, the plan, the settings, and the version that it left the body in."""

    original: Graph
    plan: PrecisionPlan
    settings: Settings
    version: int = -1
    pins: dict[str, LayerPrecision] = attrs.field(factory=dict)
    attempts: int = 0


@attrs.frozen(slots=True)
class Precision(Pass):
    """Run layers in a lower precision where nothing speaks against it, and cast where precisions meet.

    ``mode`` is fp16, bf16 or fp32 (nothing is changed); by default the configuration's precision. ``plan`` and ``ranges`` are
    paths of files with precision plans and measured ranges. More options are in ``Config.options["precision"]``.
    """

    name: ClassVar[str] = "precision"
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("lower", "layout", "trt-canonicalize")
    before: ClassVar[tuple[str, ...]] = ("build-engines",)
    dialect: ClassVar[str | None] = "trt"
    mode: str | None = None
    plan: str = ""
    ranges: str = ""

    def applies(self, ctx: Context) -> bool:
        return self._mode(ctx) in MODES

    def _mode(self, ctx: Context) -> str:
        mode = _wanted(ctx) if self.mode is None else self.mode
        if self.mode not in (None, FLOAT32):
            mode_of(mode)
        return str(mode)

    def run(self, graph: Graph, ctx: Context) -> None:
        mode = mode_of(self._mode(ctx))
        settings = self._settings(ctx.config)
        states: dict[str, State] = ctx.facts.setdefault(STATES, {})
        state = states.get(graph.name)
        if state is not None and state.version == graph.version and state.plan.mode == mode.name:
            return
        decider = decider_of(graph.name, mode, settings, ctx.tables)
        state = states[graph.name] = State(copied(graph), decider.decide(graph), settings)
        impose(graph, state, ctx)

    def _settings(self, config: Config) -> Settings:
        given = dict(config.options.get("precision", {}))
        given.update({name: path for name, path in (("plan", self.plan), ("ranges", self.ranges)) if path})
        return Settings.of(attrs.evolve(config, options={**config.options, "precision": given}))


def _wanted(ctx: Context) -> str:
    """The configuration's precision; for int8 what the INT8 plugin leaves the other layers to."""
    return str(ctx.facts.get(REST, FLOAT32)) if ctx.config.precision == "int8" else str(ctx.config.precision)


def decider_of(
    segment: str, mode: Mode, settings: Settings, tables: Tables, pins: Mapping[str, LayerPrecision] | None = None
) -> Decider:
    """Who decides the plan of ``segment``: the rules of all plugins, what was measured, and what the caller wants."""
    around = Surroundings(
        mode, settings.ranges.get(segment, Ranges()), settings.max_reduce_depth, settings.max_product_depth, settings.max_value,
        settings.nominal,
    )  # fmt: skip
    rules = RuleSet.of(tables.items(RULES_HOOK))
    return Decider(rules, settings, around, pins or {}, settings.plan.get(segment))


def assignment(plan: PrecisionPlan) -> dict[str, DType]:
    """The element type of every layer that ``plan`` names."""
    low = mode_of(plan.mode).dtype
    return {name: DType.FLOAT if layer.precision == FLOAT32 else low for name, layer in plan.layers.items()}


def impose(graph: Graph, state: State, ctx: Context) -> None:
    """Let ``graph`` be the original body under the state's plan, and record the plan in the report."""
    wanted = assignment(state.plan)
    if not is_assigned(graph, wanted):
        rewrite(state.original, graph, wanted)
    state.version = graph.version
    record(graph, state, ctx)


def record(graph: Graph, state: State, ctx: Context) -> None:
    """Put the plan, its casts and its table into the segment's report."""
    segment = ctx.report.segments.get(graph.name)
    if segment is not None:
        segment.details.setdefault("precision", {}).update(summary(graph, state.plan, state.settings.nominal))


def summary(graph: Graph, plan: PrecisionPlan, nominal: int) -> dict[str, Any]:
    """What a report says of a plan."""
    casts = [n for n in graph if n.op == CAST and n.inputs[0].dtype.is_floating and n.outputs[0].dtype.is_floating]
    mode = mode_of(plan.mode)
    return {
        "mode": plan.mode, "plan": plan.to_json(), "low_layers": len(plan.low), "fp32_layers": len(plan.high),
        "flops_share": round(plan.flops_share, 4), "casts": len(casts),
        "cast_bytes": sum(cast_bytes(n.inputs[0], mode, nominal) for n in casts), "table": table(graph.name, plan),
    }  # fmt: skip


def table(segment: str, plan: PrecisionPlan) -> dict[str, Any]:
    """The layers in float32 with their reasons, as a table for printing."""
    rows = [
        [name, p.op, ", ".join(p.nodes), p.origin, p.reason]
        for name, p in plan.layers.items()
        if p.precision == FLOAT32
    ]
    title = (
        f"{segment}: {len(plan.low)} layers ({plan.flops_share:.1%} of FLOPs) in {plan.mode}, {len(rows)} in float32"
    )
    return {"title": title, "columns": ["float32 layer", "op", "nodes", "origin", "why"], "rows": rows}
