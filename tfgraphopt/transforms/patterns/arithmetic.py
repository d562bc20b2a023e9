"""Rules of arithmetic that hold bit by bit.

On floats x * 1 and x - 0 are not among them: TensorFlow's kernels flush denormal numbers to zero (measured on TF 2.21), and x + 0
loses the sign of -0. They are in the family ``strength``, which the pass "fuse" hosts.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt.matching import all_near
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt.transforms.patterns.facts import integers, keeps_shape
from tfgraphopt.transforms.patterns.movement import CANONICALIZE

_NEUTRAL_RIGHT = {"Sub": 0, "FloorDiv": 1, "TruncateDiv": 1, "Div": 1}
_NEUTRAL = {"Add": 0, "AddV2": 0, "Mul": 1}
_WORK = frozenset({DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.UINT8, DType.UINT16})


@attrs.frozen(slots=True)
class NeutralInteger(Pattern):
    """x + 0, x - 0, x * 1 and x / 1 on integers are x."""

    name: ClassVar[str] = "drop-neutral-integer"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """An integer op with a constant."""
        return op[(*_NEUTRAL, *_NEUTRAL_RIGHT)](x, c, T=_WORK)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        neutral = {**_NEUTRAL, **_NEUTRAL_RIGHT}[m.root.op]
        if not all_near(m.c, neutral) or not keeps_shape(m.x, m.c):
            raise NoMatch(f"the constant is not {neutral}, or it broadcasts the operand")
        return m.x


@attrs.frozen(slots=True)
class NeutralLogical(Pattern):
    """x and true, x or false are x."""

    name: ClassVar[str] = "drop-neutral-logical"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """A logical op with a constant."""
        return op["LogicalAnd", "LogicalOr"](x, c)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        neutral = m.root.op == "LogicalAnd"
        if not bool((m.c.numpy() == neutral).all()) or not keeps_shape(m.x, m.c):
            raise NoMatch(f"the constant is not {neutral}, or it broadcasts the operand")
        return m.x


@attrs.frozen(slots=True)
class DoubleNegation(Pattern):
    """Negating twice gives the operand."""

    name: ClassVar[str] = "cancel-negation"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """Two negations of one kind."""
        return op["Neg", "LogicalNot"](op["Neg", "LogicalNot"](x).shared())

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand (element types make the two ops the same one)."""
        return m.x


IDEMPOTENT = ("Abs", "Relu", "Relu6", "Floor", "Ceil", "Round", "Rint", "Sign")


@attrs.frozen(slots=True)
class Idempotent(Pattern):
    """Rounding, clipping or taking the sign a second time changes nothing."""

    name: ClassVar[str] = "drop-repeated"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """The same op twice."""
        return op[IDEMPOTENT](op[IDEMPOTENT](x).named("inner").shared())

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The inner one."""
        if m.inner.op != m.root.op:
            raise NoMatch(f"{m.root.op} follows {m.inner.op}")
        return m.inner.output


@attrs.frozen(slots=True)
class ReluBeforeRelu6(Pattern):
    """Relu before Relu6 changes nothing."""

    name: ClassVar[str] = "drop-relu-before-relu6"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``Relu6(Relu(x))``."""
        return op.Relu6(op.Relu(x).shared())

    def rewrite(self, op: Draft, m: Match) -> Any:
        """Relu6."""
        return op.Relu6(m.x, like=m.root.output)


@attrs.frozen(slots=True)
class SignBeforeEven(Pattern):
    """The sign of its operand does not matter to Abs and Square."""

    name: ClassVar[str] = "drop-sign-before-even"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``Abs(Neg(x))`` and the like."""
        return op["Abs", "Square"](
            op["Neg", "Abs"](x).shared(), T=lambda t: t not in (DType.COMPLEX64, DType.COMPLEX128)
        )

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The even op alone."""
        if m.root.op == "Abs" and next(n for n in m.nodes if n is not m.root).op == "Abs":
            raise NoMatch("Abs of Abs is left to drop-repeated")
        return op[m.root.op](m.x, like=m.root.output)


@attrs.frozen(slots=True)
class DivideByPowerOfTwo(Pattern):
    """Dividing by a power of two is multiplying by its inverse, which is exact and cheaper."""

    name: ClassVar[str] = "multiply-by-inverse-power-of-two"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """``RealDiv(x, constant)``."""
        return op.RealDiv(x, c, T={DType.FLOAT, DType.DOUBLE, DType.HALF})

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``Mul`` by the inverse."""
        array = m.c.numpy()
        mantissa, exponent = np.frexp(array)
        limit = 12 if m.c.dtype is DType.HALF else 100
        if not bool((np.abs(mantissa) == 0.5).all()) or not bool((np.abs(exponent) < limit).all()):
            raise NoMatch("the divisor is not a power of two")
        return op.Mul(m.x, Tensor.of(1 / array, m.c.dtype), like=m.root.output)


@attrs.frozen(slots=True)
class NegatedComparison(Pattern):
    """not (x == y) is x != y, and the other way round."""

    name: ClassVar[str] = "negate-equality"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, y: Value) -> Any:
        """``LogicalNot(Equal(x, y))``."""
        return op.LogicalNot(op["Equal", "NotEqual"](x, y, incompatible_shape_error=True).named("test"))

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The opposite test, NaN included."""
        other = "NotEqual" if m.test.op == "Equal" else "Equal"
        return op[other](*m.test.inputs, like=m.root.output, incompatible_shape_error=True)


@attrs.frozen(slots=True)
class ReduceNothing(Pattern):
    """Reducing over no axis is the operand."""

    name: ClassVar[str] = "drop-empty-reduction"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, axes: Tensor) -> Any:
        """A reduction with constant axes."""
        return op["Sum", "Mean", "Prod", "Max", "Min", "All", "Any"](x, axes)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        if integers(m.axes):
            raise NoMatch(f"it reduces axes {integers(m.axes)}")
        return m.x


@attrs.frozen(slots=True)
class DropCast(Pattern):
    """A Cast to the type that is there already is its operand."""

    name: ClassVar[str] = "drop-cast"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``Cast(x)``."""
        return op.Cast(x)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        if m.x.dtype is not m.root.output.dtype:
            raise NoMatch(f"{m.x.dtype} becomes {m.root.output.dtype}")
        return m.x


@attrs.frozen(slots=True)
class MergeCasts(Pattern):
    """A Cast through a wider integer type is a direct Cast, or none."""

    name: ClassVar[str] = "merge-casts"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``Cast(Cast(x))``."""
        return op.Cast(op.Cast(x).named("inner").shared())

    def rewrite(self, op: Draft, m: Match) -> Any:
        """One Cast. Floats are left alone: a denormal may be flushed on the way, or come back from a wider type."""
        through = m.inner.output.dtype
        if not _holds(through, m.x.dtype):
            raise NoMatch(f"{through} does not hold every {m.x.dtype}")
        target = m.root.output.dtype
        return m.x if target is m.x.dtype else op.Cast(m.x, like=m.root.output, DstT=target)


def _holds(wide: DType, narrow: DType) -> bool:
    if wide not in _WORK or narrow not in (*_WORK, DType.BOOL):
        return False
    return narrow is DType.BOOL or bool(np.can_cast(narrow.np, wide.np, "safe"))
