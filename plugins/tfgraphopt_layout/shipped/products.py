"""Matrix products, einsum and attention.

A product over the last axis with a constant is a convolution by a window of one element when that axis stands where convolutions
have their channels; so a dense layer between convolutions needs no transpose.
"""

from __future__ import annotations

from tfgraphopt.ir import AttrValue, Node, constant_of
from tfgraphopt_layout.permutations import Perm, identity
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, everywhere, ranks

_CONVOLVED = (4, 5)
_FLAGS = ("transpose_a", "transpose_b")


def _matrix_multiply(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """The leading axes move together; the last two of an operand may change places, which its flag takes back.

    With its channels at axis 1, a product with a constant becomes a convolution.
    """
    rank = len(perm)
    if perm[:2] == (0, rank - 1) and rank in _CONVOLVED and (slot.result or slot.index == 0):
        return _convolved(node, perm)
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


def _convolved(node: Node, perm: Perm) -> Carried | None:
    """The product as a convolution of the tensor in order ``perm``, whose kernel is the constant [.., inner, made] turned."""
    rank, weights = len(perm), constant_of(node.inputs[1])
    if node.attrs["transpose_a"] or weights is None or any(d != 1 for d in weights.shape.static()[:-2]):
        return None
    last = (rank - 2, rank - 1) if node.attrs["transpose_b"] else (rank - 1, rank - 2)
    ones, zeros = (1,) * (rank - 2), (0,) * (rank - 2)
    attributes: dict[str, AttrValue] = {
        "stride": ones,
        "dilation": ones,
        "groups": 1,
        "padding": "explicit",
        "pre": zeros,
        "post": zeros,
    }
    return Carried((perm, (*last, *range(rank - 2))), (perm,), attributes, op="trt.convolution")


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


def _attention(node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """Batch and heads are treated alike."""
    return everywhere(node, perm) if perm[2:] == (2, 3) else None


RULES: tuple[LayoutRule, ...] = (
    LayoutRule(("trt.matrix_multiply",), _matrix_multiply),
    LayoutRule(("trt.einsum",), _einsum),
    LayoutRule(("trt.attention",), _attention),
)
