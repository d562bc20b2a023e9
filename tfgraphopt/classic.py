"""The call that TensorRT users of TensorFlow have known since TensorFlow 1.7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.optimize import Progress, _silent, optimize_graph_def


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
        precision_mode: "FP32", "FP16" or "BF16".
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
    return optimize_graph_def(input_graph_def, outputs, config, progress=progress).graph_def
