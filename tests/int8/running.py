"""Running graphs in tests, and the meaning of lowered bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from main_job.jobs import Array, in_function, in_session

from tfgraphopt import Config, Result, plugins
from tfgraphopt.optimization import optimize_graph_def
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.meaning import evaluate

__all__ = ["Array", "in_function", "in_session", "meaning_of", "quantised", "small_graph"]


def quantised(
    graph_def: Any, outputs: Sequence[str], data: Any, rest: str = "fp32", engine: str = "none", **options: Any
) -> Result:
    """The INT8 form of a graph, calibrated on ``data`` (None: as its own ranges say)."""
    config = Config(precision="int8", engine=engine, max_batch_size=64, options={"int8": {"rest": rest, **options}})
    return optimize_graph_def(graph_def, outputs, config, tables=plugins.load(strict=True), calibration_data=data)


def meaning_of(result: Result, operands: Sequence[Array]) -> list[Array]:
    """What the lowered body of the only segment of ``result`` computes."""
    (body,) = result.module.lowered.values()
    return evaluate(body, layer_map(result.tables.items("tfgraphopt_trt_layers")), operands)


def small_graph(channels: int = 16) -> Any:
    """Two convolutions with a residual between: enough for every kind of site."""
    rng = np.random.default_rng(3)
    kernels = [(rng.normal(size=(3, 3, channels, channels)) / 12).astype(np.float32) for _ in range(3)]
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, channels], name="x")
        first = tf.nn.relu(tf.nn.conv2d(x, kernels[0], 1, "SAME", name="first"), name="relu")
        second = tf.nn.conv2d(first, kernels[1], 1, "SAME", name="second")
        total = tf.nn.relu(tf.add(second, first, name="sum"), name="relu_sum")
        tf.identity(tf.nn.conv2d(total, kernels[2], 1, "SAME", name="third") * 2.0, name="y")
    return graph.as_graph_def()


Feeds = Mapping[str, Array]
