"""The hooks that shipped plugins open, each used by a stranger's plugin, with what it changes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from framework.test_plugins import plugin
from tfgraphopt import plugins
from tfgraphopt.caches import directory_cache
from tfgraphopt.config import Config
from tfgraphopt.diagnosis import Diagnosis, Finding, diagnose
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.ir import Node
from tfgraphopt.optimization import Result, optimize_graph_def
from tfgraphopt.plugins import Tables
from tfgraphopt.verification import Verification, VerifyRequest
from tfgraphopt_layout.rules import pointwise_rule
from tfgraphopt_openvino.mapping import OpenVinoLayer, Writer
from tfgraphopt_precision.rules import Objection, PrecisionRule
from tfgraphopt_trt.advisors import BuildAdvisor
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import converter
from tfgraphopt_trt.hookspecs import EngineKind, LayerRule, SegmentRule
from tfgraphopt_trt.layerdef import LayerDef


def chain() -> GraphDef:
    """x -> matmul -> relu -> tanh -> softmax: y"""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [2, 8], name="x")
        h = tf.nn.relu(tf.matmul(x, rng.normal(size=(8, 8)).astype(np.float32)), name="relu")
        tf.nn.softmax(tf.nn.tanh(h, name="tanh"), name="y")
    return graph.as_graph_def()


def optimised(graph_def: GraphDef, config: Config | None = None, **hooks: Any) -> Result:
    tables = plugins.load(extra=[("acme", plugin(**hooks))], strict=True)
    return optimize_graph_def(graph_def, ["y"], config or Config(engine="none"), tables=tables)


def test_trt_segment_rules_keep_nodes_in_tensorflow() -> None:
    rule = SegmentRule("acme-no-relu", lambda node, config: f"acme minds {node.op}" if node.op == "Relu" else None)
    verdicts = optimised(chain(), trt_segment_rules=lambda: [rule]).report.verdicts
    assert (verdicts["relu"].status, verdicts["relu"].reason) == ("vetoed", "acme minds Relu")
    assert optimised(chain()).report.verdicts["relu"].status == "converted"


def test_trt_layer_rules_keep_nodes_in_tensorflow_for_their_layers() -> None:
    def check(layer: Node, config: Config, tables: plugins.Tables) -> str | None:
        return "acme minds tanh" if layer.attrs.get("type") == "tanh" else None

    verdicts = optimised(chain(), trt_layer_rules=lambda: [LayerRule("acme-no-tanh", check)]).report.verdicts
    assert (verdicts["tanh"].status, verdicts["tanh"].reason) == ("refused", "acme minds tanh")
    assert verdicts["relu"].status != "refused"


def test_trt_engines_are_kinds_to_choose_from() -> None:
    def engine(problem: str | None) -> Result:
        kind = EngineKind("acme", "TfgraphoptEngineOp", "acme-runtime", lambda: problem, rank=1000)
        return optimised(chain(), Config(engine="auto", minimum_segment_size=1), trt_engines=lambda: [kind])

    (segment,) = engine(None).report.segments
    node = engine(None).module.main.node(segment)
    assert (node.op, node.attrs["runtime"]) == ("TfgraphoptEngineOp", "acme-runtime")
    assert all(n.attrs.get("runtime") != "acme-runtime" for n in engine("it is broken").module.main)


def test_trt_build_advisors_choose_options_and_see_results() -> None:
    seen: list[tuple[str, str]] = []

    def options(segment: str, ctx: Any, chosen: Any) -> Any:
        seen.append(("options", segment))
        return attrs.evolve(chosen, workspace_bytes=1 << 24)

    advisor = BuildAdvisor("acme", options=options, built=lambda segment, ctx, result: seen.append(("built", segment)))
    config = Config(options={"engine_cache": False})
    report = optimised(chain(), config, trt_build_advisors=lambda: [advisor]).report
    (name,) = report.segments
    assert seen == [("options", name), ("built", name)]
    assert report.segments[name].status == "built"


def _triple(tf_: Any, inputs: Any, attributes: Any) -> Any:
    return [inputs[0] * 3]


TRIPLE = LayerDef(
    "acme.triple",
    lambda inputs, attributes: [inputs[0].type],
    _triple,
    lambda e, node: [],
    doc="Three times the operand.",
)


@converter("Square", overrides="converters")
def square_as_triple(b: LayerBuilder, x: Operand) -> Operand:
    """A wrong conversion, but an easy one to follow."""
    return b.layer("acme.triple", [x])[0]


def _between_convolutions() -> GraphDef:
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [2, 8, 8, 3], name="x")
        h = tf.nn.conv2d(x, rng.normal(size=(3, 3, 3, 4)).astype(np.float32), 1, "SAME")
        h = tf.nn.conv2d(tf.square(h), rng.normal(size=(3, 3, 4, 4)).astype(np.float32), 1, "SAME")
        tf.identity(tf.nn.relu(h), name="y")
    return graph.as_graph_def()


def _transposes(result: Result) -> int:
    return sum(n.op == "trt.transpose" for body in result.module.lowered.values() for n in body)


def test_layout_rules_let_transposes_through_a_layer() -> None:
    hooks = {"trt_layers": lambda: [TRIPLE], "trt_converters": lambda: [square_as_triple]}
    without = optimised(_between_convolutions(), **hooks)
    ruled = optimised(_between_convolutions(), **hooks, layout_rules=lambda: [pointwise_rule("acme.triple")])
    assert any(n.op == "acme.triple" for body in ruled.module.lowered.values() for n in body)
    assert _transposes(ruled) == 2
    assert _transposes(without) > 2


def test_precision_rules_hold_layers_in_float32() -> None:
    def softmaxes(**hooks: Any) -> set[str]:
        result = optimised(chain(), Config(engine="none", precision="fp16"), **hooks)
        bodies: Iterable[Any] = result.module.lowered.values()
        return {str(n.output.dtype) for body in bodies for n in body if n.attrs.get("type") == "relu"}

    rule = PrecisionRule(
        "acme-exact-relu", lambda node, around: Objection("acme wants it exact"), ("trt.activation",), final=True
    )
    assert softmaxes() != softmaxes(precision_rules=lambda: [rule])


def test_openvino_layers_map_a_layer() -> None:
    pytest.importorskip("openvino")

    def emit(writer: Writer, node: Node) -> list[Any]:
        x = writer.tensor(node.inputs[0])
        return [writer.ops.multiply(x, writer.like(x, 3.0)).output(0)]

    hooks = {"trt_layers": lambda: [TRIPLE], "trt_converters": lambda: [square_as_triple]}
    config = Config(engine="openvino", minimum_segment_size=1)
    unmapped = optimised(_between_convolutions(), config, **hooks).report.verdicts["Square"]
    assert unmapped.status == "refused"
    assert "acme.triple" in unmapped.reason
    mapped = optimised(
        _between_convolutions(), config, **hooks, openvino_layers=lambda: [OpenVinoLayer("acme.triple", emit)]
    )
    assert mapped.report.verdicts["Square"].status == "converted"


def test_verify_asks_plugins_one_after_the_other() -> None:
    asked: list[VerifyRequest] = []
    answer = Verification("fp16", {}, {})

    def first(request: VerifyRequest) -> Verification | None:
        asked.append(request)
        return None

    def second(request: VerifyRequest) -> Verification | None:
        return answer

    tables = plugins.load(only=[], extra=[("second", plugin(verify=second)), ("first", plugin(verify=first))])
    request = VerifyRequest(chain(), ["y"], Config(), tables, {})
    assert tables.call("tfgraphopt_verify", {"request": request}) == [answer]
    assert asked == [request]


def test_caches_of_a_plugin_are_listed_and_cleared(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"12345")
    tables = plugins.load(
        extra=[("hoarder", plugin(caches=lambda: [directory_cache("hoard", lambda: tmp_path, "*.bin")]))]
    )
    cache = tables.table("tfgraphopt_caches")["hoard"]
    assert [(e.key, e.bytes) for e in cache.entries()] == [("a.bin", 5)]
    assert cache.remove(["a.bin", "b.bin"]) == 1
    assert cache.entries() == []


def test_diagnoses_of_plugins_are_made_and_one_that_breaks_is_a_finding() -> None:
    def broken(tables: Tables) -> list[Finding]:
        raise OSError("libacme.so is cut short")

    def sound(tables: Tables) -> list[Finding]:
        return [Finding("acme", "ok", f"{len(tables.plugins)} plugins")]

    made = plugin(diagnoses=lambda: [Diagnosis("broken", broken), Diagnosis("sound", sound)])
    found = diagnose(plugins.load(only=[], extra=[("acme", made)]))
    assert [(f.subject, f.state) for f in found] == [("broken", "problem"), ("acme", "ok")]
    assert "OSError: libacme.so is cut short" in found[0].text
