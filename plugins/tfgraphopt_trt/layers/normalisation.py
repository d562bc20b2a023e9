"""INormalizationLayer: instance, layer and group normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Dim, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef, LayerError
from tfgraphopt_trt.layers.emission import mask, operands, outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    broadcast,
    check,
    check_arity,
    check_axes,
    check_dtype,
    check_same,
    dims_of,
    integer,
    ints,
    merge_dims,
    number,
    typed,
)  # fmt: skip

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter


def _infer(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 3, 3, "normalization")
    check_same(inputs, "normalization")
    dtype = check_dtype(inputs[0], FLOATS, "normalization")
    dims = dims_of(inputs[0])
    axes = check_axes(ints(attrs, "axes"), len(dims), "normalization")
    check(bool(axes), "normalization over no axes")
    groups = integer(attrs, "groups")
    if groups > 1:
        _check_groups(dims, axes, groups)
    merge_dims("normalization", broadcast("normalization", dims, *(dims_of(v) for v in inputs[1:])), dims)
    return typed(dtype, dims)


def _check_groups(dims: Sequence[Dim], axes: Sequence[int], groups: int) -> None:
    check(len(dims) >= 3 and min(axes) >= 2, f"group normalization of {len(dims)} dimensions over axes {tuple(axes)}")
    channels = dims[1]
    check(channels is not None and channels % groups == 0, f"{channels} channels do not divide into {groups} groups")


def _mean(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    """In single precision, as TensorRT recommends for half inputs and fuses by itself."""
    x, scale, bias = (tf.cast(v, tf.float32) for v in inputs)
    axes, groups = list(ints(attrs, "axes")), integer(attrs, "groups")
    shape = tf.shape(x)
    if groups > 1:
        x = tf.reshape(x, tf.concat([shape[:1], [groups, x.shape[1] // groups], shape[2:]], 0))
        axes = [2, *(a + 1 for a in axes)]
    mean, variance = tf.nn.moments(x, axes, keepdims=True)
    normal = (x - mean) * tf.math.rsqrt(variance + number(attrs, "epsilon"))
    if groups > 1:
        normal = tf.reshape(normal, shape)
    return [tf.ensure_shape(tf.cast(normal * scale + bias, inputs[0].dtype), inputs[0].shape)]


def _emit(e: Emitter, node: Node) -> Sequence[Any]:
    groups = integer(node.attrs, "groups")
    modern = getattr(e.network, "add_normalization_v2", None)
    if modern is None and groups > 1:
        raise LayerError("group normalization with a scale per channel needs TensorRT 10.15 or later")
    add = modern or e.network.add_normalization
    layer = add(*operands(e, node), mask(ints(node.attrs, "axes")))
    layer.epsilon, layer.num_groups = number(node.attrs, "epsilon"), groups
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.normalization",
        _infer,
        _mean,
        _emit,
        {"groups": 1},
        ("x", "scale", "bias"),
        "INormalizationLayer: ``(x - mean) / sqrt(variance + epsilon) * scale + bias``, moments over ``axes``.",
    ),
)
