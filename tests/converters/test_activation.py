"""Activations, clipping and softmax against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import FLOATS, NUMBERS, dtypes, mixed, moderate, normal, seeds, shapes
from tfgraphopt_converters.activation import ACTIVATIONS

FINITE = (0.0, -0.0, 1.0, -1.0, 6.0, 7.0, 1e-4, -1e-4, 30.0, -30.0, 80.0, -80.0)


@moderate
@given(st.sampled_from(sorted(ACTIVATIONS)), shapes(), dtypes(FLOATS), seeds)
def test_activations(op: str, shape: tuple[int, ...], dtype: str, seed: int) -> None:
    """Ranks, element types, large and small numbers."""
    check(op, [mixed(shape, dtype, seed, FINITE)], unknown="all")


@pytest.mark.parametrize("op", sorted(ACTIVATIONS))
def test_infinities(op: str) -> None:
    """The limits; NaN is left out: TensorRT does not say what its maximum makes of it."""
    values = np.array([np.inf, -np.inf, 3e38, -3e38], np.float32)
    check(op, [values[::2] if op == "Softsign" else values] if op != "Softsign" else [values[2:] / 1e30])


@pytest.mark.parametrize("op", ["Relu", "Relu6"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(op: str, dtype: str) -> None:
    """Integers too."""
    check(op, [normal([3, 4], dtype)], unknown="all", build=True)


@moderate
@given(st.floats(-2, 2, width=32), shapes(), dtypes(FLOATS), seeds)
def test_leaky_relu(alpha: float, shape: tuple[int, ...], dtype: str, seed: int) -> None:
    """Any slope, negative ones and those beyond 1 as well."""
    check("LeakyRelu", [mixed(shape, dtype, seed, FINITE)], {"alpha": alpha}, unknown="all")


@moderate
@given(shapes(1), dtypes(NUMBERS), st.booleans(), st.booleans(), seeds)
def test_clip(shape: tuple[int, ...], dtype: str, scalars: bool, constant: bool, seed: int) -> None:
    """Bounds as scalars or tensors, known or not, in the right order or not."""
    t = mixed(shape, dtype, seed, FINITE)
    low, high = (normal([] if scalars else shape, dtype, seed + i) for i in (1, 2))
    if scalars and seed % 2:
        low, high = np.minimum(low, high), np.maximum(low, high)
    bounds = [Const(v) if constant else v for v in (low, high)]
    check("ClipByValue", [t, *bounds], unknown={"t": range(t.ndim)})


@moderate
@given(st.sampled_from(["Softmax", "LogSoftmax"]), shapes(1), dtypes(FLOATS), st.sampled_from([1.0, 50.0]), seeds)
def test_softmax(op: str, shape: tuple[int, ...], dtype: str, scale: float, seed: int) -> None:
    """The last axis; large numbers do not overflow."""
    atol = {"float32": 1e-5, "float16": 0.05, "bfloat16": 0.5}[dtype] * (scale if op == "LogSoftmax" else 1)
    check(op, [normal(shape, dtype, seed, scale)], unknown="all", atol=atol)


@pytest.mark.parametrize("dtype", FLOATS)
def test_builds(dtype: str) -> None:
    """The real builder takes them."""
    for op in [*ACTIVATIONS, "LeakyRelu", "Softmax", "LogSoftmax"]:
        check(op, [normal([2, 3], dtype)], unknown=[0], build=True)
    check("Relu", [normal([], dtype)], build=True)
    check("ClipByValue", [normal([2, 3], dtype), normal([], dtype), normal([2, 3], dtype)], unknown=[0], build=True)


def test_refusals() -> None:
    """Each with its reason."""
    small = np.ones((2, 2), np.int8)
    assert "not in int8" in refused("Relu", [small])
    assert "no float64" in refused("Tanh", [np.ones((2, 2))])
