"""Batch normalisation at inference and local response normalisation."""

from __future__ import annotations

import attrs
import numpy as np

from tfgraphopt.ir import DType, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.activation import ACTIVATIONS
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.layout import channel_axis, per_channel, to_channels_first
from tfgraphopt_trt.builder import LayerBuilder, Operand, Pads, Unsupported
from tfgraphopt_trt.converter import Converter, Operands, converter


@attrs.frozen
class Statistics:
    """The four vectors of a batch normalisation, one number a channel."""

    scale: Value
    offset: Value
    mean: Value
    variance: Value

    @property
    def vectors(self) -> tuple[Value, ...]:
        """All four."""
        return self.scale, self.offset, self.mean, self.variance


def normalized(b: LayerBuilder, x: Value, by: Statistics, epsilon: float, data_format: str) -> Value:
    """``x * factor + shift`` per channel in the statistics' element type, returned in ``x``'s."""
    factor, shift = _folded(b, by, epsilon) or _computed(b, by, epsilon)
    rank = len(x.shape)
    factor, shift = (per_channel(b, v, data_format, rank) for v in (factor, shift))
    wide = b.cast(x, factor.dtype)
    return b.cast(b.elementwise(b.elementwise(wide, factor, "prod"), shift, "sum"), x.dtype)


def _folded(b: LayerBuilder, by: Statistics, epsilon: float) -> tuple[Value, Value] | None:
    tensors = [b.tensor_of(v) for v in by.vectors]
    known = [t.numpy().astype(np.float64) for t in tensors if t is not None]
    if len(known) != 4:
        return None
    scale, offset, mean, variance = known
    factor = scale / np.sqrt(variance + epsilon)
    dtype = by.scale.dtype
    return b.constant(factor.astype(dtype.np), dtype), b.constant((offset - mean * factor).astype(dtype.np), dtype)


def _computed(b: LayerBuilder, by: Statistics, epsilon: float) -> tuple[Value, Value]:
    variance = b.elementwise(by.variance, b.scalar(epsilon, by.variance), "sum")
    factor = b.elementwise(by.scale, b.unary(variance, "sqrt"), "div")
    return factor, b.elementwise(by.offset, b.elementwise(by.mean, factor, "prod"), "sub")


@converter("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def convert_batch_norm(
    b: LayerBuilder, x: Operand, scale: Operand, offset: Operand, mean: Operand, variance: Operand, *, epsilon: float,
    data_format: str, is_training: bool, exponential_avg_factor: float = 1.0,
) -> list[Value]:  # fmt: skip
    """By given statistics, or by those of the batch (training mode), which are results two and three then.

    The other results, which TensorFlow leaves undefined or reserves for gradients, are mean and variance (and 0).
    """
    by = Statistics(scale, offset, mean, variance)
    return _batch_norm(b, x, by, epsilon, data_format, is_training, exponential_avg_factor)


def _batch_norm(
    b: LayerBuilder, x: Value, by: Statistics, epsilon: float, data_format: str, is_training: bool, factor: float
) -> list[Value]:
    require(b, FLOATS, x)
    given = _of_batch(b, x, by, data_format, factor) if is_training else _Given(by, by.mean, by.variance)
    return [normalized(b, x, given.by, epsilon, data_format), *_side_results(b, given.mean, given.variance)]


@attrs.frozen
class _Given:
    """What to normalise by, and what to hand on as the new running mean and variance."""

    by: Statistics
    mean: Value
    variance: Value


def _of_batch(b: LayerBuilder, x: Value, by: Statistics, data_format: str, factor: float) -> _Given:
    """The moments of ``x`` but for its channels; the handed-on variance is the unbiased one (n - 1)."""
    channel = channel_axis(data_format, len(x.shape))
    axes = tuple(i for i in range(len(x.shape)) if i != channel)
    wide = b.cast(x, by.scale.dtype)
    mean = b.reduce(wide, "avg", axes, keep_dims=True)
    distance = b.elementwise(wide, mean, "sub")
    variance = b.reduce(b.elementwise(distance, distance, "prod"), "avg", axes, keep_dims=False)
    mean = b.squeeze(mean, axes)
    count = sizes.product(b, [sizes.size_of(b, x, a) for a in axes])
    one_less = sizes.largest(b, sizes.subtract(b, count, 1), 1)
    ratio = b.elementwise(_number(b, count, mean.dtype), _number(b, one_less, mean.dtype), "div")
    unbiased = b.elementwise(variance, ratio, "prod")
    batch = Statistics(by.scale, by.offset, mean, variance)
    return _Given(batch, _mixed(b, by.mean, mean, factor), _mixed(b, by.variance, unbiased, factor))


