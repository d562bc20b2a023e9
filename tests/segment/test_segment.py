"""Segmentation of TensorFlow graphs: what goes into engines, what stays and why, and that the graph computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from main_job.jobs import in_session

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt.errors import ConfigError

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def graph_def(build: Callable[[tf.Tensor], object]) -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        build(tf.compat.v1.placeholder(tf.float32, [None, 4], name="x"))
    return graph.as_graph_def()


def segment(graph: tf.compat.v1.GraphDef, outputs: list[str], **options: object) -> tgo.Result:
    """Segment without building; the result computes what the original computes, bit for bit."""
    config = tgo.Config(engine="none", minimum_segment_size=options.pop("minimum_segment_size", 2), **options)
    result = tgo.optimize_graph_def(graph, outputs, config)
    for got, wanted in zip(
        in_session(result.graph_def, outputs, {"x": X}), in_session(graph, outputs, {"x": X}), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
    return result


def verdict(result: tgo.Result, node: str) -> tuple[str, str]:
    found = result.report.verdicts[node]
    return found.status, found.reason


def test_an_unsupported_op_in_the_middle_makes_two_engines() -> None:
    def build(x: tf.Tensor) -> None:
        h = tf.nn.relu(tf.nn.tanh(x, name="a"), name="b")
        h = tf.strings.to_number(tf.strings.as_string(h, name="text"), name="number")
        tf.nn.relu(tf.nn.tanh(h, name="c"), name="d")

    result = segment(graph_def(build), ["d"])
    assert list(result.report.segments) == ["TRTEngineOp_000_000", "TRTEngineOp_000_001"]
    assert verdict(result, "text")[0] in ("no converter", "refused")
    assert [result.report.verdicts[n].segment[-1] for n in "abcd"] == ["0", "0", "1", "1"]


def test_control_edges_from_and_to_segments_are_kept() -> None:
    """A counter outside is raised before the engine runs, and read after it."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        text = tf.strings.as_string(x, name="text")
        with tf.control_dependencies([text]):
            h = tf.nn.relu(tf.nn.tanh(x, name="a"), name="b")
        with tf.control_dependencies([h]):
            tf.strings.length(text, name="y")
    result = segment(graph.as_graph_def(), ["y", "b"])
    nodes = {n.name: n for n in result.graph_def.node}
    assert "^text" in nodes["TRTEngineOp_000_000"].input
    assert "^TRTEngineOp_000_000" in nodes["y"].input


def test_a_fetched_tensor_inside_an_engine_keeps_its_name() -> None:
    def build(x: tf.Tensor) -> None:
        inner = tf.nn.tanh(x, name="inner")
        tf.nn.relu(inner, name="outer")

    result = segment(graph_def(build), ["inner", "outer:0"])
    assert {n.name: n.op for n in result.graph_def.node} == {
        "x": "Placeholder", "TRTEngineOp_000_000": "TRTEngineOp", "inner": "Identity", "outer": "Identity",
    }  # fmt: skip


def test_a_fetched_identity_with_readers_splits_nothing() -> None:
    def build(x: tf.Tensor) -> None:
        fetched = tf.identity(tf.nn.tanh(x), name="fetched")
        tf.nn.relu(tf.nn.sigmoid(fetched), name="y")

    assert len(segment(graph_def(build), ["fetched", "y"]).report.segments) == 1


def test_nodes_behind_a_tf1_switch_stay_in_tensorflow() -> None:
    def build(x: tf.Tensor) -> None:
        chosen = tf.raw_ops.Switch(data=x, pred=tf.reduce_sum(x) > 0, name="switch")
        left = tf.nn.relu(tf.nn.tanh(chosen[0]), name="left")
        right = tf.nn.relu(tf.nn.sigmoid(chosen[1]), name="right")
        tf.raw_ops.Merge(inputs=[left, right], name="y")

    result = segment(graph_def(build), ["y"])
    assert verdict(result, "left") == (
        "vetoed",
        "it is inside a TF1 conditional (Switch/Merge); an engine would run both branches",
    )


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ({"denied_ops": {"Tanh"}}, "vetoed", "op Tanh is denied by the caller"),
        ({"denied_nodes": ["scope/*"]}, "vetoed", "the caller denied 'scope/*'"),
        (
            {"minimum_segment_size": 9},
            "segment too small",
            "its segment has 3 nodes that do work; minimum_segment_size is 9",
        ),
    ],
)
def test_the_caller_decides_what_stays(options: dict[str, object], status: str, reason: str) -> None:
    def build(x: tf.Tensor) -> None:
        tf.nn.relu(tf.nn.tanh(tf.nn.sigmoid(x), name="scope/tanh"), name="y")

    assert verdict(segment(graph_def(build), ["y"], **options), "scope/tanh") == (status, reason)


