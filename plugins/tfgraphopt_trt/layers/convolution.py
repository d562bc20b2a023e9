"""Convolution and deconvolution.

TensorFlow's CPU kernels are channels-last only and know some cases not at all (dilated or grouped 3-D, depthwise
with unequal strides, dilated transposed); each has a formulation here that every device runs and XLA compiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Dim, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    check,
    check_arity,
    check_dtype,
    check_same,
    dims_of,
    integer,
    typed,
)  # fmt: skip
from tfgraphopt_trt.layers.spatial import Window, channels_first, channels_last, framed

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter


def _kernel_dims(kernel: Value, what: str) -> tuple[int, ...]:
    check(kernel.shape.is_static, f"the kernel of {what} has shape {kernel.shape}; TensorRT needs it known")
    return kernel.shape.static()


def _check_operands(inputs: Sequence[Value], attrs: Attrs, what: str) -> tuple[tuple[Dim, ...], tuple[int, ...]]:
    check_arity(inputs, 2, 3, what)
    check_same(inputs, what)
    check_dtype(inputs[0], FLOATS, what)
    dims, kernel = dims_of(inputs[0]), _kernel_dims(inputs[1], what)
    check(len(dims) in (4, 5), f"{what} takes 4 or 5 dimensions (N,C,spatial), not {len(dims)}")
    check(len(kernel) == len(dims), f"the kernel of {what} has {len(kernel)} dimensions for an input of {len(dims)}")
    check(dims[1] is not None, f"TensorRT needs to know the number of channels of {what}")
    check(integer(attrs, "groups") >= 1, f"{what} in {integer(attrs, 'groups')} groups")
    return dims, kernel


def _check_bias(inputs: Sequence[Value], maps: int, what: str) -> None:
    if len(inputs) == 3:
        check(dims_of(inputs[2]) == (maps,), f"the bias of {what} is {inputs[2].type}, not a vector of {maps}")


# -- convolution -----------------------------------------------------------------------------------------------------


def _infer_convolution(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    dims, kernel = _check_operands(inputs, attrs, "convolution")
    groups = integer(attrs, "groups")
    window = Window.of(attrs, kernel[2:], "convolution")
    check(kernel[1] * groups == dims[1], f"a kernel for {kernel[1]} x {groups} channels convolves {dims[1]} channels")
    check(kernel[0] % groups == 0, f"{kernel[0]} maps do not divide into {groups} groups")
    _check_bias(inputs, kernel[0], "convolution")
    return typed(inputs[0].dtype, (dims[0], kernel[0], *window.result(dims[2:], "convolution")))


def _mean_convolution(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    x, kernel = inputs[:2]
    window = Window.of(attrs, kernel.shape.as_list()[2:], "convolution")
    x = window.pad(tf, channels_last(tf, x))
    flat = _convolve_2d if len(window.size) == 2 else _convolve_3d
    result = flat(tf, x, kernel, window, integer(attrs, "groups"))
    if len(inputs) == 3:
        result = result + inputs[2]
    return [channels_first(tf, result)]


def _convolve_2d(tf: Any, x: Any, kernel: Any, window: Window, groups: int) -> Any:
    if groups > 1 and kernel.shape[1] == 1 and _fits_depthwise(window):
        return _depthwise(tf, x, kernel, window, groups)
    filters = tf.transpose(kernel, [2, 3, 1, 0])
    # The raw op takes strides together with dilations, which tf.nn.conv2d's own check would not on every version.
    return tf.raw_ops.Conv2D(
        input=x,
        filter=filters,
        strides=framed(window.stride),
        padding=window.tf_padding,
        dilations=framed(window.dilation),
    )


def _fits_depthwise(window: Window) -> bool:
    """TensorFlow's depthwise kernels want equal strides, and no strides together with dilations."""
    return len(set(window.stride)) == 1 and (window.stride[0] == 1 or set(window.dilation) == {1})


