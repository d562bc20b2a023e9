"""Matrix products and Einstein summation against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import FLOATS, broadcast_pairs, dtypes, moderate, normal, seeds

sizes = st.integers(1, 5)


@moderate
@given(sizes, sizes, sizes, st.booleans(), st.booleans(), st.booleans(), dtypes(FLOATS), seeds)
def test_matmul(m: int, k: int, n: int, left: bool, right: bool, constant: bool, dtype: str, seed: int) -> None:
    """Two matrices, transposed or not."""
    a, b = normal([k, m] if left else [m, k], dtype, seed), normal([n, k] if right else [k, n], dtype, seed + 1)
    told = {"transpose_a": left, "transpose_b": right}
    check("MatMul", [a, Const(b) if constant else b], told, unknown="all", atol=0.1 if dtype == "bfloat16" else 1e-2)


@moderate
@given(broadcast_pairs(2), sizes, sizes, sizes, st.booleans(), st.booleans(), dtypes(FLOATS), seeds)
def test_batch_matmul(
    batch: tuple[tuple[int, ...], tuple[int, ...]],
    m: int,
    k: int,
    n: int,
    left: bool,
    right: bool,
    dtype: str,
    seed: int,
) -> None:
    """Batches that broadcast, of unknown sizes."""
    x = normal([*batch[0], *((k, m) if left else (m, k))], dtype, seed)
    y = normal([*batch[1], *((n, k) if right else (k, n))], dtype, seed + 1)
    told, atol = {"adj_x": left, "adj_y": right}, 0.1 if dtype == "bfloat16" else 1e-2
    check("BatchMatMulV2", [x, y], told, unknown="all", atol=atol)
    if batch[0] == batch[1]:  # the first version does not broadcast
        check("BatchMatMul", [x, y], told, unknown="all", atol=atol)
    if dtype != "float16":  # TensorFlow has no such CPU kernel
        check("BatchMatMulV3", [x, y], told | {"Tout": x.dtype}, unknown={"x": range(x.ndim)}, atol=atol)


def test_batch_matmul_of_mixed_types() -> None:
    """BatchMatMulV3 computes in the result's type."""
    x, y = normal([2, 3, 4], "bfloat16"), normal([2, 4, 5], "int32").astype(np.int8)
    check("BatchMatMulV3", [x, y], {"Tout": x.dtype}, rtol=0.02, atol=0.1, build=True)


@pytest.mark.parametrize("fused", [["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Tanh"], ["BiasAdd", "Elu"]])
def test_fused_matmul(fused: list[str]) -> None:
    """What grappler leaves behind a product (Gelu needs oneDNN in TensorFlow)."""
    given_ = {"a": normal([3, 4]), "b": Const(normal([4, 5], seed=1)), "args": [Const(normal([5], seed=2))]}
    check("_FusedMatMul", given_, {"fused_ops": fused, "epsilon": 0.0}, unknown={"a": [0]}, atol=1e-4)


EQUATIONS = [
    ("ab,bc->ac", ["ab", "bc"]), ("abc,cd->abd", ["abc", "cd"]), ("ab,ab->ab", ["ab", "ab"]), ("ab,ab->", ["ab", "ab"]),
    ("a,b->ab", ["a", "b"]), ("a,a->", ["a", "a"]), ("ab->ba", ["ab"]), ("ab->a", ["ab"]), ("ab->", ["ab"]),
    ("aa->a", ["aa"]),
    ("aab->b", ["aab"]), ("aa->", ["aa"]), ("aaa->a", ["aaa"]), ("a->aa", ["a"]), ("ab->aab", ["ab"]),
    ("ab->abba", ["ab"]),
    ("abc,cb->abb", ["abc", "cb"]), ("BTNH,BFNH->BNFT", ["btnh", "bfnh"]), ("abcd,dce->abe", ["abcd", "dce"]),
    (",ab->ba", ["", "ab"]),
    ("abx,cdy->cb", ["abx", "cdy"]), ("aab,bcc->ac", ["aab", "bcc"]), ("abc,abd->acd", ["abc", "abd"]),
]  # fmt: skip
LENGTHS = {c: 2 + i % 4 for i, c in enumerate("abcdefnthxy")}


@pytest.mark.parametrize(("equation", "labels"), EQUATIONS)
@pytest.mark.parametrize("free", ["none", "first"])
def test_einsum(equation: str, labels: list[str], free: str) -> None:
    """Products, sums, diagonals and their opposite, outer products, scalars."""
    tensors = [normal([LENGTHS[c] for c in names], seed=i) for i, names in enumerate(labels)]
    check("Einsum", [tensors], {"equation": equation}, unknown="all" if free == "first" else "none", atol=1e-4)


ELLIPSES = [
    ("...ij,...jk->...ik", (2, 3, 4, 5), (2, 3, 5, 6)), ("...ij,...jk->...ik", (3, 4, 5), (2, 1, 5, 6)),
    ("...ij,jk->...ik", (2, 3, 4, 5), (5, 6)), ("i...,j...->ij...", (4, 1, 3), (5, 2, 3)),
    ("...i->...", (2, 3, 4), None),
    ("...ii->...i", (2, 3, 3), None), ("i...->...", (2, 3, 4), None), ("...,...->...", (2, 1), (3,)),
    ("...i,...i->...", (2, 3, 4), (3, 4)),
    ("...abc,...cb->...a", (2, 3, 4, 5), (1, 5, 4)), ("a...b->b...a", (2, 3, 4), None),
]  # fmt: skip


UNSHARED = ("...abc,...cde->...dabe", (1, 2, 3, 4), (3, 4, 2, 5))


@pytest.mark.parametrize(("equation", "first", "second"), ELLIPSES)
def test_ellipsis(equation: str, first: tuple[int, ...], second: tuple[int, ...] | None) -> None:
    """Axes without a name, which broadcast."""
    tensors = [normal(s, seed=i) for i, s in enumerate((first, second)) if s is not None]
    check("Einsum", [tensors], {"equation": equation}, atol=1e-4)


@pytest.mark.parametrize(("equation", "first", "second"), [*ELLIPSES[:4], ELLIPSES[9], UNSHARED])
def test_ellipsis_of_unknown_sizes(equation: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """Sizes that may be one at run time."""
    tensors = [normal(s, seed=i) for i, s in enumerate((first, second))]
    check("Einsum", [tensors], {"equation": equation}, unknown="all", atol=1e-4, build=True)


def test_builds() -> None:
    """The real builder takes them."""
    check("MatMul", [normal([3, 4]), Const(normal([4, 5]))], unknown="all", build=True)
    check("BatchMatMulV2", [normal([3, 1, 3, 4]), normal([2, 4, 5])], unknown="all", atol=1e-4, build=True)
    for equation, labels in EQUATIONS:
        tensors = [normal([LENGTHS[c] for c in names], seed=i) for i, names in enumerate(labels)]
        check("Einsum", [tensors], {"equation": equation}, atol=1e-4, build=True)
    for equation, shape in (("aa->a", (3, 3)), ("a->aa", (3,))):
        check("Einsum", [[normal(shape)]], {"equation": equation}, unknown="all", build=True)


def test_refusals() -> None:
    """Each with its reason."""
    whole = np.ones((2, 2), np.int32)
    assert "not in int32" in refused("MatMul", [whole, whole])
    small = whole.astype(np.int8)
    assert "in int32" in refused("BatchMatMulV3", [small, small], {"Tout": np.int32})
    assert "sparse" in refused("SparseMatMul", [normal([2, 2]), normal([2, 2])])
