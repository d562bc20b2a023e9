"""Einstein summation in TensorFlow's full notation: ellipses, repeated labels, sums, any number of operands."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from tfgraphopt.ir import Dim, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_trt.builder import LayerBuilder, Unsupported
from tfgraphopt_trt.converter import Converter, Operands, converter

Labels = tuple[str, ...]


@attrs.frozen
class Term:
    """One operand with a label for each axis; those of an ellipsis are ``.0`` for its last axis, ``.1``, ..."""

    value: Value
    labels: Labels

    def size(self, label: str) -> Dim:
        """The size of the axis with ``label``."""
        return self.value.shape[self.labels.index(label)]

    def measured(self, b: LayerBuilder, label: str) -> sizes.Size:
        """The same, read at run time where it is not known."""
        return sizes.size_of(b, self.value, self.labels.index(label))


def split_equation(equation: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """The labels of every operand's axes and of the result's.

    An equation without ``->`` never reaches the op: TensorFlow completes it before.

    Raises:
        Unsupported: labels and ranks disagree.
    """
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise Unsupported(f"equation {equation!r} for {len(ranks)} operands")
    hidden = [r - len(t.replace("...", "")) for t, r in zip(terms, ranks, strict=True)]
    labels = [_labels(t, h, equation) for t, h in zip(terms, hidden, strict=True)]
    widest = max((h for t, h in zip(terms, hidden, strict=True) if "..." in t), default=0)
    return labels, _labels(right, widest if "..." in right else 0, equation)


def _labels(term: str, hidden: int, equation: str) -> Labels:
    front, dots, back = term.partition("...")
    if hidden < 0 or (hidden and not dots):
        raise Unsupported(f"the labels {term!r} of equation {equation!r} do not fit the tensor's dimensions")
    return (*front, *(f".{i}" for i in reversed(range(hidden))), *back)


@converter("Einsum")
def convert_einsum(b: LayerBuilder, inputs: Operands, *, equation: str) -> Value:
    """TensorRT's einsum after diagonals and broadcast axes are gone; a matrix product where sizes may broadcast."""
    require(b, FLOATS, *inputs)
    labels, wanted = split_equation(equation, [len(x.shape) for x in inputs])
    terms = [_without_repeats(b, Term(x, names)) for x, names in zip(inputs, labels, strict=True)]
    once = tuple(dict.fromkeys(wanted))
    terms = [_summed(b, t, i, terms, once) for i, t in enumerate(terms)]
    result = _contracted(b, terms, once)
    return _with_repeats(b, result, wanted)


def _contracted(b: LayerBuilder, terms: list[Term], wanted: Labels) -> Value:
    if len(terms) == 1:
        return _arranged(b, terms[0], wanted)
    if _may_broadcast(terms):
        total = terms[0]
        for i, term in enumerate(terms[1:], 2):
            total = _multiplied(b, total, term, _needed(terms[i:], wanted))
        return _arranged(b, total, wanted)
    terms = [_without_ones(b, t, terms) for t in terms]
    if any(not t.labels for t in terms) or not wanted:
        return _elementwise(b, terms, wanted)
    return _native(b, terms, wanted)


# -- repeated labels -------------------------------------------------------------------------------------------------


def _without_repeats(b: LayerBuilder, term: Term) -> Term:
    """The diagonals of axes that share a label."""
    for label in dict.fromkeys(term.labels):
        while term.labels.count(label) > 1:
            term = _diagonal(b, term, label)
    return term


def _diagonal(b: LayerBuilder, term: Term, label: str) -> Term:
    """What is off the diagonal becomes zero (whatever it was) and one of the axes is summed."""
    first, second = [i for i, name in enumerate(term.labels) if name == label][:2]
    x = term.value
    eye = _eye(b, x, first, second)
    kept = b.reduce(b.select(eye, x, b.scalar(0, x)), "sum", (second,), False)
    return Term(kept, (*term.labels[:second], *term.labels[second + 1 :]))


def _eye(b: LayerBuilder, x: Value, first: int, second: int) -> Value:
    """Where the indices along axes ``first`` < ``second`` are equal; one of them may have size one in ``x`` still."""
    rank = len(x.shape)
    axis = first if x.shape[second] == 1 else second
    known = x.shape[first] if x.shape[second] in (None, 1) else x.shape[second]
    if known is not None:
        dims = [known if i in (first, second) else 1 for i in range(rank)]
        return b.constant(np.eye(known, dtype=np.bool_).reshape(dims))
    numbers = sizes.iota(b, sizes.size_of(b, x, axis))
    down, across = (b.unsqueeze(numbers, [i for i in range(rank) if i != a]) for a in (first, second))
    return b.elementwise(down, across, "equal")


def _with_repeats(b: LayerBuilder, x: Value, wanted: Labels) -> Value:
    """``x``, whose axes are the labels of ``wanted`` once each, on the diagonals of those that ``wanted`` repeats."""
    labels = list(dict.fromkeys(wanted))
    for place, label in enumerate(wanted):
        if place < len(labels) and labels[place] == label:
            continue
        x = b.unsqueeze(x, (place,))
        labels.insert(place, label)
        first = labels.index(label)
        x = b.select(_eye(b, x, first, place), x, b.scalar(0, x))
    return x


