"""A BERT-base encoder of Keras layers with random weights: 12 layers, 12 heads, 768 wide, 3072 inside, 128 tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

LENGTH = 128


def encoder(layers: int = 12, heads: int = 12, width: int = 768, inner: int = 3072, words: int = 30522) -> Any:
    """The Keras model: token ids int32 (batch, 128) to hidden states float32 (batch, 128, width)."""
    import keras

    kl = keras.layers
    ids = keras.Input((LENGTH,), dtype="int32", name="input")
    x = kl.Embedding(words, width)(ids)
    x = x + kl.Embedding(LENGTH, width)(np.arange(LENGTH, dtype=np.int32)[None])
    x = kl.LayerNormalization(epsilon=1e-12)(x)
    for _ in range(layers):
        mixed = kl.MultiHeadAttention(heads, width // heads)(x, x)
        x = kl.LayerNormalization(epsilon=1e-12)(x + mixed)
        wide = kl.Dense(inner, activation="gelu")(x)
        x = kl.LayerNormalization(epsilon=1e-12)(x + kl.Dense(width)(wide))
    return keras.Model(ids, kl.Activation("linear", dtype="float32")(x))


def randomise(model: Any, seed: int = 0) -> None:
    """Biases, scales and shifts as training leaves them: none is exactly zero or one, which would fold away."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name in ("bias", "beta", "gamma"):
            centre = 1.0 if variable.name == "gamma" else 0.0
            variable.assign(rng.normal(centre, 0.1, variable.shape).astype(np.float32))
