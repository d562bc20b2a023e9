"""Functions of one tensor against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import check, refused
from converters.tensors import FLOATS, INTEGERS, SPECIAL_FLOATS, dtypes, mixed, moderate, normal, seeds, shapes
from tfgraphopt_converters.unary import FUNCTIONS, REFUSED

BOOLEAN = {"LogicalNot"}
INTEGRAL = {"Invert"}
BOTH = {"Abs", "Neg", "Sign", "Square"}
SINGLE = {"Rint"}  # TensorFlow has no CPU kernel for half precision
REAL = sorted(set(FUNCTIONS) - BOOLEAN - INTEGRAL)
LOOSE = {"Tan", "Sinh", "Cosh", "Erfc", "Exp", "Expm1"}


def tolerance(op: str, dtype: str) -> float | None:
    """Steep functions of rounded arguments; half precision in general."""
    return {"float32": 3e-5 if op in LOOSE else None, "float16": 1e-2, "bfloat16": 6e-2}[dtype]


@moderate
@given(st.sampled_from(REAL), shapes(), dtypes(FLOATS), seeds)
def test_floats(op: str, shape: tuple[int, ...], dtype: str, seed: int) -> None:
    """Ranks, element types, and zeros, infinities and NaN."""
    dtype = "float32" if op in SINGLE else dtype
    special = SPECIAL_FLOATS if dtype != "float16" else tuple(v for v in SPECIAL_FLOATS if abs(v) != 1e4)
    tol = tolerance(op, dtype)
    check(op, [mixed(shape, dtype, seed, special)], unknown="all", rtol=tol, atol=tol)


@pytest.mark.parametrize("op", REAL)
def test_special_values(op: str) -> None:
    """Every special value through every function."""
    check(op, [np.array([*SPECIAL_FLOATS, 0.3, -0.7, 1e-3, -1e-3], np.float32)], rtol=3e-5)


@pytest.mark.parametrize("op", sorted(BOTH | INTEGRAL))
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(op: str, dtype: str) -> None:
    """Integers where TensorFlow has them."""
    check(op, [normal([3, 4], dtype)], unknown="all", build=True)


@pytest.mark.parametrize("op", ["Expm1", "Log1p"])
def test_small_arguments_keep_their_digits(op: str) -> None:
    """No cancellation."""
    x = np.array([1e-7, -1e-7, 1e-5, -3e-4, 0.01, 0.49, -0.49, 0.51, -0.51, 1e-20, -0.99], np.float32)
    check(op, [x], rtol=1e-6, atol=0)


def test_erfc_of_large_arguments() -> None:
    """Relative accuracy where 1 - erf(x) is nothing but rounding."""
    check("Erfc", [np.linspace(-4, 9, 53, dtype=np.float32)], rtol=2e-5, atol=0)


def test_rounding_is_to_even() -> None:
    """Halves go to the even neighbour."""
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5], np.float32)
    check("Round", [halves])
    check("Rint", [halves])


def test_not() -> None:
    """Bools."""
    check("LogicalNot", [normal([3, 4], "bool")], unknown="all", build=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_builds(dtype: str) -> None:
    """The real builder takes them."""
    for op in REAL if dtype == "float32" else sorted(set(REAL) - SINGLE):
        tol = tolerance(op, dtype)
        check(
            op,
            [np.abs(normal([2, 3], dtype, scale=0.3)) + np.asarray(0.1, normal([], dtype).dtype)],
            unknown=[0],
            rtol=tol,
            atol=tol,
            build=True,
        )


def test_refusals() -> None:
    """Each with its reason."""
    for op in REFUSED:
        assert "accuracy" in refused(op, [normal([3])])
    assert "not in int8" in refused("Abs", [normal([3], "int32").astype(np.int8)])
    assert "not in int32" in refused("Round", [normal([3], "int32")])  # TensorFlow 2.21 makes zeros of them
