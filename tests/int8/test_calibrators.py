"""Calibrators against onnxruntime's on the same data, and on data where the right answer is known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import numpy as np
import pytest
from scipy.stats import entropy

from tfgraphopt.errors import ConfigError
from tfgraphopt_int8 import Calibrator, TensorStatistics
from tfgraphopt_int8.calibrators import CALIBRATORS, quantisation_error, range_of

BY_NAME = {c.name: c for c in CALIBRATORS}
RNG = np.random.default_rng(0)
DATA = {
    "laplace": RNG.laplace(size=100_000).astype(np.float32),
    "normal": RNG.normal(size=100_000).astype(np.float32),
    "relu": np.maximum(RNG.normal(size=200_000), 0).astype(np.float32),
    "outliers": np.concatenate([RNG.normal(size=100_000), RNG.normal(size=20) * 50]).astype(np.float32),
}


def amax_of(name: str, data: Any, **options: Any) -> float:
    return range_of("x", TensorStatistics.of(data), BY_NAME[name], options)


@pytest.mark.parametrize("data", DATA)
def test_minmax_is_the_largest_magnitude(data: str) -> None:
    assert amax_of("minmax", DATA[data]) == np.abs(DATA[data]).max()


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.99])
def test_percentile_is_numpys_to_a_bin(data: str, percentile: float) -> None:
    seen = TensorStatistics.of(DATA[data])
    assert seen.histogram is not None
    expected = np.percentile(np.abs(DATA[data]), percentile, method="inverted_cdf")
    assert amax_of("percentile", DATA[data], percentile=percentile) == pytest.approx(
        expected, abs=1.001 * seen.histogram.width
    )


def test_moving_average_is_the_mean_of_the_batches_peaks() -> None:
    batches = [RNG.normal(size=50).astype(np.float32) for _ in range(7)]
    seen = TensorStatistics()
    for batch in batches:
        seen = seen.merge(TensorStatistics.of(batch))
    assert range_of("x", seen, BY_NAME["moving-average"]) == pytest.approx(
        np.mean([float(np.abs(b).max()) for b in batches])
    )


@pytest.mark.parametrize("data", DATA)
def test_mse_is_the_best_of_all_ranges(data: str) -> None:
    seen = TensorStatistics.of(DATA[data])
    assert seen.histogram is not None
    chosen = quantisation_error(seen.histogram, amax_of("mse", DATA[data]))
    assert chosen <= min(quantisation_error(seen.histogram, a) for a in np.linspace(0.01, 1, 60) * seen.amax) * 1.02
    exact = DATA[data].astype(np.float64)
    step = amax_of("mse", DATA[data]) / 127
    made = np.clip(np.round(exact / step), -127, 127) * step
    assert chosen * (exact != 0).mean() == pytest.approx(np.square(made - exact).mean(), rel=0.02)


def test_entropy_does_not_cut_what_a_spike_of_zeros_hides() -> None:
    """A ReLU's zeros and its values next to zero must not pull the threshold down (facts/calibration.md §5)."""
    assert amax_of("entropy", DATA["relu"]) > 0.9 * DATA["relu"].max()
    spiked = np.concatenate([DATA["normal"], np.full(400_000, 1e-6, np.float32)])
    assert amax_of("entropy", spiked) > 3
    assert amax_of("entropy", spiked, flatten="none") < 0.8 * amax_of("entropy", spiked)


@pytest.mark.parametrize("seed", range(4))
def test_entropy_does_not_hide_what_it_clips_behind_a_spike(seed: int) -> None:
    """A constant background, one value a channel: the published rule adds the tail to a spike and cuts a tenth or more."""
    rng = np.random.default_rng(seed)
    background = np.repeat(rng.uniform(0.02, 0.5, 12), 8000)
    data = np.concatenate([background, np.abs(rng.normal(size=20_000) * 1.5), [6.2]]).astype(np.float32)
    seen = TensorStatistics.of(data)
    assert seen.clipped(amax_of("entropy", data)) < 0.01
    assert seen.clipped(amax_of("entropy", data, flatten="first-bin")) > 0.1
    assert seen.clipped(onnxruntime_range(data, "entropy", 2049)) < 0.01  # its candidate's last bins are next to empty


def test_entropy_clips_outliers() -> None:
    assert 3 < amax_of("entropy", DATA["outliers"]) < 0.5 * np.abs(DATA["outliers"]).max()


