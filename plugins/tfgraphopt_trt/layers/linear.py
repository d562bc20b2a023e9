"""Matrix products and einsum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Dim, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import operands, outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    broadcast,
    check,
    check_arity,
    check_dtype,
    check_same,
    dims_of,
    flag,
    text,
    typed,
)

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

# -- matrix multiplication -------------------------------------------------------------------------------------------


def _matrix(value: Value, transpose: bool) -> tuple[tuple[Dim, ...], Dim, Dim]:
    dims = dims_of(value)
    check(len(dims) >= 2, f"matrix multiplication takes at least 2 dimensions, not {len(dims)} (%{value.name})")
    rows, columns = reversed(dims[-2:]) if transpose else dims[-2:]
    return dims[:-2], rows, columns


def _infer_matmul(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 2, 2, "matrix multiplication")
    check_same(inputs, "matrix multiplication")
    dtype = check_dtype(inputs[0], FLOATS, "matrix multiplication")
    batch_a, rows, inner_a = _matrix(inputs[0], flag(attrs, "transpose_a"))
    batch_b, inner_b, columns = _matrix(inputs[1], flag(attrs, "transpose_b"))
    agree = inner_a is None or inner_b is None or inner_a == inner_b
    check(
        agree, f"matrix multiplication of {inputs[0].type} by {inputs[1].type}: {inner_a} columns meet {inner_b} rows"
    )
    return typed(dtype, (*broadcast("matrix multiplication", batch_a, batch_b), rows, columns))


def _mean_matmul(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    a, b = inputs
    return [tf.linalg.matmul(a, b, transpose_a=flag(attrs, "transpose_a"), transpose_b=flag(attrs, "transpose_b"))]


def _emit_matmul(e: Emitter, node: Node) -> Sequence[Any]:
    kinds = e.trt.MatrixOperation
    first, second = (kinds.TRANSPOSE if flag(node.attrs, n) else kinds.NONE for n in ("transpose_a", "transpose_b"))
    a, b = operands(e, node)
    return outputs(e, e.network.add_matrix_multiply(a, first, b, second))


# -- einsum ----------------------------------------------------------------------------------------------------------


def _subscripts(equation: str, count: int) -> tuple[list[str], str]:
    """The subscripts of the operands and of the result; LayerError when TensorRT would not take the equation."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    check(bool(arrow), f"einsum {equation!r} has no '->'")
    check(len(terms) == count, f"einsum {equation!r} is for {len(terms)} operands, not {count}")
    for term in [*terms, result]:
        plain = all("a" <= c <= "z" for c in term)
        check(
            plain and len(set(term)) == len(term), f"einsum {equation!r}: {term!r} is not distinct lower-case letters"
        )
    check(set(result) <= set("".join(terms)), f"einsum {equation!r} has a result subscript that no operand has")
    return terms, result


def _infer_einsum(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 2, "einsum")
    check_same(inputs, "einsum")
    dtype = check_dtype(inputs[0], FLOATS, "einsum")
    equation = text(attrs, "equation")
    terms, result = _subscripts(equation, len(inputs))
    sizes: dict[str, Dim] = {}
    for term, value in zip(terms, inputs, strict=True):
        dims = dims_of(value)
        check(len(dims) == len(term), f"einsum {equation!r}: {term!r} is for {len(term)} dimensions, not {len(dims)}")
        for letter, dim in zip(term, dims, strict=True):
            _meet(equation, sizes, letter, dim)
    return typed(dtype, [sizes[letter] for letter in result])


def _meet(equation: str, sizes: dict[str, Dim], letter: str, dim: Dim) -> None:
    known = sizes.get(letter)
    check(known is None or dim is None or known == dim, f"einsum {equation!r}: {letter!r} is {known} and {dim}")
    sizes[letter] = dim if known is None else known


def _mean_einsum(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [tf.einsum(text(attrs, "equation"), *inputs)]


def _emit_einsum(e: Emitter, node: Node) -> Sequence[Any]:
    return outputs(e, e.network.add_einsum(operands(e, node), text(node.attrs, "equation")))


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.matrix_multiply",
        _infer_matmul,
        _mean_matmul,
        _emit_matmul,
        {"transpose_a": False, "transpose_b": False},
        ("a", "b"),
        "IMatrixMultiplyLayer: products of the last two axes; leading axes broadcast.",
    ),
    LayerDef("trt.einsum", _infer_einsum, _mean_einsum, _emit_einsum, {}, ("operands",), "IEinsumLayer: ``equation``."),
)
