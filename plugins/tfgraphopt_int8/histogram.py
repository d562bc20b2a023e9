"""Histograms of magnitudes that add up exactly: however the data was split, the sum is the histogram of all of it.

The range is [0, 2**exponent) with the smallest exponent that holds the largest magnitude, divided into :data:`BINS` equal bins.
When the range doubles, each bin is the union of two old ones, so nothing is ever estimated.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
import numpy.typing as npt

BINS = 4096
LOWEST = -100
"""The smallest exponent: everything below 2**-100 counts as if it were there."""

Counts = npt.NDArray[np.int64]


def exponent_of(amax: float) -> int:
    """The exponent of the range that a histogram needs for the largest magnitude ``amax``."""
    return max(math.frexp(amax)[1], LOWEST)


def _frozen(counts: npt.ArrayLike) -> Counts:
    array = np.array(counts, np.int64)
    array.flags.writeable = False
    return array


@attrs.frozen(slots=True)
class Histogram:
    """Counts of magnitudes other than zero: bin ``i`` holds those in [i, i + 1) * 2**exponent / BINS."""

    exponent: int
    counts: Counts = attrs.field(converter=_frozen, eq=attrs.cmp_using(eq=np.array_equal), repr=False)

    @classmethod
    def of(cls, magnitudes: npt.NDArray[np.float64]) -> Histogram | None:
        """The histogram of finite magnitudes above zero; None when there are none."""
        if not magnitudes.size:
            return None
        exponent = exponent_of(float(magnitudes.max()))
        index = np.floor(magnitudes * 2.0 ** (BINS.bit_length() - 1 - exponent)).astype(np.int64)
        return cls(exponent, np.bincount(index, minlength=BINS))

    @property
    def width(self) -> float:
        """The width of a bin."""
        return 2.0 ** (self.exponent - BINS.bit_length() + 1)

    @property
    def used(self) -> int:
        """The number of bins up to the last that is not empty."""
        return int(np.flatnonzero(self.counts)[-1]) + 1 if self.counts.any() else 0

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """The middles of the used bins."""
        return np.arange(0.5, self.used, dtype=np.float64) * np.float64(self.width)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """The counts of the used bins."""
        return self.counts[: self.used].astype(np.float64)

    def widened(self, exponent: int) -> Histogram:
        """The same data over a range that is a power of two times larger."""
        counts = np.asarray(self.counts)
        for _ in range(min(exponent - self.exponent, BINS.bit_length())):
            counts = np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
        return Histogram(exponent, counts)

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both data. Exact, associative and commutative."""
        exponent = max(self.exponent, other.exponent)
        return Histogram(exponent, self.widened(exponent).counts + other.widened(exponent).counts)


def merged(one: Histogram | None, two: Histogram | None) -> Histogram | None:
    """Both together, where there are any."""
    if one is None or two is None:
        return two if one is None else one
    return one.merge(two)
