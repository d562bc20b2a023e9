"""Convolution and pooling on channels-last tensors, the order in which TensorFlow's ops reach XLA with no transpose around them.

The same windows, groups and paddings as ``trt.convolution`` and ``trt.pooling``; only the order of the axes differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfgraphopt.ir import Attrs, Dim, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef, LayerError
from tfgraphopt_trt.layers.pooling import TYPES, pooled
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    check,
    check_arity,
    check_dtype,
    check_same,
    dims_of,
    integer,
    ints,
    text,
    typed,
)  # fmt: skip
from tfgraphopt_trt.layers.spatial import Window, framed

CONVOLUTION = "xla.convolution"
POOLING = "xla.pooling"


def _never_emitted(emitter: Any, node: Node) -> Sequence[Any]:
    raise LayerError(f"{node.op} is for XLA; TensorRT's windows slide over N,C,spatial")


# -- convolution -----------------------------------------------------------------------------------------------------


def _infer_convolution(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    what = "channels-last convolution"
    check_arity(inputs, 2, 3, what)
    check_same(inputs, what)
    check_dtype(inputs[0], FLOATS, what)
    dims, kernel = dims_of(inputs[0]), inputs[1].shape
    check(kernel.is_static, f"the kernel of {what} has shape {kernel}, which must be known")
    size, groups = kernel.static(), integer(attrs, "groups")
    check(len(dims) == len(size) == 4, f"{what} takes N,H,W,C and H,W,C/groups,K, not {inputs[0].shape} and {kernel}")
    check(size[2] * groups == dims[3], f"a kernel for {size[2]} x {groups} channels convolves {dims[3]} channels")
    check(size[3] % groups == 0, f"{size[3]} maps do not divide into {groups} groups")
    check(len(inputs) == 2 or dims_of(inputs[2]) == (size[3],), f"the bias of {what} is no vector of {size[3]}")
    spatial = Window.of(attrs, size[:2], what).result(dims[1:3], what)
    return typed(inputs[0].dtype, (dims[0], *spatial, size[3]))


def _mean_convolution(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    x, kernel = inputs[:2]
    height, width, per_group, maps = kernel.shape.as_list()
    window, groups = Window.of(attrs, (height, width), "convolution"), integer(attrs, "groups")
    if attrs["as_product"] and _is_product(window, groups):
        return [_product(tf, x, tf.reshape(kernel, [per_group, maps]), inputs[2:])]
    how = {"strides": framed(window.stride), "dilations": framed(window.dilation), **_padding(window)}
    if groups > 1 and per_group == 1 and len(set(window.stride)) == 1 and set(window.dilation) == {1}:
        filters = tf.reshape(kernel, [height, width, groups, maps // groups])
        result = tf.raw_ops.DepthwiseConv2dNative(input=x, filter=filters, **how)
    else:
        result = tf.raw_ops.Conv2D(input=x, filter=kernel, **how)
    return [result + inputs[2] if len(inputs) == 3 else result]


def _product(tf: Any, x: Any, matrix: Any, bias: Sequence[Any]) -> Any:
    """The bias is added to the matrix: XLA takes it into the product then."""
    product = tf.linalg.matmul(tf.reshape(x, [-1, x.shape[-1]]), matrix)
    dims = [s if s is not None else tf.shape(x)[i] for i, s in enumerate(x.shape.as_list()[:-1])]
    return tf.reshape(product + bias[0] if bias else product, [*dims, matrix.shape[-1]])


def _is_product(window: Window, groups: int) -> bool:
    """Whether every element of the result is made of one element's channels."""
    return groups == 1 and not window.is_padded and set(window.size) == {1} and set(window.stride) == {1}


def _padding(window: Window) -> dict[str, Any]:
    if not window.is_padded:
        return {"padding": window.tf_padding}
    pads = [0, 0, *(n for pair in zip(window.before, window.after, strict=True) for n in pair), 0, 0]
    return {"padding": "EXPLICIT", "explicit_paddings": pads}


# -- pooling ---------------------------------------------------------------------------------------------------------


def _infer_pooling(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    what = "channels-last pooling"
    check_arity(inputs, 1, 1, what)
    text(attrs, "type", TYPES)
    dtype, dims = check_dtype(inputs[0], FLOATS, what), dims_of(inputs[0])
    check(len(dims) == 4, f"{what} takes N,H,W,C, not {inputs[0].shape}")
    spatial: Sequence[Dim] = Window.of(attrs, ints(attrs, "window"), what).result(dims[1:3], what)
    return typed(dtype, (dims[0], *spatial, dims[3]))


def _mean_pooling(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [pooled(tf, inputs[0], attrs)]


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        CONVOLUTION, _infer_convolution, _mean_convolution, _never_emitted,
        {"groups": 1, "padding": "explicit", "pre": (), "post": (), "as_product": False}, ("x", "kernel", "bias"),
        "Convolution of ``x`` N,H,W,C with ``kernel`` H,W,C/groups,K and an optional ``bias`` of K.",
    ),
    LayerDef(
        POOLING, _infer_pooling, _mean_pooling, _never_emitted, {"padding": "explicit", "pre": (), "post": ()}, ("x",),
        "The maximum or average of windows of ``x`` N,H,W,C.",
    ),
)  # fmt: skip
