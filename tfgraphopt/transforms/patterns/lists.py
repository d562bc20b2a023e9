"""Rules about ops that join and part tensors: Concat, Split, Pack, Unpack. Bit-exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from tfgraphopt.ir import Node, Tensor, Value, constant_of
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt.transforms.patterns.facts import axes_of, int_attr, integers, rank_of
from tfgraphopt.transforms.patterns.movement import CANONICALIZE


@attrs.frozen(slots=True)
class DropSplit(Pattern):
    """Splitting into one part gives the operand."""

    name: ClassVar[str] = "drop-split"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, axis: Value) -> Any:
        """``Split`` into one."""
        return op.Split(axis, x, num_split=1)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        return m.x


def _all_results(values: Sequence[Value], node: Node) -> bool:
    """Whether ``values`` are exactly the results of ``node`` in order."""
    return len(values) == len(node.outputs) and all(v is o for v, o in zip(values, node.outputs, strict=True))


@attrs.frozen(slots=True)
class CancelConcatOfSplit(Pattern):
    """Concatenating all parts of a split along the same axis gives what was split."""

    name: ClassVar[str] = "cancel-concat-of-split"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps) -> Any:
        """``ConcatV2(Split(x))``."""
        return op.ConcatV2(op["Split", "SplitV"](...).named("split").shared(), ...)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """What was split."""
        x: Value = m.split["value"]
        axes = [constant_of(m.root["axis"]), constant_of(m.split["split_dim"])]
        flat = [axes_of(integers(a), rank_of(x)) for a in axes if a is not None]
        if len(flat) < 2 or flat[0] != flat[1]:
            raise NoMatch("it is not known to be split and joined along one axis")
        if not _all_results(m.root.arguments("values"), m.split):
            raise NoMatch(f"the operands are not all parts of {m.split.name!r} in order")
        return x


@attrs.frozen(slots=True)
class CancelUnpackOfPack(Pattern):
    """Unpacking what was packed along the same axis gives the tensors that were packed."""

    name: ClassVar[str] = "cancel-unpack-of-pack"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps) -> Any:
        """``Unpack(Pack(...))``."""
        return op.Unpack(op.Pack(...).named("pack").shared())

    def rewrite(self, op: Draft, m: Match) -> Any:
        """What was packed."""
        _check_axes(m.pack, m.root, m.pack.inputs[0])
        return list(m.pack.inputs)


@attrs.frozen(slots=True)
class CancelPackOfUnpack(Pattern):
    """Packing all parts along the axis that they were unpacked from gives what was unpacked."""

    name: ClassVar[str] = "cancel-pack-of-unpack"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``Pack(Unpack(x))``."""
        return op.Pack(op.Unpack(x).named("unpack").shared(), ...)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """What was unpacked."""
        _check_axes(m.root, m.unpack, m.root.inputs[0])
        if not _all_results(m.root.inputs, m.unpack):
            raise NoMatch(f"the operands are not all parts of {m.unpack.name!r} in order")
        return m.x


def _check_axes(pack: Node, unpack: Node, part: Value) -> None:
    rank = rank_of(part) + 1
    one, two = axes_of([int_attr(pack, "axis"), int_attr(unpack, "axis")], rank)
    if one != two:
        raise NoMatch(f"packed along axis {one}, unpacked along axis {two}")


@attrs.frozen(slots=True)
class PickFromPack(Pattern):
    """One element of a vector that was packed from scalars is that scalar (the usual way of computing with shapes)."""

    name: ClassVar[str] = "pick-from-pack"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, begin: Tensor, end: Tensor, strides: Tensor) -> Any:
        """``StridedSlice(Pack(...))`` of one element."""
        packed = op.Pack(...).named("pack").shared()
        return op.StridedSlice(packed, begin, end, strides, shrink_axis_mask=1, new_axis_mask=0, ellipsis_mask=0)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The scalar."""
        count = len(m.pack.inputs)
        index = integers(m.begin)
        if m.root.attrs["begin_mask"] or len(index) != 1 or m.pack.inputs[0].shape.rank != 0:
            raise NoMatch("more than one constant position of a vector is taken")
        if not -count <= index[0] < count:
            raise NoMatch(f"position {index[0]} of {count} does not exist")
        return m.pack.inputs[index[0]]


@attrs.frozen(slots=True)
class DropAddN(Pattern):
    """The sum of one tensor is that tensor."""

    name: ClassVar[str] = "drop-add-n"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """``AddN`` of one."""
        return op.AddN(x)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        return m.x


@attrs.frozen(slots=True)
class AddNOfTwo(Pattern):
    """The sum of two tensors is an AddV2."""

    name: ClassVar[str] = "add-n-of-two"
    host: ClassVar[str] = CANONICALIZE

    def pattern(self, op: PatternOps, x: Value, y: Value) -> Any:
        """``AddN`` of two."""
        return op.AddN(x, y)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``AddV2``; AddN refuses to broadcast, so the shapes must be known to agree."""
        if not m.x.shape.is_static or m.x.shape != m.y.shape or not (m.x.dtype.is_floating or m.x.dtype.is_integer):
            raise NoMatch("the operands are not known to have one shape")
        return op.AddV2(m.x, m.y, like=m.root.output)
