"""Matrix products of flattened tensors: TensorFlow's MatMul takes matrices only, TensorRT's product any number of leading axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from tfgraphopt.ir import Dim, Node, Tensor, Value
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_trt.dimensions import Entry, dimension, entries
from tfgraphopt_trt.simplify.shuffles import RESHAPE
from tfgraphopt_trt.simplify.weights import PRODUCT

HOST = "lower"


@attrs.frozen(slots=True)
class ProductOfFlattened(Pattern):
    """A reshape to a matrix, a product with a constant, and the reshape back are a product over the last axis.

    That is how Keras writes a dense layer of more than two dimensions. Without the reshapes the axes keep their places, so that
    the layout pass can move them, and the arithmetic with run-time shapes is no longer needed.
    """

    name: ClassVar[str] = "trt-product-of-flattened"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, weights: Tensor) -> Any:
        """``reshape(reshape(x) @ weights)``."""
        flat = op[RESHAPE](x, ...).shared()
        return op[RESHAPE](op[PRODUCT](flat, weights, transpose_a=False).named("product"), ...)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``x @ weights``, and where the last axis is taken apart afterwards, a reshape of that alone."""
        flipped = bool(m.product.attrs["transpose_b"])
        inner, made = (m.weights.shape.static()[::-1] if flipped else m.weights.shape.static())[-2:]
        lead = len(m.x.shape) - 1
        if len(m.weights.shape) != 2 or lead < 2 or m.x.shape[lead] != inner:
            raise NoMatch("it does not flatten all axes but the last, which the product sums")
        rest = _behind(m.root, m.x, lead, made)
        wide = m.weights.reshape((1,) * (lead - 1) + m.weights.shape.static())
        product = op[PRODUCT](m.x, wide, transpose_a=False, transpose_b=flipped)
        return product if rest == [made] else op[RESHAPE](product, dims=(*(0,) * lead, *rest))


def _behind(node: Node, x: Value, lead: int, made: int) -> list[int]:
    """The dimensions of the result behind the first ``lead``, which are those of ``x``.

    One dimension that cannot be proven to be the same must be, because the numbers of elements are equal.

    Raises:
        NoMatch: the result is another shape, or may be.
    """
    result = _shape_of(node)
    rest = [e for e in result[lead:] if isinstance(e, int) and e > 0]
    if len(rest) != len(result) - lead or math.prod(rest) != made:
        raise NoMatch("the axes behind are not what the product made")
    wanted = [dimension(x, axis) for axis in range(lead)]
    if sum(a is None or a != b for a, b in zip(result, wanted, strict=False)) > 1:
        raise NoMatch("the axes in front are not those that were flattened")
    return rest


def _shape_of(node: Node) -> Sequence[Entry]:
    """What is known of the dimensions that a reshape gives its operand."""
    known: Sequence[Dim] = node.output.shape.known()
    given = entries(node.inputs[1]) if len(node.inputs) == 2 else None
    traced: Sequence[Entry] = given if given is not None and len(given) == len(known) else (None,) * len(known)
    return [t if k is None else k for k, t in zip(known, traced, strict=True)]


PATTERNS: Sequence[Pattern] = (ProductOfFlattened(),)
