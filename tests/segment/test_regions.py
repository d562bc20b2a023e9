"""Cutting out and putting back: TensorFlow computes the same before and after, on random graphs and random regions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgraphopt.errors import MutationError
from tfgraphopt.graphdef import export_graph_def, import_graph_def
from tfgraphopt.ir import FuncRef, Graph, Module, Node
from tfgraphopt.ir.verify import verify
from tfgraphopt.regions import inline, outline
from tfgraphopt_trt.clustering import clusters


@st.composite
def programs(draw: st.DrawFn) -> tuple[tf.Graph, list[str], set[str]]:
    """A TF graph of arithmetic with control edges, its outputs, and the names of nodes that may be cut out."""
    graph = tf.Graph()
    with graph.as_default():
        tensors = [tf.compat.v1.placeholder(tf.float32, [None], name="x"), tf.constant([0.5], name="c")]
        for index in range(draw(st.integers(2, 10))):
            a, b = draw(st.sampled_from(tensors)), draw(st.sampled_from(tensors))
            waited = [draw(st.sampled_from(tensors)).op] if draw(st.booleans()) else []
            op = draw(st.sampled_from([tf.raw_ops.AddV2, tf.raw_ops.Maximum, tf.raw_ops.Sub]))
            with tf.control_dependencies(waited):
                tensors.append(op(x=a, y=b, name=f"n{index}"))
    names = [t.op.name for t in tensors[2:]]
    fetched = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    return graph, fetched, set(draw(st.lists(st.sampled_from(names), unique=True)))


def run(graph_def: object, outputs: list[str]) -> list[np.ndarray]:
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        return session.run([f"{o}:0" for o in outputs], {"x:0": np.array([1.5, -2.0], np.float32)})


def call_attrs(name: str):
    def make(inputs, outputs):
        return {"Tin": tuple(v.dtype for v in inputs), "Tout": tuple(v.dtype for v in outputs), "f": FuncRef(name)}

    return make


def cut(module: Module, names: set[str]) -> list[Node]:
    """Outline the clusters of the named nodes into functions that PartitionedCall calls."""
    graph: Graph = module.main
    groups = clusters(
        graph, {n: "" if n.name in names else None for n in graph}, lambda n: n.op == "Const" and not n.control
    )
    calls = []
    for index, group in enumerate(groups):
        body = f"body_{index}"
        done = outline(
            graph, group, op="PartitionedCall", name=f"call_{index}", body_name=body, call_attrs=call_attrs(body)
        )
        module.add_function(done.body)
        calls.append(done.call)
    return calls


@settings(max_examples=200, deadline=None)
@given(programs())
def test_outlined_and_inlined_graphs_compute_the_same(case: tuple[tf.Graph, list[str], set[str]]) -> None:
    graph, outputs, names = case
    graph_def = graph.as_graph_def()
    expected = run(graph_def, outputs)
    module = import_graph_def(graph_def, outputs)
    calls = cut(module, names)
    verify(module)
    for got, wanted in zip(run(export_graph_def(module), outputs), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    for call in calls:
        ref = call.attrs["f"]
        assert isinstance(ref, FuncRef)
        inline(module.main, call, module.functions.pop(ref.name))
    verify(module)
    for got, wanted in zip(run(export_graph_def(module), outputs), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_region_that_would_wait_for_itself_is_refused() -> None:
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        a = tf.raw_ops.Relu(features=x, name="a")
        b = tf.raw_ops.Neg(x=a, name="b")
        tf.raw_ops.AddV2(x=a, y=b, name="c")
    module = import_graph_def(graph.as_graph_def(), ["c"])
    members = [module.main.node("a"), module.main.node("c")]
    with pytest.raises(MutationError, match="wait for itself"):
        outline(module.main, members, op="PartitionedCall", name="call", body_name="f", call_attrs=call_attrs("f"))
