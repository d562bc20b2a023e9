"""INT8 for TensorFlow graphs: statistics, calibrators, and quantize and dequantize layers where TensorRT fuses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfgraphopt_int8.calibrating import statistics_of
    from tfgraphopt_int8.calibrators import Calibrator
    from tfgraphopt_int8.coverage import Finding, findings
    from tfgraphopt_int8.rules import QuantRule, WeightedLayer
    from tfgraphopt_int8.statistics import Statistics, TensorStatistics, merge_all
    from tfgraphopt_int8.trt_cache import read_cache, write_cache

__all__ = [
    "Calibrator", "Finding", "QuantRule", "Statistics", "TensorStatistics", "WeightedLayer", "findings", "merge_all",
    "read_cache", "statistics_of", "write_cache",
]  # fmt: skip

_LAZY = {
    "Calibrator": "calibrators", "Finding": "coverage", "QuantRule": "rules", "Statistics": "statistics",
    "TensorStatistics": "statistics", "WeightedLayer": "rules", "findings": "coverage", "merge_all": "statistics",
    "read_cache": "trt_cache", "statistics_of": "calibrating", "write_cache": "trt_cache",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on use: a process that only runs calibration graphs needs none of it."""
    if name not in _LAZY:
        raise AttributeError(f"module 'tfgraphopt_int8' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"tfgraphopt_int8.{_LAZY[name]}"), name)
