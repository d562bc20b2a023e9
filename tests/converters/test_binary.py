"""Functions of two tensors against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import (
    FLOATS,
    INTEGERS,
    NUMBERS,
    Array,
    broadcast_pairs,
    dtypes,
    mixed,
    moderate,
    normal,
    seeds,
    shapes,
)
from tfgraphopt_converters.binary import REFUSED

Pair = tuple[tuple[int, ...], tuple[int, ...]]
ARITHMETIC = ["Add", "AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference"]
DIVISION = ["Div", "FloorDiv", "FloorMod", "Mod", "TruncateMod", "TruncateDiv"]
COMPARISON = ["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"]
GUARDED = ["DivNoNan", "MulNoNan", "Xdivy", "Xlogy", "Xlog1py"]
ATOL = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 0.1}
NO_NAN = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 100.0, np.inf, -np.inf)


def feeds(pair: Pair, dtype: str, seed: int, constant: bool, values: tuple[float, ...] = NO_NAN) -> list[Array | Const]:
    """The two operands, the second a constant or not."""
    x, y = mixed(pair[0], dtype, seed, values), mixed(pair[1], dtype, seed + 1, values)
    return [x, Const(y) if constant else y]


@moderate
@given(st.sampled_from(ARITHMETIC), broadcast_pairs(), dtypes(NUMBERS), st.booleans(), seeds)
def test_arithmetic(op: str, pair: Pair, dtype: str, constant: bool, seed: int) -> None:
    """Broadcasting of any ranks and unknown sizes, infinities."""
    check(op, feeds(pair, dtype, seed, constant), unknown="all")


@moderate
@given(st.sampled_from(DIVISION), broadcast_pairs(), dtypes(INTEGERS), seeds)
def test_integer_division(op: str, pair: Pair, dtype: str, seed: int) -> None:
    """Signs as TensorFlow has them: floor and truncation differ for negative numbers."""
    x, y = mixed(pair[0], dtype, seed), mixed(pair[1], dtype, seed + 1)
    check(op, [x, np.asarray(np.where(y == 0, 3, y), y.dtype)], unknown="all")


@moderate
@given(st.sampled_from(["Div", "RealDiv", "FloorDiv"]), broadcast_pairs(), dtypes(FLOATS), seeds)
def test_float_division(op: str, pair: Pair, dtype: str, seed: int) -> None:
    """Zeros and infinities."""
    check(op, feeds(pair, dtype, seed, False))


@moderate
@given(st.sampled_from(["FloorMod", "Mod", "TruncateMod"]), broadcast_pairs(), seeds)
def test_float_remainder(op: str, pair: Pair, seed: int) -> None:
    """Halves divide without rounding; signs, infinities and zeros."""
    x, y = (np.asarray(np.round(v * 2) / 2, np.float32) for v in feeds(pair, "float32", seed, False))
    check(op, [x, y], unknown="all")


@moderate
@given(st.sampled_from(COMPARISON), broadcast_pairs(), dtypes(NUMBERS), seeds)
def test_comparison(op: str, pair: Pair, dtype: str, seed: int) -> None:
    """NaN is neither less, nor greater, nor equal."""
    check(op, feeds(pair, dtype, seed, False, (0.0, -0.0, 1.0, np.nan, np.inf, -np.inf)), unknown="all")


@pytest.mark.parametrize("op", ["Equal", "NotEqual"])
def test_bools_are_comparable(op: str) -> None:
    """And compare as TensorFlow's == does, which allows shapes that differ."""
    operands = [normal([3, 4], "bool"), normal([4], "bool", 1)]
    check(op, operands, unknown={"x": [0]}, build=True)
    check(op, operands, {"incompatible_shape_error": False})


@moderate
@given(st.sampled_from(["LogicalAnd", "LogicalOr"]), broadcast_pairs(), seeds)
def test_logic(op: str, pair: Pair, seed: int) -> None:
    """Bools broadcast."""
    check(op, [normal(pair[0], "bool", seed), normal(pair[1], "bool", seed + 1)], unknown="all")


