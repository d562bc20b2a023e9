"""One-line contracts: the laws that everything of ours keeps, with TensorFlow as the oracle and no GPU."""

from __future__ import annotations

import numpy as np
from acme_tf import layer, plugin, rewriting
from hypothesis import strategies as st

from tfgraphopt.ir import DType
from tfgraphopt.testing.contracts import pass_contract, pattern_contract, plugin_contract
from tfgraphopt.testing.growing import Growing, any_dims
from tfgraphopt.testing.numbers import element_arrays
from tfgraphopt.testing.strategies import modules
from tfgraphopt_layout.testing import layout_rule_contract
from tfgraphopt_trt.testing import LayerCase, converter_contract, layer_contract, network_contract

CAPS = (4.0, 30.0)


def soft_cap(g: Growing, op: str) -> None:
    """How a random graph gets one of our ops."""
    g.like(op, [g.value((DType.FLOAT,))], cap=g.draw(st.sampled_from(CAPS)))


def by_hand(g: Growing, op: str) -> None:
    """How it gets what the rule looks for, or almost."""
    x, cap = g.value((DType.FLOAT,)), g.draw(st.sampled_from(CAPS))
    inner = g.const(np.float32(cap * g.draw(st.sampled_from([1.0, 1.0, 2.0]))))
    g.like("Mul", [g.like("Tanh", [g.like("RealDiv", [x, inner])]), g.const(np.float32(cap))])


def check(g: Growing, op: str) -> None:
    """How it gets a check; most arrays pass it."""
    g.like(op, [g.value((DType.FLOAT,))], message="Acme")


ARRAYS = any_dims(2, 4).flatmap(lambda dims: element_arrays(DType.FLOAT, dims))
CASES = st.builds(lambda array, cap: LayerCase((array,), {"cap": cap}), ARRAYS, st.sampled_from(CAPS))
HANDMADE = modules(ops=["by_hand", "Relu", "Neg"], makers={"by_hand": by_hand}, min_size=1, max_size=4)
CHECKED = modules(ops=["CheckNumerics", "Relu"], makers={"CheckNumerics": check}, min_size=1, max_size=5)

test_plugin = plugin_contract("acme", plugin)
test_converter = converter_contract(layer.soft_cap, layers=[layer.LAYER], makers={"AcmeSoftCap": soft_cap})
test_layer = layer_contract(layer.LAYER, CASES)
test_layer_in_tensorrt = network_contract(layer.LAYER, LayerCase((np.ones((2, 3), np.float32),), {"cap": 4.0}))
test_layout_rule = layout_rule_contract(layer.RULE, layer.LAYER, CASES)
test_rule = pattern_contract(rewriting.SoftCapFromTanh, graphs=HANDMADE, rtol=1e-5, atol=1e-6)
test_pass = pass_contract(rewriting.StripChecks, graphs=CHECKED)
