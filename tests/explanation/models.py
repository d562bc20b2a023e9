"""Models that come apart: dense chains with ops between them that no engine computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphopt.config import Config
from tfgraphopt.explanation import Explanation, View, explain_graph_def
from tfgraphopt.graphdef import GraphDef

W = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)


def chain(sizes: Sequence[int], between: Any = tf.math.lgamma, step: Any = tf.nn.tanh) -> GraphDef:
    """Runs of one op (Tanh) of the given lengths, with an op that no engine computes between them (``lgamma``)."""
    with tf.Graph().as_default() as graph:
        h = tf.compat.v1.placeholder(tf.float32, [None, 8], name="x")
        for index, size in enumerate(sizes):
            with tf.name_scope(f"run_{index}"):
                if index:
                    h = between(h, name="between")
                for _ in range(size):
                    h = step(h)
        tf.identity(h, name="y")
    return graph.as_graph_def()


def dense() -> GraphDef:
    """Products, an activation in two ways, a Reshape to its own shape, and a node that nothing reads the same twice."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8], name="x")
        h = tf.nn.relu(tf.matmul(x, W, name="product"), name="relu")
        a, b = tf.nn.tanh(h, name="one"), tf.nn.tanh(h, name="two")
        tf.nn.softmax(tf.matmul(a + b, W, name="last"), name="y")
    return graph.as_graph_def()


def explained(graph_def: GraphDef, **options: Any) -> Explanation:
    """The explanation of a model with output ``y``."""
    return explain_graph_def(graph_def, ["y"], Config(**{"max_batch_size": 4, **options}))


def looped(*, blocked: bool) -> GraphDef:
    """A loop with a conditional in its body, around dense layers; ``blocked`` by an op that nothing converts, in the loop's body."""

    def step(i: Any, h: Any) -> Any:
        h = tf.cond(
            tf.reduce_sum(h) > 0.0, lambda: tf.tanh(h, name="then_tanh"), lambda: tf.nn.relu(h, name="else_relu")
        )
        for _ in range(4):
            h = tf.nn.softmax(tf.matmul(h, W))
        return i + 1, tf.math.lgamma(h, name="blocker") if blocked else h

    def model(x: Any) -> Any:
        return tf.identity(tf.while_loop(lambda i, _: i < 3, step, (0, x))[1], name="y")

    function = tf.function(model, autograph=False)
    graph_def = function.get_concrete_function(tf.TensorSpec([None, 8], tf.float32, name="x")).graph.as_graph_def()
    assert {"y", "x"} <= {n.name for n in graph_def.node}
    return graph_def


def body_of(explanation: Explanation, kind: str, node: str) -> View:
    """The function of one side that has a node of this name."""
    (view,) = [
        v for v in explanation.views if v.kind == kind and v.function and node in {short(n.name) for n in v.nodes}
    ]
    return view


def short(name: str) -> str:
    """The last part of a node's name."""
    return name.rpartition("/")[2]
