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


# -- records and images ----------------------------------------------------------------------------------------------------


def photograph_net(size: int | None = 8, dtype: Any = tf.float32, first: bool = False) -> Any:
    """A convolution over images, of a size that is known or not, channels last or first."""
    kernel = RNG.normal(size=(3, 3, 3, 16)).astype(np.float32)
    shape = [None, 3, size, size] if first else [None, size, size, 3]
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(dtype, shape, name="image")
        x = tf.cast(x, tf.float32)
        y = tf.nn.conv2d(tf.transpose(x, [0, 2, 3, 1]) if first else x, kernel, 1, "SAME")
        tf.nn.conv2d(tf.nn.relu(y), RNG.normal(size=(1, 1, 16, 16)).astype(np.float32), 1, "SAME", name="y")
    return graph.as_graph_def()


def seen_by_command(graph_def: Any, tmp_path: Path, *arguments: str) -> Statistics:
    """What `tfgraphopt calibrate` records; every layer is wanted, so that the input is recorded too."""
    (tmp_path / "model.pb").write_bytes(graph_def.SerializeToString())
    out = tmp_path / "out.json"
    command = ["calibrate", str(tmp_path / "model.pb"), *arguments, "--outputs", "y", "--all", "-o", str(out)]
    assert main(command) == 0
    return Statistics.load(out)


def record_of(**features: Any) -> bytes:
    kinds: dict[type, Any] = {
        bytes: lambda v: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])),
        list: lambda v: tf.train.Feature(float_list=tf.train.FloatList(value=v)),
    }
    made = {name: kinds[type(value)](value) for name, value in features.items()}
    encoded: bytes = tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()
    return encoded


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_tfrecords_of_numbers(tmp_path: Path, compression: str) -> None:
    path = tmp_path / ("data.tfrecord.gz" if compression else "data.tfrecord")
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for a, b in zip(A, B, strict=True):
            writer.write(record_of(a=a.tolist(), b=b.tolist(), label=[1.0]))
    seen = seen_by_command(two_inputs(), tmp_path, str(path), "--batch", "3").tensors
    assert {n: (s.amax, s.count, s.batches) for n, s in seen.items()} == {
        "a": (np.abs(A).max(), A.size, 2), "b": (np.abs(B).max(), B.size, 2),
    }  # fmt: skip


def pictures(folder: Path, sizes: list[tuple[int, int]]) -> list[Any]:
    made = []
    for index, size in enumerate(sizes):
        made.append(RNG.integers(0, 256, (*size, 3), dtype=np.uint8))
        path = folder / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(tf.io.encode_png(made[-1]).numpy())
    return made


def batches_read(path: Path, graph_def: Any, size: int = 4, mean: float = 0.0, scale: float = 1.0) -> list[Any]:
    """What the reader makes of ``path`` for the input of a graph."""
    from tfgraphopt.cli.samples import Pixels, batches_of, inputs_of

    inputs = inputs_of(graph_def, ["y"])
    return [b["image"] for b in batches_of([path], size, inputs, Pixels(mean, scale))]


def test_folders_of_images_become_what_the_model_takes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    made = pictures(folder, [(8, 8)] * 3)
    in_order = [made[0], made[2], made[1]]  # sorted by path
    (last,) = batches_read(folder, photograph_net(), mean=127.5, scale=1 / 128)
    np.testing.assert_allclose(last, (np.stack(in_order).astype(np.float32) - 127.5) / 128, rtol=1e-6)
    (first,) = batches_read(folder, photograph_net(first=True))
    np.testing.assert_array_equal(first, np.stack(in_order).transpose(0, 3, 1, 2).astype(np.float32))
    (whole,) = batches_read(folder, photograph_net(dtype=tf.uint8))
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, np.stack(in_order))


def test_images_are_scaled_to_a_known_size_and_kept_at_an_unknown_one(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    pictures(folder, [(16, 12), (10, 20)])
    assert [b.shape for b in batches_read(folder, photograph_net())] == [(2, 8, 8, 3)]
    assert [b.shape for b in batches_read(folder, photograph_net(None))] == [(1, 16, 12, 3), (1, 10, 20, 3)]


def test_the_command_reads_folders_and_records_of_images(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    made = pictures(folder, [(8, 8)] * 3)
    path = tmp_path / "data.tfrecords"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in made:
            writer.write(record_of(image=tf.io.encode_png(image).numpy()))
    (one,) = (seen_by_command(photograph_net(), tmp_path, str(folder)).tensors,)
    two = seen_by_command(photograph_net(), tmp_path, str(path), str(folder)).tensors
    assert one.keys() == two.keys() == {"Relu"}
    assert (one["Relu"].batches, two["Relu"].batches) == (1, 2)
    assert two["Relu"].count == 2 * one["Relu"].count == 6 * 8 * 8 * 16


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty", None, "there are no images"), ("bad.tfrecord", b"nonsense" * 8, "cannot be read as a TFRecord file"),
        ("no.tfrecord", b"", "there is no calibration data"), ("photos/x.png", b"nonsense", "is no image"),
        ("example.tfrecord", [b"\x0f"], "is no tf.train.Example"), ("lacks.tfrecord", [record_of(z=[1.0])], "lacks the input 'image'"),
        ("short.tfrecord", [record_of(image=[1.0])], "it has 1 numbers"),
    ],
)  # fmt: skip
def test_bad_records_and_folders(
    name: str, content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    if isinstance(content, list):
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(content[0])
    elif content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    (tmp_path / "model.pb").write_bytes(photograph_net().SerializeToString())
    given = path.parent if path.suffix == ".png" else path
    assert (
        main(["calibrate", str(tmp_path / "model.pb"), str(given), "--outputs", "y", "-o", str(tmp_path / "o.json")])
        == 1
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.json").exists()


def test_a_folder_of_images_feeds_one_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.pb").write_bytes(two_inputs().SerializeToString())
    command = ["calibrate", str(tmp_path / "model.pb"), str(tmp_path), "--outputs", "y", "-o", str(tmp_path / "o.json")]
    assert main(command) == 1
    assert "feeds one input" in capsys.readouterr().err
