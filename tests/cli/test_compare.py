"""verify with two models: real OpenVINO engines, planted errors, and arithmetic done by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfgraphopt as tgo
from tfgraphopt.cli import main
from tfgraphopt.comparing import Limits, Model, compare
from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.verification import Errors, ErrorSums

Printed = pytest.CaptureFixture[str]
RNG = np.random.default_rng(0)
W = RNG.normal(size=(16, 16)).astype(np.float32)
X = RNG.normal(size=(10, 16)).astype(np.float32)


def network(bias: float = 0.0, name: str = "y") -> GraphDef:
    """Two products with a TopK (which no engine gets) and its indices between them."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 16], name="x")
        h = tf.nn.tanh(tf.matmul(tf.nn.relu(tf.matmul(x, W), name="first"), W))
        values, indices = tf.nn.top_k(h, 8)
        tf.identity(indices, name="indices")
        tf.add(tf.nn.relu(tf.matmul(tf.nn.softmax(values), W[:8]), name="second"), bias, name=name)
    return graph.as_graph_def()


def written(graph_def: GraphDef, path: Path) -> str:
    path.write_bytes(graph_def.SerializeToString())
    return str(path)


@pytest.fixture
def original(tmp_path: Path) -> str:
    return written(network(), tmp_path / "original.pb")


@pytest.fixture
def data(tmp_path: Path) -> str:
    np.savez(tmp_path / "x.npz", x=X)
    return str(tmp_path / "x.npz")


