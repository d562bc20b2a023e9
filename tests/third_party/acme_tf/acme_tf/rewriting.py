"""A rewrite rule and a pass."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from tfgraphopt import Pass
from tfgraphopt.ir import DType, Graph, Tensor
from tfgraphopt.passes import Context
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps


@attrs.frozen(slots=True)
class SoftCapFromTanh(Pattern):
    """cap * tanh(x / cap), as models write it, is AcmeSoftCap(x)."""

    name: ClassVar[str] = "acme-soft-cap-from-tanh"
    host: ClassVar[str] = "fuse"

    def pattern(self, op: PatternOps, x: Any, inner: Tensor, outer: Tensor) -> Any:
        """``Mul(Tanh(x / inner), outer)``; a division by a power of two is a product by now."""
        return op.Mul(op.Tanh(op["RealDiv", "Mul"](x, inner).named("scaled")), outer)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``AcmeSoftCap(x)``."""
        if m.x.dtype is not DType.FLOAT:
            raise NoMatch("AcmeSoftCap takes float32 only")
        if m.inner.shape.rank != 0 or m.outer.shape.rank != 0:
            raise NoMatch("the factors are not scalars")
        cap, inner = float(m.outer.item()), float(m.inner.item())
        product = cap * inner if m.scaled.op == "Mul" else cap / inner if inner else 0.0
        if not cap > 0 or abs(product - 1) > 1e-6:
            raise NoMatch("the outer factor does not undo the inner one")
        return op.AcmeSoftCap(m.x, cap=cap, like=m.root.output)


@attrs.frozen(slots=True)
class StripChecks(Pass):
    """Take CheckNumerics out: what it would have stopped at runs on.

    ``keep`` names checks to leave in.
    """

    name: ClassVar[str] = "acme-strip-checks"
    before: ClassVar[tuple[str, ...]] = ("segment",)
    default: ClassVar[bool] = False
    keep: tuple[str, ...] = attrs.field(default=(), converter=tuple)

    def run(self, graph: Graph, ctx: Context) -> None:
        """Let readers of a check read what it checks."""
        for node in graph:
            if node.op == "CheckNumerics" and node.name not in self.keep and not graph.keeps(node):
                node.output.replace_uses(node.inputs[0])
                graph.erase(node)
