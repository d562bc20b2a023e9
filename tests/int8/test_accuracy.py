"""Top-1 of trained networks in INT8: predicted by the meaning of the lowered body, and executed by OpenVINO where it is installed."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from int8.digits import Trained, accuracy, digits, mnist
from int8.running import in_session, meaning_of, quantised
from tfgraphopt_int8.calibrators import CALIBRATORS


def expected_of(trained: Trained) -> Any:
    return in_session(trained.graph_def, [trained.output], {trained.input: trained.test})[0]


@functools.cache
def recorded(trained: Trained) -> Any:
    """What the tensors of a network are on training data."""
    made = quantised(trained.graph_def, [trained.output], trained.batches())
    return made.config.options["int8"]["statistics"]


def predicted(trained: Trained, calibrator: Any, rest: str = "fp16") -> Any:
    known = {"statistics": recorded(trained), "calibrator": calibrator}
    result = quantised(trained.graph_def, [trained.output], None, rest=rest, **known)
    (segment,) = result.report.segments.values()
    assert (
        segment.details["int8"]["int8_layers"] == 7
    )  # all but the first, of one channel, and the last, of ten columns
    return meaning_of(result, [trained.test])[0]


@pytest.mark.parametrize("calibrator", [c.name for c in CALIBRATORS])
def test_digits_lose_at_most_a_point(calibrator: str) -> None:
    trained = digits()
    before = accuracy(expected_of(trained), trained.labels)
    assert before > 95
    assert accuracy(predicted(trained, calibrator), trained.labels) >= before - 1


@pytest.mark.slow
@pytest.mark.parametrize("calibrator", [c.name for c in CALIBRATORS])
def test_mnist_loses_at_most_a_point(calibrator: str) -> None:
    trained = mnist()
    before = accuracy(expected_of(trained), trained.labels)
    assert before > 90
    assert accuracy(predicted(trained, calibrator), trained.labels) >= before - 1


def test_heavy_clipping_is_said() -> None:
    trained = digits()
    options = {"name": "percentile", "percentile": 90}
    result = quantised(trained.graph_def, [trained.output], trained.batches(count=2), calibrator=options)
    assert any("beyond the range" in m for m in result.report.messages)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("train", [digits, pytest.param(mnist, marks=pytest.mark.slow)])
def test_executed_by_openvino_as_predicted(train: Callable[[], Trained]) -> None:
    """INT8 for real: the same top-1 within 0.3 points."""
    from tfgraphopt import runtime

    trained = train()
    result = quantised(trained.graph_def, [trained.output], trained.batches(), engine="openvino")
    (segment,) = result.report.segments.values()
    assert segment.status == "built", segment.reason
    executed = np.concatenate(
        [
            in_session(result.graph_def, [trained.output], {trained.input: trained.test[i : i + 50]})[0]
            for i in range(0, len(trained.test), 50)
        ]
    )
    assert runtime.counters()[segment.name].engine_runs >= 10
    meaning = meaning_of(result, [trained.test])[0]
    assert accuracy(executed, trained.labels) == pytest.approx(accuracy(meaning, trained.labels), abs=0.3)
    assert np.abs(executed - meaning).max() < 0.2 * np.abs(meaning).max()


def extremes(kind: str, trained: bool) -> Any:
    """A layer whose products are all as large as 8-bit numbers allow, of one sign; with ranges of its own, or none."""
    shape = [None, 32] if kind == "product" else [None, 6, 6, 32]
    weights: Any = np.ones({"product": (32, 32), "point": (1, 1, 32, 32), "window": (3, 3, 32, 32)}[kind], np.float32)
    with tf.Graph().as_default() as graph:
        x = image = tf.compat.v1.placeholder(tf.float32, shape, name="x")
        if trained:
            x = tf.quantization.fake_quant_with_min_max_args(x, -1.0, 1.0, narrow_range=True)
            ones = np.ones(32, np.float32)
            weights = tf.quantization.fake_quant_with_min_max_vars_per_channel(
                tf.constant(weights), -ones, ones, narrow_range=True
            )
        made = tf.matmul(x, weights) if kind == "product" else tf.nn.conv2d(x, weights, 1, "SAME")
        tf.nn.relu(tf.nn.relu(made) * 1.5 + 0.25, name="y")
    assert image.shape.rank
    return graph.as_graph_def()


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("trained", [False, True], ids=["calibrated", "trained"])
@pytest.mark.parametrize("kind", ["product", "point", "window"])
def test_sums_of_the_largest_products_do_not_overflow(kind: str, trained: bool) -> None:
    """CPUs without VNNI add two products in 16 bits, and OpenVINO does not say so: weights keep to 7 bits."""
    x = np.ones((4, 32) if kind == "product" else (4, 6, 6, 32), np.float32)
    graph_def = extremes(kind, trained)
    result = quantised(graph_def, ["y"], None if trained else [x], engine="openvino", calibrator="minmax")
    (segment,) = result.report.segments.values()
    assert segment.status == "built", segment.reason
    (executed,) = in_session(result.graph_def, ["y"], {"x": x})
    np.testing.assert_allclose(executed, in_session(graph_def, ["y"], {"x": x})[0], rtol=1e-2)
    np.testing.assert_allclose(executed, meaning_of(result, [x])[0], rtol=1e-4)
