"""The layer: what it means, how it goes into a TensorRT network, how permutations pass; and the converter that writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Attrs, DType, Node, TensorType, Value
from tfgraphopt_layout import LayoutRule, pointwise_rule
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import converter
from tfgraphopt_trt.layerdef import LayerDef, LayerError

NAME = "acme.soft_cap"
FLOATS = (DType.FLOAT, DType.HALF, DType.BFLOAT16)


def infer(inputs: Sequence[Value], attributes: Attrs) -> Sequence[TensorType]:
    """The type of the result: the operand's."""
    (x,) = inputs
    if x.dtype not in FLOATS:
        raise LayerError(f"a soft cap takes floating-point tensors, not {x.dtype.tf_name}")
    return [x.type]


def meaning(tf: Any, inputs: Sequence[Any], attributes: Attrs) -> Sequence[Any]:
    """The same in TensorFlow's own ops: the oracle of tests, and what XLA compiles."""
    return [attributes["cap"] * tf.tanh(inputs[0] / attributes["cap"])]


def emit(e: Any, node: Node) -> Sequence[Any]:
    """One IActivationLayer: alpha * tanh(beta * x)."""
    cap: Any = node.attrs["cap"]
    layer = e.add(e.network.add_activation(e.tensor(node.inputs[0]), e.trt.ActivationType.SCALED_TANH))
    layer.alpha, layer.beta = cap, 1 / cap
    return [layer.get_output(0)]


LAYER = LayerDef(NAME, infer, meaning, emit, {"cap": 30.0}, ("x",), "cap * tanh(x / cap), element by element.")
RULE: LayoutRule = pointwise_rule(NAME)


@converter("AcmeSoftCap")
def soft_cap(b: LayerBuilder, x: Operand, *, cap: float) -> Operand:
    """One layer; a cap that is not positive is refused."""
    if cap <= 0:
        raise Unsupported(f"cap {cap} is not positive")
    return b.layer(NAME, [x], {"cap": cap})[0]
