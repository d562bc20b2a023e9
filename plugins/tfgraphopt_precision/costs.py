"""What layers and casts cost, in bytes moved: the common currency of the decisions.

Arithmetic counts as bytes too: a GPU does some hundred operations in the time in which it moves a byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tfgraphopt.ir import Dim, DType, Node, Value
from tfgraphopt_precision.modes import Mode
from tfgraphopt_precision.slots import Slots, values_of

FLOPS_PER_BYTE = 100
NOMINAL = 8
"""What an unknown dimension counts as, where nobody says better."""


def elements(value: Value, nominal: int = NOMINAL) -> int:
    """The number of elements of ``value``, at least 1."""
    return max(math.prod(nominal if d is None else d for d in value.shape.known()), 1)


def cast_bytes(value: Value, mode: Mode, nominal: int = NOMINAL) -> int:
    """What a cast of ``value`` between float32 and the low type moves: it reads one and writes the other."""
    return elements(value, nominal) * (DType.FLOAT.size + mode.dtype.size)


def saving(node: Node, slots: Slots, mode: Mode, nominal: int = NOMINAL) -> int:
    """What ``node`` saves in the low precision: bytes it need not move, weights included, and time of its arithmetic."""
    spared = DType.FLOAT.size - mode.dtype.size
    return sum(elements(v, nominal) for v in values_of(node, slots)) * spared + flops(node, nominal) // FLOPS_PER_BYTE


def depth(node: Node) -> int:
    """How many products or numbers each result of ``node`` adds up; 1 for layers that add nothing, 0 when not known."""
    count = _DEPTHS.get(node.op)
    found = 1 if count is None else count(node)
    return found if found is not None else 0


def flops(node: Node, nominal: int = NOMINAL) -> int:
    """Floating-point operations of the layers that are made of products (two each); 0 for all others."""
    if node.op not in PRODUCTS:
        return 0
    if node.op == "trt.deconvolution":
        return 2 * elements(node.inputs[0], nominal) * _product(node.inputs[1].shape.known()[1:], nominal)
    if node.op == "trt.attention":
        return _attention_flops(node, nominal)
    if node.op == "trt.einsum":
        return 2 * math.prod(nominal if d is None else d for d in _letters(node).values())
    return 2 * elements(node.outputs[0], nominal) * (depth(node) or nominal)


PRODUCTS = frozenset({"trt.convolution", "trt.deconvolution", "trt.matrix_multiply", "trt.einsum", "trt.attention"})
"""Layers in which a network does nearly all of its arithmetic."""


def _attention_flops(node: Node, nominal: int) -> int:
    """Scores and their product with the values."""
    keys = _product(node.inputs[1].shape.known()[2:3], nominal)
    sizes = (node.inputs[0].shape.known()[3:], node.inputs[2].shape.known()[3:])
    rows = _product(node.outputs[0].shape.known()[:3], nominal)
    return 2 * rows * keys * sum(_product(s, nominal) for s in sizes)


def _product(dims: tuple[Dim, ...], nominal: int) -> int:
    return math.prod(nominal if d is None else d for d in dims)


def _known_product(dims: list[Dim]) -> int | None:
    return None if None in dims else math.prod(d for d in dims if d is not None)


def _convolution(node: Node) -> int | None:
    return _known_product(list(node.inputs[1].shape.known()[1:]))


def _deconvolution(node: Node) -> int | None:
    kernel = node.inputs[1].shape.known()
    groups = node.attrs["groups"]
    channels = kernel[0] // groups if isinstance(groups, int) and kernel[0] is not None else None
    return _known_product([channels, *kernel[2:]])


def _matrix_multiply(node: Node) -> int | None:
    inner = node.inputs[0].shape.known()[-2 if node.attrs["transpose_a"] else -1]
    return inner if inner is not None else node.inputs[1].shape.known()[-1 if node.attrs["transpose_b"] else -2]


def _letters(node: Node) -> dict[str, Dim]:
    """The size of every subscript of an einsum."""
    sizes: dict[str, Dim] = {}
    for term, value in zip(_terms(node)[0], node.inputs, strict=True):
        sizes.update(
            (letter, dim) for letter, dim in zip(term, value.shape.known(), strict=True) if sizes.get(letter) is None
        )
    return sizes


def _terms(node: Node) -> tuple[list[str], str]:
    left, _, result = str(node.attrs["equation"]).replace(" ", "").partition("->")
    return left.split(","), result


def _einsum(node: Node) -> int | None:
    kept = _terms(node)[1]
    return _known_product([dim for letter, dim in _letters(node).items() if letter not in kept])


def _reduce(node: Node) -> int | None:
    axes = node.attrs["axes"]
    if node.attrs["operation"] in ("max", "min") or not isinstance(axes, tuple):
        return 1
    return _known_product([node.inputs[0].shape.known()[a] for a in axes])


def _pooling(node: Node) -> int | None:
    window = node.attrs["window"]
    return math.prod(window) if node.attrs["type"] == "average" and isinstance(window, tuple) else 1


_DEPTHS: Mapping[str, Callable[[Node], int | None]] = {
    "trt.convolution": _convolution, "trt.deconvolution": _deconvolution, "trt.matrix_multiply": _matrix_multiply,
    "trt.einsum": _einsum, "trt.reduce": _reduce, "trt.pooling": _pooling,
}  # fmt: skip
