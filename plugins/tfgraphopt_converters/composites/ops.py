"""The definitions of the composite ops."""

from __future__ import annotations

from tfgraphopt.ir import ArgDef, AttrDef, DType, OpDef, Shape, TensorType, Value
from tfgraphopt.rewrite import Match, NoMatch

HOST = "lower"
FLOATS = frozenset({DType.FLOAT, DType.HALF, DType.BFLOAT16})
ADD = ("AddV2", "Add")
GELU, SWISH = "TgoGelu", "TgoSwish"
HARD_SIGMOID, HARD_SWISH = "TgoHardSigmoid", "TgoHardSwish"
LAYER_NORM, ATTENTION = "TgoLayerNorm", "TgoAttention"


def _arg(name: str) -> ArgDef:
    return ArgDef(name, type_attr="T")


_T = AttrDef("T", "type")

OP_DEFS: tuple[OpDef, ...] = (
    OpDef(
        GELU, (_arg("features"),), (_arg("activations"),), (_T, AttrDef("approximate", "bool", False, True)),
        infer=lambda inputs, attrs: [inputs[0].type],
        doc="x times the normal distribution function of x, by erf or (approximate) by tanh. Hendrycks and Gimpel, arXiv:1606.08415.",
    ),
    OpDef(
        HARD_SIGMOID, (_arg("features"),), (_arg("activations"),), (_T,), infer=lambda inputs, attrs: [inputs[0].type],
        doc="relu6(x + 3) / 6.",
    ),
    OpDef(
        SWISH, (_arg("features"),), (_arg("activations"),), (_T, AttrDef("beta", "float", 1.0, True)),
        infer=lambda inputs, attrs: [inputs[0].type],
        doc="x times the sigmoid of beta * x; SiLU where beta is 1. Ramachandran et al., arXiv:1710.05941.",
    ),
    OpDef(
        HARD_SWISH, (_arg("features"),), (_arg("activations"),), (_T,), infer=lambda inputs, attrs: [inputs[0].type],
        doc="x * relu6(x + 3) / 6. Howard et al., arXiv:1905.02244.",
    ),
    OpDef(
        LAYER_NORM, (_arg("x"), _arg("scale"), _arg("offset")), (_arg("y"),),
        (_T, AttrDef("axes", "list(int)"), AttrDef("epsilon", "float")), infer=lambda inputs, attrs: [inputs[0].type],
        doc="(x - mean) / sqrt(variance + epsilon) * scale + offset over the last axes. Ba et al., arXiv:1607.06450.",
    ),
    OpDef(
        ATTENTION, (_arg("query"), _arg("key"), _arg("value")), (_arg("y"),), (_T, AttrDef("scale", "float", 1.0, True)),
        infer=lambda inputs, attrs: [
            TensorType(inputs[0].dtype, Shape([*inputs[0].shape.known()[:3], inputs[2].shape.known()[3]]))
        ],
        doc="softmax(scale * query x key) x value over [batch, heads, length, size]. Vaswani et al., arXiv:1706.03762.",
    ),
)  # fmt: skip


def unchanged_shape(m: Match, x: Value) -> None:
    """NoMatch when what is replaced may be larger than ``x``, because a constant broadcasts it."""
    if m.root.output.shape != x.shape:
        raise NoMatch("a constant broadcasts the operand, or may")
