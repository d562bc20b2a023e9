"""Bisection: find the one pass, or the one rewrite of a pass, that breaks a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

from tfgraphopt.errors import TfGraphOptError
from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, Pass, Quiet
from tfgraphopt.rewrite import REWRITE_BUDGET, Pattern

_R = TypeVar("_R")


@attrs.define(slots=True, eq=False)
class Bisect(Quiet):
    """Allow the first ``budget`` actions and none after them (all when None).

    An action is the run of one pass on one graph, or one rewrite by a rule inside such a run; ``actions`` names those that were
    allowed, in order. With the same input, the actions under a smaller budget are a prefix of those under a larger one.
    """

    budget: int | None = None
    actions: list[str] = attrs.field(factory=list, init=False)

    def enter(self, ctx: Context) -> None:
        """Let rules ask for each rewrite."""
        self.actions = []
        ctx.facts[REWRITE_BUDGET] = self

    def should_run(self, step: Pass, graph: Graph, ctx: Context) -> bool:
        """Whether the budget still allows this pass."""
        return self._allow(f"pass {step} on graph {graph.name!r}")

    def allows(self, rule: Pattern, graph: Graph, node: Node) -> bool:
        """Whether the budget still allows this rewrite."""
        return self._allow(f"rule {rule.name} at {node.op} node {node.name!r} of graph {graph.name!r}")

    def _allow(self, action: str) -> bool:
        if self.budget is not None and len(self.actions) >= self.budget:
            return False
        self.actions.append(action)
        return True


@attrs.frozen(slots=True)
class Culprit:
    """The action with which a model turns from good to bad: the ``index``-th (from 1) of ``total``, found in ``runs`` runs."""

    action: str
    index: int
    total: int
    runs: int

    def __str__(self) -> str:
        return f"{self.action} (action {self.index} of {self.total}, found in {self.runs} runs)"


def bisect(run: Callable[[Bisect], _R], is_good: Callable[[_R], bool]) -> Culprit | None:
    """Find the first action that makes the result bad, by binary search over the number of actions.

    Args:
        run: does the optimisation with the given instrument, from the same input every time.
        is_good: judges what ``run`` gave (compare its outputs with those of the original model).

    Returns:
        The culprit, or None when the result of all actions is good.

    Raises:
        TfGraphOptError: the result is bad although no action was allowed.
    """
    whole = Bisect()
    if is_good(run(whole)):
        return None
    if not is_good(run(Bisect(0))):
        raise TfGraphOptError(
            "the result is wrong before any pass has run", hint="compare import and export with the original"
        )
    good, bad, runs = 0, len(whole.actions), 2
    while bad - good > 1:
        middle = (good + bad) // 2
        runs += 1
        if is_good(run(Bisect(middle))):
            good = middle
        else:
            bad = middle
    return Culprit(whole.actions[bad - 1], bad, len(whole.actions), runs)