def _number(b: LayerBuilder, size: sizes.Size, dtype: DType) -> Value:
    return b.constant(np.array([size]), dtype) if isinstance(size, int) else b.cast(size, dtype)


def _mixed(b: LayerBuilder, old: Value, new: Value, factor: float) -> Value:
    """``(1 - factor) * old + factor * new``; ``old`` may be empty when the factor is one."""
    if factor == 1.0:
        return new
    kept, added = (b.elementwise(v, b.scalar(f, v), "prod") for v, f in ((old, 1 - factor), (new, factor)))
    return b.elementwise(kept, added, "sum")


def _side_results(b: LayerBuilder, mean: Value, variance: Value) -> list[Value]:
    handed = [mean, variance, mean, variance]
    if len(b.results) == 6:
        handed.append(b.constant(np.zeros((), np.float32), DType.FLOAT))
    return handed


@converter("_FusedBatchNormEx")
def convert_fused_batch_norm(
    b: LayerBuilder, x: Operand, scale: Operand, offset: Operand, mean: Operand, variance: Operand,
    side_input: Operands, *, epsilon: float, data_format: str, is_training: bool, activation_mode: str,
    exponential_avg_factor: float = 1.0,
) -> list[Value]:  # fmt: skip
    """Grappler's batch normalisation with a summand and an activation."""
    y, *others = _batch_norm(
        b, x, Statistics(scale, offset, mean, variance), epsilon, data_format, is_training, exponential_avg_factor
    )
    for other in side_input:
        y = b.elementwise(y, other, "sum")
    if activation_mode != "Identity":
        y = _activated(b, y, activation_mode)
    return [y, *others]


def _activated(b: LayerBuilder, y: Value, mode: str) -> Value:
    if mode not in ACTIVATIONS:
        raise Unsupported(f"activation {mode!r} after batch normalisation")
    return ACTIVATIONS[mode](b, y)


MAX_LRN_WINDOW = 15  # TensorRT: odd, at most 15


@converter("LRN")
def convert_lrn(b: LayerBuilder, input: Operand, *, depth_radius: int, bias: float, alpha: float, beta: float) -> Value:
    """``x / (bias + alpha * sum(x^2 over 2 * depth_radius + 1 channels)) ** beta`` of N,H,W,C."""
    require(b, FLOATS, input)
    window = 2 * depth_radius + 1
    if window > MAX_LRN_WINDOW or bias < 1e-5 or beta < 0.01:
        return _written_out(b, input, window, bias, alpha, beta)
    x = to_channels_first(b, input, "NHWC")
    return b.transpose(b.lrn(x, window, alpha * window, beta, bias), (0, 2, 3, 1))


def _written_out(b: LayerBuilder, x: Value, window: int, bias: float, alpha: float, beta: float) -> Value:
    """What is outside of ILRNLayer's limits: the sums over neighbouring channels by an average pooling along them."""
    shape = sizes.sizes_of(b, x)
    rows = sizes.reshape(b, b.elementwise(x, x, "prod"), [shape[0], 1, sizes.multiply(b, shape[1], shape[2]), shape[3]])
    pads = Pads("explicit", (0, window // 2), (0, window // 2))
    mean = b.pooling(rows, "average", window=(1, window), stride=(1, 1), pads=pads, count_padding=True)
    squares = sizes.reshape(b, mean, shape)
    base = b.elementwise(b.elementwise(squares, b.scalar(alpha * window, x), "prod"), b.scalar(bias, x), "sum")
    return b.elementwise(x, b.elementwise(base, b.scalar(-beta, x), "pow"), "prod")


CONVERTERS: tuple[Converter, ...] = (
    convert_batch_norm, convert_fused_batch_norm, convert_lrn,
)  # fmt: skip
