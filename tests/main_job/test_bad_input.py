"""Wrong arguments and damaged graphs: one clear error each, and one bad segment never costs the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from main_job.jobs import in_session

import tfgraphopt as tgo
from tfgraphopt import plugins
from tfgraphopt.cli import main
from tfgraphopt.errors import ConfigError, GraphDefError, MissingDependency
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, converter
from tfgraphopt_trt.layerdef import LayerDef


def small_graph(*, unsupported: bool = False) -> tf.compat.v1.GraphDef:
    """x -> conv, relu, bias -> [a string detour] -> matmul ... -> y."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        h = tf.nn.conv2d(x, rng.normal(size=(3, 3, 3, 4)).astype(np.float32), 1, "SAME", name="conv")
        h = tf.nn.relu(tf.nn.bias_add(h, rng.normal(size=4).astype(np.float32)), name="relu")
        if unsupported:
            h = tf.strings.to_number(tf.strings.as_string(h, name="as_string"), name="to_number")
        h = tf.reshape(h, [-1, 256], name="flat")
        h = tf.matmul(h, rng.normal(size=(256, 10)).astype(np.float32), name="dense")
        tf.nn.softmax(tf.nn.relu(h + 1.0), name="y")
    return graph.as_graph_def()


def test_an_unknown_output_lists_what_there_is() -> None:
    with pytest.raises(GraphDefError, match=r"no such output[\s\S]*typo[\s\S]*ends are: y"):
        tgo.create_inference_graph(small_graph(), ["typo"])


def test_an_unsupported_precision_lists_the_supported_ones() -> None:
    with pytest.raises(ConfigError, match="fp32, fp16"):
        tgo.create_inference_graph(small_graph(), ["y"], precision_mode="FP12")


def test_something_else_than_a_graph_def_is_refused() -> None:
    with pytest.raises(GraphDefError, match="expected a GraphDef, not a dict"):
        tgo.create_inference_graph({}, ["y"])  # type: ignore[arg-type]


def test_a_truncated_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.pb"
    data = small_graph().SerializeToString()
    path.write_bytes(data[: len(data) // 2])
    assert main(["explain", str(path)]) == 1
    assert "is not a binary GraphDef" in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tmp_path / "none.pb")]) == 1
    assert "none.pb cannot be read" in capsys.readouterr().err


def test_variables_stay_in_tensorflow_with_a_reason() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        weights = tf.compat.v1.get_variable("w", [4, 4], use_resource=True)
        h = tf.matmul(x, weights, name="product")
        tf.nn.relu(tf.nn.tanh(tf.nn.relu(h)), name="y")
    result = tgo.optimize_graph_def(graph.as_graph_def(), ["y"], tgo.Config(engine="none"))
    reasons = {v.op: v.reason for v in result.report.verdicts.values()}
    assert "state" in reasons["VarHandleOp"]
    assert any("variables" in message for message in result.report.messages)


def test_a_graph_without_a_convertible_node_comes_back_unchanged() -> None:
    with tf.Graph().as_default() as graph:
        text = tf.compat.v1.placeholder(tf.string, [None], name="x")
        tf.strings.lower(tf.strings.strip(text), name="y")
    graph_def = graph.as_graph_def()
    result = tgo.optimize_graph_def(graph_def, ["y"])
    assert result.graph_def == graph_def
    assert any("no part of the graph was converted" in m for m in result.report.messages)


def test_without_tensorrt_optimize_names_the_extra_and_explain_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tfgraphopt_trt import engines

    def absent(prefer: str | None = None) -> object:
        raise MissingDependency("no TensorRT is installed", hint='pip install "tfgraphopt[rtx]"')

    monkeypatch.setattr(engines, "load", absent)
    with pytest.raises(MissingDependency, match=r"tfgraphopt\[rtx\]"):
        tgo.create_inference_graph(small_graph(), ["y"])
    path = tmp_path / "model.pb"
    path.write_bytes(small_graph().SerializeToString())
    assert main(["explain", str(path), "--outputs", "y", "--max-batch-size", "4"]) == 0
    assert "13 in 1 engines" in capsys.readouterr().out


def test_a_segment_that_cannot_be_built_stays_tensorflow_and_the_rest_goes_on() -> None:
    graph_def = small_graph(unsupported=True)
    config = tgo.Config(minimum_segment_size=2, max_batch_size=4)
    tables = plugins.load(extra=[("breaker", _Breaker())], block=())
    result = tgo.optimize_graph_def(graph_def, ["y"], config, tables=tables)
    statuses = {s.name: s.status for s in result.report.segments.values()}
    assert sorted(statuses.values()) == ["build failed", "built", "built"]  # the whole, and what was saved of it
    failed = next(s for s in result.report.segments.values() if s.status == "build failed")
    assert "acme.broken" in failed.reason
    assert "relu" in failed.reason
    assert {v.status for v in result.report.verdicts.values() if v.segment == failed.name} == {"build failed"}
    feeds = {"x": np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype(np.float32)}
    import tfgraphopt.runtime  # noqa: F401

    for got, wanted in zip(
        in_session(result.graph_def, ["y"], feeds), in_session(graph_def, ["y"], feeds), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(tgo.TfGraphOptError):
        tgo.optimize_graph_def(graph_def, ["y"], tgo.Config(minimum_segment_size=2, strict=True), tables=tables)


def _emit_broken(emitter, node):
    layer = emitter.add(emitter.network.add_non_zero(emitter.tensor(node.inputs[0])))
    return [layer.get_output(0)]


BROKEN = LayerDef("acme.broken", lambda inputs, attrs: [inputs[0].type], lambda tf, inputs, attrs: inputs, _emit_broken)
"""Promises its input's type and emits coordinates: TensorRT's inference disagrees."""


@converter("Relu", overrides="converters")
def broken_relu(b: LayerBuilder, features: Operand) -> Operand:
    """Use the broken layer on images."""
    return b.layer("acme.broken", [features])[0] if len(features.shape) == 4 else b.activation(features, "relu")


class _Breaker:
    """A plugin that replaces the converter of Relu."""

    @tgo.hookimpl
    def tfgraphopt_trt_layers(self) -> list[LayerDef]:
        return [BROKEN]

    @tgo.hookimpl
    def tfgraphopt_trt_converters(self) -> list[Converter]:
        return [broken_relu]
