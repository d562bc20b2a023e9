"""The distribution as it is installed: found by its entry point, at work in an optimisation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt as tgo
from tfgraphopt import plugins
from tfgraphopt.cli import main
from tfgraphopt.testing.compare import run
from tfgraphopt_trt.tensorrt_api import available


def logits() -> tf.compat.v1.GraphDef:
    """A classifier of images with capped logits, and a check that somebody forgot."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [2, 8, 8, 3], name="x")
        h = tf.nn.relu(tf.nn.conv2d(x, rng.normal(size=(3, 3, 3, 4)).astype(np.float32), 1, "SAME"))
        h = tf.debugging.check_numerics(h, "forgotten", name="check")
        h = tf.tanh(h / 30.0) * 30.0
        h = tf.nn.conv2d(h, rng.normal(size=(3, 3, 4, 4)).astype(np.float32), 1, "SAME")
        tf.nn.softmax(tf.reshape(h, [2, 256]), name="y")
    return graph.as_graph_def()


def optimised(engine: str = "none", **options: object) -> tgo.Result:
    config = tgo.Config(engine=engine, pipeline="acme", options=options)
    return tgo.optimize_graph_def(logits(), ["y"], config, tables=plugins.load(strict=True))


def test_the_entry_point_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    (acme,) = (p for p in json.loads(capsys.readouterr().out)["plugins"] if p["name"] == "acme")
    assert (acme["distribution"], acme["version"]) == ("acme-tf", "1.0")
    assert acme["contributes"]["tfgraphopt_trt_converters"] == ["AcmeSoftCap"]
    assert acme["hosts"] == ["acme-soft-cap-from-tanh in fuse"]


def test_everything_of_ours_is_at_work() -> None:
    result = optimised()
    (body,) = result.module.lowered.values()
    ops = [node.op for node in body]
    assert "acme.soft_cap" in ops
    assert ops.count("trt.transpose") <= 2, "the layout rule lets transposes pass between the convolutions"
    assert result.report.verdicts["check"].status == "simplified"
    tanh = result.report.verdicts["Tanh"]
    assert (tanh.status, tanh.converter) == ("converted", "acme")


def test_tensorrt_builds_it_and_the_graph_computes_the_same() -> None:
    if not any(installation.tensorrt for installation in available()):
        pytest.skip("TensorRT is not installed")
    result = optimised("tensorrt", engine_cache=False)
    (segment,) = result.report.segments.values()
    assert (segment.status, segment.reason) == ("built", "")
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)}
    wanted, found = run(logits(), feeds, ["y"]), run(result.graph_def, feeds, ["y"])
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-4, atol=1e-6)


def test_the_rule_can_be_asked_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pb"
    path.write_bytes(logits().SerializeToString())
    assert main(["explain", str(path), "--rule", "acme-soft-cap-from-tanh", "--pipeline", "acme", "--json"]) == 0
    places = json.loads(capsys.readouterr().out)["places"]["main"]
    assert [p["fires"] for p in places] == [True]


@pytest.mark.parametrize("blocked", ["trt", "layout", "converters", "precision"])
def test_we_load_where_shipped_plugins_are_missing(blocked: str) -> None:
    tables = plugins.load(block=[blocked])
    assert "acme" in {p.name for p in tables.plugins}
    assert not tables.failures


def test_a_process_that_imports_tfgraphopt_knows_the_op() -> None:
    """And nothing of the plugin."""
    code = (
        "import tfgraphopt, tensorflow, sys\n"
        "from tensorflow.python.framework import op_def_registry\n"
        "print(op_def_registry.get('AcmeSoftCap') is not None, 'acme_tf.plugin' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["True", "False"], done.stderr
