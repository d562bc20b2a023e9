from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ir.drawing import dtypes, shapes
from tfgraphopt.ir import SCALAR, UNKNOWN_SHAPE, DType, Shape, TensorType


@pytest.mark.parametrize("dtype", list(DType))
def test_numbers_names_and_numpy_types_are_tensorflows(dtype: DType) -> None:
    theirs = tf.dtypes.as_dtype(dtype.number)
    assert theirs.name == dtype.tf_name
    if dtype.has_numpy and not theirs.is_quantized and dtype is not DType.STRING:
        assert np.dtype(theirs.as_numpy_dtype) == dtype.np
        assert dtype.size == theirs.size
        assert dtype.is_floating == theirs.is_floating
        assert dtype.is_integer == theirs.is_integer


@given(dtypes)
def test_lookups_are_inverse(dtype: DType) -> None:
    assert DType.of_number(dtype.number) is dtype
    assert DType.of_text(dtype.text) is dtype


@pytest.mark.parametrize("dtype", [d for d in DType if d.has_numpy and not d.tf_name.startswith("q")])
def test_numpy_types_lead_back_to_plain_types(dtype: DType) -> None:
    assert DType.of_numpy(dtype.np) is dtype


def test_unknown_lookups_and_handles_are_refused() -> None:
    with pytest.raises(ValueError, match="number 999"):
        DType.of_number(999)
    with pytest.raises(TypeError, match="resource"):
        _ = DType.RESOURCE.np


@given(shapes, shapes)
def test_merge_and_compatibility_agree_with_tensorflow(a: Shape, b: Shape) -> None:
    ours, theirs = (tf.TensorShape(s.dims) for s in (a, b))
    assert a.compatible(b) == ours.is_compatible_with(theirs)
    if a.compatible(b):
        merged = ours.merge_with(theirs)
        assert a.merge(b).dims == (None if merged.rank is None else tuple(merged.as_list()))
    else:
        with pytest.raises(ValueError, match="contradict"):
            a.merge(b)


@given(shapes)
def test_counts_agree_with_tensorflow(shape: Shape) -> None:
    theirs = tf.TensorShape(shape.dims)
    assert shape.rank == theirs.rank
    assert shape.is_static == theirs.is_fully_defined()
    if shape.is_static:
        assert shape.static() == tuple(shape)


@given(st.lists(st.integers(0, 9), max_size=4))
def test_static_shapes_count_elements_as_numpy(dims: list[int]) -> None:
    assert Shape(dims).num_elements == np.empty(dims).size
    assert TensorType(DType.HALF, Shape(dims)).num_bytes == np.empty(dims, np.float16).nbytes


def test_unknown_parts_are_named_and_refused() -> None:
    assert str(Shape((None, -1, 3))) == "[?,?,3]"
    assert str(UNKNOWN_SHAPE) == "[*]"
    assert SCALAR.static() == ()
    with pytest.raises(ValueError, match="rank is unknown"):
        UNKNOWN_SHAPE.known()
    with pytest.raises(ValueError, match="not fully known"):
        Shape((None,)).static()
