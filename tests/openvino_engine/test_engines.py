"""Engines inside TensorFlow: the results are TensorFlow's, for every shape and type; what cannot be one says why."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfgraphopt as tgo
import tfgraphopt.runtime
from openvino_engine.nets import ENGINE, RANGES, Array, assert_close, both, cnn, images, optimised, session
from tfgraphopt import plugins
from tfgraphopt.errors import ConfigError, MissingDependency
from tfgraphopt_openvino import openvino_api
from tfgraphopt_openvino.plan import variants
from tfgraphopt_trt.layers import layer_table
from tfgraphopt_trt.profiles import InputRange

OUTPUTS = ("y", "map")


@pytest.fixture(scope="module")
def net() -> tuple[Any, tgo.Result]:
    graph_def = cnn()
    return graph_def, optimised(graph_def, OUTPUTS, input_shapes=RANGES)


def test_an_input_may_be_a_scalar() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        scale = tf.compat.v1.placeholder(tf.float32, [], name="scale")
        tf.nn.relu(x * scale - 1.0, name="y")
    graph_def = graph.as_graph_def()
    result = optimised(graph_def, ["y"], max_batch_size=4)
    feeds = {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "scale": np.float32(0.5)}
    ((expected, made),) = both(graph_def, result, feeds, ["y"])
    assert_close(expected, made)
    assert tfgraphopt.runtime.counters()[ENGINE].engine_runs == 1


@pytest.mark.parametrize(("batch", "size"), [(1, 12), (4, 20), (8, 32), (3, 17), (7, 31)])
def test_results_are_tensorflows_for_every_shape_in_the_range(
    net: tuple[Any, tgo.Result], batch: int, size: int
) -> None:
    for expected, made in both(*net, {"x": images(batch, size)}, OUTPUTS):
        assert_close(expected, made)
    count = tfgraphopt.runtime.counters()[ENGINE]
    assert (count.engine_runs, count.fallback_runs) == (1, 0)


def test_shapes_outside_the_range_run_tensorflow_and_are_counted(net: tuple[Any, tgo.Result]) -> None:
    for expected, made in both(*net, {"x": images(9)}, OUTPUTS):
        np.testing.assert_array_equal(made, expected)
    assert dict(tfgraphopt.runtime.counters()[ENGINE].fallbacks) == {"shape_outside_profiles": 1}


@pytest.fixture(scope="module")
def two_profiles() -> tuple[Any, tgo.Result]:
    """Small images in batches, and large ones alone; nothing in between."""
    small = tgo.ShapeRange((1, 12, 12, 3), (4, 16, 16, 3), (8, 20, 20, 3))
    large = tgo.ShapeRange((1, 30, 30, 3), (1, 32, 32, 3), (1, 40, 40, 3))
    graph_def = cnn()
    return graph_def, optimised(graph_def, OUTPUTS, input_shapes={"x": [small, large]})


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 10), st.integers(8, 44))
def test_an_engine_runs_inside_every_profile_and_only_there(
    two_profiles: tuple[Any, tgo.Result], batch: int, size: int
) -> None:
    tfgraphopt.runtime.reset_counters()
    for expected, made in both(*two_profiles, {"x": images(batch, size)}, OUTPUTS):
        assert_close(expected, made)
    inside = (batch <= 8 and 12 <= size <= 20) or (batch == 1 and 30 <= size <= 40)
    count = tfgraphopt.runtime.counters()[ENGINE]
    assert (count.engine_runs, dict(count.fallbacks)) == ((1, {}) if inside else (0, {"shape_outside_profiles": 1}))


def test_the_report_has_the_engine(net: tuple[Any, tgo.Result]) -> None:
    segment = net[1].report.segments[ENGINE]
    assert segment.status == "built"
    assert segment.engine.startswith("OpenVINO 20")
    assert segment.layers["convolution"] == 2
    assert segment.engine_bytes > 1000
    node = next(n for n in net[1].graph_def.node if n.name == ENGINE)
    assert (node.op, node.attr["runtime"].s, node.device) == ("TfgraphoptEngineOp", b"openvino", "/device:CPU:0")
    assert hashlib.sha256(node.attr["serialized_segment"].s).hexdigest().encode() == node.attr["plan_digest"].s


def test_equal_models_have_equal_plans(net: tuple[Any, tgo.Result]) -> None:
    again = optimised(cnn(), OUTPUTS, input_shapes=RANGES)
    assert again.report.segments[ENGINE].engine_digest == net[1].report.segments[ENGINE].engine_digest


def _types() -> Any:
    with tf.Graph().as_default() as graph:
        v1 = tf.compat.v1
        half = v1.placeholder(tf.float16, [None, 6], name="half")
        ids = v1.placeholder(tf.int64, [None, 3], name="ids")
        mask = v1.placeholder(tf.bool, [None, 4], name="mask")
        counts = v1.placeholder(tf.int32, [None, 4], name="counts")
        table = np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32)
        found = tf.reduce_sum(tf.gather(table, ids), 1)
        tf.where(mask, found * tf.cast(counts, tf.float32), tf.tanh(found), name="chosen")
        tf.identity(tf.nn.relu(half * tf.constant(2.0, tf.float16)) + half, name="halves")
        tf.identity(tf.cast(found > 0.0, tf.int32) * counts + 1, name="whole")
        tf.math.logical_and(mask, found > 0.0, name="both")
    return graph.as_graph_def()


def test_half_floats_integers_and_booleans() -> None:
    rng = np.random.default_rng(0)
    feeds: dict[str, Array] = {
        "half": rng.normal(size=(5, 6)).astype(np.float16),
        "ids": rng.integers(0, 10, (5, 3)),
        "mask": rng.random((5, 4)) > 0.5,
        "counts": rng.integers(-9, 9, (5, 4)).astype(np.int32),
    }
    outputs = ("chosen", "halves", "whole", "both")
    graph_def = _types()
    result = optimised(graph_def, outputs, max_batch_size=8)
    for expected, made in both(graph_def, result, feeds, outputs):
        assert_close(expected, made, 1e-3 if expected.dtype == np.float16 else 1e-4)
    assert sum(c.engine_runs for c in tfgraphopt.runtime.counters().values()) >= 1


def test_an_output_that_is_an_input_is_computed_too() -> None:
    """OpenVINO left such an output as it found it: a mean over no axis, beside something else, was whatever was in memory."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        tf.raw_ops.Mean(input=x, axis=[], name="y")
        tf.tanh(x, name="z")
    pipeline = "infer-types,segment,lower,build-openvino"
    result = optimised(graph.as_graph_def(), ["y", "z"], max_batch_size=4, pipeline=pipeline)
    feed = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    for expected, made in both(graph.as_graph_def(), result, {"x": feed}, ["y", "z"]):
        assert_close(expected, made)
    assert tfgraphopt.runtime.counters()[ENGINE].engine_runs == 1


