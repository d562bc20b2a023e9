"""Statistics add up exactly in any order, survive JSON, and are what numpy says of the whole data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgraphopt.errors import ConfigError
from tfgraphopt_int8 import Statistics, TensorStatistics, findings, merge_all, read_cache, write_cache
from tfgraphopt_int8.histogram import BINS

numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)
arrays = st.lists(numbers, max_size=12).map(lambda values: np.array(values, np.float32))
finite = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30).map(
    lambda values: np.array(values, np.float32)
)
FINGERPRINT = "f" * 64


def whole(parts: list[Any]) -> TensorStatistics:
    total = TensorStatistics()
    for part in parts:
        total = total.merge(TensorStatistics.of(part))
    return total


@given(arrays, arrays, arrays)
def test_merging_is_associative_and_commutative(a: Any, b: Any, c: Any) -> None:
    one, two, three = (TensorStatistics.of(x) for x in (a, b, c))
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(two) == two.merge(one)
    assert one.merge(TensorStatistics()) == one


@given(st.lists(finite, min_size=1, max_size=5))
def test_parts_add_up_to_the_whole(parts: list[Any]) -> None:
    """All but what counts batches is the same as if the data had come at once."""
    total, at_once = whole(parts), TensorStatistics.of(np.concatenate(parts))
    assert total.batches == len(parts)
    for field in ("count", "zeros", "min", "max", "histogram"):
        assert getattr(total, field) == getattr(at_once, field)
    assert total.mean_peak == pytest.approx(np.mean([float(np.abs(p).max()) for p in parts]), rel=1e-12)


@given(finite)
def test_histogram_is_numpys(array: Any) -> None:
    histogram = TensorStatistics.of(array).histogram
    magnitudes = np.abs(array.astype(np.float64))
    magnitudes = magnitudes[magnitudes > 0]
    if histogram is None:
        assert not magnitudes.size
        return
    expected, _ = np.histogram(magnitudes, BINS, (0.0, 2.0**histogram.exponent))
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.exponent == -100 or magnitudes.max() >= 2.0 ** (histogram.exponent - 1)


@given(st.dictionaries(st.sampled_from(["a", "b/c", "d:1"]), arrays, max_size=3))
def test_json_keeps_everything(tensors: dict[str, Any]) -> None:
    found = Statistics(FINGERPRINT, {n: TensorStatistics.of(a) for n, a in tensors.items()}, ("a", "z"), "entropy")
    assert Statistics.from_json(found.to_json()) == found


@settings(max_examples=20, deadline=None)
@given(st.lists(finite, min_size=2, max_size=4), st.randoms())
def test_files_add_up_in_any_order(tmp_path_factory: pytest.TempPathFactory, parts: list[Any], random: Any) -> None:
    folder = tmp_path_factory.mktemp("shards")
    for index, part in enumerate(parts):
        Statistics(FINGERPRINT, {"x": TensorStatistics.of(part)}, ("x",)).save(folder / f"{index}.json")
    files = sorted(folder.iterdir())
    in_order = merge_all(Statistics.load(f) for f in files)
    random.shuffle(files)
    assert merge_all(Statistics.load(f) for f in files) == in_order


def test_statistics_of_another_graph_are_refused() -> None:
    with pytest.raises(ConfigError, match="of another graph"):
        Statistics("a").merge(Statistics("b"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "fingerprint": "x", "tensors": {"a": {}}}']
)
def test_damaged_files_are_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "statistics.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="calibration statistics"):
        Statistics.load(path)


def test_clipped_share() -> None:
    seen = TensorStatistics.of(np.arange(1, 101, dtype=np.float32))
    assert seen.clipped(100) == pytest.approx(0, abs=0.01)
    assert seen.clipped(50) == pytest.approx(0.5, abs=0.011)


def test_findings_name_what_was_not_covered() -> None:
    tensors = {
        "zero": np.zeros(4), "one": np.ones(4), "nan": np.array([1, np.nan]), "fine": np.arange(9.0),
    }  # fmt: skip
    statistics = Statistics("f", {n: TensorStatistics.of(a) for n, a in tensors.items()}, ("zero", "absent"))
    assert {f.tensor: f.kind for f in findings(statistics)} == {
        "absent": "never seen", "zero": "all zero", "one": "constant", "nan": "not finite",
    }  # fmt: skip


def test_tensorrt_cache_round_trip(tmp_path: Path) -> None:
    amax = {"conv1/Relu": 6.0, "a:b": 0.125, "data": 151.0}
    write_cache(tmp_path / "cache", amax)
    assert (tmp_path / "cache").read_text().splitlines()[1] == "conv1/Relu: 3d418306"  # 6 / 127, big-endian
    assert read_cache(tmp_path / "cache") == pytest.approx(amax, rel=1e-6)


@pytest.mark.parametrize("text", ["", "no header\nx: 3c010a14\n", "TRT-8601-EntropyCalibration2\nx 3c010a14\n"])
def test_other_files_are_no_caches(tmp_path: Path, text: str) -> None:
    (tmp_path / "cache").write_text(text)
    with pytest.raises(ConfigError, match="calibration cache"):
        read_cache(tmp_path / "cache")
