"""Rules about ops that move elements without computing. Bit-exact: what stays in TensorFlow is what the user had."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import Tensor, Value
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt.transforms.patterns.facts import axes_of, int_attr, integers, ints_attr, rank_of, same_static_shape

CANONICALIZE = "canonicalize"


@attrs.frozen(slots=True)
class MergeTransposes(Pattern):
    """Two transposes in a row are one, or none when they cancel."""

    name: ClassVar[str] = "merge-transposes"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, first: Tensor, second: Tensor) -> Any:
        """``Transpose(Transpose(x))``."""
        return op.Transpose(op.Transpose(x, first).shared(), second)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The composed permutation."""
        first, second = integers(m.first), integers(m.second)
        perm = [first[p] for p in axes_of(second, len(first))]
        if axes_of(perm, len(perm)) == list(range(len(perm))):
            return m.x
        return op.Transpose(m.x, np.array(perm, np.int32), like=m.root.output)


@attrs.frozen(slots=True)
class DropIdentityTranspose(Pattern):
    """A transpose that permutes nothing is its operand."""

    name: ClassVar[str] = "drop-identity-transpose"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, perm: Tensor) -> Any:
        """``Transpose(x, constant)``."""
        return op.Transpose(x, perm)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        perm = integers(m.perm)
        if axes_of(perm, len(perm)) != list(range(len(perm))):
            raise NoMatch(f"it permutes by {perm}")
        return m.x


@attrs.frozen(slots=True)
class MergeReshapes(Pattern):
    """Only the last of several changes of shape counts."""

    name: ClassVar[str] = "merge-reshapes"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, shape: Value) -> Any:
        """``Reshape`` of another op that only changes the shape."""
        return op.Reshape(op["Reshape", "Squeeze", "ExpandDims"](x, ...).shared(), shape)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """One Reshape."""
        return op.Reshape(m.x, m.shape, like=m.root.output)


@attrs.frozen(slots=True)
class DropReshape(Pattern):
    """A Reshape to the shape that its operand has is its operand."""

    name: ClassVar[str] = "drop-reshape"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, shape: Tensor) -> Any:
        """``Reshape(x, constant)``."""
        return op.Reshape(x, shape)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        if not _asks_for_own_shape(m.x, integers(m.shape)):
            raise NoMatch(f"{m.x.type} is not known to have shape {integers(m.shape)} already")
        return m.x


def _asks_for_own_shape(x: Value, wanted: list[int]) -> bool:
    rank_of(x)
    dims = x.shape.known()
    if len(dims) != len(wanted) or dims.count(None) > 1 or 0 in dims:
        return False
    return all(w == d or w == -1 for w, d in zip(wanted, dims, strict=True))


@attrs.frozen(slots=True)
class DropReshapeToOwnShape(Pattern):
    """A Reshape to ``Shape(x)`` of ``x`` itself is ``x``."""

    name: ClassVar[str] = "drop-reshape-to-own-shape"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``Reshape(x, Shape(x))``."""
        return op.Reshape(x, op.Shape(x).shared())

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        return m.x


@attrs.frozen(slots=True)
class CancelSqueeze(Pattern):
    """Squeezing the axis that was just inserted undoes it."""

    name: ClassVar[str] = "cancel-squeeze-of-expand-dims"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, axis: Tensor) -> Any:
        """``Squeeze(ExpandDims(x))``."""
        return op.Squeeze(op.ExpandDims(x, axis).shared())

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        rank = rank_of(m.x) + 1
        squeezed = axes_of(ints_attr(m.root, "squeeze_dims"), rank)
        if squeezed != axes_of(integers(m.axis), rank):
            raise NoMatch(f"axes {squeezed} are squeezed, axis {integers(m.axis)} was inserted")
        return m.x


@attrs.frozen(slots=True)
class CancelExpandDims(Pattern):
    """Inserting the axis that was just squeezed undoes it."""

    name: ClassVar[str] = "cancel-expand-dims-of-squeeze"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, axis: Tensor) -> Any:
        """``ExpandDims(Squeeze(x))``."""
        return op.ExpandDims(op.Squeeze(x).named("squeeze").shared(), axis)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        rank = rank_of(m.x)
        squeezed = axes_of(ints_attr(m.squeeze, "squeeze_dims"), rank)
        if squeezed != axes_of(integers(m.axis), rank):
            raise NoMatch(f"axes {squeezed} were squeezed, axis {integers(m.axis)} is inserted")
        return m.x


@attrs.frozen(slots=True)
class DropSqueeze(Pattern):
    """A Squeeze of a tensor without axes of size 1 is its operand."""

    name: ClassVar[str] = "drop-squeeze"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``Squeeze(x)``."""
        return op.Squeeze(x, squeeze_dims=())

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        if not m.x.shape.is_static or 1 in m.x.shape:
            raise NoMatch(f"{m.x.type} may have axes of size 1")
        return m.x


