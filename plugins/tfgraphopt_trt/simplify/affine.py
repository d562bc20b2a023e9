"""Chains of sums and products with constants, brought into the form ``x * scale + shift``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import Tensor, Value
from tfgraphopt.ir.tensor import Array
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_trt.simplify.steps import ELEMENTWISE, FLOATS, HOST, MOST_ELEMENTS, Step, rounded, step_of


def _written(op: Draft, x: Value, step: Step, like: Value) -> Value:
    """``x * scale + shift`` in as few layers as that takes."""
    parts = (("prod", step.scale, 1.0), ("sum", step.shift, 0.0))
    for operation, array, neutral in parts:
        if array is not None and not np.all(array == neutral):
            x = op[ELEMENTWISE](x, rounded(array, x.dtype), like=like, operation=operation)
    return x


def _count(step: Step) -> int:
    return sum(array is not None and not np.all(array == n) for array, n in ((step.scale, 1.0), (step.shift, 0.0)))


@attrs.frozen(slots=True)
class MergeSteps(Pattern):
    """Two sums or products with constants in a row are one, or a product and then a sum."""

    name: ClassVar[str] = "trt-merge-scale-and-shift"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, c: Tensor, d: Tensor) -> Any:
        """An elementwise layer with a constant of another one."""
        return op[ELEMENTWISE](op[ELEMENTWISE](x, c).unordered().named("inner"), d).unordered()

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The two together."""
        first, second = step_of(m.inner, m.x), step_of(m.root, m.inner.output)
        both = _together(first, second)
        if _count(both) == 2 and m.inner.attrs["operation"] == "prod" and m.root.attrs["operation"] == "sum":
            raise NoMatch("it is a product and then a sum already")
        if any(a.size > MOST_ELEMENTS for a in both.arrays):
            raise NoMatch("the constants together would be too large")
        return _written(op, m.x, both, m.root.output)


def _together(first: Step, second: Step) -> Step:
    scale = _times(first.scale, second.scale)
    shift = first.shift if second.scale is None or first.shift is None else first.shift * second.scale
    return Step(scale, second.shift if shift is None else shift if second.shift is None else shift + second.shift)


def _times(a: Array | None, b: Array | None) -> Array | None:
    return b if a is None else a if b is None else a * b


@attrs.frozen(slots=True)
class PlainStep(Pattern):
    """``x + 0`` and ``x * 1`` are ``x``; ``x - c`` and ``x / c`` are a sum and a product; a constant stands behind."""

    name: ClassVar[str] = "trt-plain-scale-or-shift"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """An elementwise layer with a constant."""
        return op[ELEMENTWISE](x, c).unordered()

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The plain form."""
        step = step_of(m.root, m.x)
        plain = m.root.attrs["operation"] in ("sum", "prod") and m.root.inputs[0] is m.x
        if _count(step) > 1 or (plain and _count(step) == 1):
            raise NoMatch("it is plain already")
        return _written(op, m.x, step, m.root.output)


@attrs.frozen(slots=True)
class NeutralNumber(Pattern):
    """``x + 0``, ``x * 1`` and ``x / 1`` of integers are ``x`` (sizes that were computed at run time)."""

    name: ClassVar[str] = "trt-drop-neutral-number"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
        """An elementwise layer of integers with a constant."""
        return op[ELEMENTWISE](x, c, operation={"sum", "sub", "prod", "div", "floor_div"})

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        neutral = 0 if m.root.attrs["operation"] in ("sum", "sub") else 1
        dims = zip(m.c.shape.static(), m.x.shape.known(), strict=True)
        if m.x.dtype in FLOATS or not np.all(m.c.numpy() == neutral) or any(c not in (1, d) for c, d in dims):
            raise NoMatch("the constant does something")
        return m.x


PATTERNS: Sequence[Pattern] = (MergeSteps(), PlainStep(), NeutralNumber())
