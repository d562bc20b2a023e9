"""Every way to resize images, against TensorFlow's CPU kernels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import mixed, moderate, normal
from tfgraphopt_converters.sampling import KERNELS

UNKNOWN = st.sampled_from([(), (0,), (1, 2), (0, 1, 2), (0, 1, 2, 3)])
SIDES = st.tuples(st.integers(1, 7), st.integers(1, 7))
CENTRES = st.sampled_from([(False, False), (True, False), (False, True)])


def attributes(centres):
    return {"align_corners": centres[0], "half_pixel_centers": centres[1]}


def image(old, dtype="float32", seed=0):
    if dtype == "uint8":
        return np.random.default_rng(seed).integers(0, 256, (2, *old, 3)).astype(np.uint8)
    return normal((2, *old, 3), dtype, seed)


@moderate
@given(
    old=SIDES,
    new=SIDES,
    centres=CENTRES,
    unknown=UNKNOWN,
    run_time=st.booleans(),
    dtype=st.sampled_from(["float32", "float16", "uint8", "int32"]),
)
def test_bilinear(old, new, centres, unknown, run_time, dtype):
    size = np.array(new, np.int32)
    operands = {"images": image(old, dtype), "size": size if run_time else Const(size)}
    check(
        "ResizeBilinear",
        operands,
        attributes(centres),
        unknown={"images": unknown},
        rtol=1e-4,
        atol=1e-3 if dtype == "uint8" else 1e-5,
    )


@moderate
@given(
    old=SIDES,
    new=SIDES,
    centres=st.sampled_from([(False, False), (True, False), (False, True), (True, True)]),
    unknown=UNKNOWN,
    run_time=st.booleans(),
    dtype=st.sampled_from(["float32", "float16", "int32"]),
)
def test_nearest_neighbor(old, new, centres, unknown, run_time, dtype):
    size = np.array(new, np.int32)
    operands = {"images": mixed((2, *old, 3), dtype), "size": size if run_time else Const(size)}
    if centres != (True, True):  # TensorFlow refuses that
        check("ResizeNearestNeighbor", operands, attributes(centres), unknown={"images": unknown})


@pytest.mark.parametrize("centres", [(False, False), (True, False), (False, True)])
def test_nearest_neighbor_decides_every_tie_as_tensorflow(centres):
    """All pairs of sizes: single-precision coordinates fall on both sides of whole numbers."""
    for old in range(1, 34, 4):
        x = np.arange(old, dtype=np.float32).reshape(1, 1, old, 1)
        for new in range(1, 40, 3):
            check("ResizeNearestNeighbor", {"images": x, "size": Const([1, new])}, attributes(centres))


@moderate
@given(
    old=SIDES, new=SIDES, centres=CENTRES, unknown=UNKNOWN, run_time=st.booleans(),
    dtype=st.sampled_from(["float32", "float16", "uint8"]),
)  # fmt: skip
def test_bicubic(old, new, centres, unknown, run_time, dtype):
    size = np.array(new, np.int32)
    check(
        "ResizeBicubic", {"images": image(old, dtype), "size": size if run_time else Const(size)}, attributes(centres),
        unknown={"images": unknown}, rtol=1e-4, atol=1e-3 if dtype == "uint8" else 2e-5,
    )  # fmt: skip


@moderate
@given(old=SIDES, new=SIDES, align=st.booleans(), unknown=UNKNOWN, run_time=st.booleans())
def test_area(old, new, align, unknown, run_time):
    size = np.array(new, np.int32)
    operands = {"images": image(old), "size": size if run_time else Const(size)}
    if not (align and any(o == 1 < n for o, n in zip(old, new, strict=True))):
        check("ResizeArea", operands, {"align_corners": align}, unknown={"images": unknown}, rtol=1e-4, atol=1e-5)


def test_area_of_a_single_element_has_no_corners():
    operands = {"images": image((1, 3)), "size": Const([4, 5])}
    assert "divides by zero" in refused("ResizeArea", operands, {"align_corners": True})


@moderate
@given(
    old=SIDES,
    new=SIDES,
    antialias=st.booleans(),
    shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    factor=st.tuples(st.floats(0.4, 2.5), st.floats(0.4, 2.5)),
    kernel=st.sampled_from(sorted(KERNELS)),
    unknown=UNKNOWN,
    run_time=st.booleans(),
)
def test_scale_and_translate(old, new, antialias, shift, factor, kernel, unknown, run_time):
    told = {"size": np.array(new, np.int32)} | {
        k: np.round(np.array(v, np.float32), 2) for k, v in {"scale": factor, "translation": shift}.items()
    }
    operands = {"images": image(old), **(told if run_time else {k: Const(v) for k, v in told.items()})}
    check(
        "ScaleAndTranslate",
        operands,
        {"kernel_type": kernel, "antialias": antialias},
        unknown={"images": unknown},
        rtol=1e-3,
        atol=1e-4,
    )


# -- built -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("centres", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("op", ["ResizeBilinear", "ResizeNearestNeighbor"])
def test_resizing_is_built(op, centres, unknown):
    for size in (Const([8, 6]), Const([5, 7]), np.array([6, 6], np.int32)):
        check(op, {"images": image((4, 3)), "size": size}, attributes(centres), unknown={"images": unknown}, build=True)


@pytest.mark.parametrize("unknown", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("op", ["ResizeBicubic", "ResizeArea"])
def test_weighted_elements_are_built(op, unknown):
    for size in (Const([8, 5]), np.array([6, 2], np.int32)):
        check(op, {"images": image((4, 3)), "size": size}, unknown={"images": unknown}, build=True, atol=1e-4)


@pytest.mark.parametrize("kernel", ["lanczos3", "keyscubic", "box"])
def test_kernels_of_run_time_are_built(kernel):
    told = {"size": np.array([6, 5], np.int32), "scale": np.float32([1.5, 0.5]), "translation": np.float32([0.25, 0])}
    operands = {"images": image((4, 3)), **told}
    check(
        "ScaleAndTranslate",
        operands,
        {"kernel_type": kernel},
        unknown={"images": (0, 1, 2)},
        build=True,
        rtol=1e-3,
        atol=1e-4,
    )


def test_whole_ratios_are_one_resize_layer():
    operands = {"images": image((4, 3)), "size": Const([8, 6])}
    fragment = check("ResizeNearestNeighbor", operands, attributes((False, True)), unknown=[0])
    assert [n.op for n in fragment.graph if n.op in ("trt.resize", "trt.gather")] == ["trt.resize"]
