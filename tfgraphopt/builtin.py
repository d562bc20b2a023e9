"""The framework's own generic passes, contributed as a plugin like any other."""

from __future__ import annotations

from collections.abc import Iterable

from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.passes import Pass


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """The generic passes."""
    from tfgraphopt.transforms.cse import CommonSubexpressionElimination
    from tfgraphopt.transforms.dead_code import DeadCodeElimination
    from tfgraphopt.transforms.fold_constants import FoldConstants
    from tfgraphopt.transforms.identity import RemoveIdentity
    from tfgraphopt.transforms.infer_types import InferTypes
    from tfgraphopt.transforms.inline_functions import InlineFunctions

    return [
        CommonSubexpressionElimination, DeadCodeElimination, FoldConstants, InferTypes, InlineFunctions, RemoveIdentity,
    ]  # fmt: skip
