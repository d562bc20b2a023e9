"""Strategies for the tensors that converters are tested with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Array = np.ndarray[Any, Any]

FLOATS = ("float32", "float16", "bfloat16")
INTEGERS = ("int32", "int64")
NUMBERS = FLOATS + INTEGERS

moderate = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
few = settings(moderate, max_examples=12)

SPECIAL_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1.5, 3.0, -3.0, 1e-6, 1e4, np.inf, -np.inf, np.nan)
SPECIAL_INTEGERS = (0, 1, -1, 2, -2, 3, 7, -7, 12, -13, 1000)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of TensorFlow's name for a type."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def shapes(
    min_rank: int = 0, max_rank: int = 4, max_size: int = 5, min_size: int = 1
) -> st.SearchStrategy[tuple[int, ...]]:
    """Small shapes."""
    return st.lists(st.integers(min_size, max_size), min_size=min_rank, max_size=max_rank).map(tuple)


def dtypes(names: Sequence[str]) -> st.SearchStrategy[str]:
    """One of these types."""
    return st.sampled_from(list(names))


def normal(shape: Sequence[int], dtype: str = "float32", seed: int = 0, scale: float = 1.0) -> Array:
    """Normally distributed numbers (integers between -9 and 9, bools)."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, size=tuple(shape)).astype(np.bool_)
    if dtype in INTEGERS:
        return rng.integers(-9, 10, size=tuple(shape)).astype(dtype)
    return np.asarray(rng.normal(size=tuple(shape)) * scale).astype(numpy_dtype(dtype))


def mixed(
    shape: Sequence[int], dtype: str = "float32", seed: int = 0, special: Sequence[float] = SPECIAL_FLOATS
) -> Array:
    """Normally distributed numbers among which some are special: zeros of both signs, infinities, NaN."""
    rng = np.random.default_rng(seed)
    plain = normal(shape, dtype, seed, 3.0)
    if dtype == "bool":
        return plain
    chosen = rng.choice(np.asarray(SPECIAL_INTEGERS if dtype in INTEGERS else special), size=tuple(shape))
    return np.asarray(np.where(rng.random(tuple(shape)) < 0.5, chosen.astype(numpy_dtype(dtype)), plain))


@st.composite
def broadcast_pairs(draw: st.DrawFn, max_rank: int = 4) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast against each other."""
    whole = draw(shapes(0, max_rank))
    return draw(_parts(whole)), draw(_parts(whole))


@st.composite
def _parts(draw: st.DrawFn, whole: tuple[int, ...]) -> tuple[int, ...]:
    start = draw(st.integers(0, len(whole)))
    return tuple(draw(st.sampled_from([1, d])) for d in whole[start:])


def unknown_axes(rank: int) -> st.SearchStrategy[list[int]]:
    """Axes whose size the graph does not know."""
    return st.lists(st.integers(0, max(rank - 1, 0)), unique=True, max_size=rank)


seeds = st.integers(0, 2**16)
