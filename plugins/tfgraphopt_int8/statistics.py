"""What is known of a tensor after it was watched on data: mergeable in any order, exact, and JSON on disk."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.errors import ConfigError
from tfgraphopt.files import write_atomically
from tfgraphopt_int8.histogram import BINS, Histogram, merged

FORMAT = 1
_MANTISSA_BITS = 24

# -- one tensor ----------------------------------------------------------------------------------------------------------


def _counter(counts: Mapping[int, int]) -> dict[int, int]:
    return {int(k): int(n) for k, n in sorted(counts.items()) if n}


@attrs.frozen(slots=True)
class TensorStatistics:
    """What one tensor was over all batches. Adding up is exact, so that neither the order of the data nor its split matters.

    Attributes:
        batches: how often it was computed.
        count: finite elements, zeros included.
        zeros, nans, infinities: elements of these kinds.
        min, max: of the finite elements (+inf and -inf when there are none).
        peaks: the sum over batches of the largest magnitude, exactly: by binary exponent, the sum of 24-bit mantissas (the sum is
            ``sum(n * 2**exponent)``).
        histogram: of the magnitudes other than zero; zeros are counted apart, because after a ReLU they would hide the rest.
    """

    batches: int = 0
    count: int = 0
    zeros: int = 0
    nans: int = 0
    infinities: int = 0
    min: float = math.inf
    max: float = -math.inf
    peaks: Mapping[int, int] = attrs.field(factory=dict, converter=_counter)
    histogram: Histogram | None = None

    @classmethod
    def of(cls, array: npt.ArrayLike) -> TensorStatistics:
        """The statistics of one batch, computed in double precision."""
        flat = np.asarray(array).astype(np.float32).astype(np.float64).reshape(-1)
        finite = flat[np.isfinite(flat)]
        nans = int(np.isnan(flat).sum())
        infinities = flat.size - finite.size - nans
        if not finite.size:
            return cls(batches=1, nans=nans, infinities=infinities)
        magnitudes = np.abs(finite)
        nonzero = magnitudes[magnitudes > 0]
        return cls(
            batches=1, count=finite.size, nans=nans, infinities=infinities, zeros=finite.size - nonzero.size,
            min=float(finite.min()) + 0.0, max=float(finite.max()) + 0.0,
            peaks=_peak(float(magnitudes.max())), histogram=Histogram.of(nonzero),
        )  # fmt: skip

    @property
    def amax(self) -> float:
        """The largest magnitude seen (0 when nothing was)."""
        return max(-self.min, self.max) if self.count else 0.0

    @property
    def mean_peak(self) -> float:
        """The mean over batches of the largest magnitude."""
        return sum(math.ldexp(n, e) for e, n in self.peaks.items()) / self.batches if self.batches else 0.0

    @property
    def is_finite(self) -> bool:
        """Whether no element was NaN or infinite."""
        return not self.nans and not self.infinities

    def merge(self, other: TensorStatistics) -> TensorStatistics:
        """What both have seen."""
        return TensorStatistics(
            self.batches + other.batches, self.count + other.count, self.zeros + other.zeros, self.nans + other.nans,
            self.infinities + other.infinities, min(self.min, other.min), max(self.max, other.max),
            Counter(self.peaks) + Counter(other.peaks), merged(self.histogram, other.histogram),
        )  # fmt: skip

    def clipped(self, amax: float) -> float:
        """The share of the finite elements whose magnitude is above ``amax``, to the width of a histogram's bin."""
        if self.histogram is None or not self.count:
            return 0.0
        first = math.ceil(amax / self.histogram.width)
        return float(self.histogram.counts[min(first, BINS) :].sum()) / self.count

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        tree = attrs.asdict(self, recurse=False)
        tree["min"], tree["max"] = (v if math.isfinite(v) else None for v in (self.min, self.max))
        tree["peaks"] = {str(k): n for k, n in self.peaks.items()}
        if self.histogram is not None:
            counts = self.histogram.counts[: self.histogram.used].tolist()
            tree["histogram"] = {"exponent": self.histogram.exponent, "bins": BINS, "counts": counts}
        return tree

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorStatistics:
        """From :meth:`to_json`'s data."""
        fields = dict(data)
        fields["min"], fields["max"] = _number(data["min"], math.inf), _number(data["max"], -math.inf)
        fields["peaks"] = {int(k): n for k, n in data["peaks"].items()}
        if data["histogram"] is not None:
            fields["histogram"] = _histogram(data["histogram"])
        return cls(**fields)


