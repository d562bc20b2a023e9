"""Constant weights as 8-bit numbers with one scale per output channel."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import attrs
import ml_dtypes
import numpy as np
import numpy.typing as npt

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType, Node, Tensor
from tfgraphopt.ir.tensor import Array

LEVELS = 127
_TYPES: Mapping[str, npt.DTypeLike] = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}


@attrs.frozen(slots=True)
class Form:
    """How numbers are kept: the precision ``rest`` of what is not quantised, and the largest magnitude of 8-bit weights."""

    rest: str
    weights: int = LEVELS


def scales_of(amax: npt.ArrayLike, rest: str, levels: int = LEVELS) -> npt.NDArray[np.float32]:
    """The steps for the largest magnitudes ``amax``: ``amax / levels``, rounded up to numbers that precision ``rest`` holds exactly.

    The quantised tensor is then the same whether its scale is kept in single or in half precision. Ranges of zero get step 1.
    """
    wide = np.asarray(amax, np.float64) / levels
    kind = np.dtype(_TYPES[rest])
    with np.errstate(over="ignore", under="ignore"):
        rounded = wide.astype(kind)
    low = rounded.astype(np.float64) < wide
    rounded = np.where(low, _next_up(rounded), rounded)
    return np.where(wide > 0, rounded, 1).astype(np.float32)


def _next_up(array: Array) -> Array:
    """The next larger number of each positive one, in any floating-point type."""
    bits = array.view({2: np.uint16, 4: np.uint32}[array.dtype.itemsize]) if array.ndim else _bits(array)
    return (bits + 1).astype(bits.dtype).view(array.dtype).reshape(array.shape)


def _bits(array: Array) -> Array:
    return array.reshape(1).view({2: np.uint16, 4: np.uint32}[array.dtype.itemsize])


def quantised(tensor: Tensor, axis: int, form: Form, node: Node) -> tuple[Tensor, Tensor]:
    """``tensor`` as int8 (computed when it is read) and its scales along ``axis``.

    Raises:
        ConfigError: a weight is not finite.
    """
    array = tensor.numpy()
    others = tuple(i for i in range(array.ndim) if i != axis)
    amax = np.abs(array).max(axis=others, initial=0.0)
    if not np.isfinite(amax).all():
        raise ConfigError("weights to be quantised are not finite", where=node.origin or (node.name,))
    scales = scales_of(amax, form.rest, form.weights)
    shape = [-1 if i == axis else 1 for i in range(array.ndim)]
    load = functools.partial(_rounded, tensor, scales.reshape(shape), form.weights)
    return Tensor(DType.INT8, tensor.shape, load), Tensor.of(scales)


def _rounded(tensor: Tensor, scales: npt.NDArray[np.float32], levels: int) -> Array:
    steps = np.round(tensor.numpy().astype(np.float32) / scales)
    return np.clip(steps, -levels, levels).astype(np.int8)
