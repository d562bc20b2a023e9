"""Engines of the real TensorRT in float16 and bfloat16: what the plan says is what is built, and what is refused is said."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt as tgo
from precision import encoder, fussy
from precision.bodies import Writer, context, convolution
from tfgraphopt import plugins
from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.ir import DType
from tfgraphopt.ir.verify import graph_violations
from tfgraphopt_precision import PrecisionPlan, load_plans, save_plans
from tfgraphopt_precision.advising import ADVISOR, audit
from tfgraphopt_precision.precision import Precision
from tfgraphopt_trt.advisors import BuildAdvisor
from tfgraphopt_trt.build_log import LayerRow
from tfgraphopt_trt.build_options import BuildOptions, BuildResult

RNG = np.random.default_rng(0)


def model(activation: Any = tf.nn.softsign) -> tuple[Any, tuple[str, ...]]:
    """Two convolutions with an activation between, then a softmax."""
    first, second = (RNG.normal(size=(3, 3, 32, 32)).astype(np.float32) / 17 for _ in range(2))

    def run(x: Any) -> Any:
        return tf.nn.softmax(tf.nn.conv2d(activation(tf.nn.conv2d(x, first, 1, "SAME")), second, 1, "SAME"))

    return encoder.frozen(run, tf.TensorSpec([None, 32, 32, 32], tf.float32, "x"))


def optimise(graph: tuple[Any, tuple[str, ...]], precision: str, tables: Any = None, **options: Any) -> tgo.Result:
    config = tgo.Config(precision=precision, max_batch_size=4, options={"precision": options, "engine_cache": False})
    return tgo.optimize_graph_def(*graph, config, tables=tables or plugins.load(strict=True))


def details(result: tgo.Result) -> dict[str, Any]:
    (segment,) = result.report.segments.values()
    assert segment.status == "built", segment.reason
    return segment.details["precision"]


@pytest.mark.parametrize(("precision", "kind"), [("fp16", "Half"), ("bf16", "BFloat16")])
def test_the_builder_s_table_confirms_the_plan(precision: str, kind: str) -> None:
    found = details(optimise(model(), precision))
    audited = found["audit"]
    assert (found["fp32_layers"], audited["confirmed"], audited["mismatches"], audited["not_named"]) == (1, 2, [], [])
    assert audited["kernels_by_type"][kind] >= 2


def test_fp32_has_no_plan_and_low_weights_take_half_the_bytes() -> None:
    graph = encoder.encoder(layers=1, hidden=128, length=16)
    full, half = optimise(graph, "fp32"), optimise(graph, "fp16")
    (segment,) = full.report.segments.values()
    assert "precision" not in segment.details
    (lower,) = half.report.segments.values()
    assert lower.engine_bytes < 0.75 * segment.engine_bytes
    assert details(half)["flops_share"] == 1.0


def test_what_tensorrt_refuses_goes_to_float32_and_is_said() -> None:
    tables = plugins.load(strict=True, extra=[("fussy", fussy)], prefer={"Softsign": "fussy"})
    result = optimise(model(), "fp16", tables)
    found = details(result)
    layers = found["plan"]["layers"]
    refused = {name: p for name, p in layers.items() if p["origin"] == "builder"}
    assert [p["op"] for p in refused.values()] == ["fussy.softsign"]
    assert "no kernel in this precision" in str(refused) or "refused" in str(refused)
    assert [p["precision"] for p in layers.values() if p["op"] == "trt.convolution"] == ["fp16", "fp16"]
    assert any("built again" in m and "float32" in m for m in result.report.messages)


def test_a_third_party_s_rule_is_heard() -> None:
    tables = plugins.load(strict=True, extra=[("fussy", fussy)], prefer={"Softsign": "fussy"})
    layers = details(optimise(model(tf.nn.tanh), "fp16", tables))["plan"]["layers"]
    tanh = next(p for p in layers.values() if p["op"] == "trt.activation")
    assert (tanh["precision"], tanh["origin"], tanh["reason"]) == ("fp32", "rule:no-tanh", "tanh is dear to us")


def test_a_saved_plan_is_edited_and_replayed(tmp_path: Any) -> None:
    graph = model(tf.nn.relu)
    first = details(optimise(graph, "fp16"))
    plan = PrecisionPlan.from_json(first["plan"])
    assert PrecisionPlan.from_json(plan.to_json()) == plan
    convolutions = [n for n, p in plan.layers.items() if p.op == "trt.convolution"]
    path = tmp_path / "plan.json"
    save_plans(path, {"TRTEngineOp_000_000": plan.keep(convolutions[:1])})
    assert load_plans(path)["TRTEngineOp_000_000"].layers[convolutions[0]].precision == "fp32"
    again = details(optimise(graph, "fp16", plan=str(path)))
    assert again["plan"]["layers"][convolutions[0]]["origin"] == "user"
    assert again["audit"]["mismatches"] == []
    assert again["flops_share"] == pytest.approx(0.5)


def test_the_same_numbers_without_an_engine() -> None:
    """Here no GPU runs the plan: the node computes what the caller's graph computes, in float32."""
    from main_job.jobs import in_session

    import tfgraphopt.runtime  # noqa: F401

    graph_def, outputs = model()
    feeds = {"x": RNG.normal(size=(2, 32, 32, 32)).astype(np.float32)}
    result = optimise((graph_def, outputs), "fp16")
    for got, wanted in zip(
        in_session(result.graph_def, outputs, feeds), in_session(graph_def, outputs, feeds), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == np.float32


def test_create_inference_graph_takes_fp16() -> None:
    graph_def, outputs = model()
    made = tgo.create_inference_graph(graph_def, outputs, max_batch_size=4, precision_mode="FP16")
    (node,) = (n for n in made.node if n.op == "TRTEngineOp")
    assert node.attr["precision_mode"].s == b"FP16"
    assert {tf.as_dtype(t) for t in node.attr["InT"].list.type} == {tf.float32}


class Advisor:
    """A plugin of its own that asks for the builder's table and looks at what was built."""

    def __init__(self) -> None:
        self.rows = 0

    @hookimpl
    def tfgraphopt_trt_build_advisors(self) -> list[BuildAdvisor]:
        def options(segment: str, ctx: Any, given: BuildOptions) -> BuildOptions:
            return attrs.evolve(given, layer_table=True)

        def built(segment: str, ctx: Any, result: BuildResult) -> None:
            self.rows += len(result.table)

        return [BuildAdvisor("looker", options=options, built=built)]


def test_any_plugin_may_advise_the_builder() -> None:
    advisor = Advisor()
    optimise(model(), "fp32", plugins.load(strict=True, extra=[("advisor", advisor)]))
    assert advisor.rows > 0


def test_a_body_that_was_changed_after_the_pass_is_repaired_in_place() -> None:
    w = Writer(x=(1, 64, 32, 32))
    y = w.at("soft").activation(convolution(w, w["x"], 64, "conv"), "softsign")
    graph = w.done(convolution(w, y, 64, "last"))
    ctx = context(graph)
    Precision().run(graph, ctx)
    graph.set_outputs([w.at("late").activation(graph.outputs[0], "relu")])
    error = EngineBuildFailed("no implementation", where=("tf/soft",), why="soft has none")
    assert ADVISOR.refused("body", ctx, error)
    kinds = {n.name: n.outputs[0].dtype for n in graph}
    assert (kinds["soft"], kinds["conv"], kinds["last"]) == (DType.FLOAT, DType.HALF, DType.HALF)
    assert graph_violations(graph) == []
    assert "late" in kinds
    assert ADVISOR.refused("body", ctx, EngineBuildFailed("who knows"))  # nobody is named: all of it
    assert {n.outputs[0].dtype for n in graph if n.op == "trt.convolution"} == {DType.FLOAT}
    assert not ADVISOR.refused("body", ctx, EngineBuildFailed("who knows"))
    assert len([m for m in ctx.report.messages if "float32" in m]) == 2


def test_a_silent_float32_kernel_is_found() -> None:
    layers = {"conv": {"precision": "fp16", "op": "trt.convolution", "nodes": ["n"]}}
    plan = PrecisionPlan.from_json({"mode": "fp16", "layers": layers})
    row = LayerRow("k", "correlation", (("a", "Float", ""),), (("b", "Float", ""),), "", "m\x1fn")
    found = audit(plan, [row])
    assert found["mismatches"] == ["conv was planned in fp16, but its kernels work in Float"]
    assert audit(plan, [])["not_named"] == ["conv"]
