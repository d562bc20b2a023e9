"""Diagonals and bands of matrices, by index maps that are worked out at conversion, or at run time where sizes are unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt.ir.tensor import Array
from tfgraphopt_converters import sizes
from tfgraphopt_converters.run_time_diagonals import RunTimeDiagonals
from tfgraphopt_converters.sizes import Cut, Size
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Weights, converter

# -- where the elements of diagonals lie -----------------------------------------------------------------------------

_RIGHT_ABOVE = frozenset({"RIGHT_LEFT", "RIGHT_RIGHT"})
_RIGHT_BELOW = frozenset({"LEFT_RIGHT", "RIGHT_RIGHT"})


@attrs.frozen(slots=True)
class Diagonals:
    """The diagonals ``low`` to ``high`` of a ``rows`` x ``columns`` matrix, packed one a row, the highest first.

    ``align`` says at which end a diagonal shorter than the longest is padded, first for those above and then for those
    below (MatrixDiagV3's attribute; V2 knows LEFT_LEFT only). Formulas: TensorFlow's documentation of MatrixDiagPartV3.
    """

    low: int
    high: int
    rows: int
    columns: int
    align: str

    @classmethod
    def of(cls, numbers: Sequence[int], sides: Sequence[int], align: str) -> Diagonals:
        """Those between a pair of ``numbers`` of a matrix with the two ``sides``."""
        return cls(numbers[0], numbers[1], sides[0], sides[1], align)

    @property
    def is_single(self) -> bool:
        """Whether there is one diagonal, packed without an axis of its own."""
        return self.low == self.high

    @property
    def longest(self) -> int:
        """Elements of the longest diagonal."""
        return min(self.rows + min(self.high, 0), self.columns + min(-self.low, 0))

    def offset(self, number: int) -> int:
        """Elements of padding in front of diagonal ``number``."""
        length = min(self.columns - max(number, 0), self.rows + min(number, 0))
        right = (number >= 0 and self.align in _RIGHT_ABOVE) or (number <= 0 and self.align in _RIGHT_BELOW)
        return self.longest - length if right else 0

    def unpacked(self) -> tuple[Array, Array]:
        """For every matrix element its place among the packed ones, and whether it is on one of the diagonals."""
        rows, columns = np.indices((self.rows, self.columns))
        number = columns - rows
        inside = (self.low <= number) & (number <= self.high)
        offset = np.vectorize(self.offset, otypes=[np.int64])(number)
        place = (self.high - number) * self.longest + columns - np.maximum(number, 0) + offset
        return np.where(inside, place, 0).astype(np.int32), inside

    def packed(self) -> tuple[Array, Array]:
        """For every packed element its place in the flat matrix, and whether it is none of the padding."""
        which, along = np.indices((self.high - self.low + 1, self.longest))
        number = self.high - which
        along = along - np.vectorize(self.offset, otypes=[np.int64])(number)
        row, column = along + np.maximum(-number, 0), along + np.maximum(number, 0)
        inside = (along >= 0) & (row < self.rows) & (column < self.columns)
        return np.where(inside, row * self.columns + column, 0).astype(np.int32), inside


def _range(k: Tensor) -> tuple[int, int]:
    """Lowest and highest diagonal of operand ``k``, a number or a pair."""
    numbers = [int(n) for n in k.numpy().reshape(-1)]
    return numbers[0], numbers[-1]


def _known(b: LayerBuilder, x: Value, count: int, what: str) -> tuple[int, ...]:
    dims = x.shape.known()[-count:]
    if None in dims:
        raise Unsupported(f"the {what} of %{x.name} has dimensions known only at run time ({x.shape})")
    return tuple(d for d in dims if d is not None)


def _picked(b: LayerBuilder, x: Value, flat_axes: int, places: Array) -> Value:
    """``x`` with its last ``flat_axes`` axes taken as one list, of which the elements at ``places`` are picked."""
    batch = len(x.shape) - flat_axes
    count = int(np.prod(_known(b, x, flat_axes, "matrix or diagonal"))) if flat_axes else 1
    flat = x if flat_axes == 1 else b.reshape(x, [0] * batch + [count])
    found = b.gather(flat, b.constant(places.reshape(-1)), batch)
    return found if places.ndim == 1 else b.reshape(found, [0] * batch + list(places.shape))


# -- a matrix from diagonals -----------------------------------------------------------------------------------------


def _is_diagonal(b: LayerBuilder, rows: sizes.Size, columns: sizes.Size) -> Value:
    """Whether row and column number are equal, bool[rows, columns]."""
    down, across = b.unsqueeze(sizes.iota(b, rows), (1,)), b.unsqueeze(sizes.iota(b, columns), (0,))
    return b.elementwise(down, across, "equal")


@converter("Diag")
def diag(b: LayerBuilder, diagonal: Operand) -> Value:
    """A tensor of twice the rank with ``diagonal`` where both halves of an index are equal."""
    own = sizes.sizes_of(b, diagonal)
    count = sizes.product(b, own)
    column = sizes.reshape(b, diagonal, [count, 1])
    square = b.select(_is_diagonal(b, count, count), column, b.constant(np.zeros(()), diagonal.dtype))
    return square if len(own) == 1 else sizes.reshape(b, square, [*own, *own])


@converter("MatrixDiag")
def matrix_diag(b: LayerBuilder, diagonal: Operand) -> Value:
    """Square matrices with the vectors of the last axis on their diagonals, also of unknown size."""
    count = sizes.size_of(b, diagonal, len(diagonal.shape) - 1)
    column = b.unsqueeze(diagonal, (len(diagonal.shape),))
    return b.select(_is_diagonal(b, count, count), column, b.constant(np.zeros(()), diagonal.dtype))


def _from_diagonals(
    b: LayerBuilder, diagonal: Value, k: Tensor, align: str, sides: tuple[Size, Size], otherwise: Value
) -> Value:
    """Matrices with ``sides`` and given diagonals, and what ``otherwise`` has beside those."""
    low, high = _range(k)
    flat = 1 if low == high else 2
    known = [s for s in sides if isinstance(s, int)]
    if len(known) == 2 and None not in diagonal.shape.known()[-flat:]:
        places, inside = Diagonals.of((low, high), known, align).unpacked()
        return b.select(b.constant(inside), _picked(b, diagonal, flat, places), otherwise)
    parts = _at_run_time(b, (low, high), sides, align)
    place, within = parts.unpacked(sizes.size_of(b, diagonal, len(diagonal.shape) - 1))
    return b.select(within, b.gather(_flattened(b, diagonal, flat), place, len(diagonal.shape) - flat), otherwise)


def _at_run_time(b: LayerBuilder, numbers: tuple[int, int], sides: tuple[Size, Size], align: str) -> RunTimeDiagonals:
    return RunTimeDiagonals(b, *numbers, *sides, align in _RIGHT_ABOVE, align in _RIGHT_BELOW)


def _flattened(b: LayerBuilder, x: Value, flat_axes: int) -> Value:
    """``x`` with its last ``flat_axes`` axes taken as one list."""
    if flat_axes == 1:
        return x
    batch = len(x.shape) - flat_axes
    own = sizes.sizes_of(b, x)
    return sizes.reshape(b, x, [*own[:batch], sizes.product(b, own[batch:])], range(batch))


@converter("MatrixDiagV2", "MatrixDiagV3")
def matrix_diag_v3(
    b: LayerBuilder, diagonal: Operand, k: Weights, num_rows: Weights, num_cols: Weights,
    padding_value: Operand, *, align: str = "LEFT_LEFT",
) -> Value:  # fmt: skip
    """Matrices with given diagonals, in any alignment; also of unknown size."""
    rows, columns = b.results[0].shape.known()[-2:]
    unknown = rows is None and columns is None
    if diagonal.shape.known()[-1] is None and not unknown:  # its shape function takes unknown for -1
        raise Unsupported(f"TensorFlow itself takes its matrices of unknown size to be {rows} x {columns}")
    if rows is not None and columns is not None:
        return _from_diagonals(b, diagonal, k, align, (rows, columns), padding_value)
    sides = _sides(b, diagonal, _range(k), int(num_rows.item()), int(num_cols.item()))
    return _from_diagonals(b, diagonal, k, align, sides, padding_value)


def _sides(b: LayerBuilder, diagonal: Value, numbers: tuple[int, int], rows: int, columns: int) -> tuple[Size, Size]:
    """The sides of the matrices, of which -1 are as small as the diagonals allow; square when both are -1."""
    longest = sizes.size_of(b, diagonal, len(diagonal.shape) - 1)
    low, high = numbers
    least = sizes.add(b, longest, -min(high, 0)), sizes.add(b, longest, max(low, 0))
    if rows < 0 and columns < 0:
        both = sizes.largest(b, *least)
        return both, both
    return least[0] if rows < 0 else rows, least[1] if columns < 0 else columns


@converter("MatrixSetDiagV2", "MatrixSetDiagV3")
def matrix_set_diag_v3(
    b: LayerBuilder, input: Operand, diagonal: Operand, k: Weights, *, align: str = "LEFT_LEFT"
) -> Value:
    """Matrices with some diagonals replaced; also of unknown size."""
    return _from_diagonals(b, diagonal, k, align, _matrix_sides(b, input), input)


def _matrix_sides(b: LayerBuilder, x: Value) -> tuple[Size, Size]:
    rank = len(x.shape)
    return sizes.size_of(b, x, rank - 2), sizes.size_of(b, x, rank - 1)


@converter("MatrixSetDiag")
def matrix_set_diag(b: LayerBuilder, input: Operand, diagonal: Operand) -> Value:
    """Matrices with the main diagonal replaced, also of unknown size."""
    if None not in input.shape.known()[-2:]:
        zero = Tensor.of(np.zeros((), np.int32))
        return _from_diagonals(b, diagonal, zero, "LEFT_LEFT", _matrix_sides(b, input), input)
    rank = len(input.shape)
    rows, columns = (sizes.size_of(b, input, a) for a in (rank - 2, rank - 1))
    longer = sizes.cut(b, diagonal, {rank - 2: Cut(0, rows)}, "fill")  # rows below the diagonal's end are not selected
    return b.select(_is_diagonal(b, rows, columns), b.unsqueeze(longer, (rank - 1,)), input)


# -- diagonals of a matrix -------------------------------------------------------------------------------------------


@converter("MatrixDiagPartV2", "MatrixDiagPartV3")
def matrix_diag_part_v3(
    b: LayerBuilder, input: Operand, k: Weights, padding_value: Operand, *, align: str = "LEFT_LEFT"
) -> Value:
    """Diagonals of matrices, packed in any alignment; also of unknown size."""
    if None in input.shape.known()[-2:]:
        return _packed_at_run_time(b, input, _range(k), padding_value, align)
    parts = Diagonals.of(_range(k), _known(b, input, 2, "matrix"), align)
    places, inside = parts.packed()
    if parts.is_single:
        places, inside = places[0], inside[0]
    found = _picked(b, input, 2, places)
    return found if inside.all() else b.select(b.constant(inside), found, padding_value)


def _packed_at_run_time(b: LayerBuilder, x: Value, numbers: tuple[int, int], padding: Value, align: str) -> Value:
    place, within = _at_run_time(b, numbers, _matrix_sides(b, x), align).packed()
    if numbers[0] == numbers[1]:
        place, within = b.squeeze(place, (0,)), b.squeeze(within, (0,))
    return b.select(within, b.gather(_flattened(b, x, 2), place, len(x.shape) - 2), padding)


@converter("MatrixDiagPart")
def matrix_diag_part(b: LayerBuilder, input: Operand) -> Value:
    """The main diagonals of matrices, also of unknown size: everything else becomes zero and the columns are summed."""
    if None not in input.shape.known()[-2:]:
        places, _ = Diagonals.of((0, 0), _known(b, input, 2, "matrix"), "LEFT_LEFT").packed()
        return _picked(b, input, 2, places[0])
    rank = len(input.shape)
    rows, columns = (sizes.size_of(b, input, a) for a in (rank - 2, rank - 1))
    return _diagonal_of(b, input, rows, columns)


def _diagonal_of(b: LayerBuilder, x: Value, rows: sizes.Size, columns: sizes.Size) -> Value:
    rank, summed = len(x.shape), DType.INT32 if x.dtype in (DType.BOOL, DType.INT8) else x.dtype
    kept = b.cast(b.select(_is_diagonal(b, rows, columns), x, b.constant(np.zeros(()), x.dtype)), summed)
    found = b.cast(b.reduce(kept, "sum", (rank - 1,), keep_dims=False), x.dtype)
    return sizes.cut(b, found, {rank - 2: Cut(0, sizes.smallest(b, rows, columns))})


@converter("DiagPart")
def diag_part(b: LayerBuilder, input: Operand) -> Value:
    """The elements of a tensor of rank 2k at which both halves of the index are equal."""
    own = sizes.sizes_of(b, input)[: len(input.shape) // 2]
    count = sizes.product(b, own)
    square = input if len(own) == 1 else sizes.reshape(b, input, [count, count])
    found = _diagonal_of(b, square, count, count)
    return found if len(own) == 1 else sizes.reshape(b, found, own)


# -- bands -----------------------------------------------------------------------------------------------------------


@converter("MatrixBandPart")
def matrix_band_part(
    b: LayerBuilder, input: Operand, num_lower: Weights | Operand, num_upper: Weights | Operand
) -> Value:
    """Matrices with zeros outside of a band (negative widths: all on that side); sizes and widths known or not."""
    rank = len(input.shape)
    rows, columns = (sizes.size_of(b, input, a) for a in (rank - 2, rank - 1))
    below = b.elementwise(b.unsqueeze(sizes.iota(b, rows), (1,)), b.unsqueeze(sizes.iota(b, columns), (0,)), "sub")
    outside = [
        _beyond(b, distance, limit)
        for distance, limit in ((below, num_lower), (b.unary(below, "neg"), num_upper))
        if not isinstance(limit, Tensor) or int(limit.item()) >= 0
    ]
    if not outside:
        return input
    hidden = outside[0] if len(outside) == 1 else b.elementwise(outside[0], outside[1], "or")
    return b.select(hidden, b.constant(np.zeros(()), input.dtype), input)


def _beyond(b: LayerBuilder, distance: Value, limit: Tensor | Value) -> Value:
    """Where ``distance`` (int64[rows, columns]) is above ``limit``; nowhere above a negative one."""
    if isinstance(limit, Tensor):
        return b.elementwise(distance, b.constant(np.full((1, 1), int(limit.item()), np.int64)), "greater")
    width = b.cast(limit, DType.INT64)
    held = b.elementwise(width, b.constant(np.array(-1, np.int64)), "greater")
    return b.elementwise(b.elementwise(distance, width, "greater"), held, "and")


CONVERTERS: tuple[Any, ...] = (
    diag,
    diag_part,
    matrix_diag,
    matrix_diag_v3,
    matrix_set_diag_v3,
    matrix_set_diag,
    matrix_diag_part_v3,
    matrix_diag_part,
    matrix_band_part,
)