@moderate
@given(st.sampled_from(GUARDED), broadcast_pairs(), dtypes(["float32", "float16"]), seeds)
def test_guarded(op: str, pair: Pair, dtype: str, seed: int) -> None:
    """Zero wins over NaN and infinity."""
    values = (0.0, 1.0, -1.0, 2.0, np.nan, np.inf)
    check(op, feeds(pair, dtype, seed, False, values), unknown="all", atol=ATOL[dtype])


@moderate
@given(broadcast_pairs(), dtypes(["float32", "float16"]), seeds)
def test_float_power(pair: Pair, dtype: str, seed: int) -> None:
    """Positive bases with any exponent, negative ones with whole exponents."""
    x, y = normal(pair[0], dtype, seed), normal(pair[1], dtype, seed + 1)
    check("Pow", [np.abs(x) + np.asarray(0.1, x.dtype), y], unknown="all", atol=ATOL[dtype], rtol=1e-2)
    check("Pow", [x, np.round(y)], atol=ATOL[dtype], rtol=1e-2)


@moderate
@given(shapes(), dtypes(INTEGERS), st.integers(0, 9), seeds)
def test_integer_power(shape: tuple[int, ...], dtype: str, exponent: int, seed: int) -> None:
    """By multiplication, which wraps as TensorFlow's does."""
    check("Pow", [normal(shape, dtype, seed), Const(np.array(exponent, dtype))], unknown="all")


@moderate
@given(broadcast_pairs(), dtypes(FLOATS), seeds)
def test_atan2(pair: Pair, dtype: str, seed: int) -> None:
    """Four quadrants, signed zeros, infinities."""
    check("Atan2", feeds(pair, dtype, seed, False), unknown="all", atol=ATOL[dtype])


def test_atan2_everywhere() -> None:
    """Every pair of special values."""
    special = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-20, -1e30], np.float32)
    check("Atan2", [special[:, None], special[None, :]])


@moderate
@given(shapes(), dtypes(NUMBERS), st.integers(1, 4), seeds)
def test_add_n(shape: tuple[int, ...], dtype: str, count: int, seed: int) -> None:
    """One to four summands."""
    check("AddN", [[normal(shape, dtype, seed + i) for i in range(count)]], unknown="all", atol=ATOL.get(dtype))


@pytest.mark.parametrize("tolerance", [1e-5, 0.5, 2.0])
def test_approximately_equal(tolerance: float) -> None:
    """Within a tolerance."""
    x, y = normal([40]), normal([40], seed=1)
    check("ApproximateEqual", [x, y], {"tolerance": tolerance}, build=True)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "int64"])
def test_builds(dtype: str) -> None:
    """The real builder takes them."""
    ops = [*ARITHMETIC, *COMPARISON, "Div", "FloorDiv", "FloorMod"] + (
        GUARDED if dtype in ("float32", "float16") else []
    )
    for op in [*ops, *(["Pow", "Atan2"] if dtype in FLOATS else ["TruncateDiv", "TruncateMod"])]:
        x, y = np.abs(normal([2, 3], dtype)) + np.asarray(1, normal([], dtype).dtype), normal([3], dtype, 1)
        y = np.asarray(np.where(y == 0, 2, y), y.dtype)
        check(op, [x, y], unknown=[0], build=True, compare=lambda *_: None)
    check("AddN", [[x, x, x]], unknown=[0], build=True, atol=1)
    check("LogicalAnd", [x > 0, y > 0], unknown=[0], build=True)


def test_refusals() -> None:
    """Each with its reason."""
    whole = normal([3], "int32")
    for op in REFUSED:
        operands = [normal([3]), normal([3])] if op == "NextAfter" else [whole, whole]
        assert "operations on bits" in refused(op, operands)
    assert "constant exponent" in refused("Pow", [whole, whole])
    assert "not in int8" in refused("AddV2", [whole.astype(np.int8), whole.astype(np.int8)])
