"""Batch normalisation at inference and local response normalisation."""

from __future__ import annotations

import attrs
import numpy as np

from tfgraphopt.ir import DType, Value
from tfgraphopt_converters.activation import ACTIVATIONS
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.layout import per_channel, to_channels_first
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
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
    data_format: str, is_training: bool,
) -> list[Value]:  # fmt: skip
    """Inference only, where TensorFlow leaves all results but the first undefined (here mean and variance, and 0)."""
    y = _inference(b, x, Statistics(scale, offset, mean, variance), epsilon, data_format, is_training)
    return [y, *_side_results(b, mean, variance)]


def _inference(b: LayerBuilder, x: Value, by: Statistics, epsilon: float, data_format: str, is_training: bool) -> Value:
    if is_training:
        raise Unsupported("batch normalisation in training mode (it computes the statistics of the batch)")
    require(b, FLOATS, x)
    return normalized(b, x, by, epsilon, data_format)


def _side_results(b: LayerBuilder, mean: Value, variance: Value) -> list[Value]:
    handed = [mean, variance, mean, variance]
    if len(b.results) == 6:
        handed.append(b.constant(np.zeros((), np.float32), DType.FLOAT))
    return handed


@converter("_FusedBatchNormEx")
def convert_fused_batch_norm(
    b: LayerBuilder, x: Operand, scale: Operand, offset: Operand, mean: Operand, variance: Operand,
    side_input: Operands, *, epsilon: float, data_format: str, is_training: bool, activation_mode: str,
) -> list[Value]:  # fmt: skip
    """Grappler's batch normalisation with a summand and an activation."""
    y = _inference(b, x, Statistics(scale, offset, mean, variance), epsilon, data_format, is_training)
    for other in side_input:
        y = b.elementwise(y, other, "sum")
    if activation_mode != "Identity":
        y = _activated(b, y, activation_mode)
    return [y, *_side_results(b, mean, variance)]


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
        raise Unsupported(
            f"depth_radius {depth_radius}, bias {bias}, beta {beta}: TensorRT needs <= 7, >= 1e-5, >= 0.01"
        )
    x = to_channels_first(b, input, "NHWC")
    return b.transpose(b.lrn(x, window, alpha * window, beta, bias), (0, 2, 3, 1))


CONVERTERS: tuple[Converter, ...] = (
    convert_batch_norm, convert_fused_batch_norm, convert_lrn,
)  # fmt: skip
