"""GELU and the hard sigmoid, from what frameworks write for them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import attrs

from tfgraphopt.ir import Value
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_converters.composites.ops import ADD, FLOATS, GELU, HARD_SIGMOID, HOST, unchanged_shape
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, converter

CUBIC = 0.044715


def _scaled(op: PatternOps, x: Any, factor: float) -> Any:
    """``x`` times a number, or divided by its reciprocal."""
    return op.any_of(op.Mul(x, op.near(factor)), op.RealDiv(x, op.near(1 / factor)))


@attrs.frozen(slots=True)
class _Gelu(Pattern):
    """0.5 * x * gate(x); frameworks halve the operand or the gate."""

    host: ClassVar[str] = HOST
    approximate: ClassVar[bool] = False

    def gate(self, op: PatternOps, x: Any) -> Any:
        """Twice the normal distribution function."""
        raise NotImplementedError

    def pattern(self, op: PatternOps, x: Any) -> Any:
        """A product of the two, one of them halved."""
        gate = self.gate(op, x)
        half_x, half_gate = op.Mul(x, 0.5).named("half_operand"), op.Mul(gate, 0.5).named("half_gate")
        return op.Mul(op.any_of(half_x, x), op.any_of(gate, half_gate), T=FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """GELU."""
        if hasattr(m, "half_operand") == hasattr(m, "half_gate"):
            raise NoMatch("not exactly one of the factors is halved")
        unchanged_shape(m, m.x)
        return op[GELU](m.x, like=m.root.output, approximate=self.approximate)


@attrs.frozen(slots=True)
class GeluFromErfc(_Gelu):
    """0.5 * x * erfc(-x / sqrt(2)), as tf.nn.gelu and Keras write it."""

    name: ClassVar[str] = "gelu-from-erfc"

    def gate(self, op: PatternOps, x: Any) -> Any:
        """The complement of the error function."""
        root = math.sqrt(0.5)
        negated = (_scaled(op, op.Neg(x), root), op.Neg(_scaled(op, x, root)), _scaled(op, x, -root))
        return op.Erfc(op.any_of(*negated))


@attrs.frozen(slots=True)
class GeluFromErf(_Gelu):
    """0.5 * x * (1 + erf(x / sqrt(2))), as BERT's authors wrote it."""

    name: ClassVar[str] = "gelu-from-erf"

    def gate(self, op: PatternOps, x: Any) -> Any:
        """One and the error function."""
        return op[ADD](op.Erf(_scaled(op, x, math.sqrt(0.5))), 1)


@attrs.frozen(slots=True)
class GeluFromTanh(_Gelu):
    """0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))."""

    name: ClassVar[str] = "gelu-from-tanh"
    approximate: ClassVar[bool] = True

    def gate(self, op: PatternOps, x: Any) -> Any:
        """One and the hyperbolic tangent."""
        cube = op.any_of(op.Pow(x, 3), op.Mul(x, op.any_of(op.Square(x), op.Mul(x, x))))
        inner = op[ADD](x, op.Mul(cube, op.near(CUBIC)))
        return op[ADD](op.Tanh(op.Mul(inner, op.near(math.sqrt(2 / math.pi)))), 1)


@attrs.frozen(slots=True)
class HardSigmoidFromDivision(Pattern):
    """relu6(x + 3) / 6 is the hard sigmoid, and x times it HardSwish. Howard et al., arXiv:1905.02244."""

    name: ClassVar[str] = "hard-sigmoid-from-division"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A Relu6 divided by 6."""
        return op.RealDiv(op.Relu6(op[ADD](x, 3)), 6, T=FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The hard sigmoid."""
        unchanged_shape(m, m.x)
        return op[HARD_SIGMOID](m.x, like=m.root.output)


@attrs.frozen(slots=True)
class HardSigmoidFromProduct(HardSigmoidFromDivision):
    """relu6(x + 3) times a sixth is the hard sigmoid."""

    name: ClassVar[str] = "hard-sigmoid-from-product"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A Relu6 times a sixth."""
        return op.Mul(op.Relu6(op[ADD](x, 3)), op.near(1 / 6), T=FLOATS)


@converter(GELU)
def convert_gelu(b: LayerBuilder, features: Operand, *, approximate: bool) -> Value:
    """TensorRT's activation."""
    return b.activation(features, "gelu_tanh" if approximate else "gelu_erf")


@converter(HARD_SIGMOID)
def convert_hard_sigmoid(b: LayerBuilder, features: Operand) -> Value:
    """TensorRT's activation: x / 6 + 1 / 2 between 0 and 1."""
    return b.activation(features, "hard_sigmoid", 1 / 6, 0.5)


PATTERNS: tuple[Pattern, ...] = (
    GeluFromErfc(), GeluFromErf(), GeluFromTanh(), HardSigmoidFromDivision(), HardSigmoidFromProduct(),
)  # fmt: skip
CONVERTERS: tuple[Converter, ...] = (convert_gelu, convert_hard_sigmoid)
