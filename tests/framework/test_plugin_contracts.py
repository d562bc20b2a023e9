"""The one-line contracts of the TensorRT and layout plugins: they pass what is right and catch what is wrong."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import strategies as st

from tfgraphopt.ir import DType, Shape, TensorType
from tfgraphopt_layout.rules import LayoutRule, axis_rule, pointwise_rule
from tfgraphopt_layout.testing import layout_rule_contract
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, converter
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.testing import LayerCase, converter_contract, layer_contract, network_contract

SOFTMAX = layer_map()["trt.softmax"]
CASES = st.sampled_from(
    [LayerCase((np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,), {"axis": axis}) for axis in range(3)]
)
EXAMPLES = 40


@converter("Tanh")
def right(b: LayerBuilder, x: Operand) -> Operand:
    """Right."""
    return b.activation(x, "tanh")


@converter("Tanh")
def wrong(b: LayerBuilder, x: Operand) -> Operand:
    """Another function."""
    return b.activation(x, "sigmoid")


@converter("Tanh")
def silent(b: LayerBuilder, x: Operand) -> Operand:
    """Refuses and does not say why."""
    raise Unsupported("")


def test_the_converter_contract_passes_a_right_converter() -> None:
    converter_contract(right, examples=EXAMPLES)()


@pytest.mark.parametrize(("item", "message"), [(wrong, "differ"), (silent, "refused without a reason")])
def test_the_converter_contract_catches(item: Converter, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        converter_contract(item, examples=EXAMPLES)()


def test_the_layer_contract_passes_a_right_layer_and_tensorrt_agrees() -> None:
    layer_contract(SOFTMAX, CASES, examples=EXAMPLES)()
    network_contract(SOFTMAX, LayerCase((np.ones((2, 3), np.float32),), {"axis": 1}))()


@pytest.mark.parametrize(
    "mistake", [lambda t: t.with_shape(Shape(t.shape.known()[1:])), lambda t: TensorType(DType.HALF, t.shape)]
)
def test_the_layer_contract_catches_a_wrong_shape_rule(mistake: object) -> None:
    def infer(inputs: object, attributes: object) -> list[TensorType]:
        return [mistake(t) for t in SOFTMAX.infer(inputs, attributes)]  # type: ignore[operator, arg-type]

    bad: LayerDef = attrs.evolve(SOFTMAX, op="acme.softmax", infer=infer)
    with pytest.raises(AssertionError, match="is announced"):
        layer_contract(bad, CASES, examples=EXAMPLES)()


def test_the_layout_contract_passes_a_right_rule() -> None:
    layout_rule_contract(axis_rule("trt.softmax"), SOFTMAX, CASES, examples=EXAMPLES)()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (pointwise_rule("trt.softmax"), "differ"),
        (LayoutRule(("trt.softmax",), lambda node, slot, perm: None), "lets no permutation"),
    ],
)
def test_the_layout_contract_catches(rule: LayoutRule, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        layout_rule_contract(rule, SOFTMAX, CASES, examples=EXAMPLES)()
