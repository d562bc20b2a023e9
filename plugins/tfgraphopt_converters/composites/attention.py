"""Attention without a mask, from its two products and the softmax between them.

Masked attention is left as products and a softmax on purpose: TensorFlow gives a row whose keys are all masked equal weights, and
masks of large negative numbers must stay in float32 where the rest is computed in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from tfgraphopt.ir import Node, Tensor, Value
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_converters.composites.ops import ATTENTION, FLOATS, HOST
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, converter

PRODUCTS = ("BatchMatMulV2", "BatchMatMul", "BatchMatMulV3", "Einsum")
Perm = tuple[int, ...]


@attrs.frozen(slots=True)
class _Product:
    """A product of 4-D operands as a permutation of each to [batch, heads, rows or inner, inner or columns], and of the result."""

    left: Perm
    right: Perm
    result: Perm


def _product(node: Node, *, makes_scores: bool) -> _Product:
    """``node`` as rows x inner times inner x columns, over two leading axes that both operands have.

    The order of those two is that of the scores: the result of the product that makes them, the left operand of the other.

    Raises:
        NoMatch: it is another product.
    """
    if any(v.shape.rank != 4 for v in (*node.inputs, *node.outputs)):
        raise NoMatch(f"{node.name!r} is not a product of 4-dimensional tensors")
    return _einsum(str(node.attrs["equation"]), makes_scores) if node.op == "Einsum" else _matmul(node)


def _matmul(node: Node) -> _Product:
    plain, swapped = (0, 1, 2, 3), (0, 1, 3, 2)
    if not all(a == b for a, b in zip(node.inputs[0].shape.known()[:2], node.inputs[1].shape.known()[:2], strict=True)):
        raise NoMatch(f"the operands of {node.name!r} broadcast, or may")
    return _Product(swapped if node.attrs["adj_x"] else plain, swapped if node.attrs["adj_y"] else plain, plain)


def _einsum(equation: str, makes_scores: bool) -> _Product:
    operands, _, result = equation.replace(" ", "").partition("->")
    left, _, right = operands.partition(",")
    batch = [c for c in (result if makes_scores else left) if c in left and c in right and c in result]
    rows, columns = (
        [c for c in left if c in result and c not in right],
        [c for c in right if c in result and c not in left],
    )
    inner = [c for c in left if c in right and c not in result]
    if [len(batch), len(rows), len(columns), len(inner)] != [2, 1, 1, 1] or "." in equation:
        raise NoMatch(f"{equation} is not a product of matrices over two leading axes")
    return _Product(
        _places(left, [*batch, *rows, *inner]), _places(right, [*batch, *inner, *columns]),
        _places([*batch, *rows, *columns], result),
    )  # fmt: skip


def _places(source: Sequence[str], target: Sequence[str]) -> Perm:
    return tuple(source.index(c) for c in target)


def _after(first: Perm, second: Perm) -> Perm:
    """Transposing by ``first`` and then by ``second``."""
    return tuple(first[i] for i in second)


_SWAP = (0, 1, 3, 2)


@attrs.frozen(slots=True)
class Attention(Pattern):
    """softmax(scale * query x key) x value is attention. Vaswani et al., arXiv:1706.03762."""

    name: ClassVar[str] = "attention-from-products"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, query: Value, keys: Value, values: Value, factor: Tensor, divisor: Tensor) -> Any:
        """Two products with a softmax between them."""
        scores = op[PRODUCTS](query, keys).named("first")
        scaled = op.any_of(op.Mul(scores, factor), op.RealDiv(scores, divisor), scores)
        return op[PRODUCTS](op.Softmax(scaled), values, T=FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """Attention over [batch, heads, length, size]."""
        first, second = _product(m.first, makes_scores=True), _product(m.root, makes_scores=False)
        if first.result != (0, 1, 2, 3) or second.left != (0, 1, 2, 3):
            raise NoMatch("the scores are not [batch, heads, queries, keys]")
        query = _transposed(op, m.query, first.left)
        keys = _transposed(op, m.keys, _after(first.right, _SWAP))
        values = _transposed(op, m.values, second.right)
        if keys.shape[3] is None or keys.shape[3] != values.shape[3]:
            raise NoMatch("TensorRT's attention takes keys and values of one size")
        return _transposed(op, op[ATTENTION](query, keys, values, scale=_scale(m)), second.result, like=m.root.output)


def _transposed(op: Draft, x: Value, perm: Perm, like: Value | None = None) -> Value:
    if perm == tuple(range(len(perm))):
        return x
    made: Value = op.Transpose(x, Tensor.of(list(perm)), like=like)
    return made


def _scale(m: Match) -> float:
    numbers = [t for t in (m.factor, m.divisor) if t is not None]
    if any(t.num_elements != 1 for t in numbers):
        raise NoMatch("the scores are not scaled by one number")
    return _number(m.factor) / _number(m.divisor)


def _number(tensor: Tensor | None) -> float:
    return 1.0 if tensor is None else float(tensor.numpy().reshape(-1)[0])


@converter(ATTENTION)
def convert_attention(b: LayerBuilder, query: Operand, key: Operand, value: Operand, *, scale: float) -> Value:
    """TensorRT's attention, which may be decomposed; the query is scaled before it."""
    scaled = query if scale == 1.0 else b.elementwise(query, b.scalar(scale, query), "prod")
    return b.attention(scaled, key, value)


PATTERNS: tuple[Pattern, ...] = (Attention(),)
CONVERTERS: tuple[Converter, ...] = (convert_attention,)
