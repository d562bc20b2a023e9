"""Shapes and layouts: dimensions as tensors, reshapes, transposes, stacking, broadcasting, space, depth and batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import DType, Tensor, TensorType, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.axes import axis_of, one_axis
from tfgraphopt_converters.layout import is_channels_last
from tfgraphopt_converters.sizes import Cut, Size
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Operands, Weights, converter

# -- dimensions as tensors -------------------------------------------------------------------------------------------


def _dimensions(b: LayerBuilder, x: Value, out_type: DType) -> Value:
    if x.shape.is_static and len(x.shape):
        return b.constant(np.array(x.shape.static()), out_type)
    if not len(x.shape):
        raise Unsupported("the shape of a scalar is empty, and TensorRT refuses empty constants")
    return b.cast(sizes.shape_tensor(b, x), out_type)


@converter("Shape")
def shape(b: LayerBuilder, input: Operand, *, out_type: DType) -> Value:
    """The dimensions of the operand, a constant when they are known."""
    return _dimensions(b, input, out_type)


@converter("ShapeN")
def shape_n(b: LayerBuilder, input: Operands, *, out_type: DType) -> Sequence[Value]:
    """The dimensions of every operand."""
    return [_dimensions(b, x, out_type) for x in input]


@converter("Size")
def size(b: LayerBuilder, input: Operand, *, out_type: DType) -> Value:
    """The number of elements."""
    return sizes.scalar_of(b, sizes.product(b, sizes.sizes_of(b, input)), out_type)


@converter("Rank")
def rank(b: LayerBuilder, input: Operand) -> Value:
    """The number of dimensions, a constant."""
    return b.constant(np.array(len(input.shape), np.int32))


# -- reshapes --------------------------------------------------------------------------------------------------------


@converter("Reshape")
def reshape(b: LayerBuilder, tensor: Operand, shape: Weights | Operand) -> Value:
    """One reshape.

    While TensorFlow knows all dimensions of the result but one, the run-time shape operand is not read.
    """
    wanted = b.results[0].shape.known()
    if b.results[0].shape.is_static and tensor.shape == b.results[0].shape:
        return tensor
    if wanted.count(None) <= 1 and 0 not in wanted:
        return b.reshape(tensor, [-1 if d is None else d for d in wanted])
    if b.results[0].shape.is_static:
        return b.reshape_to(tensor, b.constant(np.array(wanted, np.int64)))
    return b.reshape_to(tensor, b.constant(shape, DType.INT64) if isinstance(shape, Tensor) else shape)


@converter("ExpandDims")
def expand_dims(b: LayerBuilder, input: Operand, dim: Weights) -> Value:
    """A new axis of size one."""
    return b.unsqueeze(input, (one_axis(dim, len(input.shape) + 1),))


@converter("Squeeze")
def squeeze(b: LayerBuilder, input: Operand, *, squeeze_dims: tuple[int, ...] = ()) -> Value:
    """The operand without axes of size one: those given, or all whose size is known to be one."""
    count = len(input.shape)
    if squeeze_dims:
        return b.squeeze(input, sorted(axis_of(a, count) for a in squeeze_dims))
    if not input.shape.is_static:
        raise Unsupported("which axes a Squeeze without squeeze_dims removes depends on run-time dimensions")
    return b.squeeze(input, [i for i, d in enumerate(input.shape) if d == 1])


@converter("Transpose", "ConjugateTranspose")
def transpose(b: LayerBuilder, x: Operand, perm: Weights) -> Value:
    """A constant permutation of the axes (real numbers are their own conjugates)."""
    count = len(x.shape)
    return b.transpose(x, tuple(axis_of(int(p), count) for p in perm.numpy().reshape(-1)))


# -- stacking and repeating ------------------------------------------------------------------------------------------


@converter("Pack")
def pack(b: LayerBuilder, values: Operands, *, axis: int) -> Value:
    """The operands along a new axis."""
    along = axis_of(axis, len(values[0].shape) + 1)
    return b.concatenation([_with_axis(b, x, along) for x in values], along)


def _with_axis(b: LayerBuilder, x: Value, axis: int) -> Value:
    tensor = b.tensor_of(x)
    if tensor is None:
        return b.unsqueeze(x, (axis,))
    dims = list(tensor.shape.static())
    return b.constant(tensor.reshape([*dims[:axis], 1, *dims[axis:]]))


def _known_or(result: TensorType, given: Sequence[Size]) -> list[Size]:
    """``given`` sizes, as numbers where TensorFlow knows them."""
    return [g if d is None else d for g, d in zip(given, result.shape.known(), strict=True)]


@converter("BroadcastTo")
def broadcast_to(b: LayerBuilder, input: Operand, shape: Weights | Operand) -> Value:
    """The operand repeated along axes of size one, by a slice layer with stride 0."""
    return sizes.broadcast(b, input, _known_or(b.results[0], sizes.elements(b, shape)))


@converter("BroadcastArgs")
def broadcast_args(b: LayerBuilder, s0: Operand, s1: Operand) -> Value:
    """The shape that two shapes broadcast to: of two sizes the one that is not 1."""
    lengths = [v.shape.num_elements for v in (s0, s1)]
    if None in lengths or 0 in lengths:
        raise Unsupported("a shape operand has no elements, or an unknown number of them")
    long, short = (s0, s1) if (lengths[0] or 0) >= (lengths[1] or 0) else (s1, s0)
    missing = (long.shape.num_elements or 0) - (short.shape.num_elements or 0)
    if missing:
        short = b.concatenation([b.constant(np.ones(missing), long.dtype), short], 0)
    return b.select(b.elementwise(long, b.constant(np.ones(1), long.dtype), "equal"), short, long)


@converter("Tile")
def tile(b: LayerBuilder, input: Operand, multiples: Weights | Operand) -> Value:
    """The operand repeated as a whole along each axis, by a slice layer that wraps around; run-time multiples too."""
    cuts = {}
    for axis, times in enumerate(sizes.elements(b, multiples)):
        known = b.results[0].shape[axis]
        if times != 1:
            length = sizes.multiply(b, sizes.size_of(b, input, axis), times) if known is None else known
            cuts[axis] = Cut(0, length)
    return sizes.cut(b, input, cuts, mode="wrap")


# -- space, depth and batch ------------------------------------------------------------------------------------------


def _refuse_packed(data_format: str, x: Value) -> bool:
    if len(x.shape) != 4:
        raise Unsupported(f"data format {data_format} with {len(x.shape)} dimensions")
    return is_channels_last(data_format)


@converter("DepthToSpace")
def depth_to_space(b: LayerBuilder, input: Operand, *, block_size: int, data_format: str) -> Value:
    """Blocks of channels become spatial blocks; the blocks are the slow part of the channels."""
    last = _refuse_packed(data_format, input)
    channels, height, width = (3, 1, 2) if last else (1, 2, 3)
    own = sizes.sizes_of(b, input)
    deep = sizes.floor_divide(b, own[channels], block_size * block_size)
    tall, wide = (sizes.multiply(b, own[a], block_size) for a in (height, width))
    s = block_size
    if last:
        split = sizes.reshape(b, input, [own[0], own[1], own[2], s, s, deep], (0, 1, 2))
        return sizes.reshape(b, b.transpose(split, (0, 1, 3, 2, 4, 5)), [own[0], tall, wide, deep], (0,))
    split = sizes.reshape(b, input, [own[0], s, s, deep, own[2], own[3]], (0,))
    return sizes.reshape(b, b.transpose(split, (0, 3, 4, 1, 5, 2)), [own[0], deep, tall, wide], (0,))


@converter("SpaceToDepth")
def space_to_depth(b: LayerBuilder, input: Operand, *, block_size: int, data_format: str) -> Value:
    """Spatial blocks become channels; the blocks are the slow part of the channels."""
    last = _refuse_packed(data_format, input)
    channels, height, width = (3, 1, 2) if last else (1, 2, 3)
    own = sizes.sizes_of(b, input)
    deep = sizes.multiply(b, own[channels], block_size * block_size)
    low, slim = (sizes.floor_divide(b, own[a], block_size) for a in (height, width))
    s = block_size
    if last:
        split = sizes.reshape(b, input, [own[0], low, s, slim, s, own[3]], (0,))
        return sizes.reshape(b, b.transpose(split, (0, 1, 3, 2, 4, 5)), [own[0], low, slim, deep], (0, 1, 2))
    split = sizes.reshape(b, input, [own[0], own[1], low, s, slim, s], (0, 1))
    return sizes.reshape(b, b.transpose(split, (0, 3, 5, 1, 2, 4)), [own[0], deep, low, slim], (0,))


def _space_to_batch(b: LayerBuilder, x: Value, blocks: Sequence[int], paddings: Sequence[Size]) -> Value:
    """Pad the spatial axes behind the batch, cut them into ``blocks``, and let the block positions lead the batch."""
    m = len(blocks)
    around = {a + 1: (paddings[2 * a], paddings[2 * a + 1]) for a in range(m)}
    padded = sizes.cut(b, x, {a: _over(b, x, a, *p) for a, p in around.items() if p != (0, 0)}, mode="fill")
    batch, *inner = sizes.sizes_of(b, padded)
    parts = [sizes.floor_divide(b, n, s) for n, s in zip(inner, blocks, strict=False)]
    rest = inner[m:]
    split = sizes.reshape(
        b, padded, [batch, *(n for pair in zip(parts, blocks, strict=True) for n in pair), *rest], (0,)
    )
    order = [*range(2, 2 * m + 1, 2), 0, *range(1, 2 * m, 2), *range(2 * m + 1, 2 * m + 1 + len(rest))]
    whole = sizes.multiply(b, batch, int(np.prod(blocks)))
    return sizes.reshape(b, b.transpose(split, order), [whole, *parts, *rest])


def _over(b: LayerBuilder, x: Value, axis: int, before: Size, after: Size) -> Cut:
    length = sizes.add(b, sizes.add(b, sizes.size_of(b, x, axis), before), after)
    return Cut(sizes.subtract(b, 0, before), length)


def _batch_to_space(b: LayerBuilder, x: Value, blocks: Sequence[int], crops: Sequence[Size]) -> Value:
    """The inverse of :func:`_space_to_batch`, with crops instead of paddings."""
    m = len(blocks)
    batch, *inner = sizes.sizes_of(b, x)
    rest = inner[m:]
    fewer = sizes.floor_divide(b, batch, int(np.prod(blocks)))
    split = sizes.reshape(b, x, [*blocks, fewer, *inner])
    order = [m, *(n for i in range(m) for n in (m + 1 + i, i)), *range(2 * m + 1, 2 * m + 1 + len(rest))]
    wide = [sizes.multiply(b, n, s) for n, s in zip(inner, blocks, strict=False)]
    whole = sizes.reshape(b, b.transpose(split, order), [fewer, *wide, *rest], (0,))
    cuts = {}
    for i, length in enumerate(wide):
        first, last = crops[2 * i], crops[2 * i + 1]
        cuts[i + 1] = Cut(first, sizes.subtract(b, sizes.subtract(b, length, first), last))
    return sizes.cut(b, whole, {a: c for a, c in cuts.items() if (crops[2 * a - 2], crops[2 * a - 1]) != (0, 0)})


@converter("SpaceToBatchND")
def space_to_batch_nd(b: LayerBuilder, input: Operand, block_shape: Weights, paddings: Weights | Operand) -> Value:
    """Spatial blocks become batch entries; the block is a constant, the paddings need not be."""
    return _space_to_batch(b, input, block_shape.numpy().reshape(-1).tolist(), sizes.elements(b, paddings))


@converter("BatchToSpaceND")
def batch_to_space_nd(b: LayerBuilder, input: Operand, block_shape: Weights, crops: Weights | Operand) -> Value:
    """Batch entries become spatial blocks; the block is a constant, the crops need not be."""
    return _batch_to_space(b, input, block_shape.numpy().reshape(-1).tolist(), sizes.elements(b, crops))


@converter("SpaceToBatch")
def space_to_batch(b: LayerBuilder, input: Operand, paddings: Weights | Operand, *, block_size: int) -> Value:
    """SpaceToBatchND over height and width with a square block."""
    return _space_to_batch(b, input, [block_size, block_size], sizes.elements(b, paddings))


@converter("BatchToSpace")
def batch_to_space(b: LayerBuilder, input: Operand, crops: Weights | Operand, *, block_size: int) -> Value:
    """BatchToSpaceND over height and width with a square block."""
    return _batch_to_space(b, input, [block_size, block_size], sizes.elements(b, crops))


# -- permutations as data --------------------------------------------------------------------------------------------


@converter("DataFormatVecPermute")
def data_format_vec_permute(b: LayerBuilder, x: Operand, *, src_format: str, dst_format: str) -> Value:
    """The rows of a vector (or of a matrix of pairs) of one number an axis, in another format's order."""
    count = x.shape[0]
    source, wanted = (_spatial_only(f) if count == len(f) - 2 else f for f in (src_format, dst_format))
    if count != len(source):
        raise Unsupported(f"a vector of {count} entries for data format {src_format}")
    return b.gather(x, b.constant(np.array([source.index(c) for c in wanted], np.int32)), 0)