def test_wide_integers_stay_in_tensorflow_with_the_reason() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.int64, [None, 4], name="x")
        y = tf.compat.v1.placeholder(tf.float32, [None, 4], name="y")
        tf.nn.relu(tf.cast(x * 3, tf.float32) + tf.nn.tanh(y), name="out")
    result = optimised(graph.as_graph_def(), ["out"], max_batch_size=8)
    verdict = result.report.verdicts["mul"]
    assert verdict.status == "vetoed"
    assert "64-bit integers" in verdict.reason
    feeds = {"x": np.array([[2**40, -(2**33), 3, 0]]), "y": np.ones((1, 4), np.float32)}
    for expected, made in both(graph.as_graph_def(), result, feeds, ["out"]):
        assert_close(expected, made)


def test_a_layer_that_openvino_cannot_run_stays_in_tensorflow_with_the_reason() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        places = tf.where(tf.nn.relu(tf.nn.tanh(x) * 2.0) > 0.5, name="places")
        tf.gather_nd(tf.nn.sigmoid(x), places, name="out")
    graph_def = graph.as_graph_def()
    result = optimised(graph_def, ["out"], max_batch_size=8)
    assert result.report.verdicts["places"].status in ("refused", "no converter")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    for expected, made in both(graph_def, result, {"x": x}, ["out"]):
        assert_close(expected, made)


def test_auto_takes_openvino_where_there_is_no_gpu() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    large = {"x": tgo.ShapeRange((8, 96, 96, 3), (8, 96, 96, 3), (8, 96, 96, 3))}
    result = optimised(cnn(), OUTPUTS, input_shapes=large, engine="auto")
    assert result.report.segments[ENGINE].engine.startswith("OpenVINO")


