"""int8: quantize and dequantize layers in lowered bodies, so that TensorRT computes weighted layers with integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import attrs

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import Graph, Node, Value
from tfgraphopt.passes import Context, Pass
from tfgraphopt.plugins import Tables
from tfgraphopt_int8.calibrators import Calibrator, range_of
from tfgraphopt_int8.coverage import HEAVY
from tfgraphopt_int8.placing import place
from tfgraphopt_int8.plan import Int8Plan, TensorPlan, summary
from tfgraphopt_int8.qat import tidy, widened
from tfgraphopt_int8.rules import QuantRule
from tfgraphopt_int8.settings import Settings
from tfgraphopt_int8.sites import LayerPlan, Sites, Use, find_sites, shared_scales
from tfgraphopt_int8.sources import Sources
from tfgraphopt_int8.weights import Form, scales_of
from tfgraphopt_trt.engine_kinds import chosen_kind
from tfgraphopt_trt.engine_nodes import body_of
from tfgraphopt_trt.engine_ops import OPS

RULES_HOOK = "tfgraphopt_int8_rules"
LAYERS_HOOK = "tfgraphopt_int8_layers"
CALIBRATORS_HOOK = "tfgraphopt_int8_calibrators"
LOWERED = "lowered"
REST = "precision.rest"
"""A fact for the precision plugin."""
PLANS = "int8.plans"
"""A fact: what was decided, by segment."""
PLANNING = "int8.planning"
"""A fact: when it is there (a dict), nothing is placed, and the pass notes in it which tensors it would need, by segment."""


@attrs.frozen(slots=True)
class Int8(Pass):
    """Quantise weighted layers where ranges are known: from calibration, from the model itself, or from the caller.

    Options are in ``Config.options["int8"]``.
    """

    name: ClassVar[str] = "int8"
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("lower", "layout", "trt-canonicalize", "int8-note-tensors")
    before: ClassVar[tuple[str, ...]] = ("precision", "build-engines")
    dialect: ClassVar[str | None] = "trt"

    def applies(self, ctx: Context) -> bool:
        return bool(ctx.config.precision == "int8")

    def run(self, graph: Graph, ctx: Context) -> None:
        settings = Settings.of(ctx.config)
        ctx.facts[REST] = rest_of(ctx, settings)
        own_ranges = tidy(graph)
        _say_widened(graph, ctx)
        sites = find_sites(graph, ctx.tables.table(LAYERS_HOOK), rules_of(ctx), settings)
        sources = Sources.of(graph, ctx)
        if PLANNING in ctx.facts:
            ctx.facts[PLANNING][graph.name] = [name for v in sites.values if (name := sources.tensor_of(v)) is not None]
            return
        ranges = Ranges(settings, calibrator_of(ctx.tables, settings), sources)
        if not ranges.is_known and own_ranges:
            sites = attrs.evolve(sites, uses=(), residuals=())
        elif not ranges.is_known and sites.uses:
            raise _uncalibrated(graph)
        plan = quantise(graph, sites, ranges, form_of(ctx, settings))
        ctx.facts.setdefault(PLANS, {})[graph.name] = plan
        _record(graph, plan, ctx, ranges.calibrator.name)


def _say_widened(graph: Graph, ctx: Context) -> None:
    call = ctx.module.main.find(graph.name)
    if call is not None and call.op in OPS:
        for text in widened(ctx.module.functions[body_of(call)]):
            ctx.report.say(text)


def _uncalibrated(graph: Graph) -> ConfigError:
    return ConfigError(
        "precision int8 needs to know the ranges of tensors", where=[graph.name],
        why="the model has no quantisation of its own, and there are no calibration statistics",
        hint="pass calibration_data, or statistics that `tfgraphopt calibrate` wrote (options={'int8': {'statistics': ...}})",
    )  # fmt: skip


def rules_of(ctx: Context) -> Sequence[QuantRule]:
    """The rules for the kind of engine that is built (TensorRT where none is)."""
    kind = chosen_kind(ctx).name
    rules: Sequence[QuantRule] = ctx.tables.items(RULES_HOOK)
    return [r for r in rules if not r.engines or kind in r.engines]


def rest_of(ctx: Context, settings: Settings) -> str:
    """The precision of the layers that are not quantised."""
    if settings.rest is not None:
        return settings.rest
    return "fp16" if ctx.config.engine == "none" or chosen_kind(ctx).name == "tensorrt" else "fp32"


def form_of(ctx: Context, settings: Settings) -> Form:
    """How the engine that is built wants numbers."""
    return Form(rest_of(ctx, settings), chosen_kind(ctx).int8_weights)


def calibrator_of(tables: Tables, settings: Settings) -> Calibrator:
    """The calibrator that the settings name; ConfigError when there is none of that name."""
    known: Mapping[str, Calibrator] = tables.table(CALIBRATORS_HOOK)
    name = settings.calibrator[0]
    if name not in known:
        raise ConfigError(f"there is no calibrator {name!r}", hint=f"there are {', '.join(sorted(known))}")
    return known[name]


class KnowsRanges(Protocol):
    """Tells the ranges of activations."""

    def of(self, value: Value) -> TensorPlan:
        """The range of ``value``, or why there is none."""


@attrs.frozen(slots=True)
class Ranges:
    """Where ranges come from: what the caller says of a tensor, else statistics and a calibrator."""

    settings: Settings
    calibrator: Calibrator
    sources: Sources

    @property
    def is_known(self) -> bool:
        """Whether there is any source of ranges."""
        return self.settings.statistics is not None or bool(self.settings.amax)

    def of(self, value: Value) -> TensorPlan:
        """The range of ``value``, or why there is none."""
        name = self.sources.tensor_of(value)
        if name is None:
            return TensorPlan("", reason=f"no tensor of the original graph is known to be %{value.name}")
        if name in self.settings.amax:
            return TensorPlan(name, self.settings.amax[name])
        statistics = self.settings.statistics
        seen = None if statistics is None else statistics.tensors.get(name)
        if seen is None or not seen.batches:
            return TensorPlan(name, reason=f"nothing was recorded of {name}")
        amax = range_of(name, seen, self.calibrator, self.settings.calibrator[1])
        return TensorPlan(name, amax, clipped=seen.clipped(amax), reason="" if amax else f"{name} was zero on all data")


def quantise(graph: Graph, sites: Sites, ranges: KnowsRanges, form: Form) -> Int8Plan:
    """Place the layers for every site of ``graph`` whose range is known; the plan says what became of each."""
    tensors = {value: ranges.of(value) for value in sites.values}
    for group in shared_scales(graph, sites.values):
        _share(group, tensors, form.rest)
    chosen = [u for u in sites.uses if tensors[u.value].scale is not None]
    done = {u.node for u in chosen}
    chosen += _residuals(sites, tensors, done)
    layers = {name: _final(name, plan, sites.uses, tensors) for name, plan in sites.layers.items()}
    used = {u.value: tensors[u.value] for u in chosen}
    names = {v.name: t for v, t in tensors.items() if v in used or t.scale is None}
    place(graph, chosen, {v: t.scale for v, t in used.items() if t.scale is not None}, form)
    return Int8Plan(layers, names)


def _share(group: Sequence[Value], tensors: dict[Value, TensorPlan], rest: str) -> None:
    """One scale, the largest, for tensors between which 8-bit numbers go unchanged."""
    amax = max((a for v in group if (a := tensors[v].amax)), default=None)
    if amax is None:
        return
    scale = float(scales_of(amax, rest))
    for value in group:
        if tensors[value].amax:
            tensors[value] = attrs.evolve(tensors[value], amax=amax, scale=scale)


def _residuals(sites: Sites, tensors: Mapping[Value, TensorPlan], done: set[Node]) -> list[Use]:
    """Of every sum the operand to be quantised: one that is quantised for others anyway, else the first with a range."""
    found = []
    shared = {u.value for u in sites.uses if u.node in done}
    for group in sites.residuals:
        able = [u for u in group if tensors[u.value].scale is not None and _other(u).producer in done]
        able.sort(key=lambda u: u.value not in shared)
        found += able[:1]
    return found


def _other(use: Use) -> Value:
    return use.node.inputs[1 - use.operand]


def _final(name: str, plan: LayerPlan, uses: Sequence[Use], tensors: Mapping[Value, TensorPlan]) -> LayerPlan:
    """The verdict on a layer once the ranges are known."""
    values = [u.value for u in uses if u.node.name == name]
    if not values or tensors[values[0]].scale is not None:
        if plan.quantised and not values and plan.origin != "model":
            return attrs.evolve(plan, quantised=False, reason="the model's own ranges leave it", origin="model")
        return plan
    return attrs.evolve(plan, quantised=False, reason=tensors[values[0]].reason, origin="data")


def _record(graph: Graph, plan: Int8Plan, ctx: Context, calibrator: str) -> None:
    segment = ctx.report.segments.get(graph.name)
    if segment is not None:
        segment.details.setdefault("int8", {}).update(summary(graph.name, plan, calibrator))
    for name, tensor in plan.tensors.items():
        if tensor.amax is None and tensor.reason:
            ctx.report.say(f"{graph.name}: %{name} stays in floating point: {tensor.reason}")
        if tensor.clipped > HEAVY:
            ctx.report.say(
                f"{graph.name}: {tensor.tensor}: {tensor.clipped:.1%} of its elements are beyond the range of {tensor.amax:.4g} that "
                f"calibrator {calibrator!r} chose; try another one"
            )
