"""The low precisions: which element type, how large and how small its numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs
import ml_dtypes
import numpy as np

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType, Tensor


@attrs.frozen(slots=True)
class Mode:
    """A precision below float32.

    Attributes:
        name: what options call it.
        dtype: its element type.
        largest: its largest finite number.
        smallest: its smallest normal number.
        whole: all whole numbers up to this one are exact.
    """

    name: str
    dtype: DType
    largest: float
    smallest: float
    whole: int

    def overflows(self, tensor: Tensor) -> bool:
        """Whether a finite element of ``tensor`` would become infinite."""
        array = tensor.numpy()
        low, high = (float(np.nanmin(array)), float(np.nanmax(array))) if array.size else (0.0, 0.0)
        if np.isfinite(low) and np.isfinite(high):
            return max(-low, high) > self.largest
        return bool((np.isfinite(array) & (np.abs(array) > self.largest)).any())

    def vanishing(self, tensor: Tensor) -> float:
        """The share of the elements of ``tensor`` other than zero that are below the smallest normal number."""
        magnitudes = np.abs(tensor.numpy())
        nonzero = np.count_nonzero(magnitudes)
        return float(np.count_nonzero((magnitudes < self.smallest) & (magnitudes > 0)) / nonzero) if nonzero else 0.0


def _mode(name: str, dtype: DType) -> Mode:
    info = ml_dtypes.finfo(dtype.np)
    return Mode(name, dtype, float(info.max), float(info.smallest_normal), 2 ** (info.nmant + 1))


MODES: Mapping[str, Mode] = MappingProxyType({"fp16": _mode("fp16", DType.HALF), "bf16": _mode("bf16", DType.BFLOAT16)})


def mode_of(name: str) -> Mode:
    """The mode called ``name``; ConfigError when there is none."""
    if name not in MODES:
        raise ConfigError(f"{name!r} is no low precision", hint=f"there are {', '.join(MODES)}")
    return MODES[name]
