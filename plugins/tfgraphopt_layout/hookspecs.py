"""The hook that the layout plugin opens: rules for layers."""

from __future__ import annotations

from collections.abc import Iterable

from tfgraphopt.hookspecs import contributes, hookspec
from tfgraphopt_layout.rules import LayoutRule


@hookspec
@contributes("layout rules", lambda item: isinstance(item, LayoutRule), lambda item: item.ops)
def tfgraphopt_layout_rules() -> Iterable[LayoutRule]:  # type: ignore[empty-body]
    """Layout rules: how permutations pass through layers. A layer without one keeps the order of its operands and results."""
