"""Identities, run-time checks and casts."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, case, check, refused
from converters.tensors import few, moderate
from converters.values import DTYPES, arrays

PASSED_ON = (
    "Identity", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics", "CheckNumericsV2", "GuaranteeConst", "DeepCopy",
)  # fmt: skip


@few
@given(op=st.sampled_from(PASSED_ON), x=arrays(dtypes=("float32", "float16")), unknown=st.sampled_from(["all", "none"]))
def test_passes_its_operand_on_without_a_layer(op, x, unknown):
    x = np.nan_to_num(x) if op.startswith("CheckNumerics") else x
    attributes = {"message": "in the middle"} if op.startswith("CheckNumerics") else {}
    assert len(check(op, [x], attributes, unknown=unknown).graph) == 0


@pytest.mark.parametrize("op", PASSED_ON)
def test_each_of_them_is_passed_on(op):
    attributes = {"message": "in the middle"} if op.startswith("CheckNumerics") else {}
    assert len(check(op, [np.ones((2, 3), np.float32)], attributes, unknown="all").graph) == 0


@pytest.mark.parametrize("op", ["_CopyFromHostToGpu", "_CopyFromGpuToHost"])
def test_copies_between_host_and_gpu_are_passed_on(op):
    """TensorFlow runs these on a GPU only."""
    fragment = case(op, [np.ones((2, 3), np.float32)], unknown="all").convert()
    assert fragment.graph.outputs == fragment.graph.inputs


def test_identity_n_passes_all_operands_on():
    operands = [np.ones((2, 3), np.float32), np.arange(3)]
    assert len(check("IdentityN", [operands], unknown=[0]).graph) == 0


@moderate
@given(
    x=arrays(dtypes=DTYPES), to=st.sampled_from(["float32", "float16", "bfloat16", "int32", "int64", "int8", "bool"])
)
def test_cast_equals_tensorflow_for_values_that_the_type_holds(x, to):
    if tf.as_dtype(to).is_integer and x.dtype.kind == "f":
        x = np.clip(np.nan_to_num(x), -100, 100)
    check("Cast", [x], {"DstT": tf.as_dtype(to)}, unknown="all")


@pytest.mark.parametrize("to", ["float32", "int32", "int64", "bool", "float16"])
def test_casts_of_every_operand_type_are_built(to):
    for dtype in (*DTYPES, "uint8"):
        check("Cast", [np.ones((2, 3), dtype)], {"DstT": tf.as_dtype(to)}, unknown=[0], build=True)


def test_casts_that_tensorrt_lacks_are_refused():
    x = np.ones((2, 3), np.float32)
    assert "float64" in refused("Cast", [x], {"DstT": tf.float64})
    assert "uint8" in refused("Cast", [x], {"DstT": tf.uint8})
    assert "truncated" in refused("Cast", [x], {"DstT": tf.float16, "Truncate": True})


def test_ensure_shape_tells_tensorrt_the_announced_dimensions():
    x = np.ones((2, 3), np.float32)
    fragment = check("EnsureShape", [x], {"shape": [None, 3]}, unknown="all", build=True)
    assert fragment.graph.outputs[0].shape.known() == (None, 3)
    assert len(check("EnsureShape", [x], {"shape": [2, None]}).graph) == 0


def test_bitcast_is_refused_unless_the_type_stays():
    x = np.ones((2, 3), np.float32)
    assert "bits" in refused("Bitcast", [x], {"type": tf.int32})
    check("Bitcast", [x], {"type": tf.float32})


def test_placeholder_with_default_is_refused():
    assert "input of the graph" in refused("PlaceholderWithDefault", [np.ones(2, np.float32)], {"shape": [2]})


def test_strings_are_refused():
    assert "string" in refused("Identity", [np.array([b"a"], object)])
    assert case("Identity", [Const(np.ones(2, np.float32))]).convert().operands == ()