def test_what_the_model_places_on_the_cpu_stays_there() -> None:
    def build(x: tf.Tensor) -> None:
        with tf.device("/CPU:0"):
            h = tf.nn.tanh(x, name="here")
        tf.nn.relu(tf.nn.sigmoid(h), name="y")

    status, reason = verdict(segment(graph_def(build), ["y"]), "here")
    assert status == "vetoed"
    assert "CPU:0" in reason


def test_integer_only_segments_do_not_pay() -> None:
    def build(x: tf.Tensor) -> None:
        size = tf.shape(x, name="shape")[0]
        tf.add(size * 3, 7, name="count")

    status, reason = verdict(segment(graph_def(build), ["count"]), "count")
    assert status == "segment dropped"
    assert "integers only" in reason


def test_calls_are_inlined_into_one_engine() -> None:
    @tf.function
    def inner(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.tanh(x) * 2.0

    def build(x: tf.Tensor) -> None:
        tf.nn.relu(inner(inner(x)), name="y")

    result = segment(graph_def(build), ["y"])
    assert result.report.segments["TRTEngineOp_000_000"].ops["Tanh"] == 2


@pytest.mark.parametrize("converts", [True, False])
def test_a_conditional_is_part_of_the_engine_or_its_branches_have_engines_of_their_own(converts: bool) -> None:
    def build(x: tf.Tensor) -> None:
        h = tf.nn.relu(tf.nn.tanh(x))
        h = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.exp(tf.tanh(h)) * 2.0, lambda: h - 1.0)
        tf.nn.relu(tf.nn.tanh(h), name="y")

    with tf.Graph().as_default() as graph:  # TensorFlow 2 writes an If
        build(tf.compat.v1.placeholder(tf.float32, [None, 4], name="x"))
    result = segment(graph.as_graph_def(), ["y"], denied_ops=() if converts else ("If", "StatelessIf"))
    inner = [n.name for g in result.module.functions.values() for n in g if n.op == "TRTEngineOp"]
    assert len(result.report.segments) == (1 if converts else 3)
    assert inner == ([] if converts else ["TRTEngineOp_000_002"])
    assert set(result.module.lowered) == set(result.report.segments)


def test_an_optimised_graph_can_be_optimised_again() -> None:
    def build(x: tf.Tensor) -> None:
        h = tf.strings.to_number(tf.strings.as_string(tf.nn.relu(tf.nn.tanh(x))))
        tf.nn.relu(tf.nn.tanh(h), name="y")

    first = segment(graph_def(build), ["y"], denied_nodes=["Relu"])
    with_plan = tf.compat.v1.GraphDef()
    with_plan.CopyFrom(first.graph_def)
    for node in with_plan.node:
        if node.op == "TRTEngineOp":
            node.attr["plan_digest"].s = b"of an engine"
    again = segment(with_plan, ["y"])
    assert {n.name for n in again.graph_def.node} >= set(first.report.segments) | set(again.report.segments)
    afresh = segment(first.graph_def, ["y"])  # nothing was built the first time: everything is converted now
    assert sum(s.nodes for s in afresh.report.segments.values()) == 4
    assert {n.name for n in afresh.graph_def.node if n.op == "TRTEngineOp"} == set(afresh.report.segments)


def test_large_plans_go_to_side_files(tmp_path: Path) -> None:
    def build(x: tf.Tensor) -> None:
        tf.nn.relu(tf.nn.tanh(tf.nn.sigmoid(x)), name="y")

    original = graph_def(build)
    config = tgo.Config(max_batch_size=4, engine_dir=tmp_path / "plans", max_embedded_bytes=0)
    result = tgo.optimize_graph_def(original, ["y"], config)
    node = next(n for n in result.graph_def.node if n.op == "TRTEngineOp")
    assert node.attr["serialized_segment"].s == b""
    plan = Path(node.attr["plan_path"].s.decode())
    assert plan.parent == tmp_path / "plans"
    assert plan.stat().st_size == result.report.segments[node.name].engine_bytes
    np.testing.assert_array_equal(in_session(result.graph_def, ["y"], {"x": X}), in_session(original, ["y"], {"x": X}))


def test_unknown_dimensions_beyond_the_batch_need_a_range() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None], name="x")
        tf.nn.relu(tf.nn.tanh(tf.nn.sigmoid(x)), name="y")
    with pytest.raises(ConfigError, match=r"'x' is \(None, None\)[\s\S]*ShapeRange"):
        tgo.create_inference_graph(graph.as_graph_def(), ["y"])
    ranges = {"x": tgo.ShapeRange((1, 2), (4, 4), (8, 16))}
    result = tgo.optimize_graph_def(graph.as_graph_def(), ["y"], tgo.Config(input_shapes=ranges))
    assert [s.status for s in result.report.segments.values()] == ["built"]
    with pytest.raises(ConfigError, match="the inputs are"):
        tgo.Config(input_shapes={"typo": ranges["x"]}) and tgo.optimize_graph_def(
            graph.as_graph_def(), ["y"], tgo.Config(input_shapes={"typo": ranges["x"]})
        )
