"""Transposed convolutions: TensorFlow's gradients of a convolution with respect to its input."""

from __future__ import annotations

import numpy as np

from tfgraphopt.ir import Dim, DType, Value
from tfgraphopt_converters.convolution import Ints, Window, depthwise_kernel, plain_kernel
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.layout import channel_axis, from_channels_first, is_channels_last, to_channels_first
from tfgraphopt_converters.windows import explicit_pairs, extent, integers, same_padding
from tfgraphopt_trt.builder import LayerBuilder, Operand, Pads, Unsupported
from tfgraphopt_trt.converter import Converter, converter


def transposed(b: LayerBuilder, x: Value, kernel: Value, window: Window, sizes: Value, groups: int = 1) -> Value:
    """The gradient of a convolution with ``window`` from its result's gradient ``x``.

    Where the spatial size of the result is known the padding of the forward convolution becomes TensorRT's cropping;
    else the whole overlap is computed and then cut, or filled up with zeros, to what ``sizes`` (all dimensions or the
    spatial ones) says.
    """
    require(b, FLOATS, x, kernel)
    gaps = window.gaps
    if max(gaps) > 1 and max(window.steps) > 1:
        kernel, gaps = _spread(b, kernel, window), (1,) * len(gaps)
    first = to_channels_first(b, x, window.data_format)
    reach = tuple(extent(k, d) for k, d in zip(kernel.shape.static()[2:], gaps, strict=True))
    cropping = _cropping(spatial_dims_of_result(b, window), reach, window)
    pads = cropping or Pads("explicit", (0,) * len(reach), (0,) * len(reach))
    y = b.deconvolution(first, kernel, stride=window.steps, pads=pads, dilation=gaps, groups=groups)
    if cropping is None:
        y = _fitted(b, y, _spatial_sizes(b, sizes, window), window)
    return from_channels_first(b, y, window.data_format)


def _spread(b: LayerBuilder, kernel: Value, window: Window) -> Value:
    """A constant kernel with the zeros of its dilation written out."""
    tensor = b.tensor_of(kernel)
    if tensor is None:
        raise Unsupported(
            f"transposed convolution with strides {window.steps} and dilations {window.gaps} by a filter that is known "
            "only at run time; TensorRT has strides or dilations"
        )
    dims = tensor.shape.static()
    sizes = [extent(k, d) for k, d in zip(dims[2:], window.gaps, strict=True)]
    array = np.zeros((*dims[:2], *sizes), tensor.dtype.np)
    array[(slice(None), slice(None), *(slice(None, None, g) for g in window.gaps))] = tensor.numpy()
    return b.constant(array, tensor.dtype)


def spatial_dims_of_result(b: LayerBuilder, window: Window) -> tuple[Dim, ...]:
    """The spatial sizes that TensorFlow's shape inference knows of the result."""
    dims = b.results[0].shape.known()
    return dims[1:-1] if is_channels_last(window.data_format) else dims[2:]


def _cropping(wanted: tuple[Dim, ...], reach: Ints, window: Window) -> Pads | None:
    """The padding that gives exactly ``wanted``; None when a size is unknown or larger than the overlap is wide."""
    found = [_crop_axis(i, d, reach[i], window) for i, d in enumerate(wanted)]
    pairs = [p for p in found if p is not None]
    if len(pairs) != len(found):
        return None
    return Pads("explicit", tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))


def _crop_axis(axis: int, size: Dim, reach: int, window: Window) -> tuple[int, int] | None:
    if size is None:
        return None
    step = window.steps[axis]
    before, after = _forward_padding(axis, size, reach, window)
    width = (size + before + after - reach) // step * step + reach
    return None if width < before + size else (before, width - before - size)


def _forward_padding(axis: int, size: int, reach: int, window: Window) -> tuple[int, int]:
    if window.padding == "SAME":
        return same_padding(size, reach, window.steps[axis])
    if window.padding == "EXPLICIT":
        return explicit_pairs(window.explicit_paddings, window.data_format)[axis]
    return 0, 0


def _spatial_sizes(b: LayerBuilder, sizes: Value, window: Window) -> Value:
    """The spatial entries of a vector of sizes, which may hold nothing else, as int64."""
    count, spatial = sizes.shape.static()[0], len(window.steps)
    start = 0 if count == spatial else 1 if is_channels_last(window.data_format) else 2
    return b.slice(b.cast(sizes, DType.INT64), (start,), (spatial,))


def _fitted(b: LayerBuilder, y: Value, sizes: Value, window: Window) -> Value:
    """The part of N,C,spatial ``y`` behind the forward padding, ``sizes`` large; zero where ``y`` has ended."""
    shape, spatial = b.shape(y), len(window.steps)
    start = b.concatenation([integers(b, (0, 0)), _start(b, shape, sizes, window)], 0)
    size = b.concatenation([b.slice(shape, (0,), (2,)), sizes], 0)
    return b.slice(y, start, size, (1,) * (spatial + 2), mode="fill", fill=b.constant(0.0, y.dtype))


def _start(b: LayerBuilder, shape: Value, sizes: Value, window: Window) -> Value:
    spatial = len(window.steps)
    if window.padding != "SAME":
        return integers(b, [_forward_padding(i, 0, 0, window)[0] for i in range(spatial)])
    overlap = b.elementwise(b.slice(shape, (2,), (spatial,)), sizes, "sub")
    total = b.elementwise(overlap, integers(b, (0,) * spatial), "max")
    return b.elementwise(total, integers(b, (2,) * spatial), "floor_div")


@converter("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def convert_transposed(
    b: LayerBuilder, input_sizes: Operand, filter: Operand, out_backprop: Operand, *, strides: Ints, padding: str,
    data_format: str, dilations: Ints, explicit_paddings: Ints = (),
) -> Value:  # fmt: skip
    """Any padding and number of groups; sizes may be known at run time only."""
    window = Window(strides, padding, data_format, dilations, explicit_paddings)
    kernel = plain_kernel(b, filter)
    made = b.results[0].shape[channel_axis(data_format, len(out_backprop.shape))]
    return transposed(b, out_backprop, kernel, window, input_sizes, groups=_groups(made, kernel.shape.static()[1]))


def _groups(made: Dim, of_filter: int) -> int:
    """How many times the filter's channels go into those of the result (once when those are unknown)."""
    if made is None:
        return 1
    if made % of_filter:
        raise Unsupported(f"{made} channels are no multiple of the filter's {of_filter}")
    return made // of_filter


@converter("DepthwiseConv2dNativeBackpropInput")
def convert_transposed_depthwise(
    b: LayerBuilder, input_sizes: Operand, filter: Operand, out_backprop: Operand, *, strides: Ints, padding: str,
    data_format: str, dilations: Ints, explicit_paddings: Ints,
) -> Value:  # fmt: skip
    """One group a channel."""
    window = Window(strides, padding, data_format, dilations, explicit_paddings)
    kernel = depthwise_kernel(b, filter)
    return transposed(b, out_backprop, kernel, window, input_sizes, groups=filter.shape.static()[2])


CONVERTERS: tuple[Converter, ...] = (convert_transposed, convert_transposed_depthwise)
