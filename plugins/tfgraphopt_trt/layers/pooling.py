"""Pooling over N,C,spatial tensors, and local response normalisation across their channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from tfgraphopt.ir import Attrs, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import member, outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    check,
    check_arity,
    check_dtype,
    dims_of,
    flag,
    integer,
    ints,
    number,
    text,
    typed,
)  # fmt: skip
from tfgraphopt_trt.layers.spatial import Window, channels_first, channels_last, framed

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

TYPES = ("max", "average")


def _window(attributes: Attrs) -> Window:
    return Window.of(attributes, ints(attributes, "window"), "pooling")


def _infer_pooling(inputs: Sequence[Value], attributes: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "pooling")
    text(attributes, "type", TYPES)
    dtype = check_dtype(inputs[0], FLOATS, "pooling")
    window, dims = _window(attributes), dims_of(inputs[0])
    check(len(dims) == len(window.size) + 2, f"a window of {len(window.size)} axes pools {len(dims)} dimensions")
    fits = all(max(p) < k for *p, k in zip(window.before, window.after, window.size, strict=True))
    check(fits, f"the padding {window.before}, {window.after} of pooling is not smaller than the window {window.size}")
    return typed(dtype, (*dims[:2], *window.result(dims[2:], "pooling")))


def _mean_pooling(tf: Any, inputs: Sequence[Any], attributes: Attrs) -> Sequence[Any]:
    return [channels_first(tf, pooled(tf, channels_last(tf, inputs[0]), attributes))]


def pooled(tf: Any, x: Any, attributes: Attrs) -> Any:
    """What a pooling layer with ``attributes`` makes of a channels-last tensor.

    A maximum is padded with minus infinity: XLA starts from it, and so takes the padding into its own window.
    """
    window = _window(attributes)
    if text(attributes, "type") == "max":
        return _pool(tf, "MAX", window.pad(tf, x, float("-inf")), window)
    return _average(tf, x, window, flag(attributes, "count_padding"))


def _average(tf: Any, x: Any, window: Window, count_padding: bool) -> Any:
    """TensorFlow leaves its own SAME padding out of the count; explicit padding is divided out afterwards."""
    if window.same and count_padding:
        return _pool(tf, "AVG", _pad_same(tf, x, window), attrs.evolve(window, same=False))
    whole = _pool(tf, "AVG", window.pad(tf, x), window)
    if count_padding or not window.is_padded:
        return whole
    return whole / _pool(tf, "AVG", window.pad(tf, tf.ones_like(x[:1, ..., :1])), window)


def _pad_same(tf: Any, x: Any, window: Window) -> Any:
    """``x`` with the zeros that SAME padding would put around it."""
    dims = [s if s is not None else d for s, d in zip(x.shape.as_list(), tf.unstack(tf.shape(x)), strict=True)]
    pads = [(0, 0)]
    for dim, size, stride in zip(dims[1:-1], window.extent, window.stride, strict=True):
        total = tf.maximum(((dim + stride - 1) // stride - 1) * stride + size - dim, 0)
        pads.append((total // 2, total - total // 2))
    return tf.pad(x, [*pads, (0, 0)])


_FUNCTIONS = {
    ("MAX", 2): "max_pool2d", ("AVG", 2): "avg_pool2d", ("MAX", 3): "max_pool3d", ("AVG", 3): "avg_pool3d",
}  # fmt: skip


def _pool(tf: Any, kind: str, x: Any, window: Window) -> Any:
    """tf.nn.pool in the input's type; half floats go through float32, for which 3-D CPU kernels exist."""
    narrow = len(window.size) == 3 and x.dtype != tf.float32
    function = _FUNCTIONS[kind, len(window.size)]
    wide = tf.cast(x, tf.float32) if narrow else x
    return tf.cast(
        getattr(tf.nn, function)(wide, framed(window.size), framed(window.stride), window.tf_padding), x.dtype
    )


def _emit_pooling(e: Emitter, node: Node) -> Sequence[Any]:
    window = _window(node.attrs)
    kind = member(e.trt.PoolingType, text(node.attrs, "type"))
    layer = e.network.add_pooling_nd(e.tensor(node.inputs[0]), kind, e.dims(window.size))
    window.apply(e, layer)
    layer.average_count_excludes_padding = not flag(node.attrs, "count_padding")
    return outputs(e, layer)


# -- local response normalisation ------------------------------------------------------------------------------------


def _infer_lrn(inputs: Sequence[Value], attributes: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "LRN")
    check_dtype(inputs[0], FLOATS, "LRN")
    check(len(dims_of(inputs[0])) == 4, f"LRN takes N,C,H,W, not {inputs[0].shape}")
    window = integer(attributes, "window")
    check(window % 2 == 1 and 1 <= window <= 15, f"the window {window} of LRN is not an odd number up to 15")
    return [inputs[0].type]


def _mean_lrn(tf: Any, inputs: Sequence[Any], attributes: Attrs) -> Sequence[Any]:
    window = integer(attributes, "window")
    x = channels_last(tf, tf.cast(inputs[0], tf.float32))
    result = tf.nn.lrn(
        x, depth_radius=window // 2, bias=number(attributes, "k"), alpha=number(attributes, "alpha") / window,
        beta=number(attributes, "beta"),
    )  # fmt: skip
    return [channels_first(tf, tf.cast(result, inputs[0].dtype))]


def _emit_lrn(e: Emitter, node: Node) -> Sequence[Any]:
    numbers = [number(node.attrs, name) for name in ("alpha", "beta", "k")]
    layer = e.network.add_lrn(e.tensor(node.inputs[0]), integer(node.attrs, "window"), *numbers)
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.pooling",
        _infer_pooling,
        _mean_pooling,
        _emit_pooling,
        {"padding": "explicit", "pre": (), "post": (), "count_padding": False},
        ("x",),
        "IPoolingLayer: the max or average of windows of N,C,spatial; averages count padding only when asked.",
    ),
    LayerDef(
        "trt.lrn",
        _infer_lrn,
        _mean_lrn,
        _emit_lrn,
        {},
        ("x",),
        "ILRNLayer: ``x / (k + alpha/window * sum(x^2 over window channels))^beta``.",
    ),
)
