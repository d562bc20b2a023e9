"""Gather, scatter, one-hot, select and searches against TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import few, mixed, moderate, normal
from converters.values import DTYPES, arrays, unknown_axes

INDEX_TYPES = st.sampled_from(["int32", "int64"])

# -- gather ----------------------------------------------------------------------------------------------------------


@moderate
@given(x=arrays(ranks=(1, 4), dims=(1, 4)), data=st.data(), unknown=unknown_axes(), dtype=INDEX_TYPES)
def test_gather_v2(x, data, unknown, dtype):
    batch = data.draw(st.integers(0, x.ndim - 1))
    axis = data.draw(st.integers(batch, x.ndim - 1))
    more = data.draw(st.lists(st.integers(1, 3), max_size=2))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    indices = rng.integers(0, x.shape[axis], (*x.shape[:batch], *more)).astype(dtype)
    signed = batch - indices.ndim if indices.ndim and data.draw(st.booleans()) and batch < indices.ndim else batch
    operands = {"params": x, "indices": indices, "axis": Const(axis - x.ndim if data.draw(st.booleans()) else axis)}
    check("GatherV2", operands, {"batch_dims": signed}, unknown=unknown)


def test_gather_is_built():
    x, rows = mixed((2, 3, 4, 5)), np.array([[[1, 0]] * 3] * 2)
    check("GatherV2", [x, rows, Const(3)], {"batch_dims": 2}, unknown=[0], build=True)
    check("GatherV2", [x, rows, Const(1)], {"batch_dims": 1}, unknown=[0], build=True)
    check("GatherV2", [x, np.int32(1), Const(2)], unknown="all", build=True)
    check("Gather", [Const(mixed((9, 4))), np.array([[3, 8]])], unknown=[0], build=True)


@moderate
@given(x=arrays(ranks=(1, 4), dims=(1, 4)), data=st.data(), unknown=st.sampled_from([(), (0,)]), dtype=INDEX_TYPES)
def test_gather_nd(x, data, unknown, dtype):
    depth = data.draw(st.integers(1, x.ndim))
    shape = data.draw(st.lists(st.integers(1, 3), max_size=2))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    indices = np.stack([rng.integers(0, d, shape) for d in x.shape[:depth]], -1).astype(dtype)
    check("GatherNd", [x, indices], unknown={"params": unknown, "indices": unknown if indices.ndim > 1 else ()})


def test_gather_nd_without_coordinates_or_by_policy_is_refused():
    assert "coordinates" in refused("GatherNd", [mixed((2, 3)), np.zeros((4, 0), np.int32)])
    ignoring = {"bad_indices_policy": "IGNORE"}
    assert "IGNORE" in refused("GatherNd", [mixed((2, 3)), np.zeros((4, 1), np.int32)], ignoring)


# -- scatter ---------------------------------------------------------------------------------------------------------


@st.composite
def scatters(draw, dtypes=DTYPES):
    """A tensor, distinct indices into its first axes, and updates."""
    x = draw(arrays(ranks=(1, 3), dims=(2, 4), dtypes=dtypes))
    depth = draw(st.integers(1, x.ndim))
    places = list(np.ndindex(*x.shape[:depth]))
    chosen = draw(st.lists(st.sampled_from(places), min_size=1, max_size=4, unique=True))
    indices = np.array(chosen, draw(INDEX_TYPES)).reshape(-1, depth)
    updates = mixed((len(chosen), *x.shape[depth:]), "int32", 7).astype(x.dtype)
    return x, indices, updates


@moderate
@given(case=scatters(), unknown=st.sampled_from(["none", "all"]), run_time=st.booleans())
def test_scatter(case, unknown, run_time):
    x, indices, updates = case
    fixed = indices if run_time else Const(indices)
    known = {"indices": (), "tensor": range(3) if unknown == "all" else ()}
    check("TensorScatterUpdate", {"tensor": x, "indices": fixed, "updates": updates}, unknown=known)
    shape = np.array(x.shape, indices.dtype)
    if x.dtype != bool:
        wanted = shape if run_time else Const(shape)
        check("ScatterNd", {"indices": Const(indices), "updates": updates, "shape": wanted})


REPEATED = ("float32", "float16", "int32", "int64")


@few
@given(case=scatters(dtypes=REPEATED), more=st.integers(0, 3), run_time=st.booleans(), unknown=st.booleans())
def test_scatter_at_indices_that_repeat(case, more, run_time, unknown):
    x, indices, updates = case
    x, updates = np.nan_to_num(x, posinf=9, neginf=-9), np.nan_to_num(updates)
    indices, updates = (np.concatenate([v, *[v[:1]] * more]) for v in (indices, updates))
    fixed = indices if run_time else Const(indices)
    axes = {"tensor": range(3), "updates": range(3), "indices": [0]} if unknown else "none"
    for op in ("TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin"):
        check(op, {"tensor": x, "indices": fixed, "updates": updates}, unknown=axes, atol=4e-2)
    shape = np.array(x.shape, indices.dtype)
    wanted = shape if unknown else Const(shape)
    check("ScatterNd", {"indices": fixed, "updates": updates, "shape": wanted}, unknown=axes, atol=4e-2)
    if not run_time:
        check("TensorScatterUpdate", {"tensor": x, "indices": fixed, "updates": updates})


@moderate
@given(
    case=scatters(dtypes=("float32", "float16", "int32", "int64")),
    op=st.sampled_from(["TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin"]),
)
def test_scatter_that_combines(case, op):
    x, indices, updates = case
    x = np.nan_to_num(x)  # Max and Min of NaN differ between TensorFlow's own kernels
    check(op, {"tensor": x, "indices": Const(indices), "updates": updates})


def test_scatter_is_built():
    operands = {"tensor": mixed((3, 4)), "indices": np.array([[1], [2]], np.int32), "updates": mixed((2, 4))}
    check("TensorScatterUpdate", operands, unknown={"tensor": [1], "updates": [1]}, build=True)
    check("TensorScatterAdd", {**operands, "indices": Const([[1], [2]])}, build=True)
    check("ScatterNd", {"indices": Const([[1], [2]]), "updates": mixed((2, 4)), "shape": Const([5, 4])}, build=True)
    repeated = {"indices": np.array([[1, 0], [1, 0]]), "updates": normal((2,))}
    free = {"tensor": [0, 1], "indices": [0], "updates": [0]}
    check("TensorScatterMax", {"tensor": normal((3, 4)), **repeated}, unknown=free, build=True)
    check("ScatterNd", {**repeated, "shape": np.array([3, 4])}, unknown={"indices": [0], "updates": [0]}, build=True)


def test_a_scatter_that_would_compare_too_much_is_refused():
    operands = {"tensor": normal((3000,)), "indices": np.zeros((1500, 1), np.int32), "updates": normal((1500,))}
    assert "named twice" in refused("TensorScatterAdd", operands)


# -- one-hot, select, where ------------------------------------------------------------------------------------------


@moderate
@given(
    shape=st.lists(st.integers(1, 3), max_size=3), depth=st.integers(1, 5), data=st.data(), unknown=unknown_axes(3),
    index=st.sampled_from(["int32", "int64", "uint8", "int8"]), dtype=st.sampled_from(DTYPES), run_time=st.booleans(),
)  # fmt: skip
def test_one_hot(shape, depth, data, unknown, index, dtype, run_time):
    axis = data.draw(st.integers(-1, len(shape)))
    low = 0 if index == "uint8" else -2
    indices = np.random.default_rng(0).integers(low, depth + 2, shape).astype(index)
    on, off = (Const(np.asarray(n, mixed((), dtype).dtype)) for n in (1, 0))
    deep = np.int32(depth) if run_time else Const(np.int32(depth))
    check(
        "OneHot",
        {"indices": indices, "depth": deep, "on_value": on, "off_value": off},
        {"axis": axis},
        unknown={"indices": unknown_of(unknown)},
    )


def unknown_of(unknown):
    return {"all": range(8), "none": ()}[unknown] if isinstance(unknown, str) else unknown


@moderate
@given(x=arrays(ranks=(0, 4)), data=st.data(), unknown=unknown_axes())
def test_select(x, data, unknown):
    other = mixed(x.shape, "int32", 5).astype(x.dtype)
    condition = mixed(x.shape[: data.draw(st.sampled_from([0, x.ndim]))], "bool", 1)
    check("Select", [condition, x, other], unknown=unknown)
    if x.ndim > 1:
        check("Select", [mixed(x.shape[:1], "bool"), x, other])
    cut = data.draw(st.integers(0, x.ndim))
    row = tuple(1 if data.draw(st.booleans()) else d for d in x.shape[cut:])
    check("SelectV2", [mixed(row, "bool"), x, mixed((), "int32").astype(x.dtype)], unknown=unknown)


def test_select_and_one_hot_are_built():
    check("SelectV2", [mixed((3, 1), "bool"), mixed((2, 3, 4)), Const(np.float32(1))], unknown=[0], build=True)
    ones = {"on_value": Const(np.float32(1)), "off_value": Const(np.float32(0))}
    for depth in (Const(5), np.int32(5)):
        check(
            "OneHot", {"indices": np.array([[1, 4]]), "depth": depth, **ones}, unknown={"indices": [0, 1]}, build=True
        )


@moderate
@given(x=arrays(ranks=(1, 3), dims=(1, 4), dtypes=("bool", "float32", "int32")), unknown=unknown_axes(3))
def test_where(x, unknown):
    """Not built here: TensorRT for RTX has no kernels of NonZero."""
    check("Where", [x], unknown=unknown)


# -- sorted lists and vectors ----------------------------------------------------------------------------------------


@few
@given(
    x=arrays(ranks=(0, 3), dtypes=("float32", "int32", "int64")),
    edges=st.lists(st.integers(-9, 9), max_size=5).map(sorted),
)
def test_bucketize(x, edges):
    check("Bucketize", [x], {"boundaries": [float(e) for e in edges]}, unknown=[0])


@few
@given(
    op=st.sampled_from(["LowerBound", "UpperBound"]), dtype=st.sampled_from(["float32", "int32"]),
    out_type=st.sampled_from([tf.int32, tf.int64]), n=st.integers(1, 6), m=st.integers(1, 4), unknown=unknown_axes(2),
)  # fmt: skip
def test_searches(op, dtype, out_type, n, m, unknown):
    ordered, values = np.sort(normal((2, n), dtype), -1), normal((2, m), dtype, 1)
    check(op, [ordered, values], {"out_type": out_type}, unknown=unknown)


@few
@given(shape=st.lists(st.integers(1, 3), max_size=2), dtype=st.sampled_from(["float32", "float16", "int32"]))
def test_cross(shape, dtype):
    check("Cross", [normal((*shape, 3), dtype), normal((*shape, 3), dtype, 1)], unknown=range(len(shape)))


def test_searches_are_built():
    check("Bucketize", [normal((2, 3))], {"boundaries": [0.0, 1.0]}, unknown="all", build=True)
    check("Cross", [normal((2, 3)), normal((2, 3), seed=1)], unknown=[0], build=True)
    check("UpperBound", [np.sort(normal((2, 5))), normal((2, 3))], {"out_type": tf.int64}, unknown="all", build=True)


@pytest.mark.parametrize("op", ["Unique", "SegmentSum", "DynamicPartition"])
def test_data_dependent_ops_are_refused(op):
    numbers = np.array([0, 1, 1], np.int32)
    operands = {
        "Unique": [numbers],
        "SegmentSum": [mixed((3, 2)), numbers],
        "DynamicPartition": [mixed((3, 2)), numbers],
    }
    assert "TensorRT" in refused(op, operands[op], {"num_partitions": 2} if op == "DynamicPartition" else {})
