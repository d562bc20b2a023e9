"""Slices with every mask, splits, concatenation, reversal and rolling."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.harness import Const, case, check, refused
from converters.tensors import mixed, moderate
from converters.values import DTYPES, arrays, unknown_axes

# -- Slice -----------------------------------------------------------------------------------------------------------


@moderate
@given(
    x=arrays(ranks=(1, 4), dims=(0, 5)),
    data=st.data(),
    unknown=unknown_axes(),
    run_time=st.tuples(st.booleans(), st.booleans()),
)
def test_slice(x, data, unknown, run_time):
    begin = [data.draw(st.integers(0, d)) for d in x.shape]
    size = [data.draw(st.integers(-1, d - s)) for d, s in zip(x.shape, begin, strict=True)]
    bounds = [np.array(v, np.int32) for v in (begin, size)]
    given_, counted = (v if r else Const(v) for v, r in zip(bounds, run_time, strict=True))
    check("Slice", {"input": x, "begin": given_, "size": counted}, unknown={"input": axes(unknown)})


def axes(unknown):
    return {"all": range(8), "none": ()}[unknown] if isinstance(unknown, str) else unknown


# -- StridedSlice ----------------------------------------------------------------------------------------------------

MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


@st.composite
def specifications(draw):
    """An array and the entries of a strided slice of it: (mask, begin, end, stride)."""
    x = draw(arrays(ranks=(1, 4), dims=(1, 5)))
    ellipsis = draw(st.integers(-1, x.ndim))
    entries, axis, has_ellipsis = [], 0, False
    skipped = draw(st.integers(0, x.ndim)) if ellipsis >= 0 else 0
    while axis <= x.ndim:
        if axis == ellipsis:
            entries.append(("ellipsis_mask", 0, 0, 1))
            axis += skipped
            ellipsis, has_ellipsis = -1, True
        elif len(entries) < 7 and draw(st.integers(0, 4)) == 0:  # TensorRT has at most 8 dimensions
            entries.append(("new_axis_mask", 0, 0, 1))
        elif axis < x.ndim and (
            has_ellipsis or draw(st.integers(0, 5))
        ):  # behind an ellipsis, every axis has its entry
            entries.append(_entry(draw, x.shape[axis]))
            axis += 1
        else:
            break
    return x, entries


def _entry(draw, size):
    if draw(st.integers(0, 3)) == 0:
        index = draw(st.integers(-size, size - 1))
        return ("shrink_axis_mask", index, index + 1, 1)
    bound = st.integers(-size - 2, size + 2)
    return ("", draw(bound), draw(bound), draw(st.sampled_from([1, 1, 2, 3, -1, -2])))


def _masks(entries, draw):
    masks = dict.fromkeys(MASKS, 0)
    for i, entry in enumerate(entries):
        if entry[0]:
            masks[entry[0]] |= 1 << i
        else:
            masks["begin_mask"] |= draw(st.integers(0, 1)) << i
            masks["end_mask"] |= draw(st.integers(0, 1)) << i
    return masks


@settings(moderate, max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    specification=specifications(),
    data=st.data(),
    unknown=unknown_axes(),
    run_time=st.tuples(st.booleans(), st.booleans()),
    dtype=st.sampled_from(["int32", "int64"]),
)
def test_strided_slice(specification, data, unknown, run_time, dtype):
    x, entries = specification
    masks = _masks(entries, data.draw)
    begin, end, strides = (np.array([e[i] for e in entries], dtype) for i in (1, 2, 3))
    first, last = (v if r else Const(v) for v, r in zip((begin, end), run_time, strict=True))
    operands = {"input": x, "begin": first, "end": last, "strides": Const(strides)}
    check("StridedSlice", operands, masks, unknown={"input": axes(unknown)})


CUTS = {
    "rows of a batch": ([0, 1], [0, 3], [1, 1], {"begin_mask": 1, "end_mask": 1}),
    "the last step": ([0, -1], [0, 0], [1, 1], {"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2}),
    "backwards": ([0, 0], [0, 0], [-1, -2], {"begin_mask": 3, "end_mask": 3}),
    "all but the last": ([0, 0], [0, -1], [1, 1], {"begin_mask": 3, "end_mask": 1}),
    "backwards from before the start": ([0, -6], [0, 0], [1, -2], {"begin_mask": 1, "end_mask": 3}),
    "a new axis": ([0, 0, 0], [0, 0, 0], [1, 1, 1], {"ellipsis_mask": 1, "new_axis_mask": 2, "shrink_axis_mask": 4}),
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("unknown", [[], [0], [0, 1]])
def test_strided_slice_is_built(name, unknown):
    begin, end, strides, masks = CUTS[name]
    operands = {"input": mixed((3, 5)), "begin": Const(begin), "end": Const(end), "strides": Const(strides)}
    check("StridedSlice", operands, masks, unknown={"input": unknown}, build=True)


def test_strided_slice_with_run_time_bounds_is_built():
    operands = {
        "input": mixed((3, 5)),
        "begin": np.array([1, -2], np.int32),
        "end": np.array([3, 9], np.int32),
        "strides": Const([1, 1]),
    }
    check("StridedSlice", operands, unknown={"input": [0]}, build=True)


def test_run_time_strides_are_refused():
    """TensorFlow does not tell the rank of such a result."""
    assert "rank" in refused("StridedSlice", [mixed((3,)), Const([0]), Const([2]), np.array([1], np.int32)])


def test_one_element_of_a_shape_is_one_slice():
    """What Keras writes to read the batch size."""
    operands = {"input": np.array([7, 8, 9], np.int32), "begin": Const([0]), "end": Const([1]), "strides": Const([1])}
    fragment = check("StridedSlice", operands, {"shrink_axis_mask": 1}, build=True)
    assert [n.op for n in fragment.graph] == ["trt.slice", "trt.squeeze"]


# -- splitting and joining -------------------------------------------------------------------------------------------


@moderate
@given(x=arrays(ranks=(1, 4), dims=(1, 3)), count=st.integers(1, 3), data=st.data(), unknown=unknown_axes())
def test_split_and_unpack(x, count, data, unknown):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    wide = np.concatenate([x] * count, axis)
    check("Split", {"split_dim": Const(axis), "value": wide}, {"num_split": count}, unknown=unknown)
    stacked = np.stack([x] * count, axis)
    check("Unpack", [stacked], {"num": count, "axis": axis}, unknown=unknown)


@moderate
@given(
    sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    rest=st.integers(-1, 3),
    run_time=st.booleans(),
    unknown=unknown_axes(2),
    dtype=st.sampled_from(DTYPES),
)
def test_split_v(sizes, rest, run_time, unknown, dtype):
    x = mixed((2, sum(sizes)), dtype)
    wanted = np.array([-1 if i == rest and len(sizes) > 1 else n for i, n in enumerate(sizes)], np.int32)
    operands = {"value": x, "size_splits": wanted if run_time else Const(wanted), "split_dim": Const(-1)}
    check("SplitV", operands, {"num_split": len(sizes)}, unknown={"value": axes(unknown)})


def test_splits_of_unknown_sizes_are_built():
    check("Split", {"split_dim": Const(1), "value": mixed((2, 6, 3))}, {"num_split": 3}, unknown=[0, 1], build=True)
    check("Unpack", [mixed((2, 3, 4))], {"num": 3, "axis": 1}, unknown=[0, 2], build=True)
    operands = {"value": mixed((2, 6)), "size_splits": Const([1, -1]), "split_dim": Const(1)}
    check("SplitV", operands, {"num_split": 2}, unknown="all", build=True)


@moderate
@given(x=arrays(ranks=(1, 4), dims=(0, 3)), data=st.data(), unknown=unknown_axes())
def test_concatenation(x, data, unknown):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    kinds = [lambda v: v, Const] if x.size else [lambda v: v]
    operands = [data.draw(st.sampled_from(kinds))(x) for _ in range(data.draw(st.integers(2, 3)))]
    check("ConcatV2", {"values": operands, "axis": Const(axis)}, unknown=unknown)
    check("Concat", {"concat_dim": Const(axis), "values": operands}, unknown=unknown)


def test_concatenation_is_built():
    for dtype in DTYPES:
        check(
            "ConcatV2",
            {"values": [mixed((2, 3), dtype), mixed((2, 1), dtype)], "axis": Const(1)},
            unknown=[0],
            build=True,
        )


# -- turning around --------------------------------------------------------------------------------------------------


@moderate
@given(x=arrays(ranks=(1, 4), dims=(1, 4)), data=st.data(), unknown=unknown_axes())
def test_reverse(x, data, unknown):
    chosen = sorted(data.draw(st.sets(st.integers(0, x.ndim - 1))))
    signed = [a - x.ndim if data.draw(st.booleans()) else a for a in chosen]
    check("ReverseV2", [x, Const(np.array(signed, np.int32))], unknown=unknown)
    check("Reverse", [x, Const(np.array([i in chosen for i in range(x.ndim)]))], unknown=unknown)


@moderate
@given(x=arrays(ranks=(1, 3), dims=(1, 4)), data=st.data(), unknown=unknown_axes(), run_time=st.booleans())
def test_roll(x, data, unknown, run_time):
    along = data.draw(st.lists(st.integers(-x.ndim, x.ndim - 1), min_size=1, max_size=3))
    shift = np.array([data.draw(st.integers(-7, 7)) for _ in along], np.int32)
    operands = {"input": x, "shift": shift if run_time else Const(shift), "axis": Const(np.array(along, np.int32))}
    check("Roll", operands, unknown={"input": axes(unknown)})


def test_turning_around_is_built():
    for unknown in ([], [0], "all"):
        check("ReverseV2", [mixed((2, 3)), Const([1, 0])], unknown=unknown, build=True)
        check("Roll", [mixed((4, 3)), Const([1, -2]), Const([0, 1])], unknown=unknown, build=True)


def test_an_axis_that_does_not_exist_is_refused_by_tensorflow_already():
    with pytest.raises(ValueError, match="axis"):
        case("ReverseV2", [mixed((2, 3)), Const([5])])
