"""Padding of any rank, mode and element type."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import mixed, moderate
from converters.values import DTYPES, arrays


@st.composite
def padded(draw, most=3):
    """An array and how much goes around it."""
    x = draw(arrays(ranks=(1, 5), dims=(1, 4)))
    pads = [(draw(st.integers(0, most)), draw(st.integers(0, most))) for _ in x.shape]
    return x, np.array(pads, draw(st.sampled_from(["int32", "int64"])))


ASKED = st.sampled_from([(), (0,), (1,), (0, 1, 2, 3, 4)])


@moderate
@given(case=padded(), unknown=ASKED, run_time=st.booleans())
def test_pad(case, unknown, run_time):
    x, pads = case
    check("Pad", {"input": x, "paddings": pads if run_time else Const(pads)}, unknown={"input": unknown})


@moderate
@given(case=padded(), unknown=ASKED, run_time=st.tuples(st.booleans(), st.booleans()))
def test_pad_with_a_value(case, unknown, run_time):
    x, pads = case
    value = mixed((), "int32", 3).astype(x.dtype)
    pads, value = (v if r else Const(v) for v, r in zip((pads, value), run_time, strict=True))
    check("PadV2", {"input": x, "paddings": pads, "constant_values": value}, unknown={"input": unknown})


@moderate
@given(case=padded(), unknown=ASKED, mode=st.sampled_from(["REFLECT", "SYMMETRIC"]), run_time=st.booleans())
def test_mirror_pad(case, unknown, mode, run_time):
    x, pads = case
    most = np.array(x.shape)[:, None] - (1 if mode == "REFLECT" else 0)
    pads = np.minimum(pads, most).astype(pads.dtype)
    operands = {"input": x, "paddings": pads if run_time else Const(pads)}
    check("MirrorPad", operands, {"mode": mode}, unknown={"input": unknown})


@pytest.mark.parametrize("unknown", [(), (0,), (0, 1)])
def test_padding_is_built(unknown):
    pads = Const([[0, 0], [1, 2]])
    for dtype in (*DTYPES, "int8"):
        check(
            "Pad",
            {"input": mixed((3, 4), "int32").astype(dtype), "paddings": pads},
            unknown={"input": unknown},
            build=True,
        )
    for mode in ("REFLECT", "SYMMETRIC"):
        check(
            "MirrorPad",
            {"input": mixed((3, 4)), "paddings": pads},
            {"mode": mode},
            unknown={"input": unknown},
            build=True,
        )
    operands = {
        "input": mixed((3, 4)),
        "paddings": np.array([[0, 1], [1, 0]], np.int32),
        "constant_values": np.float32(-1),
    }
    check("PadV2", operands, unknown={"input": unknown}, build=True)


def test_int8_constants_are_refused():
    operands = {"input": np.ones(3, np.int8), "paddings": Const([[1, 1]]), "constant_values": Const(np.int8(1))}
    assert "int8" in refused("PadV2", operands)
