"""Segments that are too small for an engine: counted, left to TensorFlow by ``auto``, built when asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from trt_layers.harness import Case

from openvino_engine.nets import RANGES, cnn, images, optimised, session
from tfgraphopt_openvino.layers import all_layers
from tfgraphopt_openvino.model import build_model
from tfgraphopt_openvino.openvino_api import load
from tfgraphopt_openvino.worth import LEAST, operations


def chain(n: int) -> Any:
    """No products at all."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, n], name="x")
        tf.identity(tf.nn.relu(tf.tanh(x * 2.0) + 1.0) * 0.5, name="y")
    return graph.as_graph_def()


@pytest.mark.parametrize(
    ("graph_def", "options"),
    [(cnn(), {"input_shapes": RANGES}), (chain(64), {"max_batch_size": 8})],
    ids=["cnn", "chain"],
)
def test_what_does_not_pay_stays_in_tensorflow_with_the_reason(graph_def: Any, options: dict[str, Any]) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    result = optimised(graph_def, ["y"], engine="auto", **options)
    (segment,) = result.report.segments.values()
    assert segment.status == "segment dropped"
    assert "million operations" in segment.reason
    assert not [n for n in result.graph_def.node if n.op == "TfgraphoptEngineOp"]
    assert {v.status for v in result.report.verdicts.values() if v.segment} == {"segment dropped"}


def test_what_was_put_back_computes_the_same() -> None:
    result = optimised(cnn(), ["y"], input_shapes=RANGES, engine="auto")
    x = images(4)
    (expected,), (made,) = (session(g, ["x"], ["y"])(x) for g in (cnn(), result.graph_def))
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


def test_asked_for_by_name_everything_is_built() -> None:
    (segment,) = optimised(chain(64), ["y"], engine="openvino", max_batch_size=8).report.segments.values()
    assert segment.status == "built"


def normal(*dims: int) -> Any:
    return np.random.default_rng(0).normal(size=dims).astype(np.float32)


WINDOW = {"stride": (1, 1), "pre": (1, 1), "post": (1, 1), "dilation": (1, 1)}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (Case("c", "trt.convolution", (normal(2, 8, 5, 5), normal(16, 8, 3, 3)), {"groups": 1, **WINDOW}), 2 * 2 * 16 * 25 * 8 * 9),
        (Case("c", "trt.convolution", (normal(2, 8, 5, 5), normal(8, 1, 3, 3)), {"groups": 8, **WINDOW}), 2 * 2 * 8 * 25 * 9),
        (Case("c", "trt.deconvolution", (normal(2, 8, 5, 5), normal(8, 16, 3, 3)), {"groups": 1, **WINDOW}), 2 * 2 * 8 * 25 * 16 * 9),
        (Case("c", "trt.matrix_multiply", (normal(4, 20), normal(6, 20)), {"transpose_a": False, "transpose_b": True}), 2 * 4 * 6 * 20),
    ],
)  # fmt: skip
def test_operations_are_counted(case: Any, expected: int) -> None:
    model = build_model(case.graph(), {layer.op: layer for layer in all_layers()}, load())
    assert operations(model) == expected < LEAST