def test_engines_of_openvino_are_close_and_have_run(original: str, data: str, tmp_path: Path, capsys: Printed) -> None:
    pytest.importorskip("openvino", reason="needs real engines that run on a CPU: pip install tfgraphopt[openvino]")
    out = str(tmp_path / "out.pb")
    asked = ["--engine", "openvino", "--max-batch-size", "10", "--deny-op", "TopKV2", "--outputs", "y"]
    assert main(["optimize", original, *asked, "-o", out]) == 0
    capsys.readouterr()
    command = ["verify", original, out, "--data", data, "--outputs", "y", "--per-segment", "--batch", "4"]
    assert main([*command, "--tolerance", "1e-4", "--min-snr", "60", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert (tree["batches"], tree["samples"], tree["good"]) == (3, 10, True)
    assert 0 < tree["outputs"]["y"]["max_rel"] < 1e-4
    first, second = tree["segments"].values()
    assert list(second) == ["y"]
    assert all(0 <= e["max_rel"] < 1e-4 for e in (*first.values(), *second.values()))
    assert all("its engine ran 3 times" in line for line in tree["engines"])


def test_saved_models_run_as_whoever_loads_them_runs_them(tmp_path: Path, capsys: Printed) -> None:
    """With a table, which no frozen graph has, and by the structured names of the signature."""

    class Scored(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(W)
            values = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2], tf.int64), tf.constant([0.5, 2.0]))
            self.table = tf.lookup.StaticHashTable(values, 0.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 16], name="feat"), tf.TensorSpec([None], tf.int64, "ids")])
        def score(self, feat: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
            hidden = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(feat, self.w)), self.w))
            return {"score": tf.nn.softmax(hidden) * self.table.lookup(ids)[:, None], "count": tf.shape(feat)[0]}

    module = Scored()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.score)
    tgo.optimize(tmp_path / "model", engine="none", max_batch_size=10).save(tmp_path / "optimised")
    np.savez(tmp_path / "d.npz", feat=X, ids=np.arange(10) % 3)
    both = [str(tmp_path / "model"), str(tmp_path / "optimised"), "--data", str(tmp_path / "d.npz")]
    assert main(["verify", *both, "--max-abs", "0", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert set(tree["outputs"]) == {"score", "count"}
    assert "its engine NEVER ran" in tree["engines"][0]
    assert main(["bench", *both, "--seconds", "0.1", "--warmup-seconds", "0.1"]) == 0
    assert "optimised: TRTEngineOp_000_000" in " ".join(capsys.readouterr().out.split())
    assert (
        main(
            [
                "bench",
                both[0],
                "--shape",
                "feat=4x16",
                "--shape",
                "ids=4",
                "--seconds",
                "0.1",
                "--warmup-seconds",
                "0.1",
            ]
        )
        == 0
    )


def test_without_a_plan_tensorflow_runs_and_that_is_said(
    original: str, data: str, tmp_path: Path, capsys: Printed
) -> None:
    out = str(tmp_path / "out.pb")
    assert main(["optimize", original, "--engine", "none", "--max-batch-size", "10", "-o", out]) == 0
    assert main(["verify", original, out, "--data", data, "--max-abs", "0"]) == 0
    printed = capsys.readouterr().out
    assert "its engine NEVER ran" in printed
    assert "every output is within its limits" in printed


def test_errors_are_those_planted(original: str, data: str, tmp_path: Path, capsys: Printed) -> None:
    biased = written(network(bias=0.5), tmp_path / "biased.pb")
    command = ["verify", original, biased, "--data", data, "--outputs", "y"]
    assert main([*command, "--json"]) == 0  # no limit, and everything is finite
    errors = json.loads(capsys.readouterr().out)["outputs"]["y"]
    assert errors["max_abs"] == pytest.approx(0.5, abs=1e-6)
    assert main([*command, "--max-abs", "0.6"]) == 0
    capsys.readouterr()
    for limit, said in (
        (["--max-abs", "0.4"], "max abs 0.5 is above 0.4"),
        (["--tolerance", "1e-3"], "max rel"),
        (["--min-cosine", "0.9999"], "cosine"),
        (["--min-snr", "80"], "SNR"),
    ):
        assert main([*command, *limit]) == 3
        printed = capsys.readouterr().out
        assert f"output y: {said}" in printed
        assert "limits BROKEN" in printed


def test_nan_breaks_without_any_limit(original: str, data: str, tmp_path: Path, capsys: Printed) -> None:
    wrong = written(network(bias=float("nan")), tmp_path / "nan.pb")
    assert main(["verify", original, wrong, "--data", data]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "output y: 160 elements are not finite, or not equal, where they should be" in said


def test_what_cannot_be_compared_is_one_clear_error(original: str, tmp_path: Path, capsys: Printed) -> None:
    assert main(["verify", original, original]) == 1
    assert "accuracy is judged on data" in capsys.readouterr().err
    np.savez(tmp_path / "z.npz", z=X)
    assert main(["verify", original, original, "--data", str(tmp_path / "z.npz")]) == 1
    assert "there is no input 'z'" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", X)
    assert main(["verify", original, original, "--data", str(tmp_path / "x.npy"), "--max-abs", "0"]) == 0
    other = written(network(name="other"), tmp_path / "other.pb")
    assert main(["verify", original, other, "--random"]) == 1
    assert "no such output" in capsys.readouterr().err


def test_outputs_of_other_types_and_numbers_are_refused() -> None:
    graph_def = network()
    with pytest.raises(ConfigError, match="differs in type or shape"):
        compare(Model(graph_def, ["y"]), Model(graph_def, ["indices"]), [{"x": X}])
    with pytest.raises(ConfigError, match="different numbers of outputs"):
        compare(Model(graph_def, ["y"]), Model(graph_def, ["y", "indices"]), [{"x": X}])
    with pytest.raises(ConfigError, match="no data"):
        compare(Model(graph_def, ["y"]), Model(graph_def, ["y"]), [])


def test_unequal_integers_break() -> None:
    found = compare(Model(network(), ["indices"]), Model(network(), ["indices"]), [{"x": X}])
    assert not found.broken(Limits(max_abs=0))
    sums = ErrorSums()
    sums.add(np.array([1, 2, 3]), np.array([1, 2, 4]))
    assert (sums.errors.bad, sums.errors.max_abs) == (1, np.inf)


floats = st.floats(-1e3, 1e3, width=32)
pairs = st.lists(st.tuples(floats, floats), min_size=1, max_size=20)


@given(pairs, st.integers(1, 19))
@settings(deadline=None)
def test_errors_of_batches_are_errors_of_the_whole(numbers: list[tuple[float, float]], cut: int) -> None:
    made, expected = np.array(numbers, np.float32).T
    whole = Errors.between(made, expected)
    sums = ErrorSums()
    sums.add(made[:cut], expected[:cut])
    sums.add(made[cut:], expected[cut:])
    parts = sums.errors
    assert (parts.max_abs, parts.max_rel, parts.bad) == (whole.max_abs, whole.max_rel, whole.bad)
    assert parts.cosine == pytest.approx(whole.cosine, abs=1e-9)
    assert parts.snr_db == pytest.approx(whole.snr_db, abs=1e-6)
    difference = made.astype(np.float64) - expected
    assert whole.max_abs == np.abs(difference).max()
    if difference.any() and expected.any():
        assert whole.snr_db == pytest.approx(
            10 * np.log10((expected.astype(np.float64) ** 2).sum() / (difference**2).sum())
        )


@given(st.lists(st.complex_numbers(max_magnitude=1e3), min_size=1, max_size=8))
@settings(deadline=None)
def test_complex_numbers_are_compared_by_both_parts(numbers: list[complex]) -> None:
    array = np.array(numbers, np.complex128)
    assert Errors.between(array, array).max_abs == 0
    assert Errors.between(array + 3j, array).max_abs == pytest.approx(3)
