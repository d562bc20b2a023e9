"""Shapes as tensors, reshapes, transposes, stacking, broadcasting, space and depth and batch."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import few, mixed, moderate
from converters.values import DTYPES, arrays, unknown_axes

OUT_TYPES = (tf.int32, tf.int64)

# -- dimensions as tensors -------------------------------------------------------------------------------------------


@moderate
@given(x=arrays(ranks=(1, 4), dims=(0, 4)), out_type=st.sampled_from(OUT_TYPES), unknown=unknown_axes())
def test_shape_and_size(x, out_type, unknown):
    check("Shape", [x], {"out_type": out_type}, unknown=unknown)
    check("Size", [x], {"out_type": out_type}, unknown=unknown)


def test_shapes_of_several_operands_and_of_uint8_are_built():
    check("ShapeN", [[mixed((2, 3)), mixed((1, 4))]], {"out_type": tf.int64}, unknown=[0], build=True)
    check("Shape", [np.ones((2, 3), np.uint8)], {"out_type": tf.int32}, unknown="all", build=True)
    check("Size", [mixed((2, 3))], {"out_type": tf.int32}, unknown="all", build=True)
    assert "empty" in refused("Shape", [np.float32(1)], {"out_type": tf.int32})


@few
@given(x=arrays(ranks=(0, 5)))
def test_rank(x):
    check("Rank", [x], unknown="all")


# -- reshapes --------------------------------------------------------------------------------------------------------


@st.composite
def reshapes(draw):
    """An array, dimensions of the same number of elements, and which of them are written as -1."""
    x = draw(arrays(dims=(1, 4)))
    left, dims = x.size, []
    while left > 1 and len(dims) < 4:
        factor = draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0]))
        dims.append(factor)
        left //= factor
    dims.append(left)
    wild = draw(st.integers(-1, len(dims) - 1))
    return x, [-1 if i == wild else d for i, d in enumerate(dims)]


@moderate
@given(case=reshapes(), unknown=unknown_axes(), run_time=st.booleans(), dtype=st.sampled_from(["int32", "int64"]))
def test_reshape(case, unknown, run_time, dtype):
    x, dims = case
    shape = np.array(dims, dtype)
    check("Reshape", {"tensor": x, "shape": shape if run_time else Const(shape)}, unknown={"tensor": _axes(unknown)})


def _axes(unknown):
    return {"all": range(8), "none": ()}.get(unknown, unknown) if isinstance(unknown, str) else unknown


@pytest.mark.parametrize("dims", [(0, 3), (3, 0), (2, 0, 5), (0,), (0, 0)])
def test_reshape_of_nothing(dims):
    check("Reshape", [np.zeros((0, 4), np.float32), Const(dims)], build=True)


def test_reshape_with_one_unknown_dimension_reads_no_shape():
    x = mixed((2, 3, 4))
    fragment = check("Reshape", {"tensor": x, "shape": Const([-1, 12])}, unknown={"tensor": [0]}, build=True)
    assert [n.op for n in fragment.graph] == ["trt.reshape"]
    check("Reshape", {"tensor": x, "shape": np.array([4, 6])}, unknown={"tensor": [0, 1]}, build=True)


@moderate
@given(x=arrays(ranks=(0, 4), dims=(1, 3)), data=st.data(), unknown=unknown_axes())
def test_expand_dims_and_squeeze(x, data, unknown):
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim))
    check("ExpandDims", [x, Const(axis)], unknown=unknown)
    check("Squeeze", [np.expand_dims(x, axis)], {"squeeze_dims": [axis]}, unknown=unknown)


def test_squeeze_of_all_axes_of_size_one():
    check("Squeeze", [mixed((1, 3, 1))], build=True)
    check("Squeeze", [mixed((1, 3, 1))], {"squeeze_dims": [0, -1]}, unknown=[1], build=True)


@moderate
@given(
    x=arrays(ranks=(0, 5)),
    data=st.data(),
    unknown=unknown_axes(),
    op=st.sampled_from(["Transpose", "ConjugateTranspose"]),
)
def test_transpose(x, data, unknown, op):
    perm = data.draw(st.permutations(range(x.ndim)))
    perm = [p - x.ndim if data.draw(st.booleans()) else p for p in perm] if op == "Transpose" else perm
    check(op, [x, Const(np.array(perm, np.int32))], unknown=unknown)


# -- stacking and repeating ------------------------------------------------------------------------------------------


@moderate
@given(x=arrays(ranks=(0, 3)), count=st.integers(1, 3), data=st.data(), unknown=unknown_axes())
def test_pack(x, count, data, unknown):
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim))
    operands = [Const(x) if data.draw(st.booleans()) else x for _ in range(count)]
    check("Pack", [operands], {"axis": axis}, unknown=unknown)


def test_pack_of_shape_elements_is_built():
    check("Pack", [[np.int32(2), Const(np.int32(3)), np.int32(4)]], {"axis": 0}, build=True)


@moderate
@given(x=arrays(ranks=(0, 3), dims=(0, 3)), data=st.data(), unknown=unknown_axes(), run_time=st.booleans())
def test_broadcast_to(x, data, unknown, run_time):
    more = data.draw(st.lists(st.integers(1, 3), max_size=2))
    shape = more + [data.draw(st.integers(1, 3)) if d == 1 else d for d in x.shape]
    shape = np.array(shape, np.int32)
    check("BroadcastTo", {"input": x, "shape": shape if run_time else Const(shape)}, unknown={"input": _axes(unknown)})


def test_broadcast_to_is_built():
    for dtype in DTYPES:
        check(
            "BroadcastTo", {"input": mixed((1, 3), dtype), "shape": Const([2, 3])}, unknown={"input": [1]}, build=True
        )
    check("BroadcastTo", {"input": mixed((1, 3)), "shape": np.array([2, 3])}, unknown={"input": [0]}, build=True)


@few
@given(a=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data())
def test_broadcast_args(a, data):
    b = [data.draw(st.sampled_from([1, d])) for d in a][data.draw(st.integers(0, len(a) - 1)) :]
    operands = [np.array(v, np.int32) for v in data.draw(st.permutations([a, b]))]
    check("BroadcastArgs", operands)


@moderate
@given(x=arrays(ranks=(0, 4), dims=(0, 3)), data=st.data(), unknown=unknown_axes(), run_time=st.booleans())
def test_tile(x, data, unknown, run_time):
    times = np.array([data.draw(st.integers(0, 3)) for _ in x.shape], np.int32)
    check("Tile", {"input": x, "multiples": times if run_time else Const(times)}, unknown={"input": _axes(unknown)})


def test_tile_is_built():
    for dtype in DTYPES:
        check("Tile", {"input": mixed((2, 3), dtype), "multiples": Const([2, 1])}, unknown={"input": [0]}, build=True)
    check("Tile", {"input": mixed((2, 3)), "multiples": np.array([2, 2], np.int32)}, unknown={"input": [0]}, build=True)


# -- space, depth and batch ------------------------------------------------------------------------------------------


@moderate
@given(
    spatial=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)),
    channels=st.integers(1, 3),
    block=st.integers(2, 3),
    unknown=unknown_axes(),
    dtype=st.sampled_from(DTYPES),
)
def test_depth_and_space(spatial, channels, block, unknown, dtype):
    n, h, w = spatial
    check("DepthToSpace", [mixed((n, h, w, channels * block**2), dtype)], {"block_size": block}, unknown=unknown)
    check("SpaceToDepth", [mixed((n, h * block, w * block, channels), dtype)], {"block_size": block}, unknown=unknown)


@pytest.mark.parametrize("unknown", [[0], "all"])
def test_depth_and_space_channels_first_are_built(unknown):
    """TensorFlow's CPU has no kernels for channels first; numpy is the reference."""
    x = mixed((2, 8, 3, 4))
    blocks = x.reshape(2, 2, 2, 2, 3, 4)
    deep = blocks.transpose(0, 3, 4, 1, 5, 2).reshape(2, 2, 6, 8)
    _check_channels_first("DepthToSpace", x, deep, unknown)
    _check_channels_first("SpaceToDepth", deep, x, unknown)


