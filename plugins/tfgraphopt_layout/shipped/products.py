"""Matrix products and einsum."""

from __future__ import annotations

from tfgraphopt.ir import Node
from tfgraphopt_layout.permutations import Perm, identity
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, ranks

_FLAGS = ("transpose_a", "transpose_b")


def _matrix_multiply(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """The leading axes move together; the last two of an operand may change places, which its flag takes back."""
    rank = len(perm)
    rows, columns = rank - 2, rank - 1
    if set(perm[-2:]) != {rows, columns}:
        return None
    straight = (*perm[:-2], rows, columns)
    swapped = perm != straight
    if not swapped:
        return Carried((perm, perm), (perm,))
    if slot.result:
        return None
    flag = _FLAGS[slot.index]
    operands = (perm, straight) if slot.index == 0 else (straight, perm)
    return Carried(operands, (straight,), {flag: not node.attrs[flag]})


def _einsum(node: Node, slot: Slot, perm: Perm) -> Carried:
    """The letters of one term change places."""
    left, _, result = str(node.attrs["equation"]).replace(" ", "").partition("->")
    terms = [*left.split(","), result]
    place = len(terms) - 1 if slot.result else slot.index
    terms[place] = "".join(terms[place][axis] for axis in perm)
    operands, (made,) = ranks(node)
    orders = [perm if i == place else identity(r) for i, r in enumerate((*operands, made))]
    equation = ",".join(terms[:-1]) + "->" + terms[-1]
    return Carried(tuple(orders[:-1]), (orders[-1],), {"equation": equation})


RULES: tuple[LayoutRule, ...] = (
    LayoutRule(("trt.matrix_multiply",), _matrix_multiply),
    LayoutRule(("trt.einsum",), _einsum),
)