def _peak(amax: float) -> dict[int, int]:
    """One largest magnitude as exponent and mantissa."""
    if amax == 0:
        return {}
    mantissa, exponent = math.frexp(amax)
    return {exponent - _MANTISSA_BITS: int(mantissa * (1 << _MANTISSA_BITS))}


def _number(value: float | None, missing: float) -> float:
    return missing if value is None else float(value)


def _histogram(data: Mapping[str, Any]) -> Histogram:
    if data["bins"] != BINS:
        raise ValueError(f"histograms of {data['bins']} bins; this version has {BINS}")
    counts = np.zeros(BINS, np.int64)
    counts[: len(data["counts"])] = data["counts"]
    return Histogram(int(data["exponent"]), counts)


# -- all tensors of a graph ----------------------------------------------------------------------------------------------


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


@attrs.frozen(slots=True)
class Statistics:
    """The statistics of the tensors of one graph, by tensor name (``node:0`` without the ``:0``).

    Attributes:
        fingerprint: of the graph, so that statistics of another one are noticed.
        tensors: what was seen.
        wanted: the tensors that are to be quantised, seen or not.
        calibrator: the calibrator that they are meant for.
    """

    fingerprint: str
    tensors: Mapping[str, TensorStatistics] = attrs.field(factory=dict)
    wanted: tuple[str, ...] = attrs.field(default=(), converter=_names)
    calibrator: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Tensors to be quantised of which nothing was seen."""
        return tuple(n for n in self.wanted if n not in self.tensors or not self.tensors[n].batches)

    @property
    def batches(self) -> int:
        """The largest number of batches that any tensor was seen in."""
        return max((t.batches for t in self.tensors.values()), default=0)

    def merge(self, other: Statistics) -> Statistics:
        """What both have seen. Associative and commutative.

        Raises:
            ConfigError: they are of different graphs.
        """
        self.check(other.fingerprint)
        names = sorted({*self.tensors, *other.tensors})
        nothing = TensorStatistics()
        added = {n: self.tensors.get(n, nothing).merge(other.tensors.get(n, nothing)) for n in names}
        calibrator = max(self.calibrator, other.calibrator)
        return Statistics(self.fingerprint, added, (*self.wanted, *other.wanted), calibrator)

    def check(self, fingerprint: str) -> None:
        """ConfigError when these are the statistics of another graph than the one with ``fingerprint``."""
        if fingerprint != self.fingerprint:
            raise ConfigError(
                "the statistics are of another graph", why=f"its fingerprint is {self.fingerprint[:16]}, not {fingerprint[:16]}",
                hint="calibrate the graph that you optimise: weights and structure count",
            )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "format": FORMAT, "fingerprint": self.fingerprint, "calibrator": self.calibrator, "wanted": list(self.wanted),
            "tensors": {n: t.to_json() for n, t in sorted(self.tensors.items())},
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Statistics:
        """From :meth:`to_json`'s data; ConfigError when it is something else."""
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}")
            tensors = {str(n): TensorStatistics.from_json(t) for n, t in data["tensors"].items()}
            return cls(str(data["fingerprint"]), tensors, tuple(data["wanted"]), str(data["calibrator"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError("these are no calibration statistics", why=repr(error)) from error

    def save(self, path: Path | str) -> None:
        """Write them to a JSON file, at once or not at all."""
        write_atomically(Path(path), json.dumps(self.to_json()).encode())

    @classmethod
    def load(cls, path: Path | str) -> Statistics:
        """What :meth:`save` wrote; ConfigError when the file holds something else."""
        try:
            data = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read as calibration statistics", why=str(error)) from error
        return cls.from_json(data)


def merge_all(parts: Iterable[Statistics]) -> Statistics:
    """The sum of statistics of one graph; ConfigError when there are none."""
    found = list(parts)
    if not found:
        raise ConfigError("there are no statistics to merge")
    total = found[0]
    for part in found[1:]:
        total = total.merge(part)
    return total
