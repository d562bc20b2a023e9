"""What is to be quantised in a lowered body: layers, the activations that they read, and which of those share a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from tfgraphopt.ir import DType, Graph, Node, Value, constant_of
from tfgraphopt_int8.rules import Layers, QuantRule, objection
from tfgraphopt_int8.settings import Settings
from tfgraphopt_int8.sources import MOVING

QUANTIZE, DEQUANTIZE = "trt.quantize", "trt.dequantize"


@attrs.frozen(slots=True)
class LayerPlan:
    """What was decided of one weighted layer.

    ``origin`` is who decided: ``default``, ``rule:NAME``, ``user``, ``model`` (it has ranges of its own), ``data``.
    """

    quantised: bool
    reason: str = ""
    origin: str = "default"
    op: str = ""
    nodes: tuple[str, ...] = ()


@attrs.frozen(slots=True, eq=False)
class Use:
    """One operand to be quantised: input ``operand`` of ``node``; ``weights`` is (input, axis) of its constant, if it has one."""

    node: Node
    operand: int
    weights: tuple[int, int] | None = None

    @property
    def value(self) -> Value:
        """The activation."""
        return self.node.inputs[self.operand]


@attrs.frozen(slots=True)
class Sites:
    """Everything that can be quantised: weighted layers with their verdicts, and sums behind them by their alternatives.

    ``residuals`` are sums whose operands both may be the residual: the first that has a range is quantised.
    """

    layers: Mapping[str, LayerPlan]
    uses: tuple[Use, ...]
    residuals: tuple[tuple[Use, ...], ...]

    @property
    def values(self) -> list[Value]:
        """The activations, each once."""
        every = [*self.uses, *(u for group in self.residuals for u in group)]
        return list(dict.fromkeys(u.value for u in every))


def find_sites(graph: Graph, layers: Layers, rules: Sequence[QuantRule], settings: Settings) -> Sites:
    """What can be quantised in ``graph``; verdicts with reasons for all weighted layers."""
    plans: dict[str, LayerPlan] = {}
    uses: list[Use] = []
    for node in graph:
        if node.op in layers:
            verdict = _judge(node, layers, rules, settings)
            plans[node.name] = attrs.evolve(verdict[0], op=node.op, nodes=node.origin)
            uses += [] if verdict[1] is None else [verdict[1]]
    quantised = {u.node for u in uses}
    sums = [_residual(n, quantised) for n in graph if n.op == "trt.elementwise"] if settings.residuals else []
    return Sites(plans, tuple(uses), tuple(s for s in sums if s))


def _judge(node: Node, layers: Layers, rules: Sequence[QuantRule], settings: Settings) -> tuple[LayerPlan, Use | None]:
    if any(v.producer is not None and v.producer.op == DEQUANTIZE for v in node.inputs):
        return LayerPlan(True, "the model has ranges of its own here", "model"), None
    if node.outputs[0].dtype is not DType.FLOAT:
        return LayerPlan(False, f"the model computes it in {node.outputs[0].dtype.tf_name}", "model"), None
    picked = layers[node.op].pick(node)
    if isinstance(picked, str):
        return LayerPlan(False, picked), None
    if any(p.matches(node) for p in settings.skip):
        return LayerPlan(False, "the caller leaves it", "user"), None
    operand, weights, axis = picked
    use = Use(node, operand, (weights, axis))
    if any(p.matches(node) for p in settings.force):
        return LayerPlan(True, "the caller wants it", "user"), use
    against = objection(node, weights, rules)
    if against is not None:
        return LayerPlan(False, against[1], f"rule:{against[0]}"), None
    return LayerPlan(True), use


def _residual(node: Node, quantised: set[Node]) -> tuple[Use, ...]:
    """The operands of a sum of which one may be quantised so that the sum is fused into the kernel of the other's producer."""
    if node.attrs["operation"] != "sum" or node.output.dtype is not DType.FLOAT:
        return ()
    found = []
    for index in (0, 1):
        main, other = node.inputs[1 - index], node.inputs[index]
        fused = main.producer in quantised and main.users == (node,) and not main.is_output
        if fused and main is not other and constant_of(other) is None and other.shape == main.shape:
            found.append(Use(node, index))
    return tuple(found)


# -- shared scales -------------------------------------------------------------------------------------------------------


def shared_scales(graph: Graph, values: Sequence[Value]) -> list[list[Value]]:
    """``values`` in groups that must have one scale: those connected by layers through which 8-bit numbers go unchanged."""
    parent: dict[Value, Value] = {}

    def root(value: Value) -> Value:
        while value in parent:
            value = parent[value]
        return value

    for node in graph:
        if _keeps_scale(node):
            for value in [v for v in node.inputs if v.dtype is DType.FLOAT and constant_of(v) is None]:
                one, other = root(value), root(node.outputs[0])
                if one is not other:
                    parent[one] = other
    groups: dict[Value, list[Value]] = {}
    for value in values:
        groups.setdefault(root(value), []).append(value)
    return list(groups.values())


def _keeps_scale(node: Node) -> bool:
    if node.op == "trt.pooling":
        return node.attrs["type"] == "max"
    return node.op in MOVING or node.op == "trt.concatenation"
