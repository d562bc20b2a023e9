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
@given(batch=BATCH, sides=SIDES, unknown=st.sampled_from(["none", "batch", "all"]), dtype=MOVED)
def test_main_diagonals(batch, sides, unknown, dtype):
    axes = range({"none": 0, "batch": len(batch), "all": 8}[unknown])
    matrix, diagonal = mixed((*batch, *sides), dtype), mixed((*batch, min(sides)), dtype, 1)
    check("MatrixDiag", [diagonal], unknown="none" if unknown == "none" else "all")
    check("MatrixDiagPart", [matrix], unknown=axes)
    check("MatrixSetDiag", [matrix, diagonal], unknown=axes)


@few
@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=3), unknown=st.sampled_from(["all", "none"]))
def test_diag_of_any_rank(shape, unknown):
    check("Diag", [mixed(shape)], unknown=unknown)
    check("DiagPart", [mixed((*shape, *shape))], unknown=unknown)


@moderate
@given(
    batch=BATCH,
    sides=SIDES,
    lower=st.integers(-1, 5),
    upper=st.integers(-1, 5),
    unknown=st.sampled_from(["all", "none"]),
    run_time=st.booleans(),
)
def test_band_part(batch, sides, lower, upper, unknown, run_time):
    assume(lower <= sides[0] and upper <= sides[1])
    limits = [np.int32(n) if run_time else Const(n) for n in (lower, upper)]
    check("MatrixBandPart", [mixed((*batch, *sides)), *limits], unknown=unknown)


def test_diagonals_are_built():
    for dtype in DTYPES:
        check("MatrixDiag", [mixed((2, 3), dtype)], unknown=[0], build=True)
    check("MatrixBandPart", [mixed((2, 3, 3)), Const(-1), Const(0)], unknown="all", build=True)
    check("MatrixBandPart", [mixed((2, 3, 3)), np.int64(1), np.int64(0)], unknown="all", build=True)
    check("MatrixDiagPart", [mixed((2, 3, 4))], unknown="all", build=True)
    check("MatrixSetDiag", [mixed((2, 3, 4)), mixed((2, 3))], unknown="all", build=True)
    check("Diag", [mixed((2, 3))], unknown="all", build=True)
    filler = {"k": Const([-1, 1]), "padding_value": Const(np.float32(0))}
    check("MatrixDiagPartV3", {"input": mixed((2, 3, 4)), **filler}, unknown={"input": [0]}, build=True)
    check("MatrixSetDiag", [mixed((2, 3, 3)), mixed((2, 3))], unknown=[0], build=True)


@pytest.mark.parametrize("op", ["MatrixDiagPartV3", "MatrixSetDiagV3"])
def test_other_diagonals_of_unknown_size_are_refused(op):
    operands = {"input": mixed((2, 3, 3)), "k": Const(1)}
    more = {"padding_value": Const(np.float32(0))} if "Part" in op else {"diagonal": mixed((2, 2))}
    assert "run time" in refused(op, operands | more, unknown={"input": [1]})
