"""Operands for tests of data movement: any element type, any rank, empty axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from converters.tensors import FLOATS, INTEGERS, Array, mixed, shapes

DTYPES = (*FLOATS, *INTEGERS, "bool")


@st.composite
def arrays(
    draw: st.DrawFn, ranks: tuple[int, int] = (0, 4), dims: tuple[int, int] = (1, 4), dtypes: Sequence[str] = DTYPES
) -> Array:
    """Arrays of any of ``dtypes`` with ``ranks`` and ``dims`` in the given ranges, NaN and infinities among floats."""
    shape = draw(shapes(ranks[0], ranks[1], dims[1], dims[0]))
    return mixed(shape, draw(st.sampled_from(list(dtypes))), draw(st.integers(0, 99)))


def unknown_axes(rank: int = 4) -> st.SearchStrategy[Any]:
    """Which dimensions the graph does not know."""
    return st.one_of(st.sampled_from(["all", "none"]), st.sets(st.integers(0, max(rank - 1, 0))).map(sorted))
