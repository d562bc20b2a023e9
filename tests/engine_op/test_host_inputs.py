"""Inputs that an engine reads on the host are registered so, by build-engines, in the node that TensorFlow gets."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from engine_op.graphs import session

import tfgraphopt as tgo


def test_a_built_engine_has_its_shape_inputs_in_host_memory() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4, 4, 3], name="x")
        size = tf.compat.v1.placeholder(tf.int32, [2], name="size")
        h = tf.image.resize(tf.nn.relu(tf.nn.tanh(x)), size, "nearest")
        tf.nn.relu(h + 1.0, name="y")
    shapes = {
        "x": tgo.ShapeRange((1, 4, 4, 3), (2, 4, 4, 3), (4, 4, 4, 3)),
        "size": tgo.ShapeRange((2,), (2,), (2,), values=((4, 4), (8, 8), (16, 16))),
    }
    result = tgo.optimize_graph_def(graph.as_graph_def(), ["y"], tgo.Config(input_shapes=shapes))
    (engine,) = (n for n in result.graph_def.node if n.op == "TRTEngineOp")
    (place,) = (i for i, name in enumerate(engine.input) if name.startswith("size"))
    assert engine.attr["_input_hostmem"].list.i == [place]
    feed = {"x:0": np.ones((2, 4, 4, 3), np.float32), "size:0": np.array([5, 7], np.int32)}
    with session(graph.as_graph_def()) as original, session(result.graph_def) as optimised:
        np.testing.assert_array_equal(optimised.run("y:0", feed), original.run("y:0", feed))
