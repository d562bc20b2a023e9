"""One-line contracts for calibrators, weighted layers and quantisation rules of your own.

test_half = calibrator_contract(HALF)
test_dense = weighted_layer_contract(DENSE, DENSE_LAYER, CASES)
test_no_heads = quant_rule_contract(NO_HEADS, DENSE, DENSE_LAYER, CASES)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfgraphopt.ir import DType, Graph, Node, Shape, Tensor, TensorType
from tfgraphopt.testing.contracts import EXAMPLES, Test, law
from tfgraphopt_int8.calibrators import Calibrator, range_of
from tfgraphopt_int8.rules import QuantRule, WeightedLayer
from tfgraphopt_int8.statistics import TensorStatistics
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers import all_layers, layer_map, layer_table
from tfgraphopt_trt.meaning import evaluate
from tfgraphopt_trt.testing import LayerCase

Array = NDArray[Any]
_EXPONENTS = (-20, -3, 0, 5, 40)


def _data(draw: st.DrawFn) -> list[Array]:
    """Batches of one tensor: bell-shaped, with zeros, spikes and outliers in any mixture; not all zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batches = [rng.normal(size=draw(st.integers(1, 400))) for _ in range(draw(st.integers(1, 4)))]
    if draw(st.booleans()):
        batches = [np.maximum(b, 0) for b in batches]
    if draw(st.booleans()):
        batches.append(np.full(draw(st.integers(1, 400)), rng.normal()))
    if draw(st.booleans()):
        batches.append(rng.normal(size=2) * 100)
    return [b.astype(np.float32) for b in [*batches, np.array([0.5 + rng.random()])]]


BATCHES: st.SearchStrategy[list[Array]] = st.composite(_data)()
"""What :func:`calibrator_contract` draws."""


def calibrator_contract(
    calibrator: Calibrator, options: Mapping[str, Any] | None = None, examples: int = EXAMPLES
) -> Test:
    """A test of the laws of a calibrator.

    Laws: the range is above zero and not above the largest magnitude (to two bins of the histogram); asking again gives the same;
    neither the order of the data nor signs matter; data scaled by a power of two has a range scaled by it; options are known by
    their defaults.
    """

    def check(data: st.DataObject) -> None:
        batches = data.draw(BATCHES, "batches")
        seen = _seen(batches)
        amax = calibrator.amax(seen, {**calibrator.options, **(options or {})})
        assert math.isfinite(amax), f"{calibrator.name} chooses {amax}"
        width = seen.histogram.width if seen.histogram is not None else 0.0
        assert 0 < amax <= seen.amax + 2 * width, (
            f"{calibrator.name} chooses {amax} where the largest magnitude is {seen.amax}"
        )
        amax = range_of("x", seen, calibrator, options)
        again = _seen([-b for b in reversed(batches)])
        assert range_of("x", again, calibrator, options) == amax, (
            f"{calibrator.name} depends on the order of data, or on signs"
        )
        scale = 2.0 ** data.draw(st.sampled_from(_EXPONENTS), "exponent")
        scaled = range_of("x", _seen([b * np.float32(scale) for b in batches]), calibrator, options)
        assert math.isclose(scaled, amax * scale, rel_tol=1e-6), (
            f"{calibrator.name} gives {scaled} for data {scale} times as large"
        )

    return law(check, st.data(), examples)


def _seen(batches: list[Array]) -> TensorStatistics:
    seen = TensorStatistics()
    for batch in batches:
        seen = seen.merge(TensorStatistics.of(batch))
    return seen


# -- layers and rules ----------------------------------------------------------------------------------------------------


