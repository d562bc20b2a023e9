from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework.tensor_pb2 import TensorProto

from ir.drawing import NUMERIC, tensors
from tfgraphopt.graphdef import attr_of_proto, attr_to_proto, tensor_of_proto
from tfgraphopt.ir import DType, Shape, Tensor


def _bits(array: np.ndarray) -> object:
    return array.tolist() if array.dtype == object else array.tobytes()


@given(tensors())
def test_protobufs_give_every_bit_back(tensor: Tensor) -> None:
    again = attr_of_proto(attr_to_proto(tensor, "tensor"))
    assert isinstance(again, Tensor)
    assert again.type == tensor.type
    assert _bits(again.numpy()) == _bits(tensor.numpy())
    assert again == tensor
    assert again.digest == tensor.digest


@pytest.mark.parametrize("dtype", NUMERIC)
def test_constants_are_decoded_as_tensorflow_does(dtype: DType) -> None:
    """Both ways in which TensorFlow writes elements: as bytes, and as repeated fields (the last one repeated)."""
    values = np.array([1, 0, 1, 1]).astype(dtype.np)
    for array in (values, np.ones(4).astype(dtype.np)):
        try:
            proto = tf.make_tensor_proto(array, tf.dtypes.as_dtype(dtype.number))
        except (TypeError, ValueError):
            proto = tf.make_tensor_proto(array)
        np.testing.assert_array_equal(tensor_of_proto(proto).numpy(), array)
    splat = TensorProto(dtype=1, float_val=[2.5])
    splat.tensor_shape.dim.add(size=3)
    assert tensor_of_proto(splat).tolist() == [2.5] * 3


def test_texts_become_bytes() -> None:
    assert Tensor.of([b"a\0", b""]).tolist() == [b"a\0", b""]
    assert Tensor.of(["a", "ü"]) == tensor_of_proto(tf.make_tensor_proto([b"a", "ü".encode()]))


def test_elements_are_read_only_and_decoded_once() -> None:
    calls = []
    tensor = Tensor(DType.FLOAT, Shape((2,)), lambda: calls.append(1) or np.zeros(2, np.float32))
    assert not calls
    assert tensor.numpy() is tensor.numpy()
    assert len(calls) == 1
    with pytest.raises(ValueError, match="read-only"):
        tensor.numpy()[0] = 1


def test_announced_type_is_checked() -> None:
    tensor = Tensor(DType.FLOAT, Shape((2,)), lambda: np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="announced"):
        tensor.numpy()
    with pytest.raises(ValueError, match="fully known"):
        Tensor(DType.FLOAT, Shape((None,)), lambda: np.zeros(3, np.float32))


@given(st.permutations(range(3)))
def test_views_are_those_of_numpy(perm: list[int]) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    view = Tensor.of(array).transpose(perm)
    assert view.shape.static() == array.transpose(perm).shape
    np.testing.assert_array_equal(view.numpy(), array.transpose(perm))
    np.testing.assert_array_equal(view.reshape([24]).numpy(), array.transpose(perm).reshape(-1))
    np.testing.assert_array_equal(view.astype(DType.HALF).numpy(), array.transpose(perm).astype(np.float16))
    assert view.digest == Tensor.of(np.ascontiguousarray(array.transpose(perm))).digest


def test_signed_zeros_and_types_are_told_apart() -> None:
    assert Tensor.of(0.0) != Tensor.of(-0.0)
    assert Tensor.of(np.int32(1)) != Tensor.of(np.int64(1))
    assert Tensor.of(np.zeros((1, 2))) != Tensor.of(np.zeros((2, 1)))