def published_entropy(magnitudes: Any, edge: float) -> float:
    """The algorithm of S. Migacz's talk, step by step, over 4096 bins up to ``edge``."""
    counts = np.histogram(magnitudes[magnitudes > 0], 4096, (0, edge))[0].astype(float)
    counts = counts[: np.flatnonzero(counts)[-1] + 1]
    counts[0] = counts[1]
    divergences = []
    for threshold in range(128, counts.size + 1, 8):
        reference = counts[:threshold].copy()
        reference[-1] += counts[threshold:].sum()
        candidate = np.zeros(threshold)
        ends = [-(-threshold * i // 128) for i in range(129)]
        for start, stop in pairwise(ends):
            part = counts[start:stop]
            candidate[start:stop] = (part > 0) * part.sum() / max((part > 0).sum(), 1)
        divergences.append(entropy(reference, candidate))
    best = max(i for i, d in enumerate(divergences) if d == min(divergences))
    return (range(128, counts.size + 1, 8)[best] + 0.5) * edge / 4096


@pytest.mark.parametrize("data", DATA)
def test_entropy_is_the_published_algorithm(data: str) -> None:
    seen = TensorStatistics.of(DATA[data])
    assert seen.histogram is not None
    expected = published_entropy(np.abs(DATA[data].astype(np.float64)), 2.0**seen.histogram.exponent)
    assert amax_of("entropy", DATA[data], flatten="first-bin") == pytest.approx(min(expected, seen.amax))


@pytest.mark.parametrize("data", ["normal", "relu", "outliers"])
def test_flattening_spikes_changes_little_where_there_are_none(data: str) -> None:
    assert amax_of("entropy", DATA[data]) == pytest.approx(
        amax_of("entropy", DATA[data], flatten="first-bin"), rel=0.05
    )


def onnxruntime_range(data: Any, method: str, bins: int, percentile: float = 99.0) -> float:
    calibrate = pytest.importorskip(
        "onnxruntime.quantization.calibrate", reason="onnxruntime and onnx are not installed"
    )
    collector = calibrate.HistogramCollector(method, True, bins, 128, percentile, None)
    collector.collect({"x": [data]})
    low, high = collector.compute_collection_result()["x"][:2]
    return max(abs(float(low)), abs(float(high)))


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("percentile", [99.003, 99.9903])
def test_percentile_is_onnxruntimes_to_a_bin(data: str, percentile: float) -> None:
    """At shares that no element sits on exactly."""
    array = DATA[data]
    expected = onnxruntime_range(array, "percentile", 8192, percentile)
    width = 2.0 ** float(np.ceil(np.log2(np.abs(array).max()))) / 4096
    assert amax_of("percentile", array, percentile=percentile) == pytest.approx(expected, abs=2 * width)


def test_minmax_is_onnxruntimes() -> None:
    calibrate = pytest.importorskip(
        "onnxruntime.quantization.calibrate", reason="onnxruntime and onnx are not installed"
    )
    assert calibrate.CalibrationMethod.MinMax.value == 0
    quant_utils = pytest.importorskip("onnxruntime.quantization.quant_utils")
    array = DATA["laplace"]
    _, scale = quant_utils.compute_scale_zp(
        array.min(), array.max(), np.array(-127, np.int8), np.array(127, np.int8), True
    )
    assert amax_of("minmax", array) / 127 == pytest.approx(float(scale), rel=1e-6)


def test_entropy_cuts_outliers_as_onnxruntimes_does() -> None:
    """Its divergence is smoothed and its windows are signed, so that thresholds agree in size only."""
    ours, theirs = amax_of("entropy", DATA["outliers"]), onnxruntime_range(DATA["outliers"], "entropy", 2049)
    assert 3 < ours < 20
    assert 3 < theirs < 20


@pytest.mark.parametrize("name", BY_NAME)
def test_a_tensor_of_few_values_keeps_its_range(name: str) -> None:
    """Two values: clipping either would be wrong, whatever the method."""
    data = np.array([1.0, 1.0, 1.0, 2.0], np.float32)
    assert amax_of(name, data) == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("name", BY_NAME)
def test_ranges_scale_with_the_data(name: str) -> None:
    for factor in (2.0**-30, 0.25, 1024.0):
        assert amax_of(name, DATA["laplace"] * np.float32(factor)) == pytest.approx(
            amax_of(name, DATA["laplace"]) * factor
        )


def test_what_is_refused() -> None:
    minmax = BY_NAME["minmax"]
    with pytest.raises(ConfigError, match=r"never computed\n  where: conv"):
        range_of("conv", TensorStatistics(), minmax)
    with pytest.raises(ConfigError, match=r"where: conv\n  why: 1 elements were NaN and 2 infinite"):
        range_of("conv", TensorStatistics.of([np.nan, np.inf, -np.inf, 1]), minmax)
    with pytest.raises(ConfigError, match="has no option bins"):
        range_of("conv", TensorStatistics.of([1.0]), minmax, {"bins": 3})
    with pytest.raises(ConfigError, match="one of spikes, first-bin, none"):
        range_of("conv", TensorStatistics.of(DATA["normal"]), BY_NAME["entropy"], {"flatten": "all"})


def test_a_third_partys_calibrator_is_never_above_what_was_seen() -> None:
    double = Calibrator("double", lambda seen, options: seen.amax * 2)
    assert range_of("x", TensorStatistics.of([3.0]), attrs.evolve(double)) == 3.0
    assert range_of("x", TensorStatistics.of([0.0]), double) == 0.0
