"""Predicts the accuracy of a model in a precision by the meaning of its lowered bodies, and finds layers to keep in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.ir.tensor import Array
from tfgraphopt.optimization import optimize_graph_def
from tfgraphopt.verification import Culprit, Errors, Verification, VerifyRequest
from tfgraphopt_precision.culprits import contributions, smallest
from tfgraphopt_precision.deciding import Decider
from tfgraphopt_precision.model import Model, SegmentPlace, original_results, take_apart
from tfgraphopt_precision.modes import MODES, Mode
from tfgraphopt_precision.plan import FLOAT32, LayerPrecision, PrecisionPlan
from tfgraphopt_precision.precision import assignment, decider_of, table
from tfgraphopt_precision.ranges import Ranges, measure
from tfgraphopt_precision.rewriting import copied, rewrite
from tfgraphopt_precision.settings import Settings
from tfgraphopt_trt.support import LAYERS_HOOK

_RELATIVE = "relative to the largest magnitude of the output"


def verify(request: VerifyRequest) -> Verification | None:
    """Predict; None for a precision that is not this plugin's."""
    precision = request.config.precision
    if precision != FLOAT32 and precision not in MODES:
        return None
    request.progress("lowering", 0, 1)
    config = attrs.evolve(request.config, precision=FLOAT32, engine="none")
    lowered = optimize_graph_def(
        request.graph_def, request.outputs, config, tables=request.tables, progress=request.progress
    )
    graph_def, places = take_apart(lowered)
    layers = {layer.op: layer for layer in request.tables.items(LAYERS_HOOK)}
    expected = original_results(request)
    model = Model(graph_def, places, request.outputs, request.feeds, layers, request.state)
    return _Verifier(request, model, expected, _planner(request, model)).verification()


@attrs.frozen(slots=True)
class _Planner:
    """Makes plans and bodies for the segments of a model."""

    request: VerifyRequest
    mode: Mode | None
    settings: Settings
    ranges: Mapping[str, Ranges]

    def plans(self, model: Model, pins: Mapping[str, Mapping[str, LayerPrecision]]) -> dict[str, PrecisionPlan]:
        """A plan per segment with ``pins`` (by segment and layer) in float32; none in float32."""
        if self.mode is None:
            return {}
        return {p.name: self._decider(p, pins.get(p.name, {}), self.mode).decide(p.body) for p in model.places}

    def _decider(self, place: SegmentPlace, pins: Mapping[str, LayerPrecision], mode: Mode) -> Decider:
        return decider_of(place.name, mode, self.settings, self.request.tables, pins)

    def bodies(self, model: Model, plans: Mapping[str, PrecisionPlan]) -> dict[str, Graph]:
        """The bodies of all segments under their plans."""
        return {p.name: _under(p.body, plans[p.name]) if plans else p.body for p in model.places}


def _under(body: Graph, plan: PrecisionPlan) -> Graph:
    made = copied(body)
    rewrite(body, made, assignment(plan))
    return made


def _planner(request: VerifyRequest, model: Model) -> _Planner:
    settings = Settings.of(request.config)
    measured = (
        {p.name: measure(p.body, model.layers, [model.operands(p)]) for p in model.places} if request.measure else {}
    )
    if measured:
        settings = attrs.evolve(settings, ranges=measured)
    return _Planner(request, MODES.get(request.config.precision), settings, measured)