# -- single operands -------------------------------------------------------------------------------------------------


def _summed(b: LayerBuilder, term: Term, index: int, terms: list[Term], wanted: Labels) -> Term:
    """``term`` without the axes that nothing else has."""
    others = {name for i, t in enumerate(terms) if i != index for name in t.labels} | set(wanted)
    axes = tuple(i for i, name in enumerate(term.labels) if name not in others)
    if not axes:
        return term
    return Term(b.reduce(term.value, "sum", axes, False), tuple(n for n in term.labels if n in others))


def _arranged(b: LayerBuilder, term: Term, wanted: Labels) -> Value:
    """The axes of ``term`` in the order of ``wanted``."""
    return b.transpose(term.value, [term.labels.index(name) for name in wanted])


# -- broadcasting ----------------------------------------------------------------------------------------------------


def _sizes(terms: Sequence[Term], label: str) -> list[Dim]:
    return [t.size(label) for t in terms if label in t.labels]


def _may_broadcast(terms: Sequence[Term]) -> bool:
    """Whether an axis of an ellipsis might, for all that is known, have size one in one operand only."""
    for label in {name for t in terms for name in t.labels if name.startswith(".")}:
        found = _sizes(terms, label)
        if None in found and len(found) > 1:
            return True
    return False


def _without_ones(b: LayerBuilder, term: Term, terms: Sequence[Term]) -> Term:
    """``term`` without axes of size one that are larger elsewhere."""
    axes = [i for i, name in enumerate(term.labels) if term.value.shape[i] == 1 and set(_sizes(terms, name)) != {1}]
    kept = tuple(name for i, name in enumerate(term.labels) if i not in axes)
    return Term(b.squeeze(term.value, axes), kept)


def _needed(terms: Sequence[Term], wanted: Labels) -> set[str]:
    return {name for t in terms for name in t.labels} | set(wanted)


def _multiplied(b: LayerBuilder, x: Term, y: Term, needed: set[str]) -> Term:
    """The matrix product of two operands: own labels are rows and columns, summed ones between; all others broadcast."""
    shared = [n for n in dict.fromkeys((*x.labels, *y.labels)) if n in x.labels and n in y.labels]
    summed = [n for n in shared if n not in needed]
    rows = [n for n in x.labels if n not in shared and not n.startswith(".")]
    columns = [n for n in y.labels if n not in shared and not n.startswith(".")]
    batch = [n for n in dict.fromkeys((*x.labels, *y.labels)) if n not in (*summed, *rows, *columns)]
    left = _joined(b, _aligned(b, x, (*batch, *rows, *summed)), (len(batch), len(rows), len(summed)))
    right = _joined(b, _aligned(b, y, (*batch, *summed, *columns)), (len(batch), len(summed), len(columns)))
    product = b.matrix_multiply(left, right)
    parted = [x.measured(b, n) for n in rows] + [y.measured(b, n) for n in columns]
    if (len(rows), len(columns)) != (1, 1):
        product = sizes.reshape(b, product, [*sizes.sizes_of(b, product)[: len(batch)], *parted], range(len(batch)))
    return Term(product, (*batch, *rows, *columns))


def _joined(b: LayerBuilder, x: Value, counts: tuple[int, int, int]) -> Value:
    """``x`` with its axes, in three runs of ``counts``, as the axes of the first and one axis for each of the others."""
    batch, first, second = counts
    if (first, second) == (1, 1):
        return x
    own = sizes.sizes_of(b, x)
    merged = [sizes.product(b, own[batch : batch + first]), sizes.product(b, own[batch + first :])]
    return sizes.reshape(b, x, [*own[:batch], *merged], range(batch))


def _aligned(b: LayerBuilder, term: Term, order: Sequence[str]) -> Value:
    """The axes of ``term`` in ``order``, of size one where it has none of that name."""
    value = b.transpose(term.value, [term.labels.index(n) for n in order if n in term.labels])
    return b.unsqueeze(value, [i for i, n in enumerate(order) if n not in term.labels])


# -- products --------------------------------------------------------------------------------------------------------


def _elementwise(b: LayerBuilder, terms: Sequence[Term], wanted: Labels) -> Value:
    """The product of all operands over all labels, then the sum: for scalars, which TensorRT's einsum does not take."""
    every = (*wanted, *(n for n in dict.fromkeys(n for t in terms for n in t.labels) if n not in wanted))
    total = _aligned(b, terms[0], every)
    for term in terms[1:]:
        total = b.elementwise(total, _aligned(b, term, every), "prod")
    axes = tuple(range(len(wanted), len(every)))
    return b.reduce(total, "sum", axes, False) if axes else total


def _native(b: LayerBuilder, terms: Sequence[Term], wanted: Labels) -> Value:
    names = list(dict.fromkeys(n for t in terms for n in t.labels))
    if len(names) > 26:
        raise Unsupported(f"{len(names)} labels; TensorRT has 26")
    letter = {name: chr(ord("a") + i) for i, name in enumerate(names)}
    left = ",".join("".join(letter[n] for n in t.labels) for t in terms)
    return b.einsum(f"{left}->{''.join(letter[n] for n in wanted)}", *(t.value for t in terms))


CONVERTERS: tuple[Converter, ...] = (convert_einsum,)
