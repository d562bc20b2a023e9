"""INT8 for TensorFlow graphs: statistics of tensors, calibrators, and quantize and dequantize layers where TensorRT fuses them."""

from tfgraphopt_int8.calibrators import Calibrator
from tfgraphopt_int8.statistics import Statistics, TensorStatistics, merge_all

__all__ = ["Calibrator", "Statistics", "TensorStatistics", "merge_all"]
