"""The command line on real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from main_job.jobs import in_session
from main_job.test_bad_input import small_graph

import tfgraphopt.runtime  # noqa: F401
from tfgraphopt.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pb"
    path.write_bytes(small_graph().SerializeToString())
    return path


def read(path: Path) -> tf.compat.v1.GraphDef:
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    return graph_def


def test_optimize_writes_a_graph_that_computes_the_same(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "out" / "optimised.pb", tmp_path / "report.json"
    assert (
        main(
            ["optimize", str(model), "--outputs", "y", "--max-batch-size", "8", "-o", str(out), "--report", str(report)]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "TRTEngineOp_000_000" in printed
    assert "built" in printed
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)}
    for got, wanted in zip(in_session(read(out), ["y"], feeds), in_session(read(model), ["y"], feeds), strict=True):
        np.testing.assert_array_equal(got, wanted)
    tree = json.loads(report.read_text())
    assert tree["segments"][0]["engine_bytes"] > 0
    assert {v["status"] for v in tree["verdicts"]} == {"converted", "not a candidate"}


def test_outputs_default_to_the_ends_of_the_graph(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(model), "--json", "--max-batch-size", "2"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert {v["node"]: v["status"] for v in tree["verdicts"]}["y"] == "converted"


def test_explain_gives_every_node_a_verdict(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(model), "--outputs", "y", "--deny-op", "MatMul", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    verdicts = {v["node"]: v for v in tree["verdicts"]}
    assert {n.name for n in read(model).node} <= verdicts.keys()
    assert verdicts["dense"] == {
        "node": "dense", "op": "MatMul", "status": "vetoed", "reason": "op MatMul is denied by the caller", "segment": "",
        "converter": "converters", "graph": "main", "origin": ["dense"],
    }  # fmt: skip


def test_a_text_graph_def_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pbtxt"
    path.write_text(str(small_graph()))
    assert main(["explain", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["segments"]


def test_a_saved_model_is_frozen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Dense(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(np.eye(4, dtype=np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"out": tf.nn.relu(tf.nn.tanh(tf.matmul(x, self.w)) + 1.0)}

    module = Dense()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.__call__)
    assert main(["explain", str(tmp_path / "m"), "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert "MatMul" in tree["segments"][0]["ops"]
    assert main(["explain", str(tmp_path / "m"), "--signature", "typo"]) == 1
    assert "it has serving_default" in capsys.readouterr().err


def test_shapes_profiles_and_usage_errors(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(model), "--shape", "x=1x8x8x3:2x8x8x3:4x8x8x3", "--json"]) == 0
    assert main(["explain", str(model), "--shape", "x=1x9x8x3"]) == 1
    assert "does not fit" in capsys.readouterr().err
    assert main(["explain", str(model), "--shape", "x:1"]) == 1
    assert "INPUT=MIN:OPT:MAX" in capsys.readouterr().err


def test_plugins_and_passes_list_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    listed = {p["name"]: p for p in json.loads(capsys.readouterr().out)["plugins"]}
    assert "MatMul" in listed["converters"]["contributes"]["tfgraphopt_trt_converters"]
    assert main(["plugins", "--no-plugin", "converters", "--json"]) == 0
    assert "converters" not in {p["name"] for p in json.loads(capsys.readouterr().out)["plugins"]}
    assert main(["passes"]) == 0
    pipeline = capsys.readouterr().out.rpartition("default pipeline: ")[2].replace("\n", "").split(",")
    assert (
        pipeline.index("infer-types")
        < pipeline.index("segment")
        < pipeline.index("lower")
        < pipeline.index("build-engines")
    )
