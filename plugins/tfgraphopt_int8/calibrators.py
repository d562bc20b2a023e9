"""Calibrators: from the statistics of a tensor to the magnitude that the largest 8-bit number stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.errors import ConfigError
from tfgraphopt_int8.histogram import Histogram
from tfgraphopt_int8.statistics import TensorStatistics

LEVELS = 128
"""Magnitudes that 8 bits with a sign tell apart (0 to 127)."""

Floats = npt.NDArray[np.float64]


@attrs.frozen(slots=True)
class Calibrator:
    """Chooses the range of a tensor.

    Attributes:
        name: what the option ``calibrator`` calls it.
        amax: ``amax(statistics, options)`` gives the magnitude to be represented by 127, above 0 and not above the largest
            seen; asked only of tensors that were seen, are finite and not all zero. ``options`` are the caller's for this
            calibrator, by name.
        options: the options that it knows, with their defaults.
        doc: one sentence.
    """

    name: str
    amax: Callable[[TensorStatistics, Mapping[str, Any]], float]
    options: Mapping[str, Any] = attrs.field(factory=dict)
    doc: str = ""
    overrides: str = ""


def range_of(
    name: str, seen: TensorStatistics, calibrator: Calibrator, options: Mapping[str, Any] | None = None
) -> float:
    """The largest magnitude of tensor ``name`` under ``calibrator``; 0 when the tensor is all zero.

    Raises:
        ConfigError: the tensor was never seen, was not finite, or the calibrator does not know an option.
    """
    given = {**calibrator.options, **(options or {})}
    unknown = sorted(given.keys() - calibrator.options.keys())
    if unknown:
        known = ", ".join(calibrator.options) or "none"
        raise ConfigError(f"calibrator {calibrator.name!r} has no option {', '.join(unknown)}", hint=f"it has: {known}")
    if not seen.batches:
        raise ConfigError(
            "a tensor to be quantised was never computed", where=[name], hint="run the calibration graph on data"
        )
    if not seen.is_finite:
        bad = f"{seen.nans} elements were NaN and {seen.infinities} infinite"
        raise ConfigError("a tensor to be quantised was not finite on the calibration data", where=[name], why=bad)
    if seen.amax == 0:
        return 0.0
    return min(calibrator.amax(seen, given), seen.amax)


# -- without histograms ----------------------------------------------------------------------------------------------------


def _minmax(seen: TensorStatistics, options: Mapping[str, Any]) -> float:
    return seen.amax


def _moving_average(seen: TensorStatistics, options: Mapping[str, Any]) -> float:
    return seen.mean_peak


# -- percentile ------------------------------------------------------------------------------------------------------------


def _percentile(seen: TensorStatistics, options: Mapping[str, Any]) -> float:
    """The upper edge of the first bin by which that share of all elements, zeros included, is reached."""
    share = float(options["percentile"]) / 100
    if not 0 < share <= 1:
        raise ConfigError(f"a percentile is above 0 and at most 100, not {options['percentile']}")
    histogram = seen.histogram
    assert histogram is not None
    below = np.cumsum(histogram.counts) + seen.zeros
    return float(np.searchsorted(below, share * seen.count) + 1) * histogram.width


# -- entropy ---------------------------------------------------------------------------------------------------------------


def _entropy(seen: TensorStatistics, options: Mapping[str, Any]) -> float:
    """The threshold of the smallest Kullback-Leibler divergence between the clipped distribution and its 8-bit form.

    After S. Migacz, "8-bit Inference with TensorRT" (GTC 2017): the reference distribution is the histogram up to the threshold
    with everything above it in its last bin; the candidate has 128 levels, each spread evenly over the bins in it that are not
    empty. Zeros take no part (they are exact in any range). Spikes are flattened first (option ``flatten``): a constant in the data
    says nothing of how values spread, and beside one the divergence is small however much is clipped. NVIDIA's own code
    flattens the first bin only (``"first-bin"``); docs/plugins/int8.md has what that costs.
    """
    histogram = seen.histogram
    assert histogram is not None
    if options["flatten"] not in _FLATTEN:
        raise ConfigError(f"the option 'flatten' is one of {', '.join(_FLATTEN)}, not {options['flatten']!r}")
    counts = _FLATTEN[options["flatten"]](histogram.weights)
    if counts.size <= LEVELS or not counts.any():
        return seen.amax
    thresholds = np.arange(LEVELS, counts.size + 1, max(int(options["stride"]), 1))
    divergences = [_divergence(counts, int(t)) for t in thresholds]
    best = len(divergences) - 1 - int(np.argmin(divergences[::-1]))
    return (float(thresholds[best]) + 0.5) * histogram.width


_APART = 3
"""A constant may lie on the edge of two bins, and rounding may spread it over a third."""


def _without_spikes(counts: Floats) -> Floats:
    """Bins count at most what those three bins away do, or the mean of all that are not empty."""
    around = np.pad(counts, _APART, mode="reflect") if counts.size > _APART else np.zeros(counts.size + 2 * _APART)
    near = np.maximum(around[: counts.size], around[2 * _APART :])
    return np.minimum(counts, np.maximum(near, counts[counts > 0].mean() if counts.any() else 0.0))


def _without_first_bin(counts: Floats) -> Floats:
    counts[:1] = counts[1:2] if counts.size > 1 else counts
    return counts


_FLATTEN: Mapping[str, Callable[[Floats], Floats]] = {
    "spikes": _without_spikes, "first-bin": _without_first_bin, "none": lambda counts: counts,
}  # fmt: skip


def _divergence(counts: Floats, threshold: int) -> float:
    inside = counts[:threshold]
    reference = inside.copy()
    reference[-1] += counts[threshold:].sum()
    level = np.arange(threshold) * LEVELS // threshold
    filled = inside > 0
    sums = np.bincount(level, inside, LEVELS)
    sizes = np.bincount(level, filled, LEVELS)
    candidate = np.where(filled, (sums / np.maximum(sizes, 1))[level], 0.0)
    return _kullback_leibler(reference, candidate)


def _kullback_leibler(p: Floats, q: Floats) -> float:
    """Of two histograms, each normalised; infinite where ``q`` has nothing of what ``p`` has."""
    if not q.sum():
        return np.inf
    p, q = p / p.sum(), q / q.sum()
    there = p > 0
    if (q[there] == 0).any():
        return np.inf
    return float(np.sum(p[there] * np.log(p[there] / q[there])))


# -- mean squared error ----------------------------------------------------------------------------------------------------


def _mse(seen: TensorStatistics, options: Mapping[str, Any]) -> float:
    """The threshold at which rounding and clipping together change the tensor least, each bin taken as its centre."""
    histogram = seen.histogram
    assert histogram is not None
    centres, counts = histogram.centres, histogram.weights
    candidates = int(options["candidates"])
    amaxes = [seen.amax * (i + 1) / candidates for i in range(candidates)]
    errors = [_squared_error(centres, counts, amax) for amax in amaxes]
    return amaxes[int(np.argmin(errors))]


def _squared_error(centres: Floats, counts: Floats, amax: float) -> float:
    step = amax / (LEVELS - 1)
    made = np.minimum(np.round(centres / step), LEVELS - 1) * step
    return float(np.sum(counts * np.square(made - centres)))


def quantisation_error(histogram: Histogram, amax: float) -> float:
    """The mean squared error of quantising the magnitudes in ``histogram`` with the range ``amax``."""
    centres, counts = histogram.centres, histogram.weights
    return _squared_error(centres, counts, amax) / max(float(counts.sum()), 1.0)


CALIBRATORS: tuple[Calibrator, ...] = (
    Calibrator("minmax", _minmax, doc="The largest magnitude seen: nothing is clipped."),
    Calibrator("moving-average", _moving_average, doc="The mean over batches of their largest magnitudes."),
    Calibrator("percentile", _percentile, {"percentile": 99.99}, "Clips all but a share of the elements."),
    Calibrator("entropy", _entropy, {"stride": 8, "flatten": "spikes"}, "Loses least information (Kullback-Leibler)."),
    Calibrator("mse", _mse, {"candidates": 256}, "Changes the tensor least in the mean square."),
)
