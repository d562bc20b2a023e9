"""Laws of writing a body in other precisions, and the cases where numbers do not fit."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout.drawing import drawings

from precision.bodies import LAYERS, Writer, context, convolution, decider
from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType, Graph
from tfgraphopt.ir.compare import differences, equal
from tfgraphopt.ir.verify import graph_violations
from tfgraphopt_precision.observing import as_hardware
from tfgraphopt_precision.precision import STATES, Precision, assignment
from tfgraphopt_precision.rewriting import copied, rewrite
from tfgraphopt_precision.slots import CAST
from tfgraphopt_trt.meaning import evaluate

Drawn = tuple[Graph, list[np.ndarray]]


def low_copy(graph: Graph, names: set[str], dtype: DType = DType.HALF) -> Graph:
    made = copied(graph)
    rewrite(graph, made, {n.name: dtype if n.name in names else DType.FLOAT for n in graph})
    return made


@settings(max_examples=200, deadline=None)
@given(drawings(), st.data())
def test_laws_of_any_assignment(drawn: Drawn, data: st.DataObject) -> None:
    """The graph verifies, inputs and outputs keep their types, results are close, no tensor is cast twice or back and forth."""
    graph, feeds = drawn
    free = [n.name for n in graph if decider(rules=[]).decide(graph).layers.get(n.name, None)]
    low = set(data.draw(st.lists(st.sampled_from(free), unique=True))) if free else set()
    low -= {n for n, p in decider(rules=[]).decide(graph).layers.items() if p.origin == "type"}
    made = low_copy(graph, low)
    assert graph_violations(made) == []
    assert [v.type for v in made.inputs] == [v.type for v in graph.inputs]
    assert [v.type for v in made.outputs] == [v.type for v in graph.outputs]
    assert made.output_names == graph.output_names
    casts = [n for n in made if n.op == CAST]
    assert len({(n.inputs[0], n.outputs[0].dtype) for n in casts}) == len(casts)
    assert not any(n.inputs[0].producer is not None and n.inputs[0].producer.op == CAST for n in casts)
    for got, wanted in zip(evaluate(made, as_hardware(LAYERS), feeds), evaluate(graph, LAYERS, feeds), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0.05, atol=0.05)


@settings(max_examples=200, deadline=None)
@given(drawings(), st.sampled_from(["fp16", "bf16"]))
def test_laws_of_the_pass(drawn: Drawn, precision: str) -> None:
    """fp32 changes nothing; a second run changes nothing; a run on its own result changes nothing; deterministic."""
    graph, _ = drawn
    twin, same = copied(graph), copied(graph)
    version = same.version
    assert not Precision().applies(context(same, "fp32"))
    assert same.version == version
    ctx = context(graph, precision)
    Precision().run(graph, ctx)
    version = graph.version
    Precision().run(graph, ctx)
    assert graph.version == version
    Precision().run(graph, context(graph, precision))
    assert graph.version == version
    Precision().run(twin, context(twin, precision))
    assert equal(graph, twin)


def test_constants_are_converted_lazily_once_and_shared() -> None:
    w = Writer(x=(1, 4, 32, 32))
    kernel = w.at("kernel").constant(np.ones((64, 4, 3, 3), np.float32))
    graph = w.graph
    pads = convolution(w, w["x"], 64, "warm")
    del pads
    from tfgraphopt_trt.builder import Pads

    outs = []
    for name in ("a", "b", "c"):
        outs.append(
            w.at(name).convolution(
                w["x"], kernel, stride=(1, 1), pads=Pads("explicit", (1, 1), (1, 1)), dilation=(1, 1)
            )
        )
    w.done(*outs)
    made = low_copy(graph, {"a", "b"})
    kernels = {n.name: n.outputs[0].dtype for n in made if n.name.startswith("kernel")}
    assert sorted(kernels.values(), key=str) == sorted([DType.HALF, DType.FLOAT], key=str)
    half = next(n for n in made if n.name.startswith("kernel") and n.outputs[0].dtype is DType.HALF)
    assert half.attrs["value"]._array is None  # not converted before somebody reads it
    assert half.attrs["value"].numpy().dtype == np.float16


def test_a_constant_never_becomes_infinite() -> None:
    w = Writer(x=(2, 8))
    y = w.at("prod").elementwise(w["x"], w.at("c").constant(np.full((1, 8), 7e4, np.float32)), "prod")
    made = low_copy(w.done(y), {"prod"})
    constant = next(n for n in made if n.op == "trt.constant")
    with pytest.raises(ConfigError, match="'c' does not fit into float16"):
        constant.attrs["value"].numpy()
    assert decider(lower=["*"]).decide(w.graph).low == ()


def test_the_model_s_casts_that_nothing_needs_are_gone() -> None:
    w = Writer(x=(1, 64, 32, 32))
    y = convolution(w, w["x"], 64, "conv")
    half = w.at("own").activation(w.at("down").cast(y, DType.HALF), "relu")
    graph = w.done(convolution(w, w.at("up").cast(half, DType.FLOAT), 64, "last"))
    ctx = context(graph)
    Precision().run(graph, ctx)
    assert {n.name for n in graph if n.op == CAST} == {"x/float16", "last/float32"}
    assert graph_violations(graph) == []


def test_shapes_are_read_from_whatever_precision_there_is() -> None:
    w = Writer(x=(1, 64, 32, 32))
    y = convolution(w, w["x"], 64, "conv")
    graph = w.done(y, w.at("shape").shape(y))
    made = low_copy(graph, {"conv"})
    assert made.node("shape").inputs[0].dtype is DType.HALF


def test_naive_float16_overflows_and_ours_does_not() -> None:
    w = Writer(x=(2, 256))
    square = w.at("square").elementwise(w["x"], w["x"], "prod")
    norm = w.at("root").unary(w.at("sum").reduce(square, "sum", (1,), True), "sqrt")
    graph = w.done(w.at("unit").elementwise(w["x"], norm, "div"))
    feeds = [np.random.default_rng(0).normal(scale=300.0, size=(2, 256)).astype(np.float32)]
    wanted = evaluate(graph, LAYERS, feeds)[0]
    naive, ours = copied(graph), copied(graph)
    rewrite(graph, naive, assignment(decider(rules=[], lower=["*"]).decide(graph)))
    rewrite(graph, ours, assignment(decider(lower=["unit"]).decide(graph)))
    assert not np.allclose(evaluate(naive, as_hardware(LAYERS), feeds)[0], wanted, rtol=0.1)
    np.testing.assert_allclose(evaluate(ours, as_hardware(LAYERS), feeds)[0], wanted, rtol=2e-3, atol=1e-5)
    assert any(n.outputs[0].dtype is DType.HALF for n in ours)


def test_the_report_has_plan_table_and_casts() -> None:
    w = Writer(x=(1, 64, 32, 32))
    graph = w.done(w.at("softmax").softmax(convolution(w, w["x"], 64, "conv"), 1))
    ctx = context(graph)
    Precision().run(graph, ctx)
    found = ctx.report.segments["body"].details["precision"]
    assert (found["mode"], found["low_layers"], found["fp32_layers"], found["casts"]) == ("fp16", 1, 1, 2)
    assert found["flops_share"] == 1.0
    reason = "softmax: exponentials and their sum"
    assert found["table"]["rows"] == [["softmax", "trt.softmax", "tf/softmax", "rule:sensitive-layer", reason]]


def test_a_body_that_another_pass_has_changed_is_planned_anew() -> None:
    w = Writer(x=(1, 64, 32, 32))
    graph = w.done(convolution(w, w["x"], 64, "conv"))
    ctx = context(graph)
    Precision().run(graph, ctx)
    first = ctx.facts[STATES]["body"]
    relu = w.at("late").activation(graph.outputs[0], "relu")
    graph.set_outputs([relu])
    Precision().run(graph, ctx)
    assert ctx.facts[STATES]["body"] is not first
    assert graph_violations(graph) == []
    assert [n.op for n in graph if n.op == CAST] == [CAST, CAST]


def test_replaying_a_plan_gives_the_same_body() -> None:
    w = Writer(x=(1, 64, 32, 32))
    y = w.at("relu").activation(convolution(w, w["x"], 64, "a"), "relu")
    graph = w.done(w.at("softmax").softmax(convolution(w, y, 64, "b"), 1))
    original, again = copied(graph), copied(graph)
    ctx = context(graph, options={"keep": ["a"]})
    Precision().run(graph, ctx)
    plan = ctx.facts[STATES]["body"].plan
    replay = context(again, options={"plan": {"body": plan}})
    Precision().run(again, replay)
    assert list(differences(graph, again)) == []
    edited = plan.lower(["a"]).keep(["tf/b"])
    Precision().run(original, context(original, options={"plan": {"body": edited}}))
    kinds = {n.name: n.outputs[0].dtype for n in original}
    assert (kinds["a"], kinds["b"]) == (DType.HALF, DType.FLOAT)
    assert attrs.asdict(plan) != attrs.asdict(edited)
