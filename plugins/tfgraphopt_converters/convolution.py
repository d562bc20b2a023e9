"""Convolutions, plain, grouped, depthwise and transposed, and adding a bias."""

from __future__ import annotations

import attrs

from tfgraphopt.ir import Value
from tfgraphopt_converters.dtypes import FLOATS, NUMBERS, require
from tfgraphopt_converters.folding import reshaped
from tfgraphopt_converters.fusion import Epilogue
from tfgraphopt_converters.layout import (
    channel_axis,
    from_channels_first,
    per_channel,
    spatial_dims,
    spatial_part,
    to_channels_first,
)  # fmt: skip
from tfgraphopt_converters.windows import extent, pads_of
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, Operands, converter

Ints = tuple[int, ...]


@attrs.frozen
class Window:
    """How a kernel slides over its input, in TensorFlow's attributes."""

    strides: Ints
    padding: str
    data_format: str
    dilations: Ints = ()
    explicit_paddings: Ints = ()

    @property
    def steps(self) -> Ints:
        """Strides of the spatial axes."""
        return spatial_part(self.strides, self.data_format, "strides")

    @property
    def gaps(self) -> Ints:
        """Dilations of the spatial axes (ones when not given)."""
        return spatial_part(self.dilations or (1,) * len(self.strides), self.data_format, "dilations")


def convolve(b: LayerBuilder, x: Value, kernel: Value, window: Window, groups: int) -> Value:
    """``x`` (in the window's data format, as is the result) convolved with ``kernel`` as K,C/groups,spatial."""
    require(b, FLOATS, x, kernel)
    sizes = kernel.shape.static()[2:]
    reach = [extent(k, d) for k, d in zip(sizes, window.gaps, strict=True)]
    spatial = spatial_dims(x, window.data_format)
    pads = pads_of(window.padding, window.explicit_paddings, window.data_format, spatial, reach, window.steps)
    first = to_channels_first(b, x, window.data_format)
    y = b.convolution(first, kernel, stride=window.steps, pads=pads, dilation=window.gaps, groups=groups)
    return from_channels_first(b, y, window.data_format)


def _check_filter(filter: Value) -> None:
    if not filter.shape.is_static:
        raise Unsupported(f"the filter's shape {filter.shape} is not fully known, and TensorRT needs it to be")


_FILTER_FORMATS = {"HWIO": True, "OIHW": False}


def plain_kernel(b: LayerBuilder, filter: Value, filter_format: str = "HWIO") -> Value:
    """TensorFlow's filter (spatial, input channels, output channels) as output channels, input channels, spatial."""
    _check_filter(filter)
    if filter_format not in _FILTER_FORMATS:
        raise Unsupported(f"filter format {filter_format}")
    rank = len(filter.shape)
    return b.transpose(filter, (rank - 1, rank - 2, *range(rank - 2))) if _FILTER_FORMATS[filter_format] else filter


def depthwise_kernel(b: LayerBuilder, filter: Value) -> Value:
    """TensorFlow's depthwise filter (H, W, channels, multiplier) as channels * multiplier, 1, H, W."""
    _check_filter(filter)
    height, width, channels, multiplier = filter.shape.static()
    return reshaped(b, b.transpose(filter, (2, 3, 0, 1)), (channels * multiplier, 1, height, width))


def _groups(x: Value, kernel: Value, data_format: str) -> int:
    """How many times the filter's input channels go into those of ``x``."""
    channels, taken = x.shape[channel_axis(data_format, len(x.shape))], kernel.shape.static()[1]
    if channels is None:
        raise Unsupported("the number of input channels is unknown, and TensorRT needs it to be known")
    if taken == 0 or channels % taken:
        raise Unsupported(f"{channels} input channels are no multiple of the filter's {taken}")
    return channels // taken


