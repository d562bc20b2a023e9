"""TF-TRT's Python interface: ``from tfgraphopt.compat import trt_convert as trt`` in place of TensorFlow's own module.

Names, parameters, defaults and errors are those of ``tensorflow.python.compiler.tensorrt.trt_convert``; what has no meaning any more
warns and says what replaced it. ``docs/how-to/migrate.md`` has the table.
"""

from __future__ import annotations

from tfgraphopt.compat.converter_v1 import TrtGraphConverter
from tfgraphopt.compat.converter_v2 import TrtGraphConverterV2
from tfgraphopt.compat.functions import calib_graph_to_infer_graph, create_inference_graph, get_tensorrt_rewriter_config
from tfgraphopt.compat.parameters import (
    DEFAULT_TRT_CONVERSION_PARAMS,
    DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
    PROFILE_STRATEGY_IMPLICIT_BATCH_MODE_COMPATIBLE,
    PROFILE_STRATEGY_OPTIMAL,
    PROFILE_STRATEGY_RANGE,
    PROFILE_STRATEGY_RANGE_OPTIMAL,
    TrtConversionParams,
    TrtPrecisionMode,
    supported_profile_strategies,
)

ConversionParams = TrtConversionParams
"""Its name in ``tf.experimental.tensorrt``."""
Converter = TrtGraphConverterV2
"""Its name in ``tf.experimental.tensorrt``."""

__all__ = [
    "DEFAULT_TRT_CONVERSION_PARAMS", "DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES", "PROFILE_STRATEGY_IMPLICIT_BATCH_MODE_COMPATIBLE",
    "PROFILE_STRATEGY_OPTIMAL", "PROFILE_STRATEGY_RANGE", "PROFILE_STRATEGY_RANGE_OPTIMAL", "ConversionParams", "Converter",
    "TrtConversionParams", "TrtGraphConverter", "TrtGraphConverterV2", "TrtPrecisionMode", "calib_graph_to_infer_graph",
    "create_inference_graph", "get_tensorrt_rewriter_config", "supported_profile_strategies",
]  # fmt: skip
