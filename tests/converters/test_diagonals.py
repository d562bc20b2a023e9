"""Diagonals and bands of matrices."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import few, mixed, moderate
from converters.values import DTYPES

BATCH = st.lists(st.integers(1, 2), max_size=2)
SIDES = st.tuples(st.integers(1, 5), st.integers(1, 5))
ALIGN = st.sampled_from(["LEFT_LEFT", "LEFT_RIGHT", "RIGHT_LEFT", "RIGHT_RIGHT"])
BATCH_UNKNOWN = st.booleans()
MOVED = st.sampled_from(["float32", "int32", "bool"])


@st.composite
def bands(draw):
    """The sides of a matrix and a range of its diagonals."""
    rows, columns = draw(SIDES)
    low = draw(st.integers(-rows + 1, columns - 1))
    return rows, columns, low, draw(st.integers(low, columns - 1))


def packed_shape(rows, columns, low, high):
    longest = min(rows + min(high, 0), columns + min(-low, 0))
    return (longest,) if low == high else (high - low + 1, longest)


def version(op, align):
    """V2 has no alignment but the left one."""
    return (op + "V2", {}) if align == "LEFT_LEFT" else (op + "V3", {"align": align})


@moderate
@given(band=bands(), batch=BATCH, align=ALIGN, unknown=BATCH_UNKNOWN, dtype=MOVED)
def test_diagonals_to_matrix_and_back(band, batch, align, unknown, dtype):
    rows, columns, low, high = band
    axes = range(len(batch)) if unknown else ()
    k, filler = Const(np.array([low, high], np.int32)), Const(mixed((), "int32", 1).astype(mixed((), dtype).dtype))
    packed = mixed((*batch, *packed_shape(*band)), dtype)
    matrix = mixed((*batch, rows, columns), dtype)
    op, attributes = version("MatrixDiag", align)
    sides = {"num_rows": Const(rows), "num_cols": Const(columns)}
    check(op, {"diagonal": packed, "k": k, **sides, "padding_value": filler}, attributes, unknown={"diagonal": axes})
    op, attributes = version("MatrixDiagPart", align)
    check(op, {"input": matrix, "k": k, "padding_value": filler}, attributes, unknown={"input": axes})
    op, attributes = version("MatrixSetDiag", align)
    known = (
        axes if low == high else ()
    )  # TensorFlow's shape function has an error for several diagonals and an unknown batch
    check(op, {"input": matrix, "diagonal": packed, "k": k}, attributes, unknown={"input": known, "diagonal": known})


@moderate
@given(batch=BATCH, sides=SIDES, unknown=BATCH_UNKNOWN, dtype=MOVED)
def test_main_diagonals(batch, sides, unknown, dtype):
    axes = range(len(batch)) if unknown else ()
    matrix, diagonal = mixed((*batch, *sides), dtype), mixed((*batch, min(sides)), dtype, 1)
    check("MatrixDiag", [diagonal], unknown="all" if unknown else "none")
    check("MatrixDiagPart", [matrix], unknown=axes)
    check("MatrixSetDiag", [matrix, diagonal], unknown=axes)


@few
@given(count=st.integers(1, 4))
def test_diag_of_vectors_only(count):
    check("Diag", [mixed((count,))], unknown="all")
    check("DiagPart", [mixed((count, count))])
    assert "vector" in refused("Diag", [mixed((2, 2))])
    assert "matrix" in refused("DiagPart", [mixed((2, 2, 2, 2))])


@moderate
@given(
    batch=BATCH,
    sides=SIDES,
    lower=st.integers(-1, 5),
    upper=st.integers(-1, 5),
    unknown=st.sampled_from(["all", "none"]),
)
def test_band_part(batch, sides, lower, upper, unknown):
    assume(lower <= sides[0] and upper <= sides[1])
    check("MatrixBandPart", [mixed((*batch, *sides)), Const(lower), Const(upper)], unknown=unknown)


def test_diagonals_are_built():
    for dtype in DTYPES:
        check("MatrixDiag", [mixed((2, 3), dtype)], unknown=[0], build=True)
    check("MatrixBandPart", [mixed((2, 3, 3)), Const(-1), Const(0)], unknown="all", build=True)
    filler = {"k": Const([-1, 1]), "padding_value": Const(np.float32(0))}
    check("MatrixDiagPartV3", {"input": mixed((2, 3, 4)), **filler}, unknown={"input": [0]}, build=True)
    check("MatrixSetDiag", [mixed((2, 3, 3)), mixed((2, 3))], unknown=[0], build=True)


@pytest.mark.parametrize("op", ["MatrixDiagPart", "MatrixSetDiag"])
def test_matrices_of_unknown_size_are_refused(op):
    operands = [mixed((2, 3, 3)), mixed((2, 3))][: 1 if op == "MatrixDiagPart" else 2]
    assert "run time" in refused(op, operands, unknown=[1])
