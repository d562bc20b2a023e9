"""Taking tensors apart and putting them together: slices, splits, concatenation, reversal, rolling."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from tfgraphopt.ir import Dim, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.axes import axes_of, axis_of, one_axis
from tfgraphopt_converters.sizes import Cut, Size
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Operands, Weights, converter

# -- Slice -----------------------------------------------------------------------------------------------------------


@converter("Slice")
def slice_(b: LayerBuilder, input: Operand, begin: Weights | Operand, size: Weights | Operand) -> Value:
    """``size`` elements from ``begin``, both possibly known only at run time; -1 is the rest.

    Bounds out of range, for which TensorFlow raises an error, are an error of TensorRT.
    """
    starts, counts = sizes.elements(b, begin), sizes.elements(b, size)
    result = b.results[0].shape.known()
    pairs = enumerate(zip(starts, counts, strict=True))
    cuts = {axis: _piece(b, input, axis, start, count, result[axis]) for axis, (start, count) in pairs}
    return sizes.cut(b, input, {axis: part for axis, part in cuts.items() if part is not None})


def _piece(b: LayerBuilder, x: Value, axis: int, start: Size, count: Size, known: Dim) -> Cut | None:
    if known is not None:
        return Cut(start, known)
    if (start, count) == (0, -1):
        return None
    rest = sizes.if_negative(b, count, lambda: sizes.subtract(b, sizes.size_of(b, x, axis), start))
    return Cut(start, rest)


# -- StridedSlice ----------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Range:
    """``begin:end:stride`` along one axis (None: from or to the end), or the one index ``begin`` of an axis that
    disappears.
    """

    axis: int
    begin: Size | None
    end: Size | None
    stride: int
    shrink: bool
    known: Dim


@attrs.frozen(slots=True)
class _Masks:
    """The five bit masks of a strided slice; ``has`` tells one bit."""

    begin: int
    end: int
    ellipsis: int
    new_axis: int
    shrink_axis: int

    def kind(self, i: int) -> str:
        """What entry ``i`` is: an ellipsis wins over a new axis, and that over an index."""
        named = (("ellipsis", self.ellipsis), ("new", self.new_axis), ("index", self.shrink_axis))
        return next((name for name, mask in named if mask >> i & 1), "range")


@converter("StridedSlice")
def strided_slice(
    b: LayerBuilder, input: Operand, begin: Weights | Operand, end: Weights | Operand, strides: Weights,
    *, begin_mask: int, end_mask: int, ellipsis_mask: int, new_axis_mask: int, shrink_axis_mask: int,
) -> Value:  # fmt: skip
    """All masks, negative strides, negative and run-time bounds, unknown dimensions; the strides are constants.

    An index out of range, for which TensorFlow raises an error, is an error of TensorRT.
    """
    steps = [int(n) for n in strides.numpy().reshape(-1)]
    masks = _Masks(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    bounds = list(zip(sizes.elements(b, begin), sizes.elements(b, end), steps, strict=True))
    ranges, dropped, new = _resolve(bounds, masks, len(input.shape), b.results[0].shape.known())
    taken = sizes.cut(b, input, {r.axis: _cut(b, input, r) for r in ranges})
    return b.unsqueeze(b.squeeze(taken, dropped), new)


def _resolve(
    bounds: Sequence[tuple[Size, Size, int]], masks: _Masks, rank: int, result: Sequence[Dim]
) -> tuple[list[_Range], list[int], list[int]]:
    """The ranges by axis of the operand, the axes that disappear, and the positions of new axes in the result."""
    kinds = [masks.kind(i) for i in range(len(bounds))]
    width = rank - sum(k in ("range", "index") for k in kinds)
    ranges, dropped, new = [], [], []
    axis = position = 0
    for i, kind in enumerate(kinds):
        begin, end, stride = bounds[i]
        if kind == "ellipsis":
            axis, position = axis + width, position + width
        elif kind == "new":
            new.append(position)
            position += 1
        elif kind == "index":
            ranges.append(_Range(axis, begin, None, 1, True, 1))
            dropped.append(axis)
            axis += 1
        else:
            first, last = (None if m >> i & 1 else n for n, m in ((begin, masks.begin), (end, masks.end)))
            ranges.append(_Range(axis, first, last, stride, False, result[position]))
            axis, position = axis + 1, position + 1
    return ranges, dropped, new


def _cut(b: LayerBuilder, x: Value, r: _Range) -> Cut:
    """Where a range starts and how many elements it has, clamped into the axis as TensorFlow does."""
    if r.begin is None and r.end is None and r.stride == 1:
        return Cut(0, sizes.size_of(b, x, r.axis) if r.known is None else r.known)
    start = _bound(b, x, r, r.begin, at_end=r.stride < 0)
    if r.known is not None:
        return Cut(0 if r.known == 0 else start, r.known, r.stride)
    stop = _bound(b, x, r, r.end, at_end=r.stride > 0)
    span = sizes.subtract(b, stop, start) if r.stride > 0 else sizes.subtract(b, start, stop)
    count = sizes.largest(b, sizes.ceil_divide(b, span, abs(r.stride)), 0)
    if r.begin is not None and r.stride < 0:  # -1, in front of the first element, starts a range of nothing
        start = sizes.largest(b, start, 0)
    return Cut(start, count, r.stride)


def _bound(b: LayerBuilder, x: Value, r: _Range, bound: Size | None, at_end: bool) -> Size:
    """A bound counted from the front and clamped into 0..size (into -1..size-1 for a negative stride)."""
    offset = 0 if r.stride > 0 else -1
    if bound is None:
        return sizes.add(b, sizes.size_of(b, x, r.axis), offset) if at_end else offset
    if bound == 0 and r.stride > 0:
        return 0
    size = sizes.size_of(b, x, r.axis) if x.shape[r.axis] is not None or _reads_size(r, bound) else None
    if size is None:
        return bound
    counted = sizes.if_negative(b, bound, lambda: sizes.add(b, bound, size))
    if r.shrink:
        return counted
    below = sizes.smallest(b, counted, sizes.add(b, size, offset))
    return below if isinstance(bound, int) and bound >= 0 and r.stride > 0 else sizes.largest(b, below, offset)


def _reads_size(r: _Range, bound: Size) -> bool:
    """Whether the axis' size matters for ``bound``: not for an index that counts from the front."""
    return not (r.shrink and isinstance(bound, int) and bound >= 0)


