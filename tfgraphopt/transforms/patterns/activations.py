"""Activations that were written out, back as the one op that TensorFlow has for them. Hosted by the pass "fuse"."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from tfgraphopt.ir import DType, Node, Tensor, Value, constant_of
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt.transforms.patterns.facts import axes_of, integers, keeps_shape, rank_of
from tfgraphopt.transforms.patterns.folding import FUSE

_FLOATS = frozenset({DType.FLOAT, DType.HALF, DType.DOUBLE, DType.BFLOAT16})


def _scalar(tensor: Tensor, x: Value) -> float:
    """The number that ``tensor`` holds everywhere; NoMatch when it varies or broadcasts ``x``."""
    numbers = {float(n) for n in tensor.numpy().reshape(-1)}
    if len(numbers) != 1 or not keeps_shape(x, tensor):
        raise NoMatch("the constant is not one number, or it broadcasts the operand")
    return numbers.pop()


@attrs.frozen(slots=True)
class ReluFromMaximum(Pattern):
    """The maximum of x and 0 is Relu(x)."""

    name: ClassVar[str] = "relu-from-maximum"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """``Maximum(x, constant)``."""
        return op.Maximum(x, c, T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``Relu``."""
        if _scalar(m.c, m.x) != 0:
            raise NoMatch("the constant is not 0")
        return op.Relu(m.x, like=m.root.output)


@attrs.frozen(slots=True)
class Relu6FromMinimum(Pattern):
    """The minimum of Relu(x) and 6 is Relu6(x)."""

    name: ClassVar[str] = "relu6-from-minimum"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """``Minimum(Relu(x), constant)``."""
        return op.Minimum(op.Relu(x), c, T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``Relu6``."""
        if _scalar(m.c, m.x) != 6:
            raise NoMatch("the constant is not 6")
        return op.Relu6(m.x, like=m.root.output)


@attrs.frozen(slots=True)
class LeakyReluFromMaximum(Pattern):
    """The maximum of x and a * x with a below 1 is LeakyRelu(x)."""

    name: ClassVar[str] = "leaky-relu-from-maximum"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, a: Tensor) -> Any:
        """``Maximum(x, x * a)``."""
        return op.Maximum(x, op.Mul(x, a), T=_FLOATS - {DType.BFLOAT16})

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``LeakyRelu``."""
        alpha = _scalar(m.a, m.x)
        if not 0 < alpha < 1:
            raise NoMatch(f"the slope {alpha} is not between 0 and 1")
        return op.LeakyRelu(m.x, like=m.root.output, alpha=alpha)


@attrs.frozen(slots=True)
class SigmoidFromExp(Pattern):
    """1 / (1 + exp(-x)) is Sigmoid(x)."""

    name: ClassVar[str] = "sigmoid-from-exp"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``1 / (1 + Exp(Neg(x)))``, or its Reciprocal."""
        denominator = op["AddV2", "Add"](op.Exp(op.Neg(x)), 1)
        return op["RealDiv"](1, denominator, T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``Sigmoid``."""
        return op.Sigmoid(m.x, like=m.root.output)


def _last_axis(node: Node, x: Value) -> None:
    """NoMatch unless a reduction is over the last axis of ``x`` and keeps it."""
    axes = constant_of(node.inputs[1])
    rank = rank_of(x)
    if axes is None or not node.attrs["keep_dims"] or axes_of(integers(axes), rank) != [rank - 1]:
        raise NoMatch(f"{node.name!r} does not reduce and keep the last axis alone")


@attrs.frozen(slots=True)
class SoftmaxFromExp(Pattern):
    """exp(x - max(x)) divided by its sum is Softmax(x). Without the maximum it is left alone: that form overflows."""

    name: ClassVar[str] = "softmax-from-exp"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``e / Sum(e)`` with ``e = Exp(x - Max(x))``."""
        e = op.Exp(op.Sub(x, op.Max(x, ...).named("max")))
        return op.RealDiv(e, op.Sum(e, ...).named("sum"), T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``Softmax``."""
        _last_axis(m.max, m.x)
        _last_axis(m.sum, m.x)
        return op.Softmax(m.x, like=m.root.output)


@attrs.frozen(slots=True)
class LogSoftmaxFromExp(Pattern):
    """x - max(x) minus the logarithm of the sum of its exponentials is LogSoftmax(x)."""

    name: ClassVar[str] = "log-softmax-from-exp"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``s - Log(Sum(Exp(s)))`` with ``s = x - Max(x)``."""
        s = op.Sub(x, op.Max(x, ...).named("max"))
        return op.Sub(s, op.Log(op.Sum(op.Exp(s), ...).named("sum")), T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``LogSoftmax``."""
        _last_axis(m.max, m.x)
        _last_axis(m.sum, m.x)
        return op.LogSoftmax(m.x, like=m.root.output)
