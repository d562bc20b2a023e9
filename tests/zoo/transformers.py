"""Transformer encoders and decoders as KerasHub builds them, small and of random weights: BERT, GPT-2, ViT and T5's encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from zoo.frozen import FrozenModel, freeze


@attrs.frozen
class Size:
    """How large a model is."""

    layers: int = 2
    hidden: int = 32
    heads: int = 4
    inner: int = 64
    vocabulary: int = 100
    length: int = 24


BASE = Size(12, 768, 12, 3072, 30522, 512)
"""BERT-base and its like."""


def _attention(size: Size, name: str) -> Any:
    import keras

    return keras.layers.MultiHeadAttention(size.heads, size.hidden // size.heads, name=name)


def _feed_forward(x: Any, size: Size, name: str, *, approximate: bool) -> Any:
    """Two dense layers with a GELU between them."""
    import keras

    wide = keras.layers.Dense(size.inner, name=f"{name}_in")(x)
    wide = keras.ops.gelu(wide, approximate=approximate)
    return keras.layers.Dense(size.hidden, name=f"{name}_out")(wide)


def _norm(x: Any, name: str) -> Any:
    import keras

    return keras.layers.LayerNormalization(epsilon=1e-6, name=name)(x)


def _tokens(size: Size, ids: Any) -> Any:
    """Embedded tokens and positions."""
    import keras

    tokens = keras.layers.Embedding(size.vocabulary, size.hidden, name="tokens")(ids)

    class Positions(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(size.length, size.hidden), name="table")

        def call(self, x: Any) -> Any:
            return x + self.table[: keras.ops.shape(x)[1]]

    return Positions(name="positions")(tokens)


def _bert(size: Size) -> Any:
    """Normalisation behind every sum, a mask of padding, GELU by tanh, the first token pooled."""
    import keras

    ids, mask, kinds = (
        keras.Input((None,), dtype="int32", name=n) for n in ("token_ids", "padding_mask", "segment_ids")
    )
    x = _tokens(size, ids) + keras.layers.Embedding(2, size.hidden, name="segments")(kinds)
    x = _norm(x, "norm")
    wide = keras.ops.expand_dims(mask, 1)
    for i in range(size.layers):
        x = _norm(x + _attention(size, f"attention_{i}")(x, x, attention_mask=wide), f"norm_{i}_a")
        x = _norm(x + _feed_forward(x, size, f"dense_{i}", approximate=True), f"norm_{i}_b")
    pooled = keras.layers.Dense(size.hidden, activation="tanh", name="pooled")(x[:, 0, :])
    return keras.Model([ids, mask, kinds], [x, pooled])


def _gpt2(size: Size) -> Any:
    """Normalisation before every sum, a causal mask, logits by the transposed table of tokens."""
    import keras

    ids = keras.Input((None,), dtype="int32", name="token_ids")
    table = keras.layers.Embedding(size.vocabulary, size.hidden, name="logits_of")
    x = _tokens(size, ids) + table(ids)
    for i in range(size.layers):
        h = _norm(x, f"norm_{i}_a")
        x = x + _attention(size, f"attention_{i}")(h, h, use_causal_mask=True)
        h = _norm(x, f"norm_{i}_b")
        x = x + _feed_forward(h, size, f"dense_{i}", approximate=True)
    x = _norm(x, "norm")

    class Logits(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return keras.ops.matmul(x, keras.ops.transpose(table.embeddings))

    return keras.Model(ids, Logits(name="logits")(x))


def _vit(size: Size) -> Any:
    """Patches by a convolution, a class token in front, no mask, exact GELU."""
    import keras

    image = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(size.hidden, 8, 8, name="patches")(image)
    x = keras.layers.Reshape((16, size.hidden))(x)

    class ClassToken(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.token = self.add_weight(shape=(1, 1, size.hidden), name="token")
            self.places = self.add_weight(shape=(1, 17, size.hidden), name="places")

        def call(self, x: Any) -> Any:
            tokens = keras.ops.tile(self.token, (keras.ops.shape(x)[0], 1, 1))
            return keras.ops.concatenate([tokens, x], 1) + self.places

    x = ClassToken(name="class_token")(x)
    for i in range(size.layers):
        h = _norm(x, f"norm_{i}_a")
        x = x + _attention(size, f"attention_{i}")(h, h)
        h = _norm(x, f"norm_{i}_b")
        x = x + _feed_forward(h, size, f"dense_{i}", approximate=False)
    x = _norm(x, "norm")
    return keras.Model(image, keras.layers.Dense(10, name="head")(x[:, 0, :]))


def _t5(size: Size) -> Any:
    """Root-mean-square normalisation, a bias by relative position, gated GELU, no biases in dense layers."""
    import keras

    ops = keras.ops

    class Bias(keras.layers.Layer):
        """A number for each head and bucket of distances (Raffel et al., arXiv:1910.10683)."""

        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(32, size.heads), name="table")

        def call(self, x: Any) -> Any:
            places = ops.arange(ops.shape(x)[1])
            distance = ops.expand_dims(places, 0) - ops.expand_dims(places, 1)
            behind = ops.cast(distance > 0, "int32") * 16
            far = ops.abs(distance)
            steps = ops.log(ops.cast(ops.maximum(far, 1), "float32") / 8.0) / math.log(128 / 8) * 8
            large = ops.minimum(8 + ops.cast(steps, "int32"), 15)
            bucket = behind + ops.where(far < 8, far, large)
            return ops.expand_dims(ops.transpose(ops.take(self.table, bucket, 0), (2, 0, 1)), 0)

    class Attention(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.parts = [keras.layers.Dense(size.hidden, use_bias=False, name=n) for n in ("q", "k", "v", "o")]
            for part in self.parts:
                part.build((None, None, size.hidden))

        def call(self, x: Any, bias: Any, mask: Any) -> Any:
            shape = ops.shape(x)
            split = (shape[0], shape[1], size.heads, size.hidden // size.heads)
            q, k, v = (ops.transpose(ops.reshape(p(x), split), (0, 2, 1, 3)) for p in self.parts[:3])
            scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) + bias
            scores = scores + ops.cast(1 - mask[:, None, None, :], "float32") * -1e9
            mixed = ops.transpose(ops.matmul(ops.softmax(scores), v), (0, 2, 1, 3))
            return self.parts[3](ops.reshape(mixed, shape))

    ids, mask = (keras.Input((None,), dtype="int32", name=n) for n in ("token_ids", "padding_mask"))
    x = keras.layers.Embedding(size.vocabulary, size.hidden, name="tokens")(ids)
    bias = Bias(name="relative")(x)
    for i in range(size.layers):
        h = keras.layers.RMSNormalization(epsilon=1e-6, name=f"norm_{i}_a")(x)
        x = x + Attention(name=f"attention_{i}")(h, bias, mask)
        h = keras.layers.RMSNormalization(epsilon=1e-6, name=f"norm_{i}_b")(x)
        gate = keras.layers.Dense(size.inner, activation="gelu", use_bias=False, name=f"gate_{i}")(h)
        wide = keras.layers.Dense(size.inner, use_bias=False, name=f"wide_{i}")(h)
        x = x + keras.layers.Dense(size.hidden, use_bias=False, name=f"down_{i}")(gate * wide)
    return keras.Model([ids, mask], keras.layers.RMSNormalization(epsilon=1e-6, name="norm")(x))


BUILDERS: Mapping[str, Callable[[Size], Any]] = {"BERT": _bert, "GPT2": _gpt2, "ViT": _vit, "T5Encoder": _t5}
NAMES = tuple(BUILDERS)


def build(name: str, size: Size = Size(), seed: int = 0) -> FrozenModel:
    """The frozen model called ``name``, in this process; outputs ``output_0``, ...; sets Keras' global random seed."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    model = BUILDERS[name](size)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(weight.numpy() + 0.1 * rng.normal(size=weight.shape).astype(np.float32))
    outputs = tuple(f"output_{i}" for i in range(len(tf.nest.flatten(model.output))))
    if name == "ViT":
        return freeze(model, name, outputs=outputs)
    return attrs.evolve(freeze(model, name, outputs=outputs), feed="tokens", sample=tuple(10 for _ in model.inputs))


def feeds(model: FrozenModel, batch: int = 2, length: int = 10, vocabulary: int = 100) -> dict[str, Any]:
    """Token ids, masks whose first element is longest, segments; or images."""
    rng = np.random.default_rng(1)
    found: dict[str, Any] = {}
    for index, node in enumerate(model.inputs):
        if node.dtype == "float32":
            found[node.name] = rng.normal(size=(batch, *node.shape[1:])).astype(np.float32)
        elif index == 1:
            found[node.name] = (np.arange(length)[None] < length - np.arange(batch)[:, None]).astype(np.int32)
        else:
            found[node.name] = rng.integers(0, 2 if index == 2 else vocabulary, (batch, length)).astype(np.int32)
    return found
