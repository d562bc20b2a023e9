"""Functions that must not be inlined in TensorFlow: still one engine, and the fallback calls them as the original does."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from main_job.jobs import in_session

import tfgraphopt as tgo
import tfgraphopt.runtime


def grouped(*, stateful: bool = False) -> tf.compat.v1.GraphDef:
    """A grouped convolution in a ``_noinline`` function (as Keras 3 writes it), a bias and a relu behind it."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 1, 8)).astype(np.float32)

    @tf.function(autograph=False, experimental_attributes={"_noinline": True})
    def convolve(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        if stateful:
            tf.print("called")
        return tf.nn.conv2d(x, w, 1, "SAME")

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 6, 6, 8], name="x")
        h = tf.nn.bias_add(convolve(tf.nn.tanh(x), tf.constant(kernel)), rng.normal(size=8).astype(np.float32))
        tf.nn.relu(h, name="y")
    return graph.as_graph_def()


def test_a_grouped_convolution_in_a_function_is_part_of_one_engine() -> None:
    graph_def = grouped()
    result = tgo.optimize_graph_def(graph_def, ["y"], tgo.Config(max_batch_size=4))
    assert [s.status for s in result.report.segments.values()] == ["built"]
    segment = next(iter(result.report.segments.values()))
    assert "CONVOLUTION" in segment.layers
    assert any(op.endswith("PartitionedCall") for op in segment.ops)
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 6, 6, 8)).astype(np.float32)}
    np.testing.assert_array_equal(in_session(result.graph_def, ["y"], feeds), in_session(graph_def, ["y"], feeds))
    call = result.module.main.node(segment.name)
    assert call.inputs[0].name == "x"
    body = next(iter(result.module.lowered.values()))
    assert {n.op for n in body} >= {"trt.convolution", "trt.activation"}


def test_a_function_with_side_effects_stays_in_tensorflow() -> None:
    result = tgo.optimize_graph_def(grouped(stateful=True), ["y"], tgo.Config(engine="none", minimum_segment_size=1))
    reasons = {v.op: v.reason for v in result.report.verdicts.values()}
    assert "side effects" in reasons["StatefulPartitionedCall"]