@converter("Conv2D", "Conv3D")
def convert_conv(
    b: LayerBuilder, input: Operand, filter: Operand, *, strides: Ints, padding: str, data_format: str, dilations: Ints,
    explicit_paddings: Ints = (),
) -> Value:  # fmt: skip
    """Any padding, dilation and number of groups; the filter may be known at run time only."""
    kernel = plain_kernel(b, filter)
    window = Window(strides, padding, data_format, dilations, explicit_paddings)
    return convolve(b, input, kernel, window, _groups(input, kernel, data_format))


@converter("Conv")
def convert_generic_conv(
    b: LayerBuilder, input: Operand, filter: Operand, *, strides: Ints, padding: str, data_format: str, dilations: Ints,
    explicit_paddings: Ints, batch_dims: int, groups: int,
) -> Value:  # fmt: skip
    """The convolution of any rank, with one batch axis; two and three spatial axes."""
    if batch_dims != 1:
        raise Unsupported(f"{batch_dims} batch axes")
    window = Window(strides, padding, data_format, dilations, explicit_paddings)
    return convolve(b, input, plain_kernel(b, filter), window, groups)


@converter("DepthwiseConv2dNative")
def convert_depthwise(
    b: LayerBuilder, input: Operand, filter: Operand, *, strides: Ints, padding: str, data_format: str, dilations: Ints,
    explicit_paddings: Ints,
) -> Value:  # fmt: skip
    """One group a channel."""
    window = Window(strides, padding, data_format, dilations, explicit_paddings)
    return convolve(b, input, depthwise_kernel(b, filter), window, _check_depth(filter))


def _check_depth(filter: Value) -> int:
    return filter.shape.static()[2]


@converter("_FusedConv2D", "_FusedConv3D")
def convert_fused_conv(
    b: LayerBuilder, input: Operand, filter: Operand, args: Operands, *, strides: Ints, padding: str, data_format: str,
    dilations: Ints, fused_ops: tuple[str, ...], epsilon: float, leakyrelu_alpha: float, explicit_paddings: Ints = (),
    filter_format: str = "HWIO",
) -> Value:  # fmt: skip
    """Grappler's convolution with bias, batch normalisation, summand and activation."""
    kernel = plain_kernel(b, filter, filter_format)
    window = Window(strides, padding, data_format, dilations, explicit_paddings)
    y = convolve(b, input, kernel, window, _groups(input, kernel, data_format))
    return Epilogue(fused_ops, data_format, epsilon, leakyrelu_alpha).apply(b, y, args)


@converter("_FusedDepthwiseConv2dNative")
def convert_fused_depthwise(
    b: LayerBuilder, input: Operand, filter: Operand, args: Operands, *, strides: Ints, padding: str, data_format: str,
    dilations: Ints, fused_ops: tuple[str, ...], epsilon: float, leakyrelu_alpha: float,
) -> Value:  # fmt: skip
    """Grappler's depthwise convolution with bias and activation."""
    window = Window(strides, padding, data_format, dilations)
    y = convolve(b, input, depthwise_kernel(b, filter), window, _check_depth(filter))
    return Epilogue(fused_ops, data_format, epsilon, leakyrelu_alpha).apply(b, y, args)


@converter("BiasAdd")
def convert_bias_add(b: LayerBuilder, value: Operand, bias: Operand, *, data_format: str) -> Value:
    """One number a channel; the channels are axis 1 for N,C,... and else the last."""
    require(b, NUMBERS, value)
    return b.elementwise(value, per_channel(b, bias, data_format, len(value.shape)), "sum")


@converter("BiasAddV1")
def convert_old_bias_add(b: LayerBuilder, value: Operand, bias: Operand) -> Value:
    """One number for each place of the last axis."""
    require(b, NUMBERS, value)
    return b.elementwise(value, bias, "sum")


CONVERTERS: tuple[Converter, ...] = (
    convert_conv, convert_generic_conv, convert_depthwise, convert_fused_conv, convert_fused_depthwise,
    convert_bias_add, convert_old_bias_add,
)  # fmt: skip
