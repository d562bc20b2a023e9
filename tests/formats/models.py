"""Models in every format, with everything that a conversion could lose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Array = npt.NDArray[Any]
WIDTH = 8


def numbers(*shape: int, seed: int = 0) -> Array:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def images(count: int = 3) -> Array:
    """A batch for the models with the input ``x``."""
    return numbers(count, WIDTH, seed=7)


class Everything(tf.Module):
    """Two signatures, a nested function, a table from an asset, a counter, strings, and a weight that no engine can take."""

    def __init__(self, vocabulary: Path) -> None:
        vocabulary.write_text("cat\ndog\nfish\n")
        self.first = tf.Variable(numbers(WIDTH, WIDTH), name="first")
        self.second = tf.Variable(numbers(WIDTH, WIDTH, seed=1), name="second")
        self.scale = tf.Variable(2.0, name="scale")
        self.calls = tf.Variable(0, dtype=tf.int64, trainable=False, name="calls")
        self.captured = tf.constant(numbers(WIDTH, seed=2))
        text = tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticVocabularyTable(text, 1)
        self.vocabulary = tf.saved_model.Asset(str(vocabulary))

    def _hidden(self, x: Any) -> Any:
        h = tf.nn.relu(tf.matmul(x, self.first) + self.captured)
        return tf.nn.softmax(tf.nn.tanh(tf.matmul(h, self.second)))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, WIDTH], tf.float32, name="x"),
            tf.TensorSpec([None], tf.string, name="words"),
        ]
    )
    def classify(self, x: Any, words: Any) -> dict[str, Any]:
        """Engines in the middle; a counter, strings and a table around them."""
        self.calls.assign_add(1)
        label = tf.strings.join([words, tf.strings.as_string(self.table.lookup(words))], ":")
        kept = tf.strings.as_string(self.scale * tf.cast(tf.strings.length(words), tf.float32))
        return {"scores": self._hidden(x), "label": label, "kept": kept, "calls": self.calls.read_value()}

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, name="x")])
    def embed(self, x: Any) -> dict[str, Any]:
        """A second signature over the same variables."""
        return {"embedding": tf.nn.relu(tf.matmul(tf.nn.tanh(tf.matmul(x, self.first)), self.second))}

    @tf.function
    def nested(self, pair: Any, *, deep: bool = True) -> Any:
        """Nested arguments and results, and an argument of Python."""
        y = self._hidden(pair["a"] + pair["b"][0])
        return {"one": y, "more": [y * 2.0, (y + 1.0,)]} if deep else {"one": y}


def save_everything(directory: Path) -> Path:
    """Write :class:`Everything` as a SavedModel."""
    directory.mkdir(parents=True, exist_ok=True)
    model = Everything(directory / "words.txt")
    spec = tf.TensorSpec([None, WIDTH], tf.float32)
    model.nested.get_concrete_function({"a": spec, "b": [spec]})
    path = directory / "model"
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.classify, "embed": model.embed})
    return path


def chain(x: Any, first: Any, second: Any) -> Any:
    """What TF1 models compute."""
    h = tf.nn.relu(tf.matmul(x, first), name="hidden")
    return tf.nn.softmax(tf.nn.tanh(tf.matmul(h, second)), name="scores")


def tf1_graph(*, resource: bool) -> tf.Graph:
    """Placeholders, two variables (resource or reference ones), a table, initialisers and a saver's worth of collections."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, WIDTH], name="x")
        words = tf.compat.v1.placeholder(tf.string, [None], name="words")
        make = {"use_resource": resource}
        first = tf.compat.v1.get_variable("first", initializer=numbers(WIDTH, WIDTH), **make)
        second = tf.compat.v1.get_variable("second", initializer=numbers(WIDTH, WIDTH, seed=1), **make)
        chain(x, first, second)
        kept = tf.compat.v1.get_variable("kept", initializer=np.float32(3.0), **make)
        tf.strings.as_string(kept * tf.cast(tf.strings.length(words), tf.float32), name="lengths")
        text = tf.lookup.KeyValueTensorInitializer(["cat", "dog"], np.array([5, 6], np.int64))
        tf.identity(tf.lookup.StaticHashTable(text, -1).lookup(words), name="labels")
        tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(
            tf.reduce_sum(graph.get_tensor_by_name("scores:0")), name="train"
        )
    return graph


