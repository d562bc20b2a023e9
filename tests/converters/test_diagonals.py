"""Diagonals and bands of matrices."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import few, mixed, moderate
from converters.values import DTYPES

BATCH = st.lists(st.integers(1, 2), max_size=2)
SIDES = st.tuples(st.integers(1, 5), st.integers(1, 5))
ALIGN = st.sampled_from(["LEFT_LEFT", "LEFT_RIGHT", "RIGHT_LEFT", "RIGHT_RIGHT"])
UNKNOWN = st.sampled_from(["none", "batch", "all"])
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
@given(band=bands(), batch=BATCH, align=ALIGN, unknown=UNKNOWN, dtype=MOVED)
def test_diagonals_to_matrix_and_back(band, batch, align, unknown, dtype):
    rows, columns, low, high = band
    axes = range({"none": 0, "batch": len(batch), "all": 8}[unknown])
    k, filler = Const(np.array([low, high], np.int32)), Const(mixed((), "int32", 1).astype(mixed((), dtype).dtype))
    packed = mixed((*batch, *packed_shape(*band)), dtype)
    matrix = mixed((*batch, rows, columns), dtype)
    op, attributes = version("MatrixDiag", align)
    sides = {"num_rows": Const(rows), "num_cols": Const(columns)}
    few = range(
        0 if unknown == "none" else len(batch)
    )  # TensorFlow's shape function wants to know the length beside the sides
    check(op, {"diagonal": packed, "k": k, **sides, "padding_value": filler}, attributes, unknown={"diagonal": few})
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


@moderate
@given(
    low=st.integers(-2, 2), more=st.integers(0, 2), length=st.integers(1, 3), rows=st.integers(0, 2), columns=st.integers(0, 2),
    align=ALIGN, unknown=UNKNOWN,
)  # fmt: skip
def test_matrices_as_small_as_their_diagonals(low, more, length, rows, columns, align, unknown):
    high = low + more
    least = [length - min(high, 0), length + max(low, 0)]
    sides = [n + extra if extra else -1 for n, extra in zip(least, (rows, columns), strict=True)]
    assume(-1 in sides and max(least) >= more + length)  # else the diagonals have other lengths
    shape = (2, length) if low == high else (2, more + 1, length)
    operands = {
        "diagonal": mixed(shape), "k": Const([low, high]), "num_rows": Const(sides[0]), "num_cols": Const(sides[1]),
        "padding_value": Const(np.float32(3)),
    }  # fmt: skip
    axes = {"none": [], "batch": [0], "all": [0, len(shape) - 1]}[unknown]
    if unknown != "all" or (sides == [-1, -1] and low <= 0 <= high):
        check("MatrixDiagV3", operands, {"align": align}, unknown={"diagonal": axes})
    elif sides == [-1, -1]:
        assert "TensorFlow itself" in refused("MatrixDiagV3", operands, {"align": align}, unknown={"diagonal": axes})


def test_sides_of_run_time_are_refused():
    sides = {"num_rows": np.int32(4), "num_cols": Const(-1)}
    operands = {"diagonal": mixed((2, 3)), "k": Const(1), **sides, "padding_value": np.float32(0)}
    assert "'num_rows' must be a constant" in refused("MatrixDiagV3", operands)
