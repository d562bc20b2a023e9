"""What Keras traces on a machine with cuDNN, optimised on one without: one engine that means what Keras' CPU layers compute."""

from __future__ import annotations

import importlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt as tgo
from control_flow.models import Model, frozen, left, spec
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.meaning import evaluate

rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")
SHAPES = {"x": tgo.ShapeRange((1, 1, 3), (2, 5, 3), (8, 16, 3))}


def traced(layer: Any, *, masked: bool) -> Model:
    """``layer`` and a Dense as Keras writes them for cuDNN; the mask leaves out steps of zeros at the end."""
    weights = [v.value for v in (layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias)]
    cell = rnn._cudnn_lstm if isinstance(layer, keras.layers.LSTM) else rnn._cudnn_gru
    states = 2 if isinstance(layer, keras.layers.LSTM) else 1

    def run(x: tf.Tensor) -> Any:
        mask = tf.reduce_any(x != 0, axis=2) if masked else None
        zeros = [tf.zeros([tf.shape(x)[0], layer.units]) for _ in range(states)]
        _, outputs, _ = cell(x, *zeros, *weights, mask, False, layer.go_backwards, layer.return_sequences)
        return tf.nn.relu(outputs)

    return frozen(run, spec("x", None, None, 3), shapes=SHAPES)


def layer_of(kind: Any, **options: Any) -> Any:
    """A layer of random weights."""
    layer = kind(4, use_cudnn=False, **options)
    layer.build((None, None, 3))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=w.shape).astype(w.dtype) for w in layer.get_weights()])
    return layer


CASES: dict[str, tuple[Any, dict[str, Any], bool]] = {
    "lstm": (keras.layers.LSTM, {"return_sequences": True}, False),
    "masked gru, backwards": (keras.layers.GRU, {"go_backwards": True}, True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_graph_that_keras_writes_for_cudnn_is_one_engine(name: str) -> None:
    kind, options, masked = CASES[name]
    layer = layer_of(kind, **options)
    result = traced(layer, masked=masked).optimised()
    assert {v.op for v in left(result)} <= {"Assert"}  # Keras checks that masks leave out ends of sequences only
    (segment,) = result.report.segments.values()
    assert segment.status == "built", segment.reason
    assert segment.ops["CudnnRNNV3"] == segment.layers["TRIP_LIMIT"] == 1
    (body,) = result.module.lowered.values()
    for batch, time in ((1, 2), (3, 6)):
        x = np.random.default_rng(batch).normal(size=(batch, time, 3)).astype(np.float32)
        x[0, time // 2 :] = 0
        mask = tf.reduce_any(x != 0, axis=2) if masked else None
        expected = np.maximum(layer(x, mask=mask), 0).reshape(batch, -1, 4)
        (found,) = [y for y in evaluate(body, layer_map(), [x]) if y.ndim == 3]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_dropout_in_training_stays_in_tensorflow() -> None:
    def run(x: tf.Tensor) -> Any:
        h = tf.zeros([2, tf.shape(x)[1], 4])
        params = tf.zeros([2 * 3 * 4 * 8 + 2 * 24 - 3 * 4])
        made = tf.raw_ops.CudnnRNN(
            input=tf.nn.relu(x), input_h=h, input_c=0.0, params=params, rnn_mode="gru", dropout=0.5, is_training=True
        )
        return tf.nn.relu(made.output)

    result = frozen(run, spec("x", None, None, 3), shapes=SHAPES).optimised("none", minimum_segment_size=1)
    (verdict,) = [v for v in left(result) if v.op == "CudnnRNN"]
    assert verdict.reason == "it has side effects or state"
