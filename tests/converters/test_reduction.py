"""Reductions, positions of extremes, the largest elements and running totals against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import FLOATS, INTEGERS, NUMBERS, Array, dtypes, moderate, normal, seeds, shapes

FOLDS = ["Sum", "Prod", "Max", "Min", "Mean"]
ATOL = {"float32": 1e-4, "float16": 3e-2, "bfloat16": 0.3}


@st.composite
def axes_for(draw: st.DrawFn, max_rank: int = 4) -> tuple[tuple[int, ...], Array]:
    """A shape, and some of its axes counted from either end (a scalar or a list, possibly empty)."""
    shape = draw(shapes(0, max_rank))
    rank = len(shape)
    axes = draw(st.lists(st.integers(0, rank - 1), unique=True, max_size=rank)) if rank else []
    signed = [a - rank if draw(st.booleans()) else a for a in axes]
    scalar = len(signed) == 1 and draw(st.booleans())
    return shape, np.array(signed[0] if scalar else signed, draw(st.sampled_from([np.int32, np.int64])))


@moderate
@given(st.sampled_from(FOLDS), axes_for(), dtypes(NUMBERS), st.booleans(), seeds)
def test_folds(op: str, where: tuple[tuple[int, ...], Array], dtype: str, keep: bool, seed: int) -> None:
    """Axes of either sign, none at all, scalars; integers as TensorFlow divides them."""
    x = normal(where[0], dtype, seed)
    check(op, [x, Const(where[1])], {"keep_dims": keep}, unknown="all", atol=ATOL.get(dtype), rtol=2e-2)


@moderate
@given(axes_for(), dtypes(["float32", "float16"]), st.booleans(), seeds)
def test_norm(where: tuple[tuple[int, ...], Array], dtype: str, keep: bool, seed: int) -> None:
    """The Euclidean norm."""
    check(
        "EuclideanNorm", [normal(where[0], dtype, seed), Const(where[1])], {"keep_dims": keep}, unknown="all", rtol=1e-2
    )


@moderate
@given(st.sampled_from(["All", "Any"]), axes_for(), st.booleans(), seeds)
def test_logic(op: str, where: tuple[tuple[int, ...], Array], keep: bool, seed: int) -> None:
    """Bools."""
    check(op, [normal(where[0], "bool", seed), Const(where[1])], {"keep_dims": keep}, unknown="all")


@pytest.mark.parametrize("op", ["Sum", "Prod", "All", "Any"])
def test_nothing_to_reduce(op: str) -> None:
    """The neutral element of an empty axis."""
    check(op, [np.zeros((2, 0), np.bool_ if op in ("All", "Any") else np.float32), Const([1])], unknown=[1])


@moderate
@given(st.sampled_from(["ArgMax", "ArgMin"]), shapes(1), st.integers(-4, 3), dtypes(NUMBERS), dtypes(INTEGERS), seeds)
def test_positions(op: str, shape: tuple[int, ...], axis: int, dtype: str, result: str, seed: int) -> None:
    """Any axis; the first of equals wins."""
    axis %= len(shape)
    x = np.round(normal(shape, dtype, seed).astype(np.float32)).astype(normal([], dtype).dtype)
    check(op, [x, Const(axis - len(shape) if seed % 2 else axis)], {"output_type": np.dtype(result)}, unknown="all")


@moderate
@given(shapes(1), dtypes(NUMBERS), st.data(), st.booleans(), seeds)
def test_top_k(shape: tuple[int, ...], dtype: str, data: st.DataObject, runtime: bool, seed: int) -> None:
    """Constant and run-time k, both types of indices."""
    x = normal(shape, dtype, seed)
    k = np.array(data.draw(st.integers(1, shape[-1])), data.draw(st.sampled_from([np.int32, np.int64])))
    given_ = {"input": x, "k": k if runtime else Const(k)}
    check("TopKV2", given_, {"index_type": np.int64}, unknown={"input": range(x.ndim)})


def test_unsorted_top_k() -> None:
    """Any order will do."""

    def same_elements(index: int, got: Array, want: Array) -> None:
        np.testing.assert_array_equal(np.sort(got), np.sort(want))

    check("TopKV2", [normal([3, 9]), Const(4)], {"sorted": False}, compare=same_elements)


@moderate
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 7), dtypes(INTEGERS), seeds)
def test_in_top_k(batch: int, classes: int, k: int, dtype: str, seed: int) -> None:
    """Ties, classes that do not exist, numbers that are not finite."""
    rng = np.random.default_rng(seed)
    values = np.array([0.0, 1.0, 2.0, 3.0, np.nan, np.inf], np.float32)
    predictions = rng.choice(values, size=(batch, classes), p=[0.3, 0.25, 0.2, 0.15, 0.05, 0.05])
    targets = rng.integers(-1, classes + 1, size=batch).astype(dtype)
    given_ = {"predictions": predictions, "targets": targets}
    check("InTopKV2", given_ | {"k": np.array(k, dtype)}, unknown={"predictions": [0, 1], "targets": [0]})
    check("InTopK", given_, {"k": k})


@moderate
@given(shapes(0), dtypes(["float32", "float16"]), seeds)
def test_l2_loss(shape: tuple[int, ...], dtype: str, seed: int) -> None:
    """Half the sum of squares."""
    check("L2Loss", [normal(shape, dtype, seed)], unknown="all", rtol=1e-2)


@moderate
@given(st.sampled_from(["Cumsum", "Cumprod"]), shapes(1), dtypes(NUMBERS), st.booleans(), st.booleans(), seeds)
def test_running_totals(op: str, shape: tuple[int, ...], dtype: str, exclusive: bool, reverse: bool, seed: int) -> None:
    """Every axis, forwards and backwards, with and without the element itself."""
    axis = seed % len(shape)
    others = [i for i in range(len(shape)) if i != axis or seed % 2]
    told = {"exclusive": exclusive, "reverse": reverse}
    x = normal(shape, dtype, seed)
    check(op, [x, Const(axis - len(shape))], told, unknown={"x": others}, atol=ATOL.get(dtype), rtol=3e-2)


@moderate
@given(shapes(1), st.booleans(), st.booleans(), st.sampled_from([1.0, 100.0]), seeds)
def test_running_logsumexp(shape: tuple[int, ...], exclusive: bool, reverse: bool, scale: float, seed: int) -> None:
    """Stable for large numbers."""
    axis = seed % len(shape)
    told = {"exclusive": exclusive, "reverse": reverse}
    x = normal(shape, "float32", seed, scale)
    x = np.where(np.random.default_rng(seed).random(shape) < 0.1, np.float32(-np.inf), x).astype(np.float32)
    others = [i for i in range(len(shape)) if i != axis or seed % 2]
    check("CumulativeLogsumexp", [x, Const(axis)], told, unknown={"x": others}, atol=1e-4)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_builds(dtype: str) -> None:
    """The real builder takes them."""
    x = normal([2, 3, 4], dtype)
    for op in FOLDS:
        check(op, [x, Const([0, -1])], unknown="all", build=True, rtol=0.1, atol=1.0)
    check("Sum", [x, Const([0, 1, 2])], unknown="all", build=True, rtol=0.1, atol=1.0)
    check("Cumsum", [x, Const(1)], unknown="all", build=True, rtol=0.1, atol=1.0)
    for unknown in ([0], [0, 1, 2]):
        check("Cumprod", [x, Const(1)], {"exclusive": True}, unknown=unknown, build=True, rtol=0.1, atol=1.0)
    for result in (np.int32, np.int64):
        check("ArgMax", [x, Const(1)], {"output_type": result}, unknown="all", build=True)
    check("TopKV2", {"input": x, "k": np.int32(2)}, unknown={"input": [0, 1, 2]}, build=True)
    for op, told in (("ArgMin", {"dimension": Const(0)}), ("TopKV2", {"k": Const(2)})):
        check(op, {"input": normal([5]), **told}, unknown={"input": [0]}, build=True)
    if dtype in FLOATS:
        for unknown in ("none", "all"):
            check("CumulativeLogsumexp", [x.astype(np.float32), Const(1)], unknown=unknown, build=True, atol=1e-4)
        check("EuclideanNorm", [x.astype(np.float32), Const([1])], build=True)
        check("L2Loss", [x], unknown="all", build=True, rtol=0.1)


def test_builds_of_bools() -> None:
    """Bools go through integers."""
    for op in ("All", "Any"):
        check(op, [normal([2, 3], "bool"), Const([1])], unknown="all", build=True)
    predictions = {"predictions": normal([2, 5]), "targets": np.array([1, 7], np.int32), "k": np.int32(2)}
    check("InTopKV2", predictions, unknown={"predictions": [0], "targets": [0]}, build=True)


def test_refusals() -> None:
    """Each with its reason."""
    x = normal([2, 5])
    assert "must be a constant" in refused("Sum", [x, np.array([1], np.int32)], {"keep_dims": True})
    assert "1 to 3840" in refused("TopKV2", [normal([5000]), Const(4000)])
    assert "1 to 3840" in refused("TopKV2", [x, Const(0)])
    assert "not in int8" in refused("Max", [x.astype(np.int8), Const([1])])
