"""Weights for an untrained Keras model that make its graph and its activations look like a trained model's.

Keras starts batch normalisation at the identity and biases at zero; both fold away, so that an untrained model's graph
shrinks as no trained model's does. Here every such parameter gets a random value, moving statistics are measured on
data, and the classifier is scaled so that its probabilities depend on the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from zoo.feeds import IMAGENET_MEAN, IMAGENET_STDDEV

Floats = npt.NDArray[Any]


def rounded(values: Floats) -> Floats:
    """`values` to 8 significant bits, so that the last bits of a measurement do not show in a weight."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(mantissa * 256.0) / 256.0, exponent), np.float32)


def _set(variable: Any, values: Floats) -> None:
    if variable is not None:
        variable.assign(np.asarray(values, np.float32))


def _scale_and_shift(layer: Any, rng: np.random.Generator) -> None:
    width = next(variable.shape for variable in (layer.gamma, layer.beta) if variable is not None)
    _set(layer.gamma, rng.uniform(0.6, 1.4, width))
    _set(layer.beta, rng.normal(0.0, 0.2, width))


def _layer_scale(layer: Any, rng: np.random.Generator) -> None:
    _set(layer.gamma, rng.uniform(0.2, 0.6, layer.gamma.shape))


def _input_statistics(layer: Any, rng: np.random.Generator) -> None:
    if layer.input_mean is None:
        _set(layer.adapt_mean, np.array(IMAGENET_MEAN))
        _set(layer.adapt_variance, np.array(IMAGENET_STDDEV) ** 2)
        layer.finalize_state()


def _bias(layer: Any, rng: np.random.Generator) -> None:
    if getattr(layer, "bias", None) is not None:
        _set(layer.bias, rng.normal(0.0, 0.1, layer.bias.shape))


_RULES: Mapping[str, Callable[[Any, np.random.Generator], None]] = MappingProxyType(
    {
        "BatchNormalization": _scale_and_shift,
        "LayerNormalization": _scale_and_shift,
        "LayerScale": _layer_scale,
        "Normalization": _input_statistics,
    }
)


def _layers(model: Any) -> list[Any]:
    nested = [_layers(layer) if hasattr(layer, "layers") else [layer] for layer in model.layers]
    return [layer for layers in nested for layer in layers]


def _measure(model: Any, data: Floats, rng: np.random.Generator) -> None:
    """Sets moving statistics to what `data` gives, each off by about a tenth as after training on other data."""
    norms = [layer for layer in _layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        model(data, training=True)
    for layer in norms:
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        offset = 0.1 * np.sqrt(variance) * rng.normal(size=mean.shape)
        _set(layer.moving_mean, rounded(mean + offset))
        _set(layer.moving_variance, rounded(np.maximum(variance, 1e-3) * rng.uniform(0.8, 1.25, variance.shape)))


def _fit_classifier(model: Any, data: Floats, rng: np.random.Generator) -> None:
    """Scales the last kernel so that logits vary over inputs by about 2, and takes their mean out by the bias.

    The scale is bounded so that what cancels stays below 30: the output is a well-conditioned function of the features.
    """
    head = next(layer for layer in reversed(_layers(model)) if getattr(layer, "kernel", None) is not None)
    features = keras.Model(model.inputs, head.input)(data, training=False).numpy().reshape(len(data), -1)
    kernel = head.kernel.numpy()
    logits = features @ kernel.reshape(features.shape[1], -1)
    mean = logits.mean(axis=0)
    scale = min(2.0 / max(float((logits - mean).std()), 1e-6), 30.0 / max(float(np.sqrt((mean**2).mean())), 1e-6))
    _set(head.kernel, kernel * rounded(np.array(scale)))
    _set(head.bias, rounded(rng.normal(0.0, 0.5, mean.shape) - mean * scale))


def randomise(model: Any, data: Floats, seed: int) -> None:
    """Gives `model` (a keras.applications classifier, weights=None) realistic parameters, measured on `data`.

    Kernels are left as the model's initialisers drew them. The same for the same seed, data and initial kernels.
    """
    rng = np.random.default_rng(seed)
    for layer in _layers(model):
        _RULES.get(type(layer).__name__, _bias)(layer, rng)
    _measure(model, data, rng)
    _fit_classifier(model, data, rng)
