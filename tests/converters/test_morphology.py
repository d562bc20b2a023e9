"""Dilation against TensorFlow."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import dtypes, moderate, normal, seeds

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@moderate
@given(
    pairs, pairs, pairs, st.sampled_from(["SAME", "VALID"]), dtypes(["float32", "float16"]), st.booleans(),
    st.sampled_from([[0], [0, 1], [0, 1, 2]]), seeds,
)  # fmt: skip
def test_dilation(
    window: tuple[int, int], step: tuple[int, int], rate: tuple[int, int], padding: str, dtype: str, constant: bool,
    free: list[int], seed: int,
) -> None:  # fmt: skip
    """Strides, rates, paddings, unknown batch and sizes, a filter known or not."""
    assume(padding == "SAME" or max((w - 1) * r for w, r in zip(window, rate, strict=True)) < 5)
    filter = normal([*window, 3], dtype, seed + 1)
    given_ = [normal([2, 6, 5, 3], dtype, seed), Const(filter) if constant else filter]
    told = {"strides": [1, *step, 1], "rates": [1, *rate, 1], "padding": padding}
    check("Dilation2D", given_, told, unknown={"input": free})


def test_builds() -> None:
    """The real builder takes it."""
    told = {"strides": [1, 2, 2, 1], "rates": [1, 1, 1, 1], "padding": "SAME"}
    check("Dilation2D", [normal([2, 6, 5, 3]), Const(normal([3, 3, 3]))], told, unknown={"input": [0]}, build=True)
    check("Dilation2D", [normal([2, 6, 5, 3]), normal([2, 3, 3])], told, unknown={"input": [0, 1, 2]}, build=True)


def test_refusals() -> None:
    """Each with its reason."""
    told = {"strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1], "padding": "SAME"}
    assert "two layers each" in refused("Dilation2D", [normal([2, 26, 25, 3]), Const(normal([17, 16, 3]))], told)