def test_without_openvino_auto_builds_for_tensorrt_and_openvino_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino_api, "package", lambda: None)
    kind = plugins.load(strict=True).table("tfgraphopt_trt_engines")["openvino"]
    assert "not installed" in (kind.unusable() or "")

    monkeypatch.setitem(sys.modules, "openvino", None)  # an import of it now fails
    with pytest.raises(MissingDependency, match=r"tfgraphopt\[openvino\]"):
        optimised(cnn(), OUTPUTS, input_shapes=RANGES)


def test_properties_reach_openvino_and_wrong_ones_are_told() -> None:
    result = optimised(cnn(), ["y"], input_shapes=RANGES, options={"openvino": {"NUM_STREAMS": 2}})
    node = next(n for n in result.graph_def.node if n.name == ENGINE)
    assert b"property NUM_STREAMS 2\n" in node.attr["serialized_segment"].s
    with pytest.raises(ConfigError, match="property names"):
        optimised(cnn(), ["y"], input_shapes=RANGES, options={"openvino": "fast"})
    refused = optimised(cnn(), ["y"], input_shapes=RANGES, options={"openvino": {"NUM_STREAMS": "many"}})
    assert [s.status for s in refused.report.segments.values()] == ["build failed"]


def test_a_plan_compiles_for_the_named_shapes_first_and_then_for_what_lies_between() -> None:
    from tfgraphopt.ir import DType, Graph, Shape, TensorType

    graph = Graph("g", layer_table(), dialect="trt")
    graph.add_input("x", TensorType(DType.FLOAT, Shape((None, 3))))
    wide, narrow = InputRange((1, 3), (8, 3), (64, 3)), InputRange((2, 3), (4, 3), (4, 3))
    shapes = [v[0][0] for v in variants(graph, [{0: wide}, {0: narrow}])]
    assert shapes == [(8, 8), (4, 4), (64, 64), (1, 1), (2, 2), (2, 4), (1, 64)]
    assert variants(graph, []) == [(((0, -1), (3, 3)),)]


def test_large_plans_go_to_side_files(tmp_path: Any) -> None:
    result = optimised(cnn(), OUTPUTS, input_shapes=RANGES, engine_dir=tmp_path, max_embedded_bytes=1)
    assert [p.suffix for p in tmp_path.iterdir()] == [".plan"]
    for expected, made in both(cnn(), result, {"x": images(2)}, OUTPUTS):
        assert_close(expected, made)
    assert tfgraphopt.runtime.counters()[ENGINE].engine_runs == 1


def test_strict_refuses_what_the_engine_cannot_run() -> None:
    result = optimised(cnn(), OUTPUTS, input_shapes=RANGES, strict=True)
    call = session(result.graph_def, ["x"], OUTPUTS)
    call(images(2))
    with pytest.raises(tf.errors.AbortedError, match=r"optimised for other shapes[\s\S]*input_shapes.*ShapeRange"):
        call(images(9))


@pytest.mark.parametrize(("precision", "operation"), [("fp32", b'type="Erf"'), ("int8", b'type="Gelu"')])
def test_gelu_is_one_operation_behind_integers_only(precision: str, operation: bytes) -> None:
    """Fused with a product of floating-point numbers it costs more than by itself."""
    rng = np.random.default_rng(5)
    weights, bias = (rng.normal(size=size).astype(np.float32) for size in ((1, 1, 16, 32), (32,)))
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 16), name="x")
        tf.nn.gelu(tf.nn.bias_add(tf.nn.conv2d(x, weights, 1, "SAME"), bias), name="y")
    feed = {"x": rng.normal(size=(2, 8, 8, 16)).astype(np.float32)}
    config = tgo.Config(engine="openvino", precision=precision, max_batch_size=2, minimum_segment_size=1)
    data = [feed] if precision == "int8" else None
    (output,) = [n.name for n in graph.as_graph_def().node][-1:]
    result = tgo.optimize_graph_def(graph.as_graph_def(), [output], config, calibration_data=data)
    (plan,) = [n.attr["serialized_segment"].s for n in result.graph_def.node if n.op == "TfgraphoptEngineOp"]
    assert {operation} == {o for o in (b'type="Erf"', b'type="Gelu"') if o in plan}
