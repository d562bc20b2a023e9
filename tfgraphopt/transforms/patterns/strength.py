"""Cheaper forms of the same arithmetic, hosted by "fuse": they may change the last bits, denormals or the sign of a zero."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt.matching import all_near
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt.transforms.patterns.facts import axes_of, integers, keeps_shape
from tfgraphopt.transforms.patterns.folding import FUSE, rounded

_FLOATS = frozenset({DType.FLOAT, DType.HALF, DType.DOUBLE, DType.BFLOAT16})
_NEUTRAL = {
    "Add": (0.0, -0.0),
    "AddV2": (0.0, -0.0),
    "Mul": (1.0,),
    "Sub": (0.0, -0.0),
    "RealDiv": (1.0,),
    "Pow": (1.0,),
}
_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2")


@attrs.frozen(slots=True)
class NeutralFloat(Pattern):
    """x + 0, x - 0, x * 1, x / 1 and x to the power of 1 are x, but for denormals and the sign of zero."""

    name: ClassVar[str] = "drop-neutral-float"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """A float op with a constant."""
        return op[tuple(_NEUTRAL)](x, c, T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        if not any(all_near(m.c, n) for n in _NEUTRAL[m.root.op]) or not keeps_shape(m.x, m.c):
            raise NoMatch("the constant is not neutral, or it broadcasts the operand")
        return m.x


@attrs.frozen(slots=True)
class MergeScales(Pattern):
    """Two constant factors are one; so are two constant summands."""

    name: ClassVar[str] = "merge-constants"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, a: Tensor, b: Tensor) -> Any:
        """``(x * a) * b`` or ``(x + a) + b``."""
        return op["Mul", "AddV2"](op["Mul", "AddV2"](x, a).named("inner"), b, T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``x * (a * b)``."""
        if m.inner.op != m.root.op:
            raise NoMatch(f"{m.root.op} follows {m.inner.op}")
        a, b = (t.numpy().astype(np.float64) for t in (m.a, m.b))
        with np.errstate(all="ignore"):
            exact = a * b if m.root.op == "Mul" else a + b
        together = rounded(exact, m.a)
        if (together.numpy() == 0)[exact != 0].any():
            raise NoMatch("the product of the constants underflows")
        return op[m.root.op](m.x, together, like=m.root.output)


@attrs.frozen(slots=True)
class SquareOfProduct(Pattern):
    """x * x is Square(x)."""

    name: ClassVar[str] = "square-of-product"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``x * x``."""
        return op.Mul(x, x)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``Square``."""
        return op.Square(m.x, like=m.root.output)


@attrs.frozen(slots=True)
class PowerToProduct(Pattern):
    """x to the power of 2 or 3 is a product."""

    name: ClassVar[str] = "power-to-product"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """``Pow(x, constant)``."""
        return op.Pow(x, c, T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``Square(x)`` or ``Square(x) * x``."""
        if not keeps_shape(m.x, m.c) or not (all_near(m.c, 2) or all_near(m.c, 3)):
            raise NoMatch("the exponent is not 2 or 3, or it broadcasts the base")
        square = op.Square(m.x, like=m.root.output)
        return square if all_near(m.c, 2) else op.Mul(square, m.x, like=m.root.output)


@attrs.frozen(slots=True)
class SquaredDifference(Pattern):
    """Square(x - y) is SquaredDifference(x, y)."""

    name: ClassVar[str] = "squared-difference"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, y: Value) -> Any:
        """``Square(x - y)``."""
        return op.Square(op.Sub(x, y), T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``SquaredDifference``."""
        return op.SquaredDifference(m.x, m.y, like=m.root.output)


@attrs.frozen(slots=True)
class DivideBySqrt(Pattern):
    """x / sqrt(y) is x * rsqrt(y), and 1 / sqrt(y) is rsqrt(y)."""

    name: ClassVar[str] = "divide-by-sqrt"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, y: Value) -> Any:
        """``x / Sqrt(y)``."""
        return op.RealDiv(x, op.Sqrt(y).named("root"), T=_FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``x * Rsqrt(y)``."""
        return op.Mul(m.x, op.Rsqrt(m.y, like=m.root.inputs[1]), like=m.root.output)


@attrs.frozen(slots=True)
class TransposeIntoMatmul(Pattern):
    """A transpose of the last two axes of the second operand is a flag of the product."""

    name: ClassVar[str] = "transpose-into-matmul"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, y: Value, perm: Tensor) -> Any:
        """A product with a transposed operand."""
        flipped = op.Transpose(x, perm).named("flip")
        return op[_PRODUCTS](y, flipped)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The product with the flag turned over."""
        perm = axes_of(integers(m.perm), m.perm.num_elements)
        rank = len(perm)
        if perm != [*range(rank - 2), rank - 1, rank - 2]:
            raise NoMatch(f"it permutes by {perm}")
        flag = "transpose_b" if m.root.op == "MatMul" else "adj_y"
        changed = {**m.root.attrs, flag: not m.root.attrs[flag]}
        return op[m.root.op](m.y, m.x, like=m.root.output, **changed)