def _depthwise(tf: Any, x: Any, kernel: Any, window: Window, channels: int) -> Any:
    maps, _, height, width = kernel.shape.as_list()
    filters = tf.transpose(tf.reshape(kernel, [channels, maps // channels, height, width]), [2, 3, 0, 1])
    return tf.nn.depthwise_conv2d(x, filters, framed(window.stride), window.tf_padding, dilations=list(window.dilation))


def _convolve_3d(tf: Any, x: Any, kernel: Any, window: Window, groups: int) -> Any:
    filters = _dilate(tf, tf.transpose(kernel, [2, 3, 4, 1, 0]), window.dilation)
    parts = zip(tf.split(x, groups, axis=-1), tf.split(filters, groups, axis=-1), strict=True)
    results = [tf.nn.conv3d(a, f, framed(window.stride), window.tf_padding) for a, f in parts]
    return results[0] if groups == 1 else tf.concat(results, axis=-1)


def _dilate(tf: Any, filters: Any, dilation: Sequence[int]) -> Any:
    """``filters`` (spatial axes first) with ``dilation - 1`` zeros between neighbours."""
    for axis, step in enumerate(dilation):
        if step > 1:
            filters = _spread(tf, filters, axis, step)
    return filters


def _spread(tf: Any, filters: Any, axis: int, step: int) -> Any:
    dims = filters.shape.as_list()
    size = dims[axis]
    spaced = tf.pad(
        tf.expand_dims(filters, axis + 1), [(0, step - 1) if i == axis + 1 else (0, 0) for i in range(len(dims) + 1)]
    )
    merged = tf.reshape(spaced, [*dims[:axis], size * step, *dims[axis + 1 :]])
    begin, wanted = [0] * len(dims), [*dims[:axis], (size - 1) * step + 1, *dims[axis + 1 :]]
    return tf.slice(merged, begin, wanted)


def _emit_convolution(e: Emitter, node: Node) -> Sequence[Any]:
    kernel = _kernel_dims(node.inputs[1], "convolution")
    return _emit(e, node, e.network.add_convolution_nd, kernel[0], Window.of(node.attrs, kernel[2:], "convolution"))


def _emit(e: Emitter, node: Node, add: Any, maps: int, window: Window) -> Sequence[Any]:
    """Constant kernels and biases go in as weights; run-time ones as inputs 1 and 2."""
    arrays = [e.weights(v) for v in node.inputs[1:]]
    weights = [e.trt.Weights() if a is None else e.as_weights(a) for a in arrays]
    layer = add(e.tensor(node.inputs[0]), maps, e.dims(window.size), *weights)
    for index, array in enumerate(arrays, start=1):
        if array is None:
            layer.set_input(index, e.tensor(node.inputs[index]))
    layer.num_groups = integer(node.attrs, "groups")
    layer.dilation_nd = e.dims(window.dilation)
    window.apply(e, layer)
    return outputs(e, layer)


# -- deconvolution ---------------------------------------------------------------------------------------------------


def _deconvolution_window(attrs: Attrs, size: Sequence[int]) -> Window:
    window = Window.of(attrs, size, "deconvolution")
    check(not window.same, "deconvolution takes explicit padding only")
    strided, dilated = max(window.stride) > 1, max(window.dilation) > 1
    check(not (strided and dilated), "TensorRT has no deconvolution with both a stride and a dilation above 1")
    return window


def _deconvolved(window: Window, axis: int, dim: Dim) -> Dim:
    if dim is None:
        return None
    size = (dim - 1) * window.stride[axis] + window.extent[axis] - window.before[axis] - window.after[axis]
    check(size >= 1, f"the padding of a deconvolution leaves {size} elements along spatial axis {axis}")
    return size


def _infer_deconvolution(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    dims, kernel = _check_operands(inputs, attrs, "deconvolution")
    groups = integer(attrs, "groups")
    window = _deconvolution_window(attrs, kernel[2:])
    check(kernel[0] == dims[1], f"a kernel for {kernel[0]} channels deconvolves {dims[1]} channels")
    check(kernel[0] % groups == 0, f"{kernel[0]} channels do not divide into {groups} groups")
    maps = kernel[1] * groups
    _check_bias(inputs, maps, "deconvolution")
    spatial = [_deconvolved(window, i, d) for i, d in enumerate(dims[2:])]
    return typed(inputs[0].dtype, (dims[0], maps, *spatial))


def _mean_deconvolution(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    x, kernel = channels_last(tf, inputs[0]), inputs[1]
    rank, groups = kernel.shape.rank, integer(attrs, "groups")
    window = _deconvolution_window(attrs, kernel.shape.as_list()[2:])
    filters = _dilate(tf, tf.transpose(kernel, [*range(2, rank), 1, 0]), window.dilation)
    parts = zip(tf.split(x, groups, axis=-1), tf.split(filters, groups, axis=-1), strict=True)
    results = [_deconvolve(tf, a, f, window) for a, f in parts]
    result = results[0] if groups == 1 else tf.concat(results, axis=-1)
    if len(inputs) == 3:
        result = result + inputs[2]
    return [channels_first(tf, result)]


def _deconvolve(tf: Any, x: Any, filters: Any, window: Window) -> Any:
    """The whole transposed convolution, then cropped: TensorFlow's padding cannot express every explicit one."""
    dims = tf.unstack(tf.shape(x))
    spatial = [(d - 1) * s + k for d, s, k in zip(dims[1:-1], window.stride, window.extent, strict=True)]
    maps = filters.shape[-2]
    function = tf.nn.conv2d_transpose if len(spatial) == 2 else tf.nn.conv3d_transpose
    whole = function(x, filters, tf.stack([dims[0], *spatial, maps]), framed(window.stride), "VALID")
    if not window.is_padded:
        return whole
    sizes = [d - b - a for d, b, a in zip(spatial, window.before, window.after, strict=True)]
    return tf.slice(whole, [0, *window.before, 0], tf.stack([dims[0], *sizes, maps]))


def _emit_deconvolution(e: Emitter, node: Node) -> Sequence[Any]:
    kernel = _kernel_dims(node.inputs[1], "deconvolution")
    maps = kernel[1] * integer(node.attrs, "groups")
    return _emit(e, node, e.network.add_deconvolution_nd, maps, _deconvolution_window(node.attrs, kernel[2:]))


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.convolution",
        _infer_convolution,
        _mean_convolution,
        _emit_convolution,
        {"groups": 1, "padding": "explicit", "pre": (), "post": ()},
        ("x", "kernel", "bias"),
        "IConvolutionLayer: ``x`` N,C,spatial with ``kernel`` K,C/groups,spatial and an optional ``bias`` of K.",
    ),
    LayerDef(
        "trt.deconvolution",
        _infer_deconvolution,
        _mean_deconvolution,
        _emit_deconvolution,
        {"groups": 1, "padding": "explicit", "pre": (), "post": ()},
        ("x", "kernel", "bias"),
        "IDeconvolutionLayer: ``x`` N,C,spatial with ``kernel`` C,K/groups,spatial and an optional ``bias`` of K.",
    ),
)
