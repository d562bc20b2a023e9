"""The hook that the XLA plugin opens: how rows of a batch pass through layers."""

from __future__ import annotations

from collections.abc import Iterable

from tfgraphopt.hookspecs import contributes, hookspec
from tfgraphopt_xla.rows import RowRule


@hookspec
@contributes("row rules", lambda item: isinstance(item, RowRule), lambda item: item.ops)
def tfgraphopt_xla_row_rules() -> Iterable[RowRule]:  # type: ignore[empty-body]
    """How rows of a batch pass through layers; a layer without a rule has its segment compiled for every batch size on its own."""
