"""Sliding windows: TensorFlow's paddings as TensorRT's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfgraphopt.ir import Dim, DType, Value
from tfgraphopt_converters.layout import is_channels_last
from tfgraphopt_trt.builder import LayerBuilder, Pads, Unsupported


def extent(size: int, dilation: int) -> int:
    """The reach of a window of ``size`` elements that are ``dilation`` apart."""
    return (size - 1) * dilation + 1


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME: zeros before and after an axis of ``size`` for a window of ``window`` elements."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def pads_of(padding: str, explicit: Sequence[int], data_format: str, sizes: Sequence[Dim], windows: Sequence[int],
            strides: Sequence[int]) -> Pads:  # fmt: skip
    """The padding of a window operation as TensorRT takes it.

    Args:
        padding: SAME, VALID or EXPLICIT.
        explicit: TensorFlow's ``explicit_paddings``, a pair an axis.
        data_format: decides which pairs are spatial.
        sizes: the spatial dimensions of the input, None where unknown.
        windows: the reach of the window along each (dilation included).
        strides: the steps.

    Raises:
        Unsupported: SAME over an unknown size with a stride larger than the window (TensorRT would pad negatively).
    """
    if padding == "VALID":
        return _pads([(0, 0)] * len(windows))
    if padding == "EXPLICIT":
        return _pads(explicit_pairs(explicit, data_format))
    return _same(sizes, windows, strides)


def explicit_pairs(explicit: Sequence[int], data_format: str) -> list[tuple[int, int]]:
    """The spatial pairs of TensorFlow's ``explicit_paddings``; Unsupported when others are not zero."""
    pairs = [(int(a), int(z)) for a, z in zip(explicit[::2], explicit[1::2], strict=True)]
    spatial = pairs[1:-1] if is_channels_last(data_format) else pairs[2:]
    if sum(map(sum, pairs)) != sum(map(sum, spatial)):
        raise Unsupported(f"explicit paddings {list(explicit)} pad the batch or the channels")
    return spatial


def _pads(pairs: Sequence[tuple[int, int]]) -> Pads:
    return Pads("explicit", tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))


def _same(sizes: Sequence[Dim], windows: Sequence[int], strides: Sequence[int]) -> Pads:
    if len(windows) == 3:
        _check_inside(sizes, windows, strides)
    free = [w == 1 for w in windows]  # nothing to pad whatever the size
    if all(f or s is not None for f, s in zip(free, sizes, strict=True)):
        axes = zip(sizes, windows, strides, strict=True)
        return _pads([(0, 0) if s is None else same_padding(s, w, t) for s, w, t in axes])
    if any(t > w for w, t in zip(windows, strides, strict=True)):
        raise Unsupported(
            f"SAME padding of unknown sizes with strides {list(strides)} beyond the window {list(windows)}"
        )
    return Pads("same_upper")


def _check_inside(sizes: Sequence[Dim], windows: Sequence[int], strides: Sequence[int]) -> None:
    """Unsupported where the last window ends two or more elements before the input does.

    There TensorFlow's CPU kernels of three spatial axes pad by a negative number, that is they begin inside the input,
    against the documented formula, which those of two spatial axes keep.
    """
    for size, window, stride in zip(sizes, windows, strides, strict=True):
        short = stride - window if size is None else size - window - (-(-size // stride) - 1) * stride
        if short > 1:
            raise Unsupported("SAME padding with strides beyond the window: TensorFlow's 3-D kernels begin inside")


def integers(b: LayerBuilder, values: Sequence[int]) -> Value:
    """An int64 vector."""
    return b.constant(np.asarray(values, np.int64), DType.INT64)
