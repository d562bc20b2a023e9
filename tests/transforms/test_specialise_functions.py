"""specialise-functions: constants go where they are read, and nothing is passed that nobody reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from ir.tf_graphs import Made

from tfgraphopt.ir import FuncRef, Graph, Module, Node
from tfgraphopt.transforms.specialise_functions import SpecialiseFunctions
from transforms.laws import check_laws, ops

WEIGHT = np.arange(9, dtype=np.float32).reshape(3, 3)


def made(build: Any) -> Made:
    """A graph of one input that TensorFlow traces, with what to feed and fetch."""
    concrete = tf.function(build, autograph=False).get_concrete_function(tf.TensorSpec([None, 3], tf.float32, "x"))
    feeds = {"x:0": np.ones((2, 3), np.float32)}
    return concrete.graph.as_graph_def(), feeds, [t.name for t in concrete.outputs]


def function_of(module: Module, node: Node, attribute: str) -> Graph:
    ref = node.attrs[attribute]
    assert isinstance(ref, FuncRef)
    return module.functions[ref.name]


def test_a_loop_knows_its_weights_and_drops_what_it_only_hands_on() -> None:
    def build(x: tf.Tensor) -> Any:
        weight, unread = tf.constant(WEIGHT), tf.exp(x)
        step = lambda i, y, u: (i + 1, tf.tanh(y @ weight), u)  # noqa: E731
        return tf.while_loop(lambda i, y, u: i < 3, step, (tf.constant(0), x, unread))[1:]

    module = check_laws(made(build), SpecialiseFunctions())
    (loop,) = [n for n in module.main if n.op.endswith("While")]
    body = function_of(module, loop, "body")
    assert (
        len(loop.inputs) == len(loop.outputs) == len(body.inputs) == len(body.outputs) == 3
    )  # two counters and the state
    assert any(np.array_equal(n.attrs["value"].numpy(), WEIGHT) for n in body if n.op == "Const")  # type: ignore[union-attr]
    assert {u.op for u in module.main.node("Exp").users} == {"Identity"}  # read past the loop
    assert len(module.functions) == 2


def test_branches_take_only_what_one_of_them_reads() -> None:
    def build(x: tf.Tensor) -> Any:
        weight = tf.constant(WEIGHT)
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x @ weight, lambda: tf.zeros([2, 3]))

    module = check_laws(made(build), SpecialiseFunctions())
    (conditional,) = [n for n in module.main if n.op.endswith("If")]
    assert [v.name for v in conditional.inputs[1:]] == ["x"]


def test_nothing_to_do_changes_nothing() -> None:
    def build(x: tf.Tensor) -> Any:
        return tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: (y * 2.0,), (x,))

    graph_def = made(build)[0]
    module = check_laws(made(build), SpecialiseFunctions(), SpecialiseFunctions())
    assert ops(module)["StatelessWhile"] == 1
    assert len(module.functions) == len(graph_def.library.function)