def _spatial_only(data_format: str) -> str:
    return "".join(c for c in data_format if c not in "NC")


@converter("DataFormatDimMap")
def data_format_dim_map(b: LayerBuilder, x: Operand, *, src_format: str, dst_format: str) -> Value:
    """Axis numbers (negative ones too) of one format as those of another, by a table."""
    table = [dst_format.index(c) for c in src_format]
    looked_up = b.constant(np.array(table + table), x.dtype)  # index -1 becomes len - 1: the table stands there twice
    shifted = b.elementwise(x, b.constant(np.array(len(table)), x.dtype), "sum")
    return b.gather(looked_up, shifted, 0)


@converter("InvertPermutation")
def invert_permutation(b: LayerBuilder, x: Operand) -> Value:
    """The position of every number in a permutation: which of them is equal, summed up. A list that is no permutation,
    for which TensorFlow raises an error, is not noticed.
    """
    count = sizes.size_of(b, x, 0)
    numbers = sizes.iota(b, count, x.dtype)
    equal = b.elementwise(b.unsqueeze(numbers, (1,)), b.unsqueeze(x, (0,)), "equal")
    places = b.elementwise(b.cast(equal, x.dtype), b.unsqueeze(numbers, (0,)), "prod")
    return b.reduce(places, "sum", (1,), keep_dims=False)


CONVERTERS: tuple[Any, ...] = (
    shape,
    shape_n,
    size,
    rank,
    reshape,
    expand_dims,
    squeeze,
    transpose,
    pack,
    broadcast_to,
    broadcast_args,
    tile,
    depth_to_space,
    space_to_depth,
    space_to_batch_nd,
    batch_to_space_nd,
    space_to_batch,
    batch_to_space,
    data_format_vec_permute,
    data_format_dim_map,
    invert_permutation,
)
