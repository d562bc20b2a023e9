"""Layout rules: how a layer works on tensors whose axes are in another order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.ir import AttrValue, Node, Value
from tfgraphopt_layout.permutations import Perm, identity, is_identity, permuted
from tfgraphopt_trt.layerdef import LayerError


@attrs.frozen(slots=True)
class Slot:
    """One operand of a layer, or one of its results."""

    index: int
    result: bool = False


@attrs.frozen(slots=True)
class Scramble:
    """A result whose axis ``axis`` is made of axes of sizes ``dims`` that lie in order ``perm`` instead of their own."""

    axis: int
    dims: tuple[int, ...]
    perm: Perm


@attrs.frozen(slots=True)
class Carried:
    """A layer on permuted tensors: changed, and given operands in some orders, it gives results in some orders.

    Attributes:
        inputs, outputs: one order for every operand and result, of its rank.
        changed: the attributes that differ.
        lists: operands that hold one number an axis, with the order in which their numbers must be taken.
        listed: the (only) result holds one number an axis; its numbers in this order are the original's.
        scramble: how the elements of the (only) result are mixed, when only constant operands of its readers need to know.
        op: the layer that it becomes when not its own kind; ``changed`` then are all its attributes.
    """

    inputs: tuple[Perm, ...]
    outputs: tuple[Perm, ...]
    changed: Mapping[str, AttrValue] = attrs.field(factory=dict)
    lists: Mapping[int, Perm] = attrs.field(factory=dict)
    listed: Perm | None = None
    scramble: Scramble | None = None
    op: str = ""

    def attributes(self, node: Node) -> dict[str, AttrValue]:
        """The attributes of the layer that ``node`` becomes."""
        return dict(self.changed) if self.op else {**node.attrs, **self.changed}


Carry = Callable[[Node, Slot, Perm], Carried | None]


@attrs.frozen(slots=True)
class LayoutRule:
    """How permutations pass through the layers ``ops``.

    ``carry(node, slot, perm)`` says how the layer works when the tensor at ``slot`` has its axes in order ``perm``, or None when
    it cannot. It must be pure. Law: the changed layer on permuted operands computes the permuted results.
    """

    ops: tuple[str, ...]
    carry: Carry
    overrides: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What two plugins must not both claim."""
        return self.ops


def ranks(node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ranks of all operands and of all results."""
    return tuple(len(v.shape) for v in node.inputs), tuple(len(v.shape) for v in node.outputs)


def unchanged(node: Node) -> Carried:
    """The layer as it is."""
    inputs, outputs = ranks(node)
    return Carried(tuple(identity(r) for r in inputs), tuple(identity(r) for r in outputs))


def everywhere(node: Node, perm: Perm, attributes: Mapping[str, AttrValue] | None = None) -> Carried:
    """Every operand and result of the rank of ``perm`` in that order, the others as they are."""
    inputs, outputs = ranks(node)
    one = [tuple(perm if r == len(perm) else identity(r) for r in side) for side in (inputs, outputs)]
    return Carried(one[0], one[1], attributes or {})


def pointwise_rule(*ops: str) -> LayoutRule:
    """The rule of layers that treat every element alike, whatever its place: all tensors have one order."""
    return LayoutRule(ops, lambda node, slot, perm: everywhere(node, perm))


def axis_rule(*ops: str, attributes: Sequence[str] = ("axis",)) -> LayoutRule:
    """The rule of layers that know some axes by number: ``attributes`` hold an axis, several, or None."""

    def carry(node: Node, slot: Slot, perm: Perm) -> Carried | None:
        return everywhere(node, perm, {name: moved_axes(node.attrs[name], perm) for name in attributes})

    return LayoutRule(ops, carry)


def moved_axes(axes: Any, perm: Perm) -> AttrValue:
    """Where ``axes`` (a number, several, or None) are in order ``perm``."""
    if axes is None:
        return None
    if isinstance(axes, int):
        return perm.index(axes)
    return tuple(perm.index(int(a)) for a in axes)


def checked(rule: LayoutRule, node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """What ``rule`` says, unless the layer's own shape rule refuses it: then None."""
    if is_identity(perm):
        return unchanged(node)
    carried = rule.carry(node, slot, perm)
    if carried is None or carried.lists:
        return carried
    definition = node.graph.ops.get(carried.op) if carried.op else node.definition
    infer = None if definition is None else definition.infer
    if infer is None:
        return None if carried.op else carried
    operands = [_laid_out(v, p) for v, p in zip(node.inputs, carried.inputs, strict=True)]
    try:
        types = infer(operands, carried.attributes(node))
    except LayerError:
        return None
    wanted = [permuted(v.type, p) for v, p in zip(node.outputs, carried.outputs, strict=True)]
    fits = all(t.dtype is w.dtype and t.shape.compatible(w.shape) for t, w in zip(types, wanted, strict=True))
    return carried if fits else None


def _laid_out(value: Value, perm: Perm) -> Value:
    if is_identity(perm):
        return value
    return Value(value.graph, None, 0, permuted(value.type, perm), value.name)
