"""Constants, fills and ranges."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import few, mixed, moderate
from converters.values import DTYPES, arrays


@few
@given(x=arrays(dims=(0, 3)))
def test_const(x):
    check("Const", {}, {"value": tf.make_tensor_proto(x), "dtype": tf.as_dtype(x.dtype)})


def test_constants_without_elements_are_built():
    for dtype in ("float32", "int32"):
        value = tf.make_tensor_proto(np.zeros((2, 0, 3), dtype))
        check("Const", {}, {"value": value, "dtype": tf.as_dtype(dtype)}, build=True)


@pytest.mark.parametrize(("dtype", "word"), [("int8", "quantised"), ("uint8", "uint8"), ("float64", "float64")])
def test_constants_that_tensorrt_lacks_are_refused(dtype, word):
    value = tf.make_tensor_proto(np.ones(3, dtype))
    assert word in refused("Const", {}, {"value": value, "dtype": tf.as_dtype(dtype)})


@moderate
@given(
    dims=st.lists(st.integers(0, 3), max_size=4),
    dtype=st.sampled_from(DTYPES),
    run_time=st.tuples(st.booleans(), st.booleans()),
)
def test_fill(dims, dtype, run_time):
    dims, value = np.array(dims, np.int32), mixed((), dtype, len(dims))
    operands = [d if r else Const(d) for d, r in zip((dims, value), run_time, strict=True)]
    check("Fill", operands)


def test_fill_of_run_time_dimensions_is_built():
    check("Fill", [np.array([2, 3], np.int32), Const(np.float32(2.5))], build=True)
    check("Fill", [Const(np.array([2, 3], np.int32)), np.array(2.5, np.float16)], build=True)


@moderate
@given(op=st.sampled_from(["ZerosLike", "OnesLike"]), x=arrays(dims=(0, 3)), unknown=st.sampled_from(["all", "none"]))
def test_zeros_and_ones_like(op, x, unknown):
    check(op, [x], unknown=unknown)


def test_zeros_like_of_unknown_size_is_built():
    for dtype in ("float32", "bool", "int64"):
        check("ZerosLike", [mixed((2, 3), dtype)], unknown="all", build=True)


@moderate
@given(
    start=st.integers(-5, 5), limit=st.integers(-5, 9), delta=st.integers(-4, 4).filter(bool),
    dtype=st.sampled_from(["int32", "int64"]), constant=st.sets(st.integers(0, 2), max_size=2),
)  # fmt: skip
def test_range_of_run_time_integers(start, limit, delta, dtype, constant):
    if (limit - start) * delta < 0:
        limit = start  # TensorFlow refuses a range that runs away from its limit
    values = [np.array(n, dtype) for n in (start, limit, delta)]
    check("Range", [Const(v) if i in constant else v for i, v in enumerate(values)])


def test_range_is_built_and_floats_are_refused():
    check("Range", [Const(np.int32(0)), np.int32(7), Const(np.int32(2))], build=True)
    assert "float shape" in refused("Range", [np.float32(0), np.float32(7), np.float32(2)])


@few
@given(start=st.floats(-9, 9), stop=st.floats(-9, 9), num=st.integers(1, 9))
def test_lin_space(start, stop, num):
    check("LinSpace", [np.array(v, np.float32) for v in (start, stop)] + [Const(num)])


def test_empty_is_zeros_or_refused():
    check("Empty", [Const([2, 3])], {"dtype": tf.float32, "init": True})
    assert "uninitialised" in refused("Empty", [Const([2, 3])], {"dtype": tf.float32, "init": False})
