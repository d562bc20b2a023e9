"""TF-TRT's functions: the calls of ``tf.contrib.tensorrt`` and of its module in TensorFlow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from tfgraphopt import classic, plugins
from tfgraphopt.calibration import calibration_of
from tfgraphopt.compat.converter_v1 import DYNAMIC_BATCH
from tfgraphopt.compat.environment import environment_options
from tfgraphopt.compat.parameters import (
    DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
    TrtConversionParams,
    TrtPrecisionMode,
    check_params,
    options_of,
    superseded,
)
from tfgraphopt.compat.reporting import draw, show_rejections
from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.optimization import optimize


def create_inference_graph(
    input_graph_def: GraphDef | None,
    outputs: Sequence[str] | None,
    max_batch_size: int | None = 1,
    max_workspace_size_bytes: int = DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
    precision_mode: str = TrtPrecisionMode.FP32,
    minimum_segment_size: int = 3,
    is_dynamic_op: bool = False,
    maximum_cached_engines: int = 1,
    input_saved_model_dir: str | None = None,
    input_saved_model_tags: Sequence[str] | None = None,
    input_saved_model_signature_key: str | None = None,
    output_saved_model_dir: str | None = None,
    *,
    cached_engine_batches: Sequence[int] | None = None,
    cached_engine_batch_sizes: Sequence[int] | None = None,
    use_calibration: bool = True,
    session_config: Any = None,
) -> GraphDef:
    """A GraphDef in which engines compute what TensorRT can compute.

    Args:
        input_graph_def: a frozen graph; None to read ``input_saved_model_dir``.
        outputs: the nodes that are fetched of it.
        max_batch_size: the largest batch the engines are built for; at least 32 where ``is_dynamic_op`` says that any may come.
        max_workspace_size_bytes, precision_mode, minimum_segment_size, maximum_cached_engines: see :class:`TrtConversionParams`. For
            INT8 the result is a calibration graph: run it on data, then call :func:`calib_graph_to_infer_graph`.
        input_saved_model_dir, input_saved_model_tags, input_saved_model_signature_key: a SavedModel in its place.
        output_saved_model_dir: where to write the converted SavedModel as well.
        cached_engine_batches, cached_engine_batch_sizes: batches; the largest one counts.
        use_calibration: for INT8; False takes the ranges of the graph's own quantisation nodes.
        session_config: without effect.

    Raises:
        ValueError: a parameter is wrong, or there is not exactly one model.
    """
    params = TrtConversionParams(
        max_workspace_size_bytes, precision_mode, minimum_segment_size, maximum_cached_engines, use_calibration
    )
    check_params(params)
    if (input_graph_def is None) == (input_saved_model_dir is None):
        raise ConfigError("give one of input_graph_def and input_saved_model_dir")
    if session_config is not None:
        superseded("session_config", "no session runs while a graph is converted")
    batches = [*(cached_engine_batches or ()), *(cached_engine_batch_sizes or ()), max_batch_size or 1]
    if is_dynamic_op:
        superseded(
            "is_dynamic_op",
            f"engines are built ahead, for batches up to max_batch_size, or {DYNAMIC_BATCH} for dynamic ops",
        )
        batches.append(DYNAMIC_BATCH)
    config = Config(**{**options_of(params), **environment_options()}, max_batch_size=max(batches))
    if config.precision == "int8" and use_calibration and input_graph_def is not None:
        tables = plugins.load()
        return calibration_of(tables).prepare(input_graph_def, list(outputs or ()), config, tables)
    return _converted(input_graph_def, outputs, config, input_saved_model_dir, input_saved_model_tags,
                      input_saved_model_signature_key, output_saved_model_dir)  # fmt: skip


def _converted(
    graph_def: GraphDef | None, outputs: Sequence[str] | None, config: Config, directory: str | None, tags: Sequence[str] | None,
    signature: str | None, written: str | None,
) -> GraphDef:  # fmt: skip
    if graph_def is not None:
        result = optimize(graph_def, outputs=outputs, config=config)
    else:
        result = optimize(
            directory, tags=list(tags or ["serve"]), signatures=[signature or "serving_default"], config=config
        )
    draw(result)
    show_rejections(result)
    if written:
        result.save(written)
    return result.graph_def


def calib_graph_to_infer_graph(calibration_graph_def: GraphDef, is_dynamic_op: bool = False) -> GraphDef:
    """The INT8 graph for a calibration graph that was run on data.

    Args:
        calibration_graph_def: what :func:`create_inference_graph` gave for INT8.
        is_dynamic_op: without effect.
    """
    if is_dynamic_op:
        superseded("is_dynamic_op", "the engines are built for the shapes that create_inference_graph was given")
    return classic.calib_graph_to_infer_graph(calibration_graph_def)


def get_tensorrt_rewriter_config(
    conversion_params: TrtConversionParams,
    is_dynamic_op: bool | None = None,
    max_batch_size: int | None = None,
    is_v2: bool = False,
    disable_non_trt_optimizers: bool = False,
) -> Any:
    """A RewriterConfig as TF-TRT made it, but for its own optimiser, which TensorFlow has not had since 2.18.

    A session with it runs TensorFlow alone: convert the graph with :func:`create_inference_graph` first.

    Raises:
        ValueError: parameters that TF-TRT refused.
    """
    import tensorflow as tf

    check_params(conversion_params)
    if is_v2 and is_dynamic_op is not None and not is_dynamic_op:
        raise ConfigError("is_dynamic_op must be None or True for TensorFlow 2")
    if not is_v2 and is_dynamic_op is None:
        raise ConfigError("is_dynamic_op must be given for TensorFlow 1")
    if is_dynamic_op is not False and max_batch_size is not None:
        raise ConfigError("max_batch_size must be None for TensorFlow 2 and for dynamic ops")
    if is_dynamic_op is False and not isinstance(max_batch_size, int):
        raise ConfigError("max_batch_size must be a number")
    warnings.warn(
        "get_tensorrt_rewriter_config is deprecated: TensorFlow has no TensorRTOptimizer any more; "
        "convert graphs with create_inference_graph or tfgraphopt.optimize()",
        DeprecationWarning, stacklevel=2,
    )  # fmt: skip
    rewriting = tf.compat.v1.ConfigProto().graph_options.rewrite_options
    rewriting.remapping = type(rewriting).OFF
    if not disable_non_trt_optimizers:
        rewriting.optimizers.extend(
            ["pruning", "debug_stripper", "layout", "dependency", "constfold", "common_subgraph_elimination"]
        )
    return rewriting


__all__ = ["calib_graph_to_infer_graph", "create_inference_graph", "get_tensorrt_rewriter_config"]