def _check_channels_first(op, x, wanted, unknown):
    from converters.building import build_layers
    from converters.harness import assert_close, case, run_layers

    one = case(op, [x], {"block_size": 2, "data_format": "NCHW"}, unknown=unknown)
    fragment = one.convert()
    assert_close(run_layers(fragment, [x])[0], wanted)
    build_layers(fragment, [x])


@moderate
@given(
    blocks=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    data=st.data(),
    unknown=unknown_axes(),
    run_time=st.booleans(),
    rest=st.lists(st.integers(1, 2), max_size=1),
)
def test_batch_and_space(blocks, data, unknown, run_time, rest):
    small = [data.draw(st.integers(1, 2)) for _ in blocks]
    pads = [data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in blocks]
    pads = [(p, q + (-(n + p + q)) % s) for (p, q), n, s in zip(pads, small, blocks, strict=True)]
    unknown = _axes(unknown)
    for op, x, third in (
        ("SpaceToBatchND", mixed((2, *small, *rest)), "paddings"),
        ("BatchToSpaceND", mixed((2 * int(np.prod(blocks)), *(n + 2 for n in small), *rest)), "crops"),
    ):
        amounts = np.array(pads if third == "paddings" else [(p % 2, q % 2) for p, q in pads], np.int32)
        operands = {"input": x, "block_shape": Const(np.array(blocks, np.int32))}
        check(op, {**operands, third: amounts if run_time else Const(amounts)}, unknown={"input": unknown})


def test_batch_and_space_are_built():
    pads = Const([[1, 2], [0, 1]])
    check(
        "SpaceToBatch",
        {"input": mixed((2, 5, 5, 3)), "paddings": pads},
        {"block_size": 2},
        unknown=[0, 1, 2],
        build=True,
    )
    check(
        "BatchToSpace", {"input": mixed((4, 3, 3, 2)), "crops": pads}, {"block_size": 2}, unknown=[0, 1, 2], build=True
    )
    operands = {"input": mixed((2, 4, 3)), "block_shape": Const([2]), "paddings": np.array([[1, 1]], np.int32)}
    check("SpaceToBatchND", operands, unknown={"input": [0, 1]}, build=True)


# -- permutations as data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (2,), (4, 2), (2, 2)])
@pytest.mark.parametrize("formats", [("NHWC", "NCHW"), ("NCHW", "NHWC")])
def test_data_format_vec_permute(shape, formats):
    x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    check("DataFormatVecPermute", [x], dict(zip(("src_format", "dst_format"), formats, strict=True)), build=True)


def test_data_format_dim_map():
    x = np.array([-4, -3, -2, -1, 0, 1, 2, 3], np.int32)
    for formats in (("NHWC", "NCHW"), ("NCHW", "NHWC")):
        check("DataFormatDimMap", [x], dict(zip(("src_format", "dst_format"), formats, strict=True)), build=True)


@few
@given(perm=st.integers(1, 7).flatmap(lambda n: st.permutations(range(n))), unknown=unknown_axes(1))
def test_invert_permutation(perm, unknown):
    check("InvertPermutation", [np.array(perm, np.int32)], unknown=unknown)
