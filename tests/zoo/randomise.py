"""Weights for an untrained Keras model that make its graph and its activations look like a trained model's.

Keras starts batch normalisation at the identity and biases at zero; both fold away, so that an untrained model's graph
shrinks as no trained model's does. Here every such parameter gets a random value, moving statistics are measured on
data, and the classifier is scaled so that its probabilities depend on the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from zoo.feeds import IMAGENET_MEAN, IMAGENET_STDDEV

Floats = npt.NDArray[Any]


def rounded(values: Floats) -> Floats:
    """`values` to 8 significant bits, so that the last bits of a measurement do not show in a weight."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(mantissa * 256.0) / 256.0, exponent), np.float32)


def _set(variable: Any, values: Floats) -> None:
    if variable is not None:
        variable.assign(np.asarray(values, np.float32))


def _batch_norm(layer: Any, rng: np.random.Generator) -> None:
    """Shifts outweigh scales: what varies stays small enough that no image's activations run away with depth."""
    _set(layer.gamma, rng.uniform(0.3, 0.7, layer.moving_mean.shape))
    _set(layer.beta, rng.normal(0.5, 1.0, layer.moving_mean.shape))


def _layer_norm(layer: Any, rng: np.random.Generator) -> None:
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
        "BatchNormalization": _batch_norm,
        "LayerNormalization": _layer_norm,
        "LayerScale": _layer_scale,
        "Normalization": _input_statistics,
    }
)


def _layers(model: Any) -> list[Any]:
    nested = [_layers(layer) if hasattr(layer, "layers") else [layer] for layer in model.layers]
    return [layer for layers in nested for layer in layers]


def _measure(layer: Any, data: Any, rng: np.random.Generator) -> None:
    """Moving statistics from what reaches the layer, off by about a tenth as after training on other data."""
    values = tf.nn.moments(data, list(range(len(data.shape) - 1)))
    mean, variance = (value.numpy().astype(np.float64) for value in values)
    offset = 0.1 * np.sqrt(variance) * rng.normal(size=mean.shape)
    _set(layer.moving_mean, rounded(mean + offset))
    _set(layer.moving_variance, rounded(np.maximum(variance, 1e-3) * rng.uniform(0.8, 1.25, mean.shape)))


def _fit_classifier(head: Any, data: Any, rng: np.random.Generator) -> None:
    """Scales the last kernel so that logits vary over inputs by about 1.5, and takes their mean out by the bias.

    The scale is bounded so that what cancels stays below 30: the output is a well-conditioned function of the features.
    """
    features, kernel = data.numpy().reshape(len(data), -1), head.kernel.numpy()
    logits = features @ kernel.reshape(features.shape[1], -1)
    mean = logits.mean(axis=0)
    largest = 30.0 / max(float(np.sqrt((mean**2).mean())), 1e-6)
    scale = rounded(np.array(min(1.5 / max(float((logits - mean).std()), 1e-6), largest)))
    _set(head.kernel, kernel * scale)
    _set(head.bias, rounded(rng.normal(0.0, 0.5, mean.shape) - mean * scale))


def _forward(model: Any, data: Any, before: Callable[[Any, Any], None]) -> None:
    """Runs `model` on `data` one layer at a time, calling before(layer, its input), and drops what is no longer needed.

    Keras itself holds every intermediate tensor until the end, which is gigabytes for the larger architectures.
    """
    nodes = [step._inbound_nodes[-1] for step in model.operations if not isinstance(step, keras.layers.InputLayer)]
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    values = {id(model.inputs[0]): data}
    for node in nodes:
        arguments, options = node.arguments.fill_in(values)
        before(node.operation, arguments[0])
        values[id(node.outputs[0])] = node.operation(*arguments, **options)
        for tensor in node.input_tensors:
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                del values[id(tensor)]


def scatter(model: Any, seed: int) -> None:
    """Random parameters that nothing was measured for: the graph is that of a trained model, its activations are not.

    Much quicker than :func:`randomise`, for looking at graphs and engines only.
    """
    rng = np.random.default_rng(seed)
    for layer in _layers(model):
        _RULES.get(type(layer).__name__, _bias)(layer, rng)
        if isinstance(layer, keras.layers.BatchNormalization):
            _set(layer.moving_mean, rng.normal(0.0, 0.5, layer.moving_mean.shape))
            _set(layer.moving_variance, rng.uniform(0.5, 2.0, layer.moving_mean.shape))


def randomise(model: Any, data: Floats, seed: int) -> None:
    """Gives `model` (a keras.applications classifier, weights=None) realistic parameters, measured on `data`.

    Kernels are left as the model's initialisers drew them, but for the classifier's. Each batch normalisation is
    measured on what the layers before it, already in place, make of the data, so that nothing grows or fades with
    depth. The same for the same seed, data and initial kernels.
    """
    rng = np.random.default_rng(seed)
    for layer in _layers(model):
        _RULES.get(type(layer).__name__, _bias)(layer, rng)
    head = next(layer for layer in reversed(_layers(model)) if getattr(layer, "kernel", None) is not None)

    def before(layer: Any, arguments: Any) -> None:
        if isinstance(layer, keras.layers.BatchNormalization):
            _measure(layer, arguments, rng)
        elif layer is head:
            _fit_classifier(layer, arguments, rng)

    _forward(model, tf.constant(data), before)
