"""A stranger's plugin with a rule that computes something else and a pass that crashes; tests install it as a distribution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs

import tfgraphopt as tgo
from tfgraphopt.ir import Graph, Tensor
from tfgraphopt.passes import Context, Pass
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps


@attrs.frozen(slots=True)
class MinusIsPlus(Pattern):
    """Wrong: subtracting a constant below 5 adds it."""

    name: ClassVar[str] = "minus-is-plus"
    host: ClassVar[str] = "canonicalize"

    def pattern(self, op: PatternOps, x: Any, c: Tensor) -> Any:
        """``x - c``."""
        return op.Sub(x, c)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``x + c``."""
        if m.c.item() >= 5:
            raise NoMatch("5 and more are left alone")
        return op.AddV2(m.x, m.c)


@attrs.frozen(slots=True)
class Crash(Pass):
    """Raises in the middle of its work."""

    name: ClassVar[str] = "acme-crash"
    default: ClassVar[bool] = False

    def run(self, graph: Graph, ctx: Context) -> None:
        """Crash."""
        raise ZeroDivisionError("acme divides by zero")


@tgo.hookimpl
def tfgraphopt_patterns() -> Iterable[Pattern]:
    """The wrong rule."""
    return [MinusIsPlus()]


@tgo.hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """The crash, and a pipeline that runs it."""
    return [Crash]


@tgo.hookimpl
def tfgraphopt_pipelines() -> Iterable[tuple[str, str]]:
    """A name for a pipeline that crashes."""
    return [("doomed", "infer-types,acme-crash,dce")]
