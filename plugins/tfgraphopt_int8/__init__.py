"""INT8 for TensorFlow graphs: statistics, calibrators, and quantize and dequantize layers where TensorRT fuses them."""

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
