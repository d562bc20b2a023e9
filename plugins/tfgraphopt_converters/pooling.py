"""Maximum and average pooling in two and three dimensions."""

from __future__ import annotations

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt_converters.convolution import Ints
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.layout import from_channels_first, spatial_dims, spatial_part, to_channels_first
from tfgraphopt_converters.windows import pads_of
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, Weights, converter


def pooled(
    b: LayerBuilder, x: Value, type: str, ksize: Ints, strides: Ints, padding: str, data_format: str,
    explicit: Ints = (),
) -> Value:  # fmt: skip
    """The pooling of ``x``; padding never counts, neither in a maximum nor in an average."""
    require(b, FLOATS, x)
    window = spatial_part(ksize, data_format, "ksize")
    steps = spatial_part(strides, data_format, "strides")
    pads = pads_of(padding, explicit, data_format, spatial_dims(x, data_format), window, steps)
    first = to_channels_first(b, x, data_format)
    y = b.pooling(first, type, window=window, stride=steps, pads=pads)
    return from_channels_first(b, y, data_format)


@converter("MaxPool")
def convert_max_pool(
    b: LayerBuilder, input: Operand, *, ksize: Ints, strides: Ints, padding: str, data_format: str,
    explicit_paddings: Ints,
) -> Value:  # fmt: skip
    """Any padding."""
    return pooled(b, input, "max", ksize, strides, padding, data_format, explicit_paddings)


@converter("MaxPoolV2")
def convert_max_pool_v2(
    b: LayerBuilder, input: Operand, ksize: Weights, strides: Weights, *, padding: str, data_format: str
) -> Value:
    """Window and strides as constant tensors."""
    return pooled(b, input, "max", _ints(ksize), _ints(strides), padding, data_format)


def _ints(tensor: Tensor) -> Ints:
    return tuple(int(v) for v in tensor.astype(DType.INT64).numpy())


@converter("AvgPool")
def convert_average_pool(
    b: LayerBuilder, value: Operand, *, ksize: Ints, strides: Ints, padding: str, data_format: str
) -> Value:
    """Averages over the elements that the window meets."""
    return pooled(b, value, "average", ksize, strides, padding, data_format)


@converter("MaxPool3D")
def convert_max_pool_3d(
    b: LayerBuilder, input: Operand, *, ksize: Ints, strides: Ints, padding: str, data_format: str
) -> Value:
    """Three spatial axes."""
    return pooled(b, input, "max", ksize, strides, padding, data_format)


@converter("AvgPool3D")
def convert_average_pool_3d(
    b: LayerBuilder, input: Operand, *, ksize: Ints, strides: Ints, padding: str, data_format: str
) -> Value:
    """Three spatial axes."""
    return pooled(b, input, "average", ksize, strides, padding, data_format)


CONVERTERS: tuple[Converter, ...] = (
    convert_max_pool, convert_max_pool_v2, convert_average_pool, convert_max_pool_3d, convert_average_pool_3d,
)  # fmt: skip
