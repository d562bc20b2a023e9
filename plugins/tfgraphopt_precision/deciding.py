"""Decides the precision of every layer of a body: rules forbid or advise, and a minimum cut places the casts.

The cost of an assignment is what its casts move, plus what layers in float32 fail to save, plus what rules hold against layers in
low precision; a tensor that several layers read in the other precision is cast once. It is a sum of submodular terms, so that a
minimum cut finds the best assignment (Kolmogorov and Zabih 2004).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tfgraphopt.ir import Graph, Node, Value
from tfgraphopt.mincut import Cut
from tfgraphopt_precision.costs import cast_bytes, flops, saving
from tfgraphopt_precision.plan import FLOAT32, LayerPrecision, PrecisionPlan
from tfgraphopt_precision.rules import Objection, PrecisionRule, RuleSet, Surroundings
from tfgraphopt_precision.settings import Settings
from tfgraphopt_precision.slots import Slots, refusal, slots_of


@attrs.frozen(slots=True)
class Stance:
    """What is said of one layer before casts are weighed: ``forced`` is FLOAT32, the mode's name, or empty for a free layer."""

    forced: str = ""
    reason: str = ""
    origin: str = "default"
    penalty: int = 0


@attrs.frozen(slots=True)
class Decider:
    """Decides plans for lowered bodies in float32; ``pins`` are further layers to hold in float32, by name, with why."""

    rules: RuleSet
    settings: Settings
    around: Surroundings
    pins: Mapping[str, LayerPrecision] = attrs.field(factory=dict)
    replayed: PrecisionPlan | None = None

    def decide(self, graph: Graph) -> PrecisionPlan:
        """The plan for ``graph``; layers that are in another type already (the model's own casts) are left as they are."""
        slots = {node: s for node in graph if (s := slots_of(node))}
        stances = {node: self._stance(node, s) for node, s in slots.items()}
        problem = CastProblem(graph, self.around, slots, stances)
        high = problem.float32_layers()
        return PrecisionPlan(
            self.around.mode.name,
            {node.name: self._entry(node, stance, node in high) for node, stance in stances.items()},
        )

    def _entry(self, node: Node, stance: Stance, high: bool) -> LayerPrecision:
        reason, origin = stance.reason, stance.origin
        if high and not stance.forced and not stance.penalty:
            reason, origin = "float32 takes fewer casts here: so do its neighbours", "casts"
        if not high and not stance.forced:
            reason, origin = "", "default"
        precision = FLOAT32 if high else self.around.mode.name
        return LayerPrecision(precision, reason, origin, node.op, node.origin, flops(node, self.around.nominal))

    def _stance(self, node: Node, slots: Slots) -> Stance:
        refused = refusal(node, slots, self.around.mode.dtype)
        if refused is not None:
            return Stance(FLOAT32, refused, "type")
        found = self.rules.objections(node, self.around)
        final = [(rule, o) for rule, o in found if rule.final and o.weight is None]
        if final:
            return _forbidden(*final[0])
        if node.name in self.pins:
            return Stance(FLOAT32, self.pins[node.name].reason, self.pins[node.name].origin)
        return self._wished(node) or self._advised(node, slots, found)

    def _wished(self, node: Node) -> Stance | None:
        """What the caller's plan or patterns say."""
        planned = self.replayed.layers.get(node.name) if self.replayed is not None else None
        if planned is not None:
            return Stance(planned.precision, planned.reason, planned.origin)
        for pattern in self.settings.keep:
            if pattern.matches(node):
                return Stance(FLOAT32, f"the caller keeps {pattern.text!r} in float32", "user")
        for pattern in self.settings.lower:
            if pattern.matches(node):
                return Stance(self.around.mode.name, f"the caller wants {pattern.text!r} low", "user")
        return None

    def _advised(self, node: Node, slots: Slots, found: list[tuple[PrecisionRule, Objection]]) -> Stance:
        hard = [(rule, o) for rule, o in found if o.weight is None]
        if hard:
            return _forbidden(*hard[0])
        if not found:
            return Stance()
        weight = sum(o.weight or 0.0 for _, o in found)
        rule, objection = found[0]
        penalty = max(int(weight * saving(node, slots, self.around.mode, self.around.nominal)), 1)
        return Stance("", objection.reason, f"rule:{rule.name}", penalty)


def _forbidden(rule: PrecisionRule, objection: Objection) -> Stance:
    return Stance(FLOAT32, objection.reason, f"rule:{rule.name}")


@attrs.define(slots=True)
class CastProblem:
    """Which free layers run in float32, so that the whole costs least. The cut's source side is low, its sink side float32."""

    graph: Graph
    around: Surroundings
    slots: Mapping[Node, Slots]
    stances: Mapping[Node, Stance]
    cut: Cut = attrs.field(factory=Cut)
    places: dict[Node, int] = attrs.field(factory=dict)
    endless: int = 1

    def float32_layers(self) -> set[Node]:
        """The smallest set of layers in float32 among the assignments of least cost."""
        values = [*self.graph.inputs, *(v for n in self.slots for v in self._results(n))]
        self.endless = 1 + self._total(values)
        for node in self.slots:
            self._add_layer(node)
        for value in values:
            self._add_value(value)
        sink = self.cut.sink_side()
        return {node for node, place in self.places.items() if place in sink}

    def _results(self, node: Node) -> list[Value]:
        return [node.outputs[i] for i in self.slots[node].outputs]

    def _saving(self, node: Node) -> int:
        return saving(node, self.slots[node], self.around.mode, self.around.nominal)

    def _total(self, values: list[Value]) -> int:
        casts = sum(2 * cast_bytes(v, self.around.mode, self.around.nominal) for v in values)
        return casts + sum(self._saving(n) + s.penalty for n, s in self.stances.items())

    def _add_layer(self, node: Node) -> None:
        stance = self.stances[node]
        place = self.places[node] = self.cut.node()
        low, high = stance.penalty, self._saving(node)
        if stance.forced:
            low, high = (self.endless, 0) if stance.forced == FLOAT32 else (0, self.endless)
        if low:
            self.cut.edge(place, Cut.SINK, low)
        if high:
            self.cut.edge(Cut.SOURCE, place, high)

    def _add_value(self, value: Value) -> None:
        """A cast to float32 when a low tensor has a reader in float32, and one from it in the opposite case."""
        made = self._maker(value)
        readers = self._readers(value)
        if made is None or not readers:
            return
        weight = cast_bytes(value, self.around.mode, self.around.nominal)
        up, down = self.cut.node(), self.cut.node()
        for reader in readers:
            self.cut.edge(up, reader, self.endless)
            self.cut.edge(reader, down, self.endless)
        self.cut.edge(made, up, weight)
        self.cut.edge(down, made, weight)

    def _maker(self, value: Value) -> int | None:
        """The place of what makes ``value``: the sink for the segment's float32 inputs."""
        if value.producer is not None:
            return self.places[value.producer]
        return Cut.SINK if value.dtype.tf_name == "float32" else None

    def _readers(self, value: Value) -> list[int]:
        users = [n for n, index in value.uses if n in self.slots and index in self.slots[n].inputs]
        pinned = [Cut.SINK] if value.is_output else []
        lowered = any(_casts_to(n, self.around) for n in value.users)
        return [*(self.places[n] for n in dict.fromkeys(users)), *pinned, *([Cut.SOURCE] if lowered else [])]


def _casts_to(node: Node, around: Surroundings) -> bool:
    """Whether ``node`` is a cast of the model itself to the low type."""
    return node.op == "trt.cast" and node.outputs[0].dtype is around.mode.dtype
