"""GELU, Swish and their hard forms, from what frameworks write for them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import attrs

from tfgraphopt.ir import Tensor, Value
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_converters.composites.ops import (
    ADD,
    FLOATS,
    GELU,
    HARD_SIGMOID,
    HARD_SWISH,
    HOST,
    SWISH,
    unchanged_shape,
)
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


# -- Swish ---------------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class SwishFromSigmoid(Pattern):
    """x * sigmoid(beta * x), as tf.nn.silu and Keras write it."""

    name: ClassVar[str] = "swish-from-sigmoid"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Any, beta: Tensor) -> Any:
        """A product with the gate."""
        return op.Mul(x, op.Sigmoid(op.any_of(op.Mul(x, beta), x)), T=FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """Swish."""
        unchanged_shape(m, m.x)
        return op[SWISH](m.x, like=m.root.output, beta=_one_number(m.beta, 1.0))


@attrs.frozen(slots=True)
class SwishFromExp(SwishFromSigmoid):
    """x / (1 + exp(-x)), the sigmoid written out."""

    name: ClassVar[str] = "swish-from-exp"

    def pattern(self, op: PatternOps, x: Any, beta: Tensor) -> Any:
        """A quotient by one and the exponential."""
        negated = op.any_of(op.Neg(op.any_of(op.Mul(x, beta), x)), op.Mul(op.Neg(x), beta))
        return op.RealDiv(x, op[ADD](op.Exp(negated), 1), T=FLOATS)


def _one_number(tensor: Tensor | None, default: float) -> float:
    if tensor is None:
        return default
    if tensor.num_elements != 1:
        raise NoMatch("beta is not one number")
    return float(tensor.numpy().reshape(-1)[0])


# -- hard sigmoid and hard Swish -----------------------------------------------------------------------------------------


def _clipped(op: PatternOps, x: Any) -> Any:
    """x + 3 between 0 and 6, by Relu6 or as tf.clip_by_value writes it."""
    moved = op[ADD](x, 3)
    return op.any_of(op.Relu6(moved), op.Maximum(op.Minimum(moved, 6), 0))


@attrs.frozen(slots=True)
class _Hard(Pattern):
    """One of the two, of ``x``. Howard et al., arXiv:1905.02244."""

    host: ClassVar[str] = HOST
    made: ClassVar[str]

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The op that is made."""
        unchanged_shape(m, m.x)
        return op[self.made](m.x, like=m.root.output)


@attrs.frozen(slots=True)
class HardSigmoidFromDivision(_Hard):
    """relu6(x + 3) / 6 is the hard sigmoid."""

    name: ClassVar[str] = "hard-sigmoid-from-division"
    made: ClassVar[str] = HARD_SIGMOID

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A Relu6 divided by 6."""
        return op.RealDiv(_clipped(op, x), 6, T=FLOATS)


@attrs.frozen(slots=True)
class HardSigmoidFromProduct(HardSigmoidFromDivision):
    """relu6(x + 3) times a sixth is the hard sigmoid."""

    name: ClassVar[str] = "hard-sigmoid-from-product"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A Relu6 times a sixth."""
        return op.Mul(_clipped(op, x), op.near(1 / 6), T=FLOATS)


@attrs.frozen(slots=True)
class HardSwishFromHardSigmoid(_Hard):
    """x times the hard sigmoid of x is HardSwish."""

    name: ClassVar[str] = "hard-swish-from-hard-sigmoid"
    made: ClassVar[str] = HARD_SWISH

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A product with the gate."""
        return op.Mul(x, op[HARD_SIGMOID](x))


@attrs.frozen(slots=True)
class HardSwishFromQuotient(HardSwishFromHardSigmoid):
    """(x * relu6(x + 3)) / 6 is HardSwish."""

    name: ClassVar[str] = "hard-swish-from-quotient"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A product divided by 6."""
        return op.RealDiv(op.Mul(x, _clipped(op, x)), 6, T=FLOATS)


@attrs.frozen(slots=True)
class HardSwishFromProduct(HardSwishFromHardSigmoid):
    """(x * relu6(x + 3)) times a sixth is HardSwish."""

    name: ClassVar[str] = "hard-swish-from-product"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A product times a sixth."""
        return op.Mul(op.Mul(x, _clipped(op, x)), op.near(1 / 6), T=FLOATS)


@attrs.frozen(slots=True)
class HardSwishFromSixth(HardSwishFromHardSigmoid):
    """(x / 6) * relu6(x + 3) is HardSwish."""

    name: ClassVar[str] = "hard-swish-from-sixth"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A product of a sixth."""
        return op.Mul(_scaled(op, x, 1 / 6), _clipped(op, x), T=FLOATS)


# -- converters ----------------------------------------------------------------------------------------------------------


@converter(GELU)
def convert_gelu(b: LayerBuilder, features: Operand, *, approximate: bool) -> Value:
    """TensorRT's activation."""
    return b.activation(features, "gelu_tanh" if approximate else "gelu_erf")


@converter(HARD_SIGMOID)
def convert_hard_sigmoid(b: LayerBuilder, features: Operand) -> Value:
    """TensorRT's activation: x / 6 + 1 / 2 between 0 and 1."""
    return b.activation(features, "hard_sigmoid", 1 / 6, 0.5)


@converter(SWISH)
def convert_swish(b: LayerBuilder, features: Operand, *, beta: float) -> Value:
    """A sigmoid and a product, as TensorRT has no layer for it."""
    scaled = features if beta == 1.0 else b.elementwise(features, b.scalar(beta, features), "prod")
    return b.elementwise(features, b.activation(scaled, "sigmoid"), "prod")


@converter(HARD_SWISH)
def convert_hard_swish(b: LayerBuilder, features: Operand) -> Value:
    """A hard sigmoid and a product."""
    return b.elementwise(features, b.activation(features, "hard_sigmoid", 1 / 6, 0.5), "prod")


PATTERNS: tuple[Pattern, ...] = (
    GeluFromErfc(), GeluFromErf(), GeluFromTanh(), SwishFromSigmoid(), SwishFromExp(),
    HardSigmoidFromDivision(), HardSigmoidFromProduct(), HardSwishFromHardSigmoid(), HardSwishFromQuotient(),
    HardSwishFromProduct(), HardSwishFromSixth(),
)  # fmt: skip
CONVERTERS: tuple[Converter, ...] = (convert_gelu, convert_swish, convert_hard_sigmoid, convert_hard_swish)