def weighted_layer_contract(
    weighted: WeightedLayer, layer: LayerDef, cases: st.SearchStrategy[LayerCase], examples: int = EXAMPLES
) -> Test:
    """A test of a weighted layer: it is a product of the activation and the weights, with output channels along the axis.

    Laws: whoever it does not take is told a reason; twice the activation gives twice the result; weights whose channels along the
    axis are scaled one by one give results of which some axis is scaled alike, so that scales of weights can be taken out of
    the sum. Cases are without a bias; the strategy must give some that it takes.
    """
    taken: list[LayerCase] = []

    def check(data: st.DataObject) -> None:
        case = data.draw(cases, "case")
        picked = _picked(weighted, layer, case)
        if picked is None:
            return
        taken.append(case)
        operand, weights, axis = picked
        result = _compute(layer, case, case.arrays)
        doubled = [a * 2 if i == operand else a for i, a in enumerate(case.arrays)]
        _same(_compute(layer, case, doubled), result * 2, f"{weighted.op} is not linear in its input {operand}")
        factors = np.arange(1, case.arrays[weights].shape[axis] + 1, dtype=np.float32)
        shape = [-1 if i == axis else 1 for i in range(case.arrays[weights].ndim)]
        scaled = [a * factors.reshape(shape) if i == weights else a for i, a in enumerate(case.arrays)]
        made = _compute(layer, case, scaled)
        assert any(_scaled_alike(result, made, factors, place) for place in range(result.ndim)), (
            f"axis {axis} of the weights of {weighted.op} is no axis of output channels"
        )

    checked = law(check, st.data(), examples)

    def test() -> None:
        checked()
        assert taken, f"{weighted.op} takes none of the cases"

    return test


def quant_rule_contract(
    rule: QuantRule, weighted: WeightedLayer, layer: LayerDef, cases: st.SearchStrategy[LayerCase],
    examples: int = EXAMPLES,
) -> Test:  # fmt: skip
    """A test of a rule: it answers with a reason or None, the same each time, and does not touch the layer.

    The leading dimension of the activation is known or unknown, as it is in models; the strategy must give some case that the rule
    speaks against.
    """
    against: list[str] = []

    def check(data: st.DataObject) -> None:
        case = data.draw(cases, "case")
        unknown = data.draw(st.booleans(), "unknown dimensions")
        node = _node(layer, case, unknown)
        picked = weighted.pick(node)
        if isinstance(picked, str):
            return
        before = str(node.graph)
        answers = [rule.check(node, picked[1]) for _ in range(2)]
        assert answers[0] == answers[1], f"rule {rule.name} answers {answers[0]!r} and then {answers[1]!r}"
        assert answers[0] is None or (isinstance(answers[0], str) and answers[0].strip()), (
            f"rule {rule.name} objects without a reason"
        )
        assert str(node.graph) == before, f"rule {rule.name} changes the layer"
        against.extend(a for a in answers if a)

    checked = law(check, st.data(), examples)

    def test() -> None:
        checked()
        assert against, f"rule {rule.name} never speaks against any of the cases"

    return test


def _node(layer: LayerDef, case: LayerCase, unknown: bool = False) -> Node:
    """The layer as models have it: its first operand comes in, with a leading dimension that may be unknown, the others are constants."""
    graph = Graph("case", layer_table((*all_layers(), layer)), dialect="trt")
    first = case.arrays[0]
    dims = [None if unknown and i == 0 else d for i, d in enumerate(first.shape)]
    inputs = [graph.add_input("x0", TensorType(DType.of_numpy(first.dtype), Shape(dims)))]
    inputs += [graph.add("trt.constant", [], {"value": Tensor.of(a)}).output for a in case.arrays[1:]]
    node = graph.add(layer.op, inputs, dict(case.attributes), name="layer")
    graph.set_outputs(node.outputs)
    return node


def _picked(weighted: WeightedLayer, layer: LayerDef, case: LayerCase) -> tuple[int, int, int] | None:
    picked = weighted.pick(_node(layer, case))
    if isinstance(picked, str):
        assert picked.strip(), f"{weighted.op} is refused without a reason"
        return None
    return picked


def _compute(layer: LayerDef, case: LayerCase, arrays: Any) -> Array:
    moved = LayerCase(tuple(np.asarray(a, np.float32) for a in arrays), case.attributes)
    return np.asarray(evaluate(moved.node(layer).graph, layer_map((*all_layers(), layer)), moved.arrays)[0], np.float64)


def _same(made: Array, expected: Array, message: str) -> None:
    assert made.shape == expected.shape, message
    assert np.allclose(made, expected, rtol=1e-4, atol=1e-5 * max(float(np.abs(expected).max(initial=0)), 1e-30)), (
        message
    )


def _scaled_alike(result: Array, made: Array, factors: Array, place: int) -> bool:
    if result.shape[place] != factors.size:
        return False
    shape = [-1 if i == place else 1 for i in range(result.ndim)]
    expected = result * factors.reshape(shape)
    return bool(np.allclose(made, expected, rtol=1e-4, atol=1e-5 * max(float(np.abs(expected).max(initial=0)), 1e-30)))