# -- splitting -------------------------------------------------------------------------------------------------------


def _pieces(b: LayerBuilder, x: Value, axis: int, counts: Sequence[Size]) -> list[Value]:
    """``x`` cut along ``axis`` into pieces of ``counts`` elements."""
    pieces: list[Value] = []
    start: Size = 0
    for count in counts:
        pieces.append(sizes.cut(b, x, {axis: Cut(start, count)}))
        start = sizes.add(b, start, count)
    return pieces


@converter("Split")
def split(b: LayerBuilder, split_dim: Weights, value: Operand, *, num_split: int) -> Sequence[Value]:
    """``num_split`` equal pieces, also of an axis of unknown size."""
    axis = one_axis(split_dim, len(value.shape))
    if num_split == 1:
        return [value]
    return _pieces(b, value, axis, [sizes.floor_divide(b, sizes.size_of(b, value, axis), num_split)] * num_split)


@converter("SplitV")
def split_v(
    b: LayerBuilder, value: Operand, size_splits: Weights | Operand, split_dim: Weights, *, num_split: int
) -> Sequence[Value]:
    """Pieces of given sizes, of which one may be -1 (what is left); sizes and axis length may be known only at run
    time.
    """
    axis = one_axis(split_dim, len(value.shape))
    if num_split == 1:
        return [value]
    counts = sizes.elements(b, size_splits)
    if not all(isinstance(n, int) and n >= 0 for n in counts):
        left = sizes.subtract(b, sizes.size_of(b, value, axis), sizes.total(b, counts))
        counts = tuple(_left_over(b, n, left) for n in counts)
    return _pieces(b, value, axis, counts)


def _left_over(b: LayerBuilder, count: Size, left: Size) -> Size:
    """``count``, or when it is -1 what ``left`` (less all counts, this -1 too) leaves for it."""
    return sizes.if_negative(b, count, lambda: sizes.add(b, left, -1))


@converter("Unpack")
def unpack(b: LayerBuilder, value: Operand, *, num: int, axis: int) -> Sequence[Value]:
    """The ``num`` slices along ``axis``, without it."""
    along = axis_of(axis, len(value.shape))
    return [sizes.take(b, value, along, i) for i in range(num)]


# -- concatenation ---------------------------------------------------------------------------------------------------


def _concatenated(b: LayerBuilder, values: Sequence[Value], axis: Weights) -> Value:
    return b.concatenation(values, one_axis(axis, len(values[0].shape)))


@converter("ConcatV2")
def concat_v2(b: LayerBuilder, values: Operands, axis: Weights) -> Value:
    """The operands one behind the other along a constant axis."""
    return _concatenated(b, values, axis)


@converter("Concat")
def concat(b: LayerBuilder, concat_dim: Weights, values: Operands) -> Value:
    """The operands one behind the other along a constant axis."""
    return _concatenated(b, values, concat_dim)


# -- turning around --------------------------------------------------------------------------------------------------


@converter("ReverseV2")
def reverse_v2(b: LayerBuilder, tensor: Operand, axis: Weights) -> Value:
    """The operand backwards along constant axes."""
    return sizes.backwards(b, tensor, axes_of(axis, len(tensor.shape)))


@converter("Reverse")
def reverse(b: LayerBuilder, tensor: Operand, dims: Weights) -> Value:
    """The operand backwards along the axes whose entry is true."""
    return sizes.backwards(b, tensor, [i for i, chosen in enumerate(dims.tolist()) if chosen])


@converter("Roll")
def roll(b: LayerBuilder, input: Operand, shift: Weights | Operand, axis: Weights) -> Value:
    """The operand shifted around along constant axes; the shifts may be known only at run time."""
    shifts: dict[int, Size] = {}
    for number, amount in zip(axis.numpy().reshape(-1), sizes.elements(b, shift), strict=True):
        along = axis_of(int(number), len(input.shape))
        shifts[along] = sizes.add(b, amount, shifts.get(along, 0))
    turning = {a: n for a, n in shifts.items() if input.shape[a] not in (0, 1)}
    return sizes.cut(b, input, {a: _turned(b, input, a, n) for a, n in turning.items()}, mode="wrap")


def _turned(b: LayerBuilder, x: Value, axis: int, shift: Size) -> Cut:
    size = sizes.size_of(b, x, axis)
    return Cut(sizes.modulo(b, sizes.subtract(b, 0, shift), size), size)


CONVERTERS = (
    slice_, strided_slice, split, split_v, unpack, concat_v2, concat, reverse_v2, reverse, roll,
)  # fmt: skip
