"""Arrays for constants and feeds: small numbers, and now and then the ones that break rewrites."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfgraphopt.ir import DType

Array = NDArray[Any]
_FEW = 4
_SPECIAL = (0.0, -0.0, float("nan"), float("inf"), float("-inf"))


def element_arrays(dtype: DType, dims: tuple[int, ...], special: bool = True) -> st.SearchStrategy[Array]:
    """Arrays of ``dtype`` and ``dims``: drawn element by element when there are few, else grown from a drawn seed.

    ``special`` allows signed zeros, infinities and NaN among floats.
    """
    count = int(np.prod(dims, dtype=np.int64))
    if count <= _FEW:
        return st.lists(_elements(dtype, special), min_size=count, max_size=count).map(lambda e: _array(e, dtype, dims))
    odd = st.integers(0, 3).map(lambda n: special and n == 3)
    return st.builds(lambda seed, o: seeded_array(dtype, dims, seed, o), st.integers(0, 7), odd)


def _elements(dtype: DType, special: bool) -> st.SearchStrategy[Any]:
    if dtype is DType.BOOL:
        return st.booleans()
    if not dtype.is_floating:
        return st.integers(0 if dtype.text.startswith("u") else -3, 3)
    plain = st.integers(-12, 12).map(lambda n: n / 4)
    return st.one_of(plain, st.sampled_from(_SPECIAL)) if special else plain


def _array(elements: list[Any], dtype: DType, dims: tuple[int, ...]) -> Array:
    return np.array(elements, dtype=dtype.np).reshape(dims)


def seeded_array(dtype: DType, dims: tuple[int, ...], seed: int, special: bool = False) -> Array:
    """The array of ``dtype`` and ``dims`` that a seed stands for; with ``special`` its first elements are odd ones."""
    rng = np.random.default_rng(seed)
    if dtype is DType.BOOL:
        return rng.integers(0, 2, dims).astype(np.bool_)
    if not dtype.is_floating:
        return rng.integers(0 if dtype.text.startswith("u") else -3, 4, dims).astype(dtype.np)
    array = np.array(np.round(rng.normal(size=dims), 2), dtype=dtype.np)
    if special:
        flat = array.reshape(-1)
        flat[: len(_SPECIAL)] = np.array(_SPECIAL[: flat.size], dtype=dtype.np)
    return array
