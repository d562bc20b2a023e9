"""Predicts the accuracy of INT8 by the meaning of lowered bodies with their quantize layers, and finds layers to leave unquantised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from tfgraphopt.calibration import CalibrationRequest
from tfgraphopt.graphdef import import_graph_def
from tfgraphopt.instruments import Verify
from tfgraphopt.ir import Graph, Value
from tfgraphopt.ir.tensor import Array
from tfgraphopt.optimization import Result, op_table, pipeline_of
from tfgraphopt.passes import Context, PassManager
from tfgraphopt.report import Report
from tfgraphopt.verification import Culprit, Errors, Verification, VerifyRequest
from tfgraphopt_int8.calibrating import CALIBRATION, until_int8
from tfgraphopt_int8.int8 import LAYERS_HOOK, PLANNING, Ranges, calibrator_of, form_of, quantise, rules_of
from tfgraphopt_int8.plan import Int8Plan, TensorPlan, summary
from tfgraphopt_int8.qat import has_own_ranges
from tfgraphopt_int8.settings import Settings
from tfgraphopt_int8.sites import Sites, find_sites
from tfgraphopt_int8.sources import Sources
from tfgraphopt_int8.weights import Form
from tfgraphopt_precision.culprits import smallest
from tfgraphopt_precision.model import Model, SegmentPlace, original_results, take_apart
from tfgraphopt_precision.rewriting import copied
from tfgraphopt_trt.support import LAYERS_HOOK as TRT_LAYERS_HOOK

_ON_FEEDS = "there were no calibration statistics: the ranges are those of the data that the errors are of, so these are optimistic"
_REST = "layers that are not quantised are predicted in float32"
Keys = frozenset[tuple[str, str]]
"""Layers as (segment, layer)."""


def verify(request: VerifyRequest) -> Verification | None:
    """Predict; None for another precision."""
    if request.config.precision != "int8":
        return None
    request, notes = _calibrated(request)
    request.progress("lowering", 0, 1)
    ctx = _lowered(request)
    ranges = _known_ranges(ctx, Settings.of(request.config))
    graph_def, places = take_apart(Result(ctx.module, ctx.report, ctx.config, ctx.tables, request.graph_def))
    layers = {layer.op: layer for layer in request.tables.items(TRT_LAYERS_HOOK)}
    model = Model(graph_def, places, request.outputs, request.feeds, layers, request.state)
    truth = dict(zip(request.outputs, original_results(request), strict=True))
    quantiser = _Quantiser(ctx, Settings.of(request.config), ranges, form_of(ctx, Settings.of(request.config)))
    return _Verifier(request, model, quantiser, truth).verification(notes)


def _calibrated(request: VerifyRequest) -> tuple[VerifyRequest, tuple[str, ...]]:
    """The request with ranges from somewhere."""
    settings = Settings.of(request.config)
    if settings.statistics is not None or settings.amax or has_own_ranges(request.graph_def):
        return request, (_REST,)
    data = [{name.removesuffix(":0"): array for name, array in request.feeds.items()}]
    calibration = CalibrationRequest(
        request.graph_def, request.outputs, request.config, request.tables, data, request.progress, request.state
    )
    return attrs.evolve(request, config=CALIBRATION.calibrate(calibration)), (_ON_FEEDS, _REST)


def _lowered(request: VerifyRequest) -> Context:
    """The module as it is when INT8 is decided, with nothing placed."""
    module = import_graph_def(request.graph_def, list(request.outputs), ops=op_table(request.tables))
    ctx = Context(module, request.config, request.tables, Report(), {PLANNING: {}})
    PassManager(until_int8(pipeline_of(request.config, request.tables).steps), (Verify(),)).run(ctx)
    return ctx


def _known_ranges(ctx: Context, settings: Settings) -> dict[str, dict[str, TensorPlan]]:
    """The ranges of all activations that may be quantised, by segment and value name."""
    found = {}
    for name, body in ctx.module.lowered.items():
        ranges = Ranges(settings, calibrator_of(ctx.tables, settings), Sources.of(body, ctx))
        sites = find_sites(body, ctx.tables.table(LAYERS_HOOK), rules_of(ctx), settings)
        found[name] = {v.name: ranges.of(v) for v in sites.values} if ranges.is_known else {}
    return found


@attrs.frozen(slots=True)
class _Named:
    """Ranges by the names of values, of a copy of a body."""

    by_name: Mapping[str, TensorPlan]

    def of(self, value: Value) -> TensorPlan:
        return self.by_name.get(value.name, TensorPlan("", reason="its range is not known"))


@attrs.frozen(slots=True)
class _Quantiser:
    """Makes quantised copies of bodies."""

    ctx: Context
    settings: Settings
    ranges: Mapping[str, Mapping[str, TensorPlan]]
    form: Form

    def quantised(self, body: Graph, left: Keys = frozenset(), only: str | None = None) -> tuple[Graph, Int8Plan]:
        """A copy of ``body`` with all that can be quantised, except the layers ``left``; or with one layer alone."""
        made = copied(body)
        sites = find_sites(made, self.ctx.tables.table(LAYERS_HOOK), rules_of(self.ctx), self.settings)
        chosen = tuple(u for u in sites.uses if (body.name, u.node.name) not in left and only in (None, u.node.name))
        residuals = () if only is not None else sites.residuals
        wanted = Sites(sites.layers, chosen, residuals)
        return made, quantise(made, wanted, _Named(self.ranges[body.name]), self.form)


@attrs.frozen(slots=True)
class _Verifier:
    request: VerifyRequest
    model: Model
    quantiser: _Quantiser
    truth: Mapping[str, Array]

    def verification(self, notes: tuple[str, ...]) -> Verification:
        bodies, plans = self._bodies(frozenset())
        self.request.progress("computing", 0, 1)
        outputs = self._errors(bodies)
        segments = {p.name: self._segment(p, bodies[p.name]) for p in self.model.places}
        found = Verification("int8", outputs, segments, notes=notes)
        tolerance = self.request.tolerance
        if self.request.search and tolerance is not None and not _within(outputs, tolerance):
            found, plans = self._repaired(found, plans, tolerance)
        tables = tuple(summary(n, p, self.quantiser.settings.calibrator[0])["table"] for n, p in plans.items())
        return attrs.evolve(found, tables=tables, artefacts={"plans": _skipped(found.culprits or ())})

    def _segment(self, place: SegmentPlace, body: Graph) -> dict[str, Errors]:
        made = self.model.made(body, self.model.operands(place))
        wanted = self.model.expected(place)
        return {n: Errors.between(a, b) for n, a, b in zip(place.result_names, made, wanted, strict=True)}

    def _bodies(self, left: Keys) -> tuple[dict[str, Graph], Mapping[str, Int8Plan]]:
        made = {p.name: self.quantiser.quantised(p.body, left) for p in self.model.places}
        return {n: body for n, (body, _) in made.items()}, {n: plan for n, (_, plan) in made.items()}

    def _errors(self, bodies: Mapping[str, Graph]) -> dict[str, Errors]:
        made = self.model.outputs(bodies)
        return {n: Errors.between(a, self.truth[n]) for n, a in zip(self.request.outputs, made, strict=True)}

    def _repaired(
        self, found: Verification, plans: Mapping[str, Int8Plan], tolerance: float
    ) -> tuple[Verification, Mapping[str, Int8Plan]]:
        """The smallest set of layers to leave that meets the tolerance."""
        alone = self._alone(plans)
        names = {f"{segment}\n{layer}": (segment, layer) for segment, layer in alone}
        ordered = sorted(names, key=lambda key: -alone[names[key]])

        def suffices(keys: Sequence[str]) -> bool:
            self.request.progress(f"trying without {len(keys)} layers", 0, 1)
            return _within(self._errors(self._bodies(frozenset(names[k] for k in keys))[0]), tolerance)

        chosen = smallest(ordered, suffices)
        if chosen is None:
            return attrs.evolve(
                found, notes=(*found.notes, "the tolerance is not met even with nothing quantised")
            ), plans
        left = frozenset(names[k] for k in chosen)
        bodies, changed = self._bodies(left)
        culprits = tuple(
            Culprit(s, n, plans[s].layers[n].op, plans[s].layers[n].nodes, alone[s, n]) for s, n in sorted(left)
        )
        return attrs.evolve(found, culprits=culprits, repaired=self._errors(bodies)), changed

    def _alone(self, plans: Mapping[str, Int8Plan]) -> dict[tuple[str, str], float]:
        """The largest error of a segment's results when one layer alone is quantised."""
        found = {}
        for place in self.model.places:
            operands, expected = self.model.operands(place), self.model.expected(place)
            layers = [n for n in plans[place.name].quantised if plans[place.name].layers[n].origin != "model"]
            for index, name in enumerate(layers):
                self.request.progress("measuring layers", index, len(layers))
                made = self.model.made(self.quantiser.quantised(place.body, only=name)[0], operands)
                found[place.name, name] = max(Errors.between(a, b).max_rel for a, b in zip(made, expected, strict=True))
        return found


def _within(errors: Mapping[str, Errors], tolerance: float) -> bool:
    return all(e.within(tolerance) for e in errors.values())


def _skipped(culprits: Sequence[Culprit]) -> dict[str, object]:
    """What to give as the option ``skip``."""
    return {"format": 1, "int8": {"skip": [f"name={c.layer}" for c in culprits]}}
