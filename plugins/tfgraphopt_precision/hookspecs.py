"""The hook that the precision plugin opens: rules."""

from __future__ import annotations

from collections.abc import Iterable

from tfgraphopt.hookspecs import contributes, hookspec
from tfgraphopt_precision.rules import PrecisionRule


@hookspec
@contributes("precision rules", lambda item: isinstance(item, PrecisionRule), lambda item: (item.name,))
def tfgraphopt_precision_rules() -> Iterable[PrecisionRule]:  # type: ignore[empty-body]
    """Rules of precision: which layers stay in float32, and why."""
