"""Small networks, and what the tests do with them: optimise for OpenVINO, run in a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

import tfgraphopt as tgo
from tfgraphopt import plugins

Array = np.ndarray[Any, Any]
Call = Callable[..., list[Array]]
ENGINE = "TfgraphoptEngineOp_000_000"
CALLERS_THREAD = -1


def cnn(seed: int = 0) -> Any:
    """Convolutions with a residual, pooling, dense, softmax: ``x`` f32[?,?,?,3] -> ``y`` f32[?,5], ``map`` f32[?,?,?,8]."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return np.asarray(rng.normal(size=shape, scale=0.3), np.float32)

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3], name="x")
        h = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, normal(3, 3, 3, 8), 2, "SAME"), normal(8)))
        h = h + tf.nn.relu6(tf.nn.depthwise_conv2d(h, normal(3, 3, 8, 1), [1, 1, 1, 1], "SAME"))
        h = tf.nn.max_pool2d(h, 2, 2, "VALID")
        tf.identity(h, name="map")
        h = tf.reduce_mean(h, [1, 2])
        tf.nn.softmax(tf.nn.bias_add(tf.matmul(h, normal(8, 5)), normal(5)), name="y")
    return graph.as_graph_def()


def images(batch: int, size: int = 20, seed: int = 0) -> Array:
    """Random images for :func:`cnn`."""
    return np.asarray(np.random.default_rng(seed + batch * 1000 + size).normal(size=(batch, size, size, 3)), np.float32)


RANGES = {"x": tgo.ShapeRange((1, 12, 12, 3), (4, 20, 20, 3), (8, 32, 32, 3))}


def optimised(graph_def: Any, outputs: Sequence[str], **options: Any) -> tgo.Result:
    """The graph with OpenVINO engines, built anew; every plugin must load."""
    fresh = {"engine_cache": False, **options.pop("options", {})}
    config = tgo.Config(**{"engine": "openvino", "minimum_segment_size": 1, "options": fresh, **options})
    return tgo.optimize_graph_def(graph_def, outputs, config, tables=plugins.load(strict=True))


def session(graph_def: Any, feeds: Sequence[str], outputs: Sequence[str]) -> Call:
    """The graph as a function of arrays; may be called from several threads."""
    made: Call = _session(graph_def).make_callable([f"{o}:0" for o in outputs], [f"{f}:0" for f in feeds])
    return made


def callers_thread(graph_def: Any, feeds: Sequence[str], outputs: Sequence[str]) -> Call:
    """The same by TensorFlow's callable, with all kernels in the thread that calls."""
    return tensorflows_callable(
        _session(graph_def), [f"{f}:0" for f in feeds], [f"{o}:0" for o in outputs], CALLERS_THREAD
    )


def tensorflows_callable(session: Any, fed: Sequence[str], fetched: Sequence[str], pool: int) -> Call:
    """``Session::MakeCallable`` for tensors by name; ``pool`` is ``RunOptions.inter_op_thread_pool``."""
    how = config_pb2.RunOptions(inter_op_thread_pool=pool)
    options = config_pb2.CallableOptions(feed=fed, fetch=fetched, run_options=how)
    made: Call = session._make_callable_from_options(options)
    return made


def _session(graph_def: Any) -> Any:
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
    return tf.compat.v1.Session(graph=graph)


def both(
    graph_def: Any, result: tgo.Result, feeds: Mapping[str, Array], outputs: Sequence[str]
) -> list[tuple[Array, Array]]:
    """(TensorFlow's, ours) for each output."""
    original, ours = (session(g, list(feeds), outputs) for g in (graph_def, result.graph_def))
    return list(zip(original(*feeds.values()), ours(*feeds.values()), strict=True))


def assert_close(expected: Array, made: Array, tolerance: float = 1e-4) -> None:
    """Equal type and shape, and elements within ``tolerance`` of the largest magnitude (exactly equal for integers)."""
    assert made.dtype == expected.dtype
    assert made.shape == expected.shape
    if not np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_array_equal(made, expected)
        return
    limit = tolerance * max(float(np.abs(expected).max(initial=0.0)), 1e-30)
    assert float(np.abs(made - expected).max(initial=0.0)) <= limit