@attrs.frozen(slots=True)
class DropPad(Pattern):
    """Padding by nothing is its operand."""

    name: ClassVar[str] = "drop-pad"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, paddings: Tensor) -> Any:
        """Any of the Pad ops with constant amounts."""
        return op["Pad", "PadV2", "MirrorPad"](x, paddings, ...)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        if any(integers(m.paddings)):
            raise NoMatch("it pads")
        return m.x


@attrs.frozen(slots=True)
class DropSlice(Pattern):
    """A Slice of everything is its operand."""

    name: ClassVar[str] = "drop-slice"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, begin: Tensor, size: Tensor) -> Any:
        """``Slice`` with constant bounds."""
        return op.Slice(x, begin, size)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        rank_of(m.x)
        sizes = zip(integers(m.size), m.x.shape.known(), strict=True)
        if any(integers(m.begin)) or any(size not in (-1, dim) for size, dim in sizes):
            raise NoMatch(f"not all of {m.x.type} is taken")
        return m.x


_REFUSED_MASKS = ("new_axis_mask", "shrink_axis_mask", "ellipsis_mask")


@attrs.frozen(slots=True)
class DropStridedSlice(Pattern):
    """A StridedSlice of everything is its operand."""

    name: ClassVar[str] = "drop-strided-slice"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, begin: Tensor, end: Tensor, strides: Tensor) -> Any:
        """``StridedSlice`` with constant bounds that drops and inserts no axis."""
        return op.StridedSlice(x, begin, end, strides, **dict.fromkeys(_REFUSED_MASKS, 0))

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        rank_of(m.x)
        bounds = zip(integers(m.begin), integers(m.end), integers(m.strides), m.x.shape.known(), strict=False)
        begin_mask, end_mask = int_attr(m.root, "begin_mask"), int_attr(m.root, "end_mask")
        for i, (begin, end, stride, dim) in enumerate(bounds):
            starts = begin == 0 or begin_mask >> i & 1
            ends = end_mask >> i & 1 or (dim is not None and end >= dim)
            if stride != 1 or not starts or not ends:
                raise NoMatch(f"axis {i} of {m.x.type} is cut to {begin}:{end}:{stride}")
        return m.x


@attrs.frozen(slots=True)
class DropBroadcast(Pattern):
    """Broadcasting to the shape that is there already is the operand."""

    name: ClassVar[str] = "drop-broadcast"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, shape: Tensor) -> Any:
        """``BroadcastTo(x, constant)``."""
        return op.BroadcastTo(x, shape)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        if not m.x.shape.is_static or list(m.x.shape) != integers(m.shape):
            raise NoMatch(f"{m.x.type} is not known to have shape {integers(m.shape)}")
        return m.x


@attrs.frozen(slots=True)
class DropTile(Pattern):
    """Repeating once is the operand."""

    name: ClassVar[str] = "drop-tile"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, multiples: Tensor) -> Any:
        """``Tile(x, constant)``."""
        return op.Tile(x, multiples)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        if any(n != 1 for n in integers(m.multiples)):
            raise NoMatch(f"it repeats by {integers(m.multiples)}")
        return m.x


@attrs.frozen(slots=True)
class DropReverse(Pattern):
    """Reversing along no axis, or along axes of size 1, is the operand."""

    name: ClassVar[str] = "drop-reverse"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, axis: Tensor) -> Any:
        """``ReverseV2(x, constant)``."""
        return op.ReverseV2(x, axis)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        axes = axes_of(integers(m.axis), rank_of(m.x))
        if any(m.x.shape[a] != 1 for a in axes):
            raise NoMatch(f"it reverses axes {axes}")
        return m.x


@attrs.frozen(slots=True)
class DropSelect(Pattern):
    """Selecting by a condition that is constant everywhere is one of the operands."""

    name: ClassVar[str] = "drop-select"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, condition: Tensor, x: Value, y: Value) -> Any:
        """``Select`` with a constant condition."""
        return op["Select", "SelectV2"](condition, x, y)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand that is always taken."""
        taken = set(m.condition.numpy().reshape(-1).tolist())
        chosen: Value = m.x if taken == {True} else m.y
        if len(taken) != 1 or not same_static_shape(chosen, m.root.output):
            raise NoMatch("the condition is not the same everywhere, or the operand is broadcast")
        return chosen
