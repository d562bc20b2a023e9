"""Models as they are served, with text or encoded images coming in: engines behind tables, text layers and loops over images.

No shape function of TensorFlow knows what comes out of these; how many rows there are is derived, or taken for the batch where rows were
collected (tfgraphopt_trt.collected_rows), and never where data decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt as tgo
import tfgraphopt.runtime

Feeds = Mapping[str, Any]
LETTERS = ["a", "b", "c"]
SENTENCES = ["the cat sat on the mat", "dogs chase cats in the park", "a b c d e f g h i j k l m n o p q r s t", ""]


@attrs.frozen
class Served:
    """A SavedModel and batches for it."""

    save: Callable[[Path], None]
    batch: Callable[[int], Feeds]


def _text_model(path: Path) -> None:
    """Splits and pads text to 16 words, looks them up, embeds them."""
    keras.utils.set_random_seed(0)
    text = keras.layers.TextVectorization(max_tokens=50, output_sequence_length=16)
    text.adapt(np.array(SENTENCES))
    given = keras.Input((), dtype="string", name="text")
    h = keras.layers.Embedding(50, 32)(text(given))
    h = keras.layers.Conv1D(32, 3, padding="same", activation="relu")(h)
    h = keras.layers.Dense(32, activation="relu")(keras.layers.GlobalMaxPooling1D()(h))
    keras.Model(given, keras.layers.Dense(4, activation="softmax")(h)).export(str(path), verbose=False)


def _columns_model(path: Path) -> None:
    """A category, as an index to embed and as one-hot, beside numbers."""
    keras.utils.set_random_seed(0)
    category, number = keras.Input((1,), dtype="string", name="category"), keras.Input((4,), name="number")
    index = keras.layers.StringLookup(vocabulary=LETTERS)(category)
    one_hot = keras.layers.StringLookup(vocabulary=LETTERS, output_mode="one_hot")(category)
    embedded = keras.layers.Flatten()(keras.layers.Embedding(5, 8)(index))
    h = keras.layers.Concatenate()([embedded, one_hot, number])
    for _ in range(2):
        h = keras.layers.Dense(32, activation="relu")(h)
    keras.Model([category, number], keras.layers.Dense(1, activation="sigmoid")(h)).export(str(path), verbose=False)


class _Images(tf.Module):
    """Encoded images of any size, decoded and resized one by one."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.kernel = tf.Variable(rng.normal(size=(3, 3, 3, 8), scale=0.3).astype(np.float32))
        self.dense = tf.Variable(rng.normal(size=(8, 5)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="encoded")])
    def classify(self, encoded: Any) -> dict[str, Any]:
        x = tf.ensure_shape(tf.map_fn(_decoded, encoded, fn_output_signature=tf.float32), [None, 32, 32, 3])
        h = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 2, "SAME"))
        return {"scores": tf.nn.softmax(tf.matmul(tf.reduce_mean(h, [1, 2]), self.dense))}


def _decoded(encoded: Any) -> Any:
    return tf.image.resize(tf.cast(tf.image.decode_jpeg(encoded, channels=3), tf.float32) / 255.0, [32, 32])


def _images_model(path: Path) -> None:
    model = _Images()
    tf.saved_model.save(model, str(path), signatures=model.classify)


def _photographs(count: int) -> Feeds:
    rng = np.random.default_rng(count)
    sizes = [(40 + 3 * i, 50, 3) for i in range(count)]
    return {"encoded": [tf.io.encode_jpeg(rng.integers(0, 255, size).astype(np.uint8)).numpy() for size in sizes]}


def _columns(count: int) -> Feeds:
    rng = np.random.default_rng(count)
    category = rng.choice([*LETTERS, "z"], (count, 1))
    return {"category": category, "number": rng.normal(size=(count, 4)).astype(np.float32)}


MODELS = {
    "text": Served(_text_model, lambda count: {"text": np.random.default_rng(count).choice(SENTENCES, count)}),
    "columns": Served(_columns_model, _columns),
    "images": Served(_images_model, _photographs),
}


@pytest.fixture(scope="module", params=MODELS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Served]:
    path = tmp_path_factory.mktemp(request.param) / "model"
    MODELS[request.param].save(path)
    return path, MODELS[request.param]


def _call(model: Any, feeds: Feeds) -> list[Any]:
    made = model.signatures["serving_default"](**{name: tf.constant(value) for name, value in feeds.items()})
    return [made[name].numpy() for name in sorted(made)]


