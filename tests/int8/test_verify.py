"""Predicted accuracy of INT8, and the search for layers to leave unquantised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from int8.running import quantised
from tfgraphopt import Config, plugins
from tfgraphopt.verification import Verification, VerifyRequest

RNG = np.random.default_rng(17)


def fragile() -> Any:
    """Three products; the operand of the second has a channel of outliers, so that little of it survives 8 bits."""
    weights = [(RNG.normal(size=(32, 32)) / 6).astype(np.float32) for _ in range(3)]
    outliers = np.ones(32, np.float32)
    outliers[3] = 2000.0
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 32], name="x")
        first = tf.tanh(tf.matmul(x, weights[0], name="first")) * outliers
        weights[1][3] = 1e-4
        second = tf.tanh(tf.matmul(first, weights[1], name="second"))
        tf.identity(tf.matmul(second, weights[2], name="third"), name="y")
    return graph.as_graph_def()


def ask(graph_def: Any, feeds: dict[str, Any], tolerance: float | None = None, **options: Any) -> Verification:
    tables = plugins.load(strict=True)
    config = Config(precision="int8", engine="none", max_batch_size=64, options={"int8": {"rest": "fp32", **options}})
    (answer,) = tables.call(
        "tfgraphopt_verify", {"request": VerifyRequest(graph_def, ["y"], config, tables, feeds, tolerance)}
    )
    return answer  # type: ignore[no-any-return]


def test_the_layer_that_loses_the_accuracy_is_found() -> None:
    graph_def, feeds = fragile(), {"x": RNG.normal(size=(64, 32)).astype(np.float32)}
    found = ask(graph_def, feeds, tolerance=0.1, calibrator="minmax")
    assert found.outputs["y"].max_rel > 0.1
    assert found.culprits is not None
    assert [c.nodes for c in found.culprits] == [("second",)]
    assert found.within(0.1)
    assert "optimistic" in found.notes[0]
    skip = found.artefacts["plans"]["int8"]["skip"]
    left = quantised(graph_def, ["y"], [feeds["x"]], calibrator="minmax", skip=skip)
    (segment,) = left.report.segments.values()
    layers = segment.details["int8"]["plan"]["layers"].values()
    assert [p["quantised"] for p in layers] == [True, False, True]


def test_with_statistics_nothing_is_calibrated_again() -> None:
    graph_def, x = fragile(), RNG.normal(size=(64, 32)).astype(np.float32)
    statistics = quantised(graph_def, ["y"], [x]).config.options["int8"]["statistics"]
    found = ask(graph_def, {"x": x}, statistics=statistics)
    assert found.culprits is None
    assert not any("optimistic" in n for n in found.notes)
    (segment,) = found.segments.values()
    assert found.outputs["y"].max_rel == pytest.approx(max(e.max_rel for e in segment.values()), rel=0.1)
