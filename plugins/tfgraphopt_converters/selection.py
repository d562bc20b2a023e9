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


def _suppressed(
    b: LayerBuilder, boxes: Value, scores: Value, most: Value, iou: Value, least: Value
) -> tuple[Value, Value]:
    """The boxes [n, 4] of one image and class that remain, best first, as int32[m], and m."""
    kept, count = b.nms(
        b.unsqueeze(boxes, (0,)),
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
    """Boxes shared by all classes: suppression per class, then the best of all classes of an image.

    The scores of the boxes that remain are scattered into a table of -1 and the best of each image are found by top-k,
    so scores must not be negative (they are probabilities). Boxes of equal score may come in another order.
    """
    total, classes = int(max_total_size.item()), scores.shape[2]
    if boxes.shape[2] != 1:
        raise Unsupported(f"TensorRT's suppression takes boxes shared by all classes, not {boxes.shape[2]} for each")
    per_class = b.tensor_of(max_output_size_per_class)
    if pad_per_class or classes is None or scores.shape[1] is None or per_class is None:
        raise Unsupported("pad_per_class, or numbers of classes, boxes or outputs that are known only at run time")
    count = scores.shape[1] * classes
    if total > count:
        raise Unsupported(f"{total} results of {count} scores")
    flat = b.squeeze(boxes, (2,))
    kept, _ = b.nms(
        flat,
        scores,
        _scalar(b, max_output_size_per_class, DType.INT32),
        _scalar(b, iou_threshold, boxes.dtype),
        _scalar(b, score_threshold, boxes.dtype),
    )
    best, numbers, found = _best(b, scores, kept, total, count)
    which = b.elementwise(numbers, b.constant(np.full((1, 1), scores.shape[1], np.int32)), "floor_div")
    box = b.elementwise(
        numbers, b.elementwise(which, b.constant(np.full((1, 1), scores.shape[1], np.int32)), "prod"), "sub"
    )
    return _emptied(b, b.gather(flat, box, 1, batch_dims=1), best, which, found, clip_boxes)


def _best(b: LayerBuilder, scores: Value, kept: Value, total: int, count: int) -> tuple[Value, Value, Value]:
    """The ``total`` best scores of each image, their places in [classes, boxes], and whether they remain."""
    table = b.transpose(scores, (0, 2, 1))
    order = b.gather(kept, b.constant(np.array([0, 1, 2], np.int32)), 1)
    none = sizes.filled(b, Tensor.of(np.array(-1, scores.dtype.np), scores.dtype), sizes.sizes_of(b, table))
    remaining = b.scatter(none, order, b.gather(table, order, mode="nd"))
    flat = b.reshape(remaining, (0, count))
    best, numbers = b.topk(flat, "max", total, 1)
    return best, numbers, b.elementwise(best, b.constant(np.full((1, 1), -1), best.dtype), "greater")


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
