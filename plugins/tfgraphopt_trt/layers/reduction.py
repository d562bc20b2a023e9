"""Reductions and softmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, DType, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import mask, member, outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    NUMBERS,
    WIDE,
    check,
    check_arity,
    check_axes,
    check_axis,
    check_dtype,
    dims_of,
    flag,
    integer,
    ints,
    text,
    typed,
)  # fmt: skip

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

_OPERATIONS: Mapping[str, tuple[frozenset[DType], str]] = {
    "sum": (NUMBERS, "reduce_sum"), "prod": (NUMBERS, "reduce_prod"), "max": (NUMBERS, "reduce_max"),
    "min": (NUMBERS, "reduce_min"), "avg": (WIDE, "reduce_mean"),
}  # fmt: skip


def _infer_reduce(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "a reduction")
    operation = text(attrs, "operation", _OPERATIONS)
    dtype = check_dtype(inputs[0], _OPERATIONS[operation][0], f"reduce {operation}")
    dims = dims_of(inputs[0])
    axes = check_axes(ints(attrs, "axes"), len(dims), f"reduce {operation}")
    check(bool(axes), f"reduce {operation} over no axes")
    if flag(attrs, "keep_dims"):
        return typed(dtype, [1 if i in axes else d for i, d in enumerate(dims)])
    return typed(dtype, [d for i, d in enumerate(dims) if i not in axes])


def _mean_reduce(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    function = getattr(tf.math, _OPERATIONS[text(attrs, "operation")][1])
    return [function(inputs[0], axis=ints(attrs, "axes"), keepdims=flag(attrs, "keep_dims"))]


def _emit_reduce(e: Emitter, node: Node) -> Sequence[Any]:
    operation = member(e.trt.ReduceOperation, text(node.attrs, "operation"))
    axes = mask(ints(node.attrs, "axes"))
    return outputs(e, e.network.add_reduce(e.tensor(node.inputs[0]), operation, axes, flag(node.attrs, "keep_dims")))


def _infer_softmax(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "softmax")
    check_dtype(inputs[0], FLOATS, "softmax")
    check(len(dims_of(inputs[0])) > 1, "TensorRT's softmax takes two dimensions or more")
    check_axis(integer(attrs, "axis"), len(dims_of(inputs[0])), "softmax")
    return [inputs[0].type]


def _mean_softmax(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [tf.nn.softmax(inputs[0], axis=integer(attrs, "axis"))]


def _emit_softmax(e: Emitter, node: Node) -> Sequence[Any]:
    layer = e.network.add_softmax(e.tensor(node.inputs[0]))
    layer.axes = mask([integer(node.attrs, "axis")])
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.reduce",
        _infer_reduce,
        _mean_reduce,
        _emit_reduce,
        {"keep_dims": False},
        ("x",),
        "IReduceLayer: sum, prod, max, min or avg over ``axes``.",
    ),
    LayerDef("trt.softmax", _infer_softmax, _mean_softmax, _emit_softmax, {}, ("x",), "ISoftMaxLayer over ``axis``."),
)
