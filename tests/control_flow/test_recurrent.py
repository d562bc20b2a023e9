"""Recurrent models: one engine each, whatever the batch and the length of the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from main_job.jobs import in_session

import tfgraphopt as tgo
from control_flow.models import Model, check, compare, frozen, only_segment, spec

layers = keras.layers
VOCABULARY = 12
Layers = Callable[[], Sequence[Any]]


def text_model(*recurrent: Any, length: int | None = None, mask: bool = False) -> Model:
    """Embedding, recurrent layers, Dense, over texts of any length unless ``length`` says it, with random weights everywhere."""
    keras.utils.set_random_seed(1)
    embedding = layers.Embedding(VOCABULARY, 4, mask_zero=mask)
    model = keras.Sequential([layers.Input((length,), dtype="int32"), embedding, *recurrent, layers.Dense(2)])
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype(w.dtype) for w in model.get_weights()])
    ranges = tgo.ShapeRange((1, length or 1), (2, length or 5), (8, length or 16))
    return frozen(lambda x: model(x, training=False), spec("x", None, length, dtype=tf.int32), shapes={"x": ranges})


def texts(batch: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Word numbers; 0 is what a mask leaves out."""
    return {"x": np.random.default_rng(seed).integers(0, VOCABULARY, (batch, length)).astype(np.int32)}


KERAS: dict[str, tuple[Layers, dict[str, Any], int]] = {
    "lstm": (lambda: [layers.LSTM(3)], {}, 1),
    "gru": (lambda: [layers.GRU(3)], {}, 1),
    "simple rnn, known length": (lambda: [layers.SimpleRNN(3)], {"length": 5}, 1),
    "stacked, bidirectional": (
        lambda: [layers.Bidirectional(layers.GRU(3, return_sequences=True, reset_after=False)), layers.LSTM(3)], {}, 3,
    ),
    "masked, backwards": (
        lambda: [layers.LSTM(3, return_sequences=True), layers.GRU(3, go_backwards=True)], {"mask": True}, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KERAS)
def test_a_text_model_is_one_engine(name: str) -> None:
    make, options, loops = KERAS[name]
    segment = check(text_model(*make(), **options), [texts(3, 5), texts(1, 5, seed=1)])
    assert segment.layers["TRIP_LIMIT"] == loops
    assert segment.layers["ITERATOR"] >= loops


def test_any_length_down_to_one_word_gives_the_same_bits_and_meaning() -> None:
    model = text_model(layers.LSTM(3, return_sequences=True), layers.LSTM(2))
    result = model.optimised("none")
    only_segment(result)
    compare(model, result, [texts(2, length) for length in (1, 2, 7, 16)])


def test_an_unrolled_model_has_no_loop() -> None:
    model = text_model(layers.GRU(3, unroll=True), length=3)
    result = model.optimised("none")
    only_segment(result)
    assert "trt.loop" not in {n.op for body in result.module.lowered.values() for n in body}
    compare(model, result, [texts(2, 3)])


@pytest.mark.parametrize("saved", [False, True], ids=["keras", "saved model"])
def test_models_keep_their_loops_when_they_are_loaded(tmp_path: Path, saved: bool) -> None:
    """Their variables are passed to the loops' functions as resources, which no engine takes."""
    model = keras.Sequential([layers.Input((None, 4), name="x"), layers.LSTM(3), layers.Dense(2)])
    if saved:
        model.export(tmp_path, verbose=False)
    result = tgo.optimize(
        tmp_path if saved else model, engine="none", max_batch_size=8,
        input_shapes={"x": tgo.ShapeRange((1, 1, 4), (2, 5, 4), (8, 16, 4))},
    )  # fmt: skip
    assert only_segment(result).ops["While"] == 1
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    (found,) = in_session(result.graph_def, list(result.outputs.values()), {next(iter(result.inputs.values())): x})
    np.testing.assert_allclose(found, model(x).numpy(), rtol=1e-5, atol=1e-6)


def test_fp16_leaves_the_loop_in_float32() -> None:
    model = text_model(layers.LSTM(3), length=4)
    result = model.optimised(precision="fp16")
    segment = only_segment(result)
    assert segment.status == "built", segment.reason
    (body,) = result.module.lowered.values()
    (loop,) = [n for n in body if n.op == "trt.loop"]
    assert {v.dtype.text for v in loop.inputs if v.dtype.is_floating} == {"f32"}
    assert {v.dtype.text for n in body for v in n.outputs} >= {"f16"}
    compare(model, result, [texts(2, 4)], tolerance=4e-3)


class LstmCell:
    """A TF1 cell as dynamic_rnn takes them, with constant weights (TensorFlow's own cells live in tf-keras)."""

    output_size = 3
    state_size = (3, 3)

    def __init__(self) -> None:
        self.kernel = np.random.default_rng(0).normal(size=(7, 12)).astype(np.float32)

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        return tuple(tf.zeros([batch_size, 3], dtype) for _ in range(2))

    def __call__(self, inputs: tf.Tensor, state: Any, scope: Any = None) -> Any:
        cell, hidden = state
        gates = tf.split(tf.concat([inputs, hidden], 1) @ tf.constant(self.kernel), 4, axis=1)
        cell = cell * tf.sigmoid(gates[2] + 1.0) + tf.sigmoid(gates[0]) * tf.tanh(gates[1])
        hidden = tf.tanh(cell) * tf.sigmoid(gates[3])
        return hidden, (cell, hidden)


@pytest.fixture(params=["v2", "v1"])
def dynamic_rnn(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A TF1 graph with dynamic_rnn, with functional control flow and without."""
    v1 = tf.compat.v1
    restore = v1.enable_control_flow_v2 if v1.control_flow_v2_enabled() else v1.disable_control_flow_v2
    with tf.Graph().as_default() as graph:
        (v1.enable_control_flow_v2 if request.param == "v2" else v1.disable_control_flow_v2)()
        try:
            x = v1.placeholder(tf.float32, [None, 5, 4], name="x")
            outputs, (_, hidden) = v1.nn.dynamic_rnn(LstmCell(), x, dtype=tf.float32)
            tf.nn.relu(outputs[:, -1] + hidden, name="y")
        finally:
            restore()
    return request.param, graph.as_graph_def()


def test_dynamic_rnn_of_tf1_is_converted_or_refused_with_advice(dynamic_rnn: tuple[str, Any]) -> None:
    version, graph_def = dynamic_rnn
    model = Model(graph_def, ("y",), {"x": tgo.ShapeRange((1, 5, 4), (2, 5, 4), (8, 5, 4))})
    if version == "v2":
        segment = check(model, [{"x": np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)}])
        assert segment.layers["TRIP_LIMIT"] == 1
    else:
        with pytest.raises(tgo.TfGraphOptError, match=r"TF1 while loop[\s\S]*enable_control_flow_v2"):
            model.optimised("none")