@attrs.frozen(slots=True)
class _Verifier:
    request: VerifyRequest
    model: Model
    expected: Sequence[Array]
    planner: _Planner

    def verification(self) -> Verification:
        plans: Mapping[str, PrecisionPlan] = self.planner.plans(self.model, {})
        bodies = self.planner.bodies(self.model, plans)
        self.request.progress("computing", 0, 1)
        outputs = self._outputs(bodies)
        segments = {p.name: self._segment(p, bodies) for p in self.model.places}
        found = Verification(self.request.config.precision, outputs, segments)
        if not self.model.places:
            found = attrs.evolve(found, notes=("no part of the model is converted: nothing is off",))
        if self._is_wanting(outputs) and plans:
            found, plans = self._repaired(found, plans)
        return attrs.evolve(
            found, artefacts=self._artefacts(plans), tables=tuple(table(n, p) for n, p in plans.items())
        )

    def _outputs(self, bodies: Mapping[str, Graph]) -> dict[str, Errors]:
        made = self.model.outputs(bodies)
        return {
            name: Errors.between(a, b) for name, a, b in zip(self.request.outputs, made, self.expected, strict=True)
        }

    def _segment(self, place: SegmentPlace, bodies: Mapping[str, Graph]) -> dict[str, Errors]:
        made = self.model.made(bodies[place.name], self.model.operands(place))
        wanted = self.model.expected(place)
        return {n: Errors.between(a, b) for n, a, b in zip(place.result_names, made, wanted, strict=True)}

    def _is_wanting(self, outputs: Mapping[str, Errors]) -> bool:
        tolerance = self.request.tolerance
        return self.request.search and tolerance is not None and not _all_within(outputs, tolerance)

    # -- culprits ----------------------------------------------------------------------------------------------------

    def _repaired(
        self, found: Verification, plans: Mapping[str, PrecisionPlan]
    ) -> tuple[Verification, Mapping[str, PrecisionPlan]]:
        """The smallest set of layers in float32 that meets the tolerance."""
        errors = self._contributions(plans)
        ordered = sorted(errors, key=lambda key: -errors[key])
        chosen = smallest(ordered, lambda keys: self._suffices(keys, plans))
        if chosen is None:
            note = f"the tolerance is not met even with every layer in float32 ({_RELATIVE})"
            return attrs.evolve(found, notes=(*found.notes, note)), plans
        plans = self.planner.plans(self.model, self._pins(chosen, plans))
        repaired = self._outputs(self.planner.bodies(self.model, plans))
        culprits = tuple(self._culprit(key, plans, errors[key]) for key in chosen)
        return attrs.evolve(found, culprits=culprits, repaired=repaired), plans

    def _contributions(self, plans: Mapping[str, PrecisionPlan]) -> dict[str, float]:
        found = {}
        for place in self.model.places:
            mode, plan = self.planner.mode, plans[place.name]
            assert mode is not None
            operands = self.model.operands(place)
            errors = contributions(place.body, plan.low, mode, self.model.layers, operands, self.request.progress)
            found.update({_key(place.name, layer): error for layer, error in errors.items()})
        return found

    def _suffices(self, keys: Sequence[str], plans: Mapping[str, PrecisionPlan]) -> bool:
        self.request.progress(f"trying {len(keys)} layers in float32", 0, 1)
        changed = self.planner.plans(self.model, self._pins(keys, plans))
        tolerance = self.request.tolerance
        assert tolerance is not None
        return _all_within(self._outputs(self.planner.bodies(self.model, changed)), tolerance)

    def _pins(self, keys: Sequence[str], plans: Mapping[str, PrecisionPlan]) -> dict[str, dict[str, LayerPrecision]]:
        pins: dict[str, dict[str, LayerPrecision]] = {}
        for key in keys:
            segment, layer = _parts(key)
            reason = f"kept for a tolerance of {self.request.tolerance:g}"
            entry = attrs.evolve(plans[segment].layers[layer], precision=FLOAT32, reason=reason, origin="search")
            pins.setdefault(segment, {})[layer] = entry
        return pins

    def _culprit(self, key: str, plans: Mapping[str, PrecisionPlan], error: float) -> Culprit:
        segment, layer = _parts(key)
        entry = plans[segment].layers[layer]
        return Culprit(segment, layer, entry.op, entry.nodes, error)

    def _artefacts(self, plans: Mapping[str, PrecisionPlan]) -> dict[str, object]:
        return {
            "plans": {"format": 1, "plans": {n: p.to_json() for n, p in plans.items()}},
            "ranges": {"format": 1, "ranges": {n: r.to_json() for n, r in self.planner.ranges.items()}},
        }


def _all_within(errors: Mapping[str, Errors], tolerance: float) -> bool:
    return all(e.within(tolerance) for e in errors.values())


def _key(segment: str, layer: str) -> str:
    return f"{segment}\n{layer}"


def _parts(key: str) -> tuple[str, str]:
    segment, _, layer = key.partition("\n")
    return segment, layer
