"""Assert and Print: one engine, and TensorFlow still checks and prints before anything gets out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from main_job.jobs import in_function, in_session

import tfgraphopt as tgo
import tfgraphopt.runtime

GOOD = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
BAD = np.full((3, 4), -9, np.float32)


def graph_def(build: Callable[[tf.Tensor], object]) -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        build(tf.compat.v1.placeholder(tf.float32, [None, 4], name="x"))
    return graph.as_graph_def()


def one_engine(graph: tf.compat.v1.GraphDef, outputs: list[str], inside: set[str]) -> tgo.Result:
    """The optimised graph, which has one engine that computes ``inside`` and gives the original's bits."""
    config = tgo.Config(engine="none", minimum_segment_size=2, max_batch_size=4)
    result = tgo.optimize_graph_def(graph, outputs, config)
    assert len(result.report.segments) == 1
    converted = {v.node for v in result.report.verdicts.values() if v.segment}
    assert inside <= converted
    for run in (in_session, in_function):
        for got, wanted in zip(
            run(result.graph_def, outputs, {"x": GOOD}), run(graph, outputs, {"x": GOOD}), strict=True
        ):
            np.testing.assert_array_equal(got, wanted)
    return result


def guarded(x: tf.Tensor) -> None:
    """A check in the middle: what comes after it waits for it."""
    h = tf.nn.tanh(tf.nn.relu(x + 5.0, name="a"), name="b")
    check = tf.debugging.Assert(tf.reduce_all(tf.reduce_sum(h, 1) > 0.5), [h], name="check")
    with tf.control_dependencies([check]):
        h = tf.exp(h, name="c")
    tf.nn.relu(tf.sin(h, name="d"), name="y")


@pytest.mark.parametrize("run", [in_session, in_function])
def test_an_assert_in_the_middle_stays_beside_one_engine(run: Callable[..., list[np.ndarray]]) -> None:
    graph = graph_def(guarded)
    result = one_engine(graph, ["y"], {"a", "b", "c", "d", "y"})
    for one in (graph, result.graph_def):
        with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
            run(one, ["y"], {"x": BAD})


def test_results_that_the_check_does_not_guard_do_not_wait_for_it() -> None:
    graph = graph_def(guarded)
    result = one_engine(graph, ["y", "b"], {"a", "b", "c", "d"})
    for one in (graph, result.graph_def):
        np.testing.assert_array_equal(in_session(one, ["b"], {"x": BAD}), [np.zeros((3, 4), np.float32)])


def test_a_group_of_checks_and_a_fetched_identity() -> None:
    """As TensorFlow 2 writes them: Asserts gathered by a NoOp, results behind Identity nodes."""

    def build(x: tf.Tensor) -> None:
        h = tf.nn.tanh(x, name="a")
        checks = [
            tf.debugging.Assert(tf.reduce_all(h > -2.0), [h]), tf.debugging.Assert(tf.reduce_any(x > -8.0), [x]),
        ]  # fmt: skip
        with tf.control_dependencies([tf.group(*checks)]):
            tf.identity(tf.nn.relu(tf.exp(h, name="b"), name="c"), name="y")

    graph = graph_def(build)
    result = one_engine(graph, ["y"], {"a", "b", "c"})
    with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
        in_session(result.graph_def, ["y"], {"x": BAD})


@pytest.mark.parametrize("version", [1, 2])
def test_prints_are_printed_beside_one_engine(version: int, capfd: pytest.CaptureFixture[str]) -> None:
    def build(x: tf.Tensor) -> None:
        h = tf.nn.tanh(tf.nn.relu(x, name="a"), name="b")
        if version == 1:
            h = tf.raw_ops.Print(input=h, data=[tf.constant(7)], message="the sum is ", name="print")
            h = tf.exp(h, name="c")
        else:
            with tf.control_dependencies([tf.print("the sum is", 7)]):
                h = tf.exp(h, name="c")
        tf.sin(h, name="y")

    graph = graph_def(build)
    result = one_engine(graph, ["y"], {"a", "b", "c", "y"})
    capfd.readouterr()
    in_session(result.graph_def, ["y"], {"x": GOOD})
    assert capfd.readouterr().err.count("the sum is") == 1


def test_a_check_that_stands_before_state_still_does() -> None:
    """A result that is written to a file or a variable waits for the check, too."""

    def build(x: tf.Tensor) -> None:
        h = tf.nn.tanh(tf.nn.relu(x, name="a"), name="b")
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x > -8.0), [x], name="check")]):
            h = tf.nn.relu(tf.exp(h, name="c"), name="d")
        tf.strings.as_string(h, name="y")

    result = one_engine(graph_def(build), ["y"], {"a", "b", "c", "d"})
    nodes = {n.name: n for n in result.graph_def.node}
    assert any(i.startswith("^check") for i in nodes["y"].input)


def test_conditionals_of_tensorflow_1_are_left_alone() -> None:
    def build(x: tf.Tensor) -> None:
        pred = tf.reduce_all(x > -8.0)
        off, on = tf.raw_ops.Switch(data=x, pred=pred)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(on > -9.0), [on])]):
            here = tf.exp(on)
        joined = tf.raw_ops.Merge(inputs=[tf.sin(off), here])[0]
        tf.nn.tanh(tf.nn.relu(joined), name="y")

    graph = graph_def(build)
    result = tgo.optimize_graph_def(graph, ["y"], tgo.Config(engine="none", minimum_segment_size=2, max_batch_size=4))
    for feed in (GOOD, BAD):
        np.testing.assert_array_equal(
            in_session(result.graph_def, ["y"], {"x": feed}), in_session(graph, ["y"], {"x": feed})
        )
