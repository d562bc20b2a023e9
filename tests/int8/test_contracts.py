"""The one-line contracts of the INT8 plugin: what is shipped keeps them, and what is wrong is caught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import strategies as st

from tfgraphopt_int8 import Calibrator, QuantRule, TensorStatistics, WeightedLayer
from tfgraphopt_int8.calibrators import CALIBRATORS
from tfgraphopt_int8.rules import LAYERS, RULES
from tfgraphopt_int8.testing import calibrator_contract, quant_rule_contract, weighted_layer_contract
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.testing import LayerCase

EXAMPLES = 25
RNG = np.random.default_rng(23)
WEIGHTED = {layer.op: layer for layer in LAYERS}
DEFINITIONS = layer_map()


def normal(*dims: int) -> Any:
    return RNG.normal(size=dims).astype(np.float32)


def case(x: tuple[int, ...], weights: tuple[int, ...], **attributes: Any) -> LayerCase:
    return LayerCase((normal(*x), normal(*weights)), attributes)


WINDOW = {"stride": (1, 1), "pre": (1, 1), "post": (1, 1), "dilation": (1, 1)}
CASES: Mapping[str, list[LayerCase]] = {
    "trt.convolution": [
        case((2, 16, 5, 5), (24, 16, 3, 3), groups=1, **WINDOW), case((1, 3, 5, 5), (5, 3, 3, 3), groups=1, **WINDOW),
        case((2, 16, 5, 5), (16, 1, 3, 3), groups=16, **WINDOW), case((2, 16, 5, 5), (32, 4, 3, 3), groups=4, **WINDOW),
    ],
    "trt.deconvolution": [
        case((2, 16, 5, 5), (16, 24, 3, 3), groups=1, **WINDOW), case((1, 3, 5, 5), (3, 5, 3, 3), groups=1, **WINDOW),
    ],
    "trt.matrix_multiply": [
        case((4, 20), (20, 16), transpose_a=False, transpose_b=False), case((4, 20), (16, 20), transpose_a=False, transpose_b=True),
        case((20, 4), (20, 16), transpose_a=True, transpose_b=False), case((3, 4, 6), (3, 6, 5), transpose_a=False, transpose_b=False),
        case((1, 20), (20, 16), transpose_a=False, transpose_b=False),
    ],
}  # fmt: skip


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda c: c.name)
def test_shipped_calibrators_keep_the_laws(calibrator: Calibrator) -> None:
    calibrator_contract(calibrator, examples=EXAMPLES)()


def _first_wins(seen: TensorStatistics, options: Mapping[str, Any]) -> float:
    return abs(seen.min) or seen.amax


@pytest.mark.parametrize(
    ("amax", "message"),
    [
        (lambda seen, options: seen.amax * 2, "where the largest magnitude is"), (lambda seen, options: 0.0, "chooses 0.0"),
        (lambda seen, options: np.inf, "chooses inf"), (_first_wins, "order of data, or on signs"),
        (lambda seen, options: min(seen.amax, 0.5), "times as large"),
    ],
)  # fmt: skip
def test_wrong_calibrators_are_caught(amax: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        calibrator_contract(Calibrator("wrong", amax), examples=100)()


@pytest.mark.parametrize("op", WEIGHTED)
def test_shipped_weighted_layers_keep_the_laws(op: str) -> None:
    weighted_layer_contract(WEIGHTED[op], DEFINITIONS[op], st.sampled_from(CASES[op]), examples=EXAMPLES)()


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (lambda node: (0, 1, 1), "no axis of output channels"), (lambda node: "", "refused without a reason"),
        (lambda node: "I would rather not", "takes none of the cases"),
    ],
)  # fmt: skip
def test_wrong_weighted_layers_are_caught(pick: Any, message: str) -> None:
    wrong = WeightedLayer("trt.convolution", pick)
    with pytest.raises(AssertionError, match=message):
        weighted_layer_contract(wrong, DEFINITIONS[wrong.op], st.sampled_from(CASES[wrong.op]), examples=EXAMPLES)()


@pytest.mark.parametrize(
    ("rule", "op"), [(rule, op) for rule in RULES for op in rule.ops], ids=lambda v: getattr(v, "name", v)
)
def test_shipped_rules_keep_the_laws(rule: QuantRule, op: str) -> None:
    quant_rule_contract(rule, WEIGHTED[op], DEFINITIONS[op], st.sampled_from(CASES[op]), examples=EXAMPLES)()


def test_wrong_rules_are_caught() -> None:
    rule, op = attrs.evolve(RULES[0], check=lambda node, weights: ""), "trt.convolution"
    with pytest.raises(AssertionError, match="without a reason"):
        quant_rule_contract(rule, WEIGHTED[op], DEFINITIONS[op], st.sampled_from(CASES[op]), examples=EXAMPLES)()
    silent = attrs.evolve(rule, check=lambda node, weights: None)
    with pytest.raises(AssertionError, match="never speaks against"):
        quant_rule_contract(silent, WEIGHTED[op], DEFINITIONS[op], st.sampled_from(CASES[op]), examples=EXAMPLES)()
