"""A transformer encoder of plain TensorFlow ops with random weights, and small graphs that break in naive float16."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

Array = np.ndarray[Any, Any]


def frozen(function: Any, *specs: tf.TensorSpec) -> tuple[Any, tuple[str, ...]]:
    """The GraphDef of a function with one result named ``y``, and its outputs."""

    def named(*arguments: Any) -> Any:
        return tf.identity(function(*arguments), name="y")

    traced = tf.function(named, input_signature=specs).get_concrete_function()
    graph_def = convert_variables_to_constants_v2(traced).graph.as_graph_def()
    return graph_def, ("y",)


def layer_norm(x: Any, scale: Array, shift: Array) -> Any:
    """Layer normalisation in single ops, as frozen models have it."""
    mean = tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-6) * scale + shift


def encoder(
    layers: int = 4, hidden: int = 256, heads: int = 4, length: int = 64, vocabulary: int = 1000, seed: int = 0
) -> Any:
    """Token ids ``ids`` [batch, length] and a mask [batch, length] to hidden states; random weights of realistic spread."""
    rng = np.random.default_rng(seed)

    def weights(*dims: int) -> Array:
        return (rng.normal(size=dims) / np.sqrt(dims[-2] if len(dims) > 1 else 1)).astype(np.float32)

    def norm() -> tuple[Array, Array]:
        return rng.uniform(0.5, 1.5, hidden).astype(np.float32), (0.1 * rng.normal(size=hidden)).astype(np.float32)

    table, place, first = weights(vocabulary, hidden), 0.1 * weights(length, hidden), norm()
    blocks = [
        {
            "qkv": weights(hidden, 3 * hidden), "out": weights(hidden, hidden), "in": weights(hidden, 4 * hidden),
            "down": weights(4 * hidden, hidden), "norms": (norm(), norm()),
        }
        for _ in range(layers)
    ]  # fmt: skip

    def attention(x: Any, mask: Any, block: Any) -> Any:
        parts = tf.reshape(
            tf.matmul(tf.reshape(x, [-1, hidden]), block["qkv"]), [-1, length, 3, heads, hidden // heads]
        )
        q, k, v = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))
        scores = tf.matmul(q, k, transpose_b=True) / np.float32(np.sqrt(hidden // heads))
        scores += (1.0 - mask[:, None, None, :]) * np.float32(-1e9)
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), [0, 2, 1, 3])
        return tf.reshape(tf.matmul(tf.reshape(mixed, [-1, hidden]), block["out"]), [-1, length, hidden])

    def run(ids: Any, mask: Any) -> Any:
        x = layer_norm(tf.gather(table, ids) + place, *first)
        for block in blocks:
            x = layer_norm(x + attention(x, mask, block), *block["norms"][0])
            flat = tf.reshape(x, [-1, hidden])
            wide = tf.matmul(flat, block["in"])
            gelu = 0.5 * wide * (1.0 + tf.math.erf(wide / np.float32(np.sqrt(2.0))))
            x = layer_norm(x + tf.reshape(tf.matmul(gelu, block["down"]), [-1, length, hidden]), *block["norms"][1])
        return x

    return frozen(
        run, tf.TensorSpec([None, length], tf.int32, "ids"), tf.TensorSpec([None, length], tf.float32, "mask")
    )


def encoder_feeds(batch: int = 2, length: int = 64, vocabulary: int = 1000, seed: int = 1) -> dict[str, Array]:
    """Token ids with Zipf's frequencies, sentences of different length."""
    rng = np.random.default_rng(seed)
    ids = np.minimum(rng.zipf(1.3, (batch, length)), vocabulary - 1).astype(np.int32)
    ends = rng.integers(length // 2, length + 1, batch)
    return {"ids": ids, "mask": (np.arange(length)[None] < ends[:, None]).astype(np.float32)}


def overflowing(scale: float = 400.0, width: int = 64, seed: int = 0) -> Any:
    """Layer normalisation of large numbers, then a softmax over logits beyond 65504: inf or NaN in naive float16."""
    rng = np.random.default_rng(seed)
    first, second = (rng.normal(size=(width, width)).astype(np.float32) for _ in range(2))

    def run(x: Any) -> Any:
        wide = tf.matmul(x, first) * np.float32(scale)
        normal = layer_norm(wide, np.ones(width, np.float32), np.zeros(width, np.float32))
        logits = tf.matmul(tf.nn.relu(wide), second) * np.float32(4.0)
        return tf.nn.softmax(logits) + 0.01 * normal

    return frozen(run, tf.TensorSpec([None, width], tf.float32, "x"))
