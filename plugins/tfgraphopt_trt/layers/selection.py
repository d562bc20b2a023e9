"""Layers whose result size depends on the data, and top-k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Dim, DType, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import mask, member, operands, outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    INDICES,
    NUMBERS,
    WIDE,
    check,
    check_arity,
    check_axis,
    check_dtype,
    check_same,
    dims_of,
    element_type,
    integer,
    merge_dims,
    text,
    typed,
)  # fmt: skip
from tfgraphopt_trt.shape_values import known_values

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

MOST_SORTED = 3840
"""The largest k of ITopKLayer."""

# -- top k -----------------------------------------------------------------------------------------------------------


def _infer_topk(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 2, "topk")
    text(attrs, "operation", ("max", "min"))
    dtype, dims = check_dtype(inputs[0], NUMBERS, "topk"), dims_of(inputs[0])
    check(len(dims) > 1, f"topk of {inputs[0].type}; TensorRT wants two dimensions or more")
    axis, k = check_axis(integer(attrs, "axis"), len(dims), "topk"), _k(inputs, attrs)
    check(k is None or 1 <= k <= MOST_SORTED, f"topk of {k} elements; TensorRT takes 1 to {MOST_SORTED}")
    size = dims[axis]
    check(k is None or size is None or k <= size, f"topk of {k} out of {size} elements")
    result = [k if i == axis else d for i, d in enumerate(dims)]
    return [*typed(dtype, result), *typed(element_type(attrs, "indices", INDICES), result)]


def _k(inputs: Sequence[Value], attrs: Attrs) -> Dim:
    if len(inputs) == 1:
        return integer(attrs, "k")
    check_dtype(inputs[1], INDICES, "topk k")
    check(inputs[1].shape.dims == (), f"the k of topk is {inputs[1].type}, not a scalar")
    known = known_values(inputs[1])
    return known[0] if known else None


def _mean_topk(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    """tf.math.top_k works on the last axis and finds the largest; equal elements keep their order."""
    x, axis = inputs[0], integer(attrs, "axis")
    k = tf.cast(inputs[1], tf.int32) if len(inputs) == 2 else integer(attrs, "k")
    rank = x.shape.rank
    perm = [*(i for i in range(rank) if i != axis), axis]
    moved = tf.transpose(x, perm)
    smallest = text(attrs, "operation") == "min"
    values, places = tf.math.top_k(_reversed_order(tf, moved) if smallest else moved, k=k)
    found = _reversed_order(tf, values) if smallest else values
    back = [perm.index(i) for i in range(rank)]
    to = element_type(attrs, "indices", INDICES)
    return [tf.transpose(found, back), tf.cast(tf.transpose(places, back), to.tf_name)]


def _reversed_order(tf: Any, x: Any) -> Any:
    """Elements in the opposite order; for integers ``-1 - x``, since the lowest one has no negative."""
    return -x if x.dtype.is_floating else tf.bitwise.invert(x)


def _emit_topk(e: Emitter, node: Node) -> Sequence[Any]:
    operation = member(e.trt.TopKOperation, text(node.attrs, "operation"))
    k = integer(node.attrs, "k") if len(node.inputs) == 1 else 1
    axes, wanted = mask([integer(node.attrs, "axis")]), node.outputs[1].dtype
    indices = [] if wanted is DType.INT32 else [e.dtype(wanted)]
    layer = e.network.add_topk(e.tensor(node.inputs[0]), operation, k, axes, *indices)
    if len(node.inputs) == 2:
        layer.set_input(1, e.tensor(node.inputs[1]))
    return outputs(e, layer)


# -- non zero --------------------------------------------------------------------------------------------------------


def _infer_non_zero(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "non_zero")
    check_dtype(inputs[0], WIDE | {DType.BOOL}, "non_zero")
    return typed(element_type(attrs, "indices", INDICES), (len(dims_of(inputs[0])), None))


def _mean_non_zero(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    to = element_type(attrs, "indices", INDICES)
    return [tf.cast(tf.transpose(tf.where(tf.cast(inputs[0], tf.bool))), to.tf_name)]


def _emit_non_zero(e: Emitter, node: Node) -> Sequence[Any]:
    wanted = node.output.dtype
    indices = [] if wanted is DType.INT32 else [e.dtype(wanted)]
    return outputs(e, e.network.add_non_zero(e.tensor(node.inputs[0]), *indices))


# -- non-maximum suppression -----------------------------------------------------------------------------------------


def _infer_nms(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 5, 5, "nms")
    boxes, scores, most, iou, score = inputs
    check_same([boxes, scores, iou, score], "nms")
    check_dtype(boxes, FLOATS, "nms")
    check_dtype(most, {DType.INT32}, "nms max_boxes")
    for value in (most, iou, score):
        check(value.shape.dims == (), f"a limit of nms is {value.type}, not a scalar")
    check(
        len(dims_of(boxes)) == 3 and len(dims_of(scores)) == 3,
        "nms takes boxes [batch,n,4] and scores [batch,n,classes]",
    )
    merge_dims("nms", dims_of(boxes), [*dims_of(scores)[:2], 4])
    dtype = element_type(attrs, "indices", INDICES)
    return [*typed(dtype, (None, 3)), *typed(DType.INT32, ())]


def _mean_nms(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    """Every class of every batch element on its own; triples, the best score first within a class."""
    boxes, scores, most, iou, least = inputs
    boxes, scores = tf.cast(boxes, tf.float32), tf.cast(tf.transpose(scores, [0, 2, 1]), tf.float32)
    batch, classes, count = tf.unstack(tf.shape(scores))
    limit = tf.minimum(most, count)

    def one(place: Any) -> Any:
        b, c = place // classes, place % classes
        kept = tf.image.non_max_suppression(
            boxes[b], scores[b, c], limit, tf.cast(iou, tf.float32), tf.cast(least, tf.float32)
        )
        return tf.pad(kept, [(0, limit - tf.size(kept))], constant_values=-1)

    places = tf.range(batch * classes)
    kept = tf.map_fn(one, places, fn_output_signature=tf.TensorSpec([None], tf.int32))
    shape = tf.shape(kept)
    columns = [
        tf.broadcast_to((places // classes)[:, None], shape),
        tf.broadcast_to((places % classes)[:, None], shape),
        kept,
    ]
    found = tf.boolean_mask(tf.stack(columns, axis=-1), kept >= 0)
    return [tf.cast(found, element_type(attrs, "indices", INDICES).tf_name), tf.shape(found)[0]]


def _emit_nms(e: Emitter, node: Node) -> Sequence[Any]:
    boxes, scores, most, iou, least = operands(e, node)
    wanted = node.outputs[0].dtype
    indices = [] if wanted is DType.INT32 else [e.dtype(wanted)]
    layer = e.network.add_nms(boxes, scores, most, *indices)
    layer.set_input(3, iou)
    layer.set_input(4, least)
    layer.bounding_box_format = e.trt.BoundingBoxFormat.CORNER_PAIRS
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.topk",
        _infer_topk,
        _mean_topk,
        _emit_topk,
        {"k": None, "indices": DType.INT32},
        ("x", "k"),
        "ITopKLayer: the ``k`` largest or smallest elements along ``axis``, sorted, and where they were.",
    ),
    LayerDef(
        "trt.non_zero",
        _infer_non_zero,
        _mean_non_zero,
        _emit_non_zero,
        {"indices": DType.INT64},
        ("x",),
        "INonZeroLayer: the coordinates of the elements that are not zero, as [rank, count].",
    ),
    LayerDef(
        "trt.nms",
        _infer_nms,
        _mean_nms,
        _emit_nms,
        {"indices": DType.INT32},
        ("boxes", "scores", "max_boxes", "iou", "score"),
        "INMSLayer: non-maximum suppression per class; (batch, class, box) triples and their number.",
    ),
)
