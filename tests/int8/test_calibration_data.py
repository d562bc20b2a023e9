"""The modern call and the command line: forms of data, errors, early stop, resuming, shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from int8.running import quantised, small_graph
from tfgraphopt.cli import main
from tfgraphopt.errors import ConfigError
from tfgraphopt_int8 import Statistics
from tfgraphopt_int8.settings import Settings

RNG = np.random.default_rng(11)


def batch(size: int = 2) -> Any:
    return RNG.normal(size=(size, 8, 8, 16)).astype(np.float32)


def two_inputs() -> Any:
    with tf.Graph().as_default() as graph:
        a = tf.compat.v1.placeholder(tf.float32, [None, 32], name="a")
        b = tf.compat.v1.placeholder(tf.float32, [None, 32], name="b")
        weights = RNG.normal(size=(2, 32, 32)).astype(np.float32)
        tf.add(tf.nn.relu(a @ weights[0]), tf.nn.relu(b @ weights[1]), name="y")
    return graph.as_graph_def()


def statistics_of(result: Any) -> Statistics:
    found = Settings.of(result.config).statistics
    assert found is not None
    return found


A, B = RNG.normal(size=(4, 32)).astype(np.float32), 3 * RNG.normal(size=(4, 32)).astype(np.float32)


@pytest.mark.parametrize(
    "data", [[{"a": A, "b": B}], [(A, B)], [[A, B]], [{"b:0": B, "a:0": A}], iter([(A[:3], B[:3]), (A[3:], B[3:])])]
)
def test_structures(data: Any) -> None:
    seen = statistics_of(quantised(two_inputs(), ["y"], data)).tensors
    assert {n: s.amax for n, s in seen.items()} == {"a": np.abs(A).max(), "b": np.abs(B).max()}
    assert all(s.count == A.size for s in seen.values())


def test_a_dataset_with_a_short_last_batch() -> None:
    data = batch(7)
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(3)
    assert statistics_of(quantised(small_graph(), ["y"], dataset)).tensors["x"].count == data.size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "there is no calibration data"), ([{"a": A}], "lacks inputs of the model\n  where: b"),
        ([{"a": A, "b": B, "c": B}], "names inputs that the model lacks\n  where: c"), ([A], "is one array"),
        ([(A,)], "has 1 arrays; the model has 2 inputs"), ([(A, B[:, :5])], r"takes shape \[\?,32\], not \(4, 5\)"),
        ([(A, B.astype(np.float64))], "takes float32, not float64"), ([(A, B.astype(np.uint8))], "takes float32, not uint8"),
        ([(A, B * np.nan)], "is not finite"), ({"a": A, "b": B}, "an iterable of batches, not a dict"), (3, "an iterable of batches"),
        ([(A[:0], B[:0])], "is empty"),
    ],
)  # fmt: skip
def test_bad_data_is_one_clear_error(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        quantised(two_inputs(), ["y"], data)


def test_number_of_samples_and_early_stop() -> None:
    drawn = []

    def endless() -> Any:
        while True:
            drawn.append(0)
            yield batch(2)

    seen = statistics_of(quantised(small_graph(), ["y"], endless(), samples=5, early_stop=False))
    assert seen.tensors["x"].count == 5 * 8 * 8 * 16
    drawn.clear()
    one = batch(2)
    quantised(small_graph(), ["y"], (drawn.append(0) or one for _ in range(1000)))  # type: ignore[func-returns-value]
    assert len(drawn) < 15


def test_an_interrupted_run_goes_on_from_what_it_saved(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    batches = [batch() for _ in range(4)]

    def interrupted() -> Any:
        yield from batches[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantised(small_graph(), ["y"], interrupted(), save=path)
    assert Statistics.load(path).batches == 2
    again = statistics_of(quantised(small_graph(), ["y"], batches[2:], save=path, resume=path))
    at_once = statistics_of(quantised(small_graph(), ["y"], batches))
    assert again.tensors["x"] == at_once.tensors["x"]
    assert Statistics.load(path) == again


def test_nothing_is_written_when_the_data_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    with pytest.raises(ConfigError):
        quantised(small_graph(), ["y"], [np.zeros((1, 2), np.float32)], save=path)
    assert not list(tmp_path.iterdir())


# -- the command line ------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pb"
    path.write_bytes(small_graph().SerializeToString())
    return path


def test_calibrate_shards_merge_optimize(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = batch(6)
    np.savez(tmp_path / "one.npz", x=data[:4])
    np.save(tmp_path / "two.npy", data[4:])
    shards = []
    for name in ("one.npz", "two.npy"):
        shards.append(tmp_path / f"{name}.json")
        arguments = [
            "calibrate",
            str(model),
            str(tmp_path / name),
            "--outputs",
            "y",
            "--batch",
            "3",
            "-o",
            str(shards[-1]),
        ]
        assert main(arguments) == 0
    merged = tmp_path / "merged.json"
    assert main(["calibrate", "--merge", *map(str, shards), "-o", str(merged)]) == 0
    assert Statistics.load(merged).tensors["x"].count == data.size
    assert "3 tensors" in capsys.readouterr().out
    report = tmp_path / "report.json"
    arguments = ["optimize", str(model), "--outputs", "y", "-o", str(tmp_path / "out.pb"), "--precision", "int8"]
    assert main([*arguments, "--max-batch-size", "8", "--calibration", str(merged), "--report", str(report)]) == 0
    (segment,) = json.loads(report.read_text())["segments"]
    assert segment["details"]["int8"]["int8_layers"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no arrays"),
        (None, "No such file"),
        ({"z": np.zeros((2, 8, 8, 16), np.float32)}, "lacks inputs of the model"),
    ],
)
def test_bad_files(model: Path, tmp_path: Path, content: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    assert main(["calibrate", str(model), str(path), "--outputs", "y", "-o", str(tmp_path / "out.json")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
