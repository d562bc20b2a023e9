"""What TensorBoard serves and what Netron shows of the graphs that are written for them: both are started for real."""

from __future__ import annotations

import json
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from google.protobuf import text_format

import tfgraphopt as tgo
from explanation.browser import chromium, needs_browser
from explanation.models import chain, dense
from tfgraphopt.cli import main
from tfgraphopt.config import Config
from tfgraphopt.formats.drawings import MOST_BYTES, drawable
from tfgraphopt.optimization import Result, optimize_graph_def


@pytest.fixture(scope="module")
def result() -> Result:
    return optimize_graph_def(dense(), ["y"], Config(engine="none", max_batch_size=4))


@pytest.fixture
def tensorboard(tmp_path: Path, result: Result) -> Iterator[str]:
    """The address of a TensorBoard that serves the graphs of ``result``."""
    assert result.write_tensorboard(tmp_path / "logs") == ["original", "optimised", "TRTEngineOp_000_000"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TensorBoard's own imports warn of
        from tensorboard import program

        server = program.TensorBoard()
        server.configure(argv=["", "--logdir", str(tmp_path / "logs"), "--port", "0", "--host", "127.0.0.1"])
        yield server.launch().rstrip("/")


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        found: bytes = answer.read()
    return found


def test_tensorboard_serves_both_graphs_and_the_engines(tensorboard: str) -> None:
    runs: dict[str, Any] = {}
    deadline = time.monotonic() + 60
    while len(runs) < 3 and time.monotonic() < deadline:  # TensorBoard reads the directory in the background
        runs = json.loads(fetched(f"{tensorboard}/data/plugin/graphs/info"))
        time.sleep(0.2)
    assert set(runs) == {"original", "optimised", "TRTEngineOp_000_000"}
    assert all(run["run_graph"] for run in runs.values())

    def served(run: str) -> dict[str, str]:
        text = fetched(f"{tensorboard}/data/plugin/graphs/graph?run={run}&conceptual=false").decode()
        graph_def = text_format.Parse(text, tf.compat.v1.GraphDef())
        return {node.name: node.op for node in graph_def.node}

    assert served("original") == {node.name: node.op for node in dense().node}
    assert served("optimised")["TRTEngineOp_000_000"] == "TRTEngineOp"
    assert "trt.matrix_multiply" in served("TRTEngineOp_000_000").values()


def test_weights_and_plans_are_left_out_and_shapes_stay() -> None:
    graph_def = dense()
    drawn = drawable(graph_def)
    before, after = ({n.name: n for n in g.node} for g in (graph_def, drawn))
    (weights,) = (name for name, n in before.items() if n.op == "Const" and "product" in name)
    assert before[weights].attr["value"].tensor.ByteSize() > MOST_BYTES
    assert not after[weights].attr["value"].tensor.tensor_content
    assert after[weights].attr["value"].tensor.tensor_shape == before[weights].attr["value"].tensor.tensor_shape
    assert {n: list(v.input) for n, v in after.items()} == {n: list(v.input) for n, v in before.items()}


def test_models_write_a_run_for_every_signature(tmp_path: Path) -> None:
    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([2, 8], tf.float32, "x")])
        def one(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.nn.relu(tf.nn.tanh(tf.nn.sigmoid(x)))}

        @tf.function(input_signature=[tf.TensorSpec([2, 8], tf.float32, "x")])
        def two(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"z": tf.nn.tanh(tf.nn.relu(tf.nn.sigmoid(x)))}

    module = Two()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"one": module.one, "two": module.two})
    result = tgo.optimize(tmp_path / "m", engine="none")
    runs = result.write_tensorboard(tmp_path / "logs")
    assert {"one/original", "one/optimised", "two/original", "two/optimised"} <= set(runs)
    names = {p.name for p in result.write_netron(tmp_path / "netron")}
    assert {"one-original.pb", "two-optimised.pb"} <= names


def shown_by_netron(browser: Any) -> list[str]:
    """The texts of the graph once Netron shows one; its question about usage data (nothing can be sent from here) is answered."""
    for button in browser.find_elements("xpath", "//button[text()='Accept']"):
        if button.is_displayed():
            button.click()
    found: list[str] = browser.execute_script("return [...document.querySelectorAll('text')].map(t => t.textContent)")
    return found


@needs_browser()
def test_netron_opens_the_original_the_result_and_the_layers(result: Result, tmp_path: Path) -> None:
    import netron
    from selenium.webdriver.support.ui import WebDriverWait

    paths = result.write_netron(tmp_path)
    assert [p.name for p in paths] == ["original.pb", "optimised.pb", "TRTEngineOp_000_000.pb"]
    shown = ("MatMul", "TRTEngineOp", "matrix_multiply")
    with chromium() as browser:
        for path, op in zip(paths, shown, strict=True):
            host, port = netron.start(str(path), browse=False)
            try:
                browser.get(f"http://{host}:{port}")
                labels = WebDriverWait(browser, 60).until(shown_by_netron)
                assert op in labels
            finally:
                netron.stop()


def test_commands_write_drawings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.pb"
    model.write_bytes(chain([5, 5]).SerializeToString())
    asked = ["--max-batch-size", "4", "--tensorboard", str(tmp_path / "logs"), "--netron", str(tmp_path / "netron")]
    assert main(["explain", str(model), *asked]) == 0
    assert "tensorboard --logdir" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "logs").iterdir()} == {p.stem for p in (tmp_path / "netron").iterdir()}
    assert main(["optimize", str(model), "-o", str(tmp_path / "o.pb"), "--engine", "none", *asked]) == 0