def save_tf1(directory: Path, *, resource: bool) -> Path:
    """Write :func:`tf1_graph` as a SavedModel of TensorFlow 1 with two signatures."""
    graph = tf1_graph(resource=resource)
    with tf.compat.v1.Session(graph=graph) as session:
        session.run([v.initializer for v in _variables(graph)])
        builder = tf.compat.v1.saved_model.Builder(str(directory))
        with graph.as_default():
            builder.add_meta_graph_and_variables(
                session, ["serve"], signature_def_map=_signatures(graph), main_op=tf.compat.v1.tables_initializer(),
            )  # fmt: skip
        builder.save()
    return directory


def _variables(graph: tf.Graph) -> list[Any]:
    found: list[Any] = graph.get_collection(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES)
    return found


def _signatures(graph: tf.Graph) -> Mapping[str, Any]:
    def signature(inputs: list[str], outputs: list[str]) -> Any:
        infos = [
            {n: tf.compat.v1.saved_model.build_tensor_info(graph.get_tensor_by_name(f"{n}:0")) for n in names}
            for names in (inputs, outputs)
        ]
        return tf.compat.v1.saved_model.build_signature_def(*infos, method_name="tensorflow/serving/predict")

    return {
        "serving_default": signature(["x"], ["scores"]),
        "all": signature(["x", "words"], ["scores", "lengths", "labels"]),
    }


def save_checkpoint(directory: Path) -> Path:
    """Write :func:`tf1_graph` as a checkpoint with its meta graph; gives the prefix."""
    graph = tf1_graph(resource=True)
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        session.run([v.initializer for v in _variables(graph)])
        return Path(tf.compat.v1.train.Saver().save(session, str(directory / "model.ckpt")))


def keras_model() -> Any:
    """Convolutions, batch normalisation with statistics that matter, two named outputs."""
    import keras

    inputs = keras.Input((16, 16, 3), name="image")
    h = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    h = keras.layers.BatchNormalization()(h)
    h = keras.layers.GlobalAveragePooling2D()(h)
    outputs = {
        "scores": keras.layers.Dense(5, activation="softmax", name="scores")(h),
        "norm": keras.layers.Dense(2, name="norm")(h),
    }
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(3)
    model.set_weights([np.abs(rng.normal(size=w.shape)).astype(np.float32) + 0.1 for w in model.get_weights()])
    return model


def frozen_graph() -> Any:
    """A GraphDef with inputs ``x`` and outputs ``scores`` and ``hidden``."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, WIDTH], name="x")
        chain(x, numbers(WIDTH, WIDTH), numbers(WIDTH, WIDTH, seed=1))
    return graph.as_graph_def()


class Words(tf.Module):
    """A vocabulary from an asset, an embedding, three layers wide enough for every engine and precision, and a counter."""

    def __init__(self, vocabulary: Path) -> None:
        vocabulary.write_text("cat\ndog\nfish\n")
        text = tf.lookup.TextFileInitializer(
            str(vocabulary), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )  # fmt: skip
        self.table = tf.lookup.StaticVocabularyTable(text, 1)
        self.embedding = tf.Variable(numbers(4, 4 * WIDTH), name="embedding")
        self.layers = [tf.Variable(numbers(4 * WIDTH, 4 * WIDTH, seed=s) / 4, name=f"layer_{s}") for s in (1, 2, 3)]
        self.calls = tf.Variable(0, dtype=tf.int64, trainable=False, name="calls")

    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.string, name="words")])
    def classify(self, words: Any) -> dict[str, Any]:
        """The vocabulary in front, the counter beside."""
        self.calls.assign_add(1)
        h = tf.reduce_mean(tf.gather(self.embedding, self.table.lookup(words)), 1)
        for kernel in self.layers:
            h = tf.nn.relu(tf.matmul(h, kernel))
        return {"features": h, "calls": self.calls.read_value()}


def save_words(directory: Path) -> Path:
    """Write :class:`Words` as a SavedModel."""
    directory.mkdir(parents=True, exist_ok=True)
    model = Words(directory / "words.txt")
    tf.saved_model.save(model, str(directory / "model"), signatures=model.classify)
    return directory / "model"


def words(count: int) -> Array:
    """A batch for :class:`Words`, with a word that is not in the vocabulary."""
    return np.random.default_rng(count).choice(np.array([b"cat", b"dog", b"fish", b"bird"]), size=(count, 5))
