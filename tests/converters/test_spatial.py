"""Patches and crops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import mixed, moderate, normal

UNKNOWN = st.sampled_from([(), (0,), (1, 2), (0, 1, 2)])


@moderate
@given(
    sides=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    rates=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.sampled_from(["SAME", "VALID"]),
    unknown=UNKNOWN,
    dtype=st.sampled_from(["float32", "float16", "int32"]),
)
def test_extract_image_patches(sides, window, strides, rates, padding, unknown, dtype):
    x = mixed((2, *(s + 2 for s in sides), 3), dtype)
    lists = {k: [1, *v, 1] for k, v in (("ksizes", window), ("strides", strides), ("rates", rates))}
    check("ExtractImagePatches", [x], {**lists, "padding": padding}, unknown=unknown)


@moderate
@given(
    window=st.lists(st.integers(1, 2), min_size=3, max_size=3),
    strides=st.lists(st.integers(1, 2), min_size=3, max_size=3),
    padding=st.sampled_from(["SAME", "VALID"]),
    unknown=st.sampled_from([(), (0,)]),
)
def test_extract_volume_patches(window, strides, padding, unknown):
    lists = {"ksizes": [1, *window, 1], "strides": [1, *strides, 1]}
    check("ExtractVolumePatches", [mixed((2, 3, 4, 3, 2))], {**lists, "padding": padding}, unknown=unknown)


@moderate
@given(
    boxes=st.integers(1, 4),
    crop=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 99),
    method=st.sampled_from(["bilinear", "nearest"]),
    dtype=st.sampled_from(["float32", "uint8", "int32"]),
    unknown=st.sampled_from(["none", "all"]),
    run_time=st.booleans(),
)
def test_crop_and_resize(boxes, crop, seed, method, dtype, unknown, run_time):
    rng = np.random.default_rng(seed)
    image = normal((2, 5, 6, 3), seed=seed) if dtype == "float32" else rng.integers(0, 99, (2, 5, 6, 3)).astype(dtype)
    corners = rng.uniform(-0.3, 1.3, (boxes, 4)).astype(np.float32)
    operands = {
        "image": image,
        "boxes": corners,
        "box_ind": rng.integers(0, 2, boxes).astype(np.int32),
        "crop_size": np.array(crop, np.int32) if run_time else Const(crop),
    }
    attributes = {"method": method, "extrapolation_value": -7.0}
    axes = {"none": {}, "all": {"image": range(4), "boxes": range(2), "box_ind": [0]}}[unknown]
    check("CropAndResize", operands, attributes, unknown=axes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("unknown", [(0,), (0, 1, 2)])
def test_windows_are_built(unknown):
    lists = {"ksizes": [1, 3, 3, 1], "strides": [1, 2, 2, 1], "rates": [1, 1, 1, 1]}
    for padding in ("SAME", "VALID"):
        check("ExtractImagePatches", [mixed((2, 5, 6, 3))], {**lists, "padding": padding}, unknown=unknown, build=True)
    operands = {
        "image": normal((2, 5, 6, 3)),
        "boxes": np.array([[0, 0, 1, 1]], np.float32),
        "box_ind": np.array([1], np.int32),
    }
    known = {"image": unknown, "boxes": [0], "box_ind": [0]}
    for size in (Const([3, 3]), np.array([1, 3], np.int32)):
        check("CropAndResize", {**operands, "crop_size": size}, unknown=known, build=True, atol=1e-4)


def test_windows_along_the_batch_are_refused():
    lists = {"ksizes": [1, 2, 2, 2], "strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1], "padding": "VALID"}
    try:
        reason = refused("ExtractImagePatches", [mixed((2, 5, 6, 3))], lists)
    except (ValueError, NotImplementedError) as error:  # TensorFlow's own shape function refuses them first
        reason = str(error)
    assert reason


def test_volumes_whose_shape_tensorflow_gets_wrong_are_refused():
    lists = {"ksizes": [1, 2, 2, 2, 1], "strides": [1, 1, 1, 1, 1], "padding": "VALID"}
    assert "dimensions" in refused("ExtractVolumePatches", [mixed((2, 3, 4, 3, 2))], lists, unknown=[1])
