"""Loads the recording ops and reads their table."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from tfgraphopt.native import load_op_library
from tfgraphopt_int8.histogram import BINS, Histogram
from tfgraphopt_int8.statistics import TensorStatistics

_NUMBERS = 10
_VISITOR = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_double), ctypes.POINTER(ctypes.c_int64),
    ctypes.POINTER(ctypes.c_int64), ctypes.c_int64,
)  # fmt: skip


@attrs.frozen(slots=True)
class Observed:
    """What this process has seen of one tensor.

    ``attached`` is false when no graph computed the tensor: TensorFlow had fused it away, or the graph has not run.
    """

    attached: bool
    statistics: TensorStatistics


def sources() -> tuple[Path, ...]:
    """The C++ sources and headers."""
    here = Path(__file__).parent
    return (*sorted(here.glob("*.cc")), *sorted(here.glob("*.h")))


def load() -> Path:
    """Compile (on first use) and load the ops; the path of their library. Loading again does nothing.

    Raises:
        NativeBuildError: there is no C++ compiler, or the ops cannot be compiled or loaded.
    """
    return Path(_library()._name)


def observed(calibration: str) -> dict[str, Observed]:
    """What this process has seen of the tensors of ``calibration``, by tensor name."""
    found: dict[str, Observed] = {}

    def visit(_: int | None, name: bytes, numbers: Any, bins: Any, peaks: Any, count: int) -> None:
        found[name.decode()] = _observed(
            numbers[:_NUMBERS], bins, {peaks[2 * i]: peaks[2 * i + 1] for i in range(count)}
        )

    _library().tfgo_int8_visit(calibration.encode(), _VISITOR(visit), None)
    return found


def forget(calibration: str) -> None:
    """Start counting anew for ``calibration``."""
    _library().tfgo_int8_forget(calibration.encode())


def _observed(numbers: list[float], bins: Any, peaks: Mapping[int, int]) -> Observed:
    attached, batches, count, zeros, nans, infinities = (int(n) for n in numbers[:6])
    low, high, has_histogram, exponent = numbers[6:]
    histogram = Histogram(int(exponent), np.ctypeslib.as_array(bins, (BINS,))) if has_histogram else None
    return Observed(
        bool(attached), TensorStatistics(batches, count, zeros, nans, infinities, low, high, peaks, histogram)
    )


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(load_op_library("int8_recording", sources())))
    library.tfgo_int8_visit.argtypes = [ctypes.c_char_p, _VISITOR, ctypes.c_void_p]
    library.tfgo_int8_forget.argtypes = [ctypes.c_char_p]
    library.tfgo_int8_visit.restype = library.tfgo_int8_forget.restype = None
    return library
