"""Which models and data the commands take, and what they say of those that they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from formats.models import WIDTH, frozen_graph, images, save_everything, save_words, words

import tfgraphopt as tgo
from tfgraphopt.cli import main


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SavedModel with a table, a counter and strings in one signature, and neither in the other."""
    return str(save_everything(tmp_path_factory.mktemp("everything")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, x=images(4), words=np.array([b"cat", b"dog", b"bird", b""]))
    return str(path)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SavedModel whose only signature needs a table, and counts its calls."""
    return str(save_words(tmp_path_factory.mktemp("words")))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("texts") / "texts.npz"
    np.savez(path, words=words(16))
    return str(path)


def optimised(model: str, output: Path, *more: str) -> str:
    words = ["optimize", model, "--engine", "none", "--max-batch-size", "4", "-o", str(output), *more]
    assert main(words) == 0
    return str(output)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 1
    return capsys.readouterr().err


def test_two_saved_models_with_tables_and_strings(everything: str, data: str, tmp_path: Path) -> None:
    other = optimised(everything, tmp_path / "out")
    assert main(["verify", everything, other, "--data", data, "--tolerance", "1e-5"]) == 0
    quick = ["--seconds", "0.1", "--min-runs", "2", "--warmup-seconds", "0.1"]
    assert main(["bench", everything, other, *quick]) == 0, "random strings are strings"


def test_a_signature_against_a_graph_def(everything: str, tmp_path: Path) -> None:
    other = optimised(everything, tmp_path / "out.pb", "--signature", "embed")
    np.save(tmp_path / "x.npy", images(4))
    words = [
        "verify",
        everything,
        other,
        "--signature",
        "embed",
        "--data",
        str(tmp_path / "x.npy"),
        "--tolerance",
        "1e-5",
    ]
    assert main(words) == 0


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_precision_is_predicted_with_the_models_tables_and_variables(
    vocabulary: str, texts: str, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["verify", vocabulary, "--data", texts, "--precision", precision, "--max-batch-size", "16", "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    count, features = sorted(found["outputs"].values(), key=lambda e: e["max_rel"])
    assert 0 < features["max_rel"] < 0.05
    assert count["max_abs"] == 0
    assert len(found["segments"]) == 1


def test_a_signature_with_tables_is_bisected_and_calibrated(
    vocabulary: str, texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bisect", vocabulary, "--data", texts]) == 0
    found = str(tmp_path / "found.json")
    assert main(["calibrate", vocabulary, texts, "-o", found, "--batch", "4", "--max-batch-size", "16"]) == 0
    assert "3 tensors, 4 batches" in capsys.readouterr().out
    int8 = optimised(vocabulary, tmp_path / "int8", "--precision", "int8", "--calibration", found)
    assert main(["verify", vocabulary, int8, "--data", texts, "--tolerance", "1e-5"]) == 0, "nothing was built"


def test_engines_of_a_signature_with_tables_are_looked_at_alone(
    vocabulary: str, texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = str(tmp_path / "made")
    assert main(["optimize", vocabulary, "--engine", "openvino", "--max-batch-size", "16", "-o", made]) == 0
    capsys.readouterr()
    assert main(["verify", vocabulary, made, "--data", texts, "--per-segment", "--tolerance", "1e-4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(errors) for errors in found["segments"].values()] == [1]
    assert "its engine ran" in found["engines"][0]


def test_graphs_whose_tables_are_elsewhere_are_refused_with_the_reason(
    everything: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = optimised(everything, tmp_path / "out.pb")
    for command in (
        ("verify", everything, other, "--data", data), ("bench", everything, other, "--data", data),
        ("bench", everything, "--xla", "--data", data), ("bisect", other, "--data", data),
    ):  # fmt: skip
        said = refused(capsys, *command)
        assert "cannot be run by itself" in said, command
        assert "--signature" in said


@pytest.mark.parametrize("command", [("verify", "--precision", "fp16"), ("bisect",)])
def test_data_of_other_names_is_refused_with_the_names(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pb").write_bytes(frozen_graph().SerializeToString())
    np.savez(tmp_path / "other.npz", image=images(2))
    said = refused(capsys, command[0], str(tmp_path / "model.pb"), "--data", str(tmp_path / "other.npz"), *command[1:])
    assert "there is no input 'image'" in said
    assert "the inputs are x" in said


def test_a_keras_file_is_calibrated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = keras.Sequential(
        [keras.Input((4 * WIDTH,), name="x"), keras.layers.Dense(32, "relu"), keras.layers.Dense(32)]
    )
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(16, 4 * WIDTH)).astype(np.float32))
    paths = [str(tmp_path / name) for name in ("model.keras", "x.npy", "found.json")]
    assert main(["calibrate", *paths[:2], "-o", paths[2], "--max-batch-size", "16"]) == 0
    assert "written" in capsys.readouterr().out
    int8 = optimised(paths[0], tmp_path / "int8", "--precision", "int8", "--calibration", paths[2])
    assert main(["verify", int8, paths[0], "--data", paths[1], "--tolerance", "1e-5"]) == 0, "nothing was built"


def test_a_model_with_engines_is_an_original_too(tmp_path: Path) -> None:
    """In a process that has not heard of engines."""
    model = tgo.optimize(frozen_graph(), outputs=["scores"], engine="openvino", max_batch_size=4).save(
        tmp_path / "made"
    )
    quick = ["--seconds", "0.1", "--min-runs", "2", "--warmup-seconds", "0.1"]
    command = [sys.executable, "-m", "tfgraphopt", "bench", str(model), "--json", *quick]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["contestants"][0]["name"] == "original"
