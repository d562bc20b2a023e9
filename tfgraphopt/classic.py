"""The call that TensorRT users of TensorFlow have known since TensorFlow 1.7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfgraphopt import plugins
from tfgraphopt.calibration import calibration_of
from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.optimization import Progress, _silent, optimize_graph_def


def create_inference_graph(
    input_graph_def: GraphDef,
    outputs: Sequence[str],
    max_batch_size: int = 1,
    max_workspace_size_bytes: int = 1 << 30,
    precision_mode: str = "FP32",
    minimum_segment_size: int = 3,
    *,
    input_shapes: Mapping[str, ShapeRange | Sequence[ShapeRange]] | None = None,
    progress: Progress = _silent,
) -> GraphDef:
    """A GraphDef in which TensorRT engines compute what TensorRT can compute.

    Args:
        input_graph_def: a frozen graph; it is not changed.
        outputs: names of the nodes that will be fetched.
        max_batch_size: the largest batch the engines are built for.
        max_workspace_size_bytes: scratch memory an engine may use.
        precision_mode: "FP32", "FP16", "BF16" or "INT8". With "INT8" the result is a calibration graph, which computes what the
            original does: run it on data, then call :func:`calib_graph_to_infer_graph`. (A graph that was trained with
            quantisation needs no calibration: the result is its INT8 graph.)
        minimum_segment_size: smaller segments stay in TensorFlow.
        input_shapes: ranges for inputs whose dimensions other than the first are unknown.
        progress: called with (what, done, total).

    Raises:
        GraphDefError, ConfigError: the graph or an argument is wrong.
        MissingDependency: no TensorRT is installed.
    """
    config = Config(
        precision=precision_mode, max_batch_size=max_batch_size, max_workspace_size_bytes=max_workspace_size_bytes,
        minimum_segment_size=minimum_segment_size, input_shapes=input_shapes,
    )  # fmt: skip
    if config.precision == "int8":
        tables = plugins.load()
        return calibration_of(tables).prepare(input_graph_def, outputs, config, tables)
    return optimize_graph_def(input_graph_def, outputs, config, progress=progress).graph_def


def calib_graph_to_infer_graph(
    calib_graph: GraphDef, *, statistics: Path | str | None = None, progress: Progress = _silent
) -> GraphDef:
    """The INT8 graph for a calibration graph that was run on data.

    Args:
        calib_graph: what :func:`create_inference_graph` gave for ``precision_mode="INT8"``.
        statistics: a file of statistics that were recorded elsewhere; what this process has recorded is added.
        progress: called with (what, done, total).

    Raises:
        ConfigError: it is no calibration graph, no data was run, or the statistics are of another graph.
    """
    tables = plugins.load()
    path = None if statistics is None else Path(statistics)
    return calibration_of(tables).infer(calib_graph, path, tables, progress).graph_def
