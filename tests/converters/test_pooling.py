"""Pooling against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from converters.harness import Const, case, check, refused, run_layers
from converters.tensors import Array, dtypes, mixed, moderate, normal, seeds

ARGUMENT = {"MaxPool": "input", "AvgPool": "value", "MaxPool3D": "input", "AvgPool3D": "input"}


@st.composite
def pools(draw: st.DrawFn) -> dict[str, Any]:
    """A pooling and what is known of it."""
    op = draw(st.sampled_from(sorted(ARGUMENT)))
    rank = 3 if op.endswith("3D") else 2
    paddings = ["SAME", "VALID", "EXPLICIT"] if op == "MaxPool" else ["SAME", "VALID"]
    return {
        "op": op, "sizes": draw(st.lists(st.integers(4, 8), min_size=rank, max_size=rank)),
        "padding": draw(st.sampled_from(paddings)),
        "window": draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank)), "known": draw(st.booleans()),
        "step": draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)), "before": draw(st.integers(0, 1)),
        "after": draw(st.integers(0, 1)),
    }  # fmt: skip


def attributes(c: dict[str, Any]) -> dict[str, Any]:
    """The op's attributes."""
    found = {"ksize": [1, *c["window"], 1], "strides": [1, *c["step"], 1], "padding": c["padding"]}
    pairs = [c["before"], c["after"]] * len(c["window"])
    return found | ({"explicit_paddings": [0, 0, *pairs, 0, 0]} if c["padding"] == "EXPLICIT" else {})


def refusable(c: dict[str, Any]) -> bool:
    """SAME where the step is beyond the window (see the converter), or padding as large as the window."""
    if c["padding"] == "EXPLICIT":
        return max(c["before"], c["after"]) >= min(c["window"])
    beyond = any(s > w for w, s in zip(c["window"], c["step"], strict=True))
    return c["padding"] == "SAME" and beyond and (len(c["window"]) == 3 or not c["known"])


@moderate
@given(pools(), dtypes(["float32", "float16", "bfloat16"]), seeds)
def test_pooling(c: dict[str, Any], dtype: str, seed: int) -> None:
    """Padding, strides, windows, unknown sizes."""
    assume(not refusable(c) and not (dtype == "float16" and c["op"].endswith("3D")))  # no such CPU kernel
    x = normal([2, *c["sizes"], 3], dtype, seed)
    free = [0] if c["known"] else list(range(len(c["sizes"]) + 1))
    check(c["op"], {ARGUMENT[c["op"]]: x}, attributes(c), unknown=free)


@moderate
@given(st.sampled_from(["MaxPool", "AvgPool"]), seeds)
def test_infinities(op: str, seed: int) -> None:
    """Padding is below every number, even -inf."""
    x = mixed([1, 6, 5, 2], "float32", seed, (-np.inf, np.inf, -1e30, 0.0))
    check(op, [x], {"ksize": [1, 3, 3, 1], "strides": [1, 2, 2, 1], "padding": "SAME"})


def channels_first(x: Array) -> Array:
    """N,C,spatial."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


@pytest.mark.parametrize("op", sorted(ARGUMENT))
def test_channels_first(op: str) -> None:
    """The same numbers in the other order, without a transpose."""
    x = normal([2, 6, 7, 5, 3][: 5 if op.endswith("3D") else 4])
    ones, names = [1] * (x.ndim - 2), ("NDHWC", "NCDHW") if op.endswith("3D") else ("NHWC", "NCHW")
    window, step = [2 * o for o in ones], [2 * o for o in ones]
    last = case(
        op, [x], {"ksize": [1, *window, 1], "strides": [1, *step, 1], "padding": "SAME", "data_format": names[0]}
    )
    told = {"ksize": [1, 1, *window], "strides": [1, 1, *step], "padding": "SAME", "data_format": names[1]}
    fragment = case(op, [channels_first(x)], told, unknown=[0]).convert()
    (got,) = run_layers(fragment, [channels_first(x)])
    np.testing.assert_allclose(got, channels_first(last.expected()[0]), rtol=1e-5)
    assert [n.op for n in fragment.graph] == ["trt.pooling"]


def test_window_as_tensors() -> None:
    """MaxPoolV2."""
    x, window = normal([2, 6, 7, 3]), [1, 2, 3, 1]
    check("MaxPoolV2", [x, Const(window), Const([1, 2, 2, 1])], {"padding": "SAME"}, unknown={"input": [0]}, build=True)
    given_ = {"input": x, "ksize": np.array(window, np.int32), "strides": Const([1, 2, 2, 1])}
    assert "rank of %node is unknown" in refused("MaxPoolV2", given_, {"padding": "SAME"})  # TensorFlow infers nothing


@pytest.mark.parametrize(
    ("op", "dtype"), [*((op, "float32") for op in sorted(ARGUMENT)), ("MaxPool", "float16"), ("AvgPool", "float16")]
)
def test_builds(op: str, dtype: str) -> None:
    """The real builder takes them."""
    x = normal([2, 6, 7, 5, 3][: 5 if op.endswith("3D") else 4], dtype)
    ones = [1] * (x.ndim - 2)
    told = {"ksize": [1, *(3 * o for o in ones), 1], "strides": [1, *(2 * o for o in ones), 1], "padding": "SAME"}
    check(op, [x], told, unknown=[0], build=True)
    check(op, [x], told, unknown=range(x.ndim - 1), build=True)


def test_refusals() -> None:
    """Each with its reason."""
    told = {"ksize": [1, 1, 1, 2], "strides": [1, 1, 1, 2], "padding": "VALID"}
    x = normal([2, 6, 7, 4])
    assert "batch and channel axes" in refused("MaxPool", [x], told)
    square = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"}
    assert "not in int32" in refused("MaxPool", [x.astype(np.int32)], square)
    beyond = {"ksize": [1, 1, 1, 1, 1], "strides": [1, 4, 1, 1, 1], "padding": "SAME"}
    assert "begin inside" in refused("MaxPool3D", [normal([1, 7, 3, 3, 2])], beyond)
