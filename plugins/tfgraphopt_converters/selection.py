"""Choosing among boxes and turning sequences around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.sizes import Cut
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Weights, converter

# -- non-maximum suppression -----------------------------------------------------------------------------------------
#
# All of these use INMSLayer, which TensorRT for RTX can infer shapes for but has no kernels of. Its kernels look at the
# best 2000 boxes of a class only (TensorRT's default limit).


def _scalar(b: LayerBuilder, x: Value, dtype: DType) -> Value:
    return b.reshape(b.cast(x, dtype), ()) if len(x.shape) else b.cast(x, dtype)


def _corners(b: LayerBuilder, boxes: Value) -> Value:
    """``boxes`` with the four coordinates that TensorFlow checks for while it runs."""
    batch = len(boxes.shape) - 1
    return boxes if boxes.shape[batch] == 4 else b.reshape(boxes, (0,) * batch + (4,))


def _suppressed(
    b: LayerBuilder, boxes: Value, scores: Value, most: Value, iou: Value, least: Value
) -> tuple[Value, Value]:
    """The boxes [n, 4] of one image and class that remain, best first, as int32[m], and m."""
    kept, count = b.nms(
        b.unsqueeze(_corners(b, boxes), (0,)),
        b.unsqueeze(scores, (0, 2)),
        _scalar(b, most, DType.INT32),
        _scalar(b, iou, boxes.dtype),
        _scalar(b, least, boxes.dtype),
    )
    return b.gather(kept, b.constant(np.array(2, np.int32)), 1), count


def _lowest(b: LayerBuilder, like: Value) -> Value:
    """A score that every box exceeds."""
    return b.constant(np.array(-np.inf), like.dtype)


@converter("NonMaxSuppression")
def non_max_suppression(
    b: LayerBuilder, boxes: Operand, scores: Operand, max_output_size: Operand, *, iou_threshold: float
) -> Value:
    """The boxes that remain, best first."""
    iou = b.constant(np.array(iou_threshold), boxes.dtype)
    return _suppressed(b, boxes, scores, max_output_size, iou, _lowest(b, boxes))[0]


@converter("NonMaxSuppressionV2")
def non_max_suppression_v2(
    b: LayerBuilder, boxes: Operand, scores: Operand, max_output_size: Operand, iou_threshold: Operand
) -> Value:
    """The boxes that remain, best first."""
    return _suppressed(b, boxes, scores, max_output_size, iou_threshold, _lowest(b, boxes))[0]


@converter("NonMaxSuppressionV3")
def non_max_suppression_v3(
    b: LayerBuilder,
    boxes: Operand,
    scores: Operand,
    max_output_size: Operand,
    iou_threshold: Operand,
    score_threshold: Operand,
) -> Value:
    """The boxes above a score that remain, best first."""
    return _suppressed(b, boxes, scores, max_output_size, iou_threshold, score_threshold)[0]


def _filled_up(b: LayerBuilder, x: Value, most: Value) -> Value:
    """``x`` with zeros behind it up to ``most`` elements."""
    return sizes.cut(b, x, {0: Cut(0, sizes.elements(b, most)[0])}, mode="fill")


@converter("NonMaxSuppressionV4")
def non_max_suppression_v4(
    b: LayerBuilder,
    boxes: Operand,
    scores: Operand,
    max_output_size: Operand,
    iou_threshold: Operand,
    score_threshold: Operand,
    *,
    pad_to_max_output_size: bool,
) -> Sequence[Value]:
    """The boxes above a score that remain, best first, and their number; filled up with zeros when asked."""
    kept, count = _suppressed(b, boxes, scores, max_output_size, iou_threshold, score_threshold)
    return [_filled_up(b, kept, max_output_size) if pad_to_max_output_size else kept, count]


@converter("NonMaxSuppressionV5")
def non_max_suppression_v5(
    b: LayerBuilder,
    boxes: Operand,
    scores: Operand,
    max_output_size: Operand,
    iou_threshold: Operand,
    score_threshold: Operand,
    soft_nms_sigma: Weights,
    *,
    pad_to_max_output_size: bool,
) -> Sequence[Value]:
    """As V4, with the scores; only without the softening of scores."""
    if soft_nms_sigma.item() != 0:
        raise Unsupported("TensorRT has no soft non-maximum suppression (soft_nms_sigma is not 0)")
    kept, count = _suppressed(b, boxes, scores, max_output_size, iou_threshold, score_threshold)
    found = b.gather(scores, kept, 0)
    if pad_to_max_output_size:
        kept, found = (_filled_up(b, x, max_output_size) for x in (kept, found))
    return [kept, found, count]


# -- several classes and images --------------------------------------------------------------------------------------


@converter("CombinedNonMaxSuppression")
def combined_non_max_suppression(
    b: LayerBuilder,
    boxes: Operand,
    scores: Operand,
    max_output_size_per_class: Operand,
    max_total_size: Weights,
    iou_threshold: Operand,
    score_threshold: Operand,
    *,
    pad_per_class: bool,
    clip_boxes: bool,
) -> Sequence[Value]:
    """Suppression per class, then the best of all classes of an image; boxes shared by all classes, or one for each.

    The scores of the boxes that remain are scattered into a table of -infinity and the best of each image are found by
    top-k. Boxes of equal score may come in another order.
    """
    if boxes.shape[2] is None and scores.shape[2] != 1:
        raise Unsupported("whether classes have boxes of their own is known only at run time")
    boxes = _corners(b, boxes)
    flat, listed = _one_class_each(b, boxes, scores)
    kept, _ = b.nms(
        flat,
        listed,
        _scalar(b, max_output_size_per_class, DType.INT32),
        _scalar(b, iou_threshold, boxes.dtype),
        _scalar(b, score_threshold, boxes.dtype),
    )
    table = b.transpose(scores, (0, 2, 1))  # [images, classes, boxes]
    best, numbers, found = _best(b, table, listed, kept, _wanted(b, scores, max_total_size))
    own = _size_constant(b, sizes.size_of(b, scores, 1))
    which = b.elementwise(numbers, own, "floor_div")
    box = b.elementwise(numbers, b.elementwise(which, own, "prod"), "sub")
    return _emptied(b, _boxes_of(b, boxes, which, box), best, which, found, clip_boxes)


def _one_class_each(b: LayerBuilder, boxes: Value, scores: Value) -> tuple[Value, Value]:
    """Boxes [rows, boxes, 4] and scores [rows, boxes, classes] for TensorRT, whose classes share their boxes.

    Boxes that differ between classes make a row of every class of an image.
    """
    if boxes.shape[2] == 1:
        return b.squeeze(boxes, (2,)), scores
    batch, count, classes, _ = sizes.sizes_of(b, boxes)
    rows = sizes.product(b, (batch, classes))
    flat = sizes.reshape(b, b.transpose(boxes, (0, 2, 1, 3)), [rows, count, 4])
    return flat, sizes.reshape(b, b.transpose(scores, (0, 2, 1)), [rows, count, 1])


def _wanted(b: LayerBuilder, scores: Value, max_total_size: Tensor) -> int:
    """How many results TensorFlow gives, which its shape inference knows (padded per class there may be fewer)."""
    known = b.results[0].shape[1]
    return int(max_total_size.item()) if known is None else known


def _size_constant(b: LayerBuilder, size: sizes.Size) -> Value:
    """``size`` as int32[1]."""
    return b.constant(np.array([size], np.int32)) if isinstance(size, int) else b.cast(size, DType.INT32)


def _best(b: LayerBuilder, table: Value, listed: Value, kept: Value, total: int) -> tuple[Value, Value, Value]:
    """The ``total`` best scores of each image, their places in [classes, boxes], and whether they are any.

    ``table`` are all scores [images, classes, boxes], ``listed`` the same as TensorRT suppressed them and ``kept`` what it
    left of those. Behind the table come ``total`` places that nothing is in, so that there always are as many.
    """
    lowest = Tensor.of(np.array(-np.inf, table.dtype.np), table.dtype)
    turned = b.transpose(listed, (0, 2, 1))
    order = b.gather(kept, b.constant(np.array([0, 1, 2], np.int32)), 1)
    none = sizes.filled(b, lowest, sizes.sizes_of(b, turned))
    remaining = b.scatter(none, order, b.gather(turned, order, mode="nd"))
    batch, classes, boxes = sizes.sizes_of(b, table)
    count = sizes.product(b, (classes, boxes))
    flat = sizes.reshape(b, remaining, [batch, count])
    padded = b.concatenation([flat, sizes.filled(b, lowest, [batch, total])], 1)
    best, numbers = b.topk(padded, "max", total, 1)
    found = b.elementwise(best, b.constant(np.full((1, 1), -np.inf), best.dtype), "greater")
    return best, b.select(found, numbers, b.constant(np.zeros((1, 1), np.int32))), found


def _boxes_of(b: LayerBuilder, boxes: Value, which: Value, box: Value) -> Value:
    """The box of each result, [images, results, 4]."""
    if boxes.shape[2] == 1:
        return b.gather(b.squeeze(boxes, (2,)), box, 1, batch_dims=1)
    batch, count, classes, _ = sizes.sizes_of(b, boxes)
    flat = sizes.reshape(b, boxes, [batch, sizes.product(b, (count, classes)), 4])
    each = b.elementwise(b.elementwise(box, _size_constant(b, classes), "prod"), which, "sum")
    return b.gather(flat, each, 1, batch_dims=1)


def _emptied(b: LayerBuilder, boxes: Value, best: Value, which: Value, found: Value, clip: bool) -> Sequence[Value]:
    """The four results, with zeros where nothing was found."""
    zero = b.constant(np.zeros(()), DType.FLOAT)
    if clip:
        boxes = b.elementwise(b.elementwise(boxes, b.constant(np.ones(()), DType.FLOAT), "min"), zero, "max")
    kept = b.select(b.unsqueeze(found, (2,)), boxes, zero)
    classes = b.select(found, b.cast(which, DType.FLOAT), zero)
    number = b.reduce(b.cast(found, DType.INT32), "sum", (1,), keep_dims=False)
    return [kept, b.select(found, best, zero), classes, number]


# -- sequences -------------------------------------------------------------------------------------------------------


@converter("ReverseSequence")
def reverse_sequence(b: LayerBuilder, input: Operand, seq_lengths: Operand, *, seq_dim: int, batch_dim: int) -> Value:
    """The first elements of each sequence turned around."""
    return b.reverse_sequence(input, b.cast(seq_lengths, DType.INT32), batch_dim, seq_dim)


CONVERTERS: tuple[Any, ...] = (
    non_max_suppression,
    non_max_suppression_v2,
    non_max_suppression_v3,
    non_max_suppression_v4,
    non_max_suppression_v5,
    combined_non_max_suppression,
    reverse_sequence,
)