@pytest.mark.parametrize("engine", ["openvino", "xla", "tensorrt"])
def test_an_engine_behind_what_comes_in(served: tuple[Path, Served], engine: str, tmp_path: Path) -> None:
    path, model = served
    result = tgo.optimize(path, engine=engine, max_batch_size=8)
    assert "built" in {s.status for s in result.report.segments.values()}
    original, made = (tf.saved_model.load(str(p)) for p in (path, result.save(tmp_path / "made")))
    tfgraphopt.runtime.reset_counters()
    for count in (1, 3, 8):
        for mine, wanted in zip(_call(made, model.batch(count)), _call(original, model.batch(count)), strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-6)
    if engine == "openvino":
        counted = tfgraphopt.runtime.counters().values()
        assert [(c.engine_runs, dict(c.fallbacks)) for c in counted] == [(3, {})]


def test_a_batch_beyond_the_range_is_computed_all_the_same(served: tuple[Path, Served]) -> None:
    path, model = served
    function = tgo.optimize(path, engine="openvino", max_batch_size=2).function
    tfgraphopt.runtime.reset_counters()
    made = function(**{name: tf.constant(value) for name, value in model.batch(4).items()})
    for mine, wanted in zip(made.values(), _call(tf.saved_model.load(str(path)), model.batch(4)), strict=True):
        np.testing.assert_array_equal(mine.numpy(), wanted)
    (counted,) = tfgraphopt.runtime.counters().values()
    assert dict(counted.fallbacks) == {"shape_outside_profiles": 1}


def _collected(rows: Callable[[Any], Any]) -> Any:
    """A network behind rows that a loop over ``rows(x)`` stacks."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        stacked = tf.map_fn(lambda row: tf.strings.to_number(tf.strings.as_string(row, precision=9)), rows(x))
        h = tf.matmul(tf.nn.relu(tf.ensure_shape(stacked, [None, 4])), tf.ones([4, 8]))
        tf.nn.softmax(tf.nn.tanh(h), name="y")
    return graph.as_graph_def()


def test_the_report_says_what_was_taken_for_the_batch() -> None:
    config = tgo.Config(engine="none", max_batch_size=4)
    result = tgo.optimize_graph_def(_collected(lambda x: x), ["y"], config)
    (segment,) = result.report.segments.values()
    ((tensor, node),) = segment.details["collected_rows"].items()
    assert node == "map/TensorArrayV2Stack/TensorListStack"
    assert [f"%{tensor}" in line and node in line for line in result.report.messages] == [True]
    assert segment.details["profiles"][0][0]["max"] == (4, 4)


def test_rows_that_are_not_the_batch_cost_the_engine_and_nothing_else() -> None:
    """Twice as many rows as the batch has, by which no engine was built: TensorFlow's body computes them."""
    graph_def = _collected(lambda x: tf.concat([x, x], 0))
    config = tgo.Config(engine="openvino", max_batch_size=4, minimum_segment_size=1)
    result = tgo.optimize_graph_def(graph_def, ["y"], config)
    tfgraphopt.runtime.reset_counters()
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    made, wanted = (_in_session(g, x) for g in (result.graph_def, graph_def))
    np.testing.assert_allclose(made, wanted, rtol=1e-6)
    assert {"shape_outside_profiles": 1} in [dict(c.fallbacks) for c in tfgraphopt.runtime.counters().values()]


def _in_session(graph_def: Any, x: Any) -> Any:
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        return session.run("y:0", {"x:0": x})


@pytest.mark.parametrize(
    "decided",
    [lambda x: tf.where(x > 0), lambda x: tf.unique(tf.reshape(x, [-1]))[0], lambda x: tf.boolean_mask(x, x[:, 0] > 0)],
)
def test_how_many_rows_data_leave_is_nobodys_batch(decided: Callable[[Any], Any]) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        h = tf.cast(decided(x), tf.float32)
        h = tf.reshape(h, [-1, h.shape[-1] or 1])
        tf.nn.softmax(tf.nn.tanh(tf.matmul(tf.nn.relu(h), tf.ones([h.shape[-1], 8]))), name="y")
    config = tgo.Config(engine="none", max_batch_size=4)
    result = tgo.optimize_graph_def(graph.as_graph_def(), ["y"], config)
    reasons = [s.details["profiles"] for s in result.report.segments.values()]
    assert all("known only at run time" in r for r in reasons if isinstance(r, str))
    assert not any("collected_rows" in s.details for s in result.report.segments.values())
