"""The hooks that the INT8 plugin opens: calibrators, weighted layers, rules."""

from __future__ import annotations

from collections.abc import Iterable

from tfgraphopt.hookspecs import contributes, hookspec
from tfgraphopt_int8.calibrators import Calibrator
from tfgraphopt_int8.rules import QuantRule, WeightedLayer


@hookspec
@contributes("calibrators", lambda item: isinstance(item, Calibrator), lambda item: (item.name,))
def tfgraphopt_int8_calibrators() -> Iterable[Calibrator]:  # type: ignore[empty-body]
    """Calibrators: from the statistics of a tensor to its range."""


@hookspec
@contributes("weighted layers", lambda item: isinstance(item, WeightedLayer), lambda item: (item.op,))
def tfgraphopt_int8_layers() -> Iterable[WeightedLayer]:  # type: ignore[empty-body]
    """Layers that integer kernels can compute, and where their weights are."""


@hookspec
@contributes("quantisation rules", lambda item: isinstance(item, QuantRule), lambda item: (item.name,))
def tfgraphopt_int8_rules() -> Iterable[QuantRule]:  # type: ignore[empty-body]
    """Rules: which weighted layers are not to be quantised, and why."""
