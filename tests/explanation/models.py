"""Models that come apart: dense chains with ops between them that no engine computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphopt.config import Config
from tfgraphopt.explanation import Explanation, explain_graph_def
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
