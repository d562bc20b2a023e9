"""Shapes and layouts: shape, transpose, reshape, squeeze, unsqueeze, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Dim, DType, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import index_tensor, operands, outputs
from tfgraphopt_trt.layers.rules import (
    INDICES,
    MOVABLE,
    QUANTISED,
    check,
    check_arity,
    check_axes,
    check_axis,
    check_dtype,
    check_same,
    dims_of,
    integer,
    ints,
    merge_dims,
    product,
    typed,
)  # fmt: skip
from tfgraphopt_trt.shape_values import known_values

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

LAID_OUT = MOVABLE | QUANTISED

# -- shape, transpose ------------------------------------------------------------------------------------------------


def _infer_shape(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "shape")
    check_dtype(inputs[0], MOVABLE, "shape")
    return typed(DType.INT64, (len(dims_of(inputs[0])),))


def _mean_shape(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [tf.shape(inputs[0], out_type=tf.int64)]


def _emit_shape(e: Emitter, node: Node) -> Sequence[Any]:
    return outputs(e, e.network.add_shape(e.tensor(node.inputs[0])))


def _infer_transpose(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "transpose")
    dtype = check_dtype(inputs[0], LAID_OUT, "transpose")
    dims, perm = dims_of(inputs[0]), ints(attrs, "perm")
    check(sorted(perm) == list(range(len(dims))), f"{perm} does not permute {len(dims)} axes")
    return typed(dtype, [dims[p] for p in perm])


def _mean_transpose(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [tf.transpose(inputs[0], ints(attrs, "perm"))]


def _emit_transpose(e: Emitter, node: Node) -> Sequence[Any]:
    layer = e.network.add_shuffle(e.tensor(node.inputs[0]))
    layer.first_transpose = ints(node.attrs, "perm")
    return outputs(e, layer)


# -- reshape ---------------------------------------------------------------------------------------------------------


def _infer_reshape(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 2, "reshape")
    dtype = check_dtype(inputs[0], LAID_OUT, "reshape")
    source = dims_of(inputs[0])
    if attrs.get("dims") is None:
        return typed(dtype, _run_time_dims(inputs, source))
    check(len(inputs) == 1, "reshape has dimensions both as numbers and as a tensor")
    return typed(dtype, _resolve(source, ints(attrs, "dims")))


def _run_time_dims(inputs: Sequence[Value], source: Sequence[Dim]) -> Sequence[Dim]:
    check(len(inputs) == 2, "reshape has no dimensions")
    check_dtype(inputs[1], INDICES, "reshape shape")
    check(
        inputs[1].shape.rank == 1 and inputs[1].shape.is_static, "TensorRT must know the rank that a reshape leads to"
    )
    values = known_values(inputs[1]) or (None,) * inputs[1].shape.static()[0]
    if None in values:
        # An unknown number may turn out to be -1, so nothing can be said of a -1 beside it.
        return [None if v is None or v < 0 else v for v in values]
    return _rest(source, [v for v in values if v is not None])


def _resolve(source: Sequence[Dim], dims: Sequence[int]) -> Sequence[Dim]:
    """``dims`` with 0 replaced by the input's own dimension, and -1 by what remains."""
    for index, dim in enumerate(dims):
        check(dim != 0 or index < len(source), f"reshape copies dimension {index}, which the input does not have")
    copied = [i for i, d in enumerate(dims) if d == 0]
    rest = _rest([d for i, d in enumerate(source) if i not in copied], [d for d in dims if d != 0])
    others = iter(rest)
    return [source[i] if d == 0 else next(others) for i, d in enumerate(dims)]


def _rest(source: Sequence[Dim], dims: Sequence[int]) -> list[Dim]:
    """``dims`` with -1 replaced by what makes the number of elements equal, None when that is not known."""
    check(
        dims.count(-1) <= 1 and min(dims, default=0) >= -1,
        f"reshape to {list(dims)} has more than one unknown dimension",
    )
    total, given = product(source), product(d for d in dims if d != -1)
    if -1 not in dims:
        agree = total is None or total == given
        check(agree, f"reshape of {total} elements to {given}")
        return list(dims)
    if total is None or not given:
        return [None if d == -1 else d for d in dims]
    check(total % given == 0, f"reshape of {total} elements to {list(dims)}")
    return [total // given if d == -1 else d for d in dims]


def _mean_reshape(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    x = inputs[0]
    if attrs.get("dims") is None:
        return [tf.reshape(x, inputs[1])]
    return [tf.reshape(x, [_copied(tf, x, i) if d == 0 else d for i, d in enumerate(ints(attrs, "dims"))])]


def _copied(tf: Any, x: Any, axis: int) -> Any:
    static = x.shape[axis]
    return tf.shape(x)[axis] if static is None else static


def _emit_reshape(e: Emitter, node: Node) -> Sequence[Any]:
    layer = e.network.add_shuffle(e.tensor(node.inputs[0]))
    if node.attrs.get("dims") is None:
        layer.zero_is_placeholder = False
        layer.set_input(1, e.tensor(node.inputs[1]))
    else:
        layer.zero_is_placeholder = True
        layer.reshape_dims = e.dims(ints(node.attrs, "dims"))
    return outputs(e, layer)


# -- squeeze, unsqueeze ----------------------------------------------------------------------------------------------


def _infer_squeeze(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "squeeze")
    dtype = check_dtype(inputs[0], LAID_OUT, "squeeze")
    dims = dims_of(inputs[0])
    axes = check_axes(ints(attrs, "axes"), len(dims), "squeeze")
    wrong = [a for a in axes if dims[a] not in (1, None)]
    check(not wrong, f"squeeze of axes {wrong} of {inputs[0].shape}, which are not of size one")
    return typed(dtype, [d for i, d in enumerate(dims) if i not in axes])


def _mean_squeeze(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [tf.squeeze(inputs[0], axis=ints(attrs, "axes"))]


def _infer_unsqueeze(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "unsqueeze")
    dtype = check_dtype(inputs[0], LAID_OUT, "unsqueeze")
    others = iter(dims_of(inputs[0]))
    rank = len(dims_of(inputs[0])) + len(ints(attrs, "axes"))
    axes = check_axes(ints(attrs, "axes"), rank, "unsqueeze")
    return typed(dtype, [1 if i in axes else next(others) for i in range(rank)])


def _mean_unsqueeze(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    x = inputs[0]
    for axis in sorted(ints(attrs, "axes")):
        x = tf.expand_dims(x, axis)
    return [x]


def _emit_squeeze(e: Emitter, node: Node) -> Sequence[Any]:
    """ISqueezeLayer, or a reshape by the input's own dimensions where TensorRT (10.x) has no such layer."""
    axes, x = ints(node.attrs, "axes"), e.tensor(node.inputs[0])
    if hasattr(e.network, "add_squeeze"):
        return outputs(e, e.network.add_squeeze(x, index_tensor(e, axes)))
    rank = len(dims_of(node.inputs[0]))
    return _shuffle(e, x, [i for i in range(rank) if i not in axes], rank)


def _emit_unsqueeze(e: Emitter, node: Node) -> Sequence[Any]:
    axes, x = ints(node.attrs, "axes"), e.tensor(node.inputs[0])
    if hasattr(e.network, "add_unsqueeze"):
        return outputs(e, e.network.add_unsqueeze(x, index_tensor(e, axes)))
    rank = len(dims_of(node.inputs[0]))
    kept = iter(range(rank))
    return _shuffle(e, x, [rank if i in axes else next(kept) for i in range(rank + len(axes))], rank)


def _shuffle(e: Emitter, x: Any, sources: Sequence[int], rank: int) -> Sequence[Any]:
    """``x`` reshaped so that axis i has the size of its axis ``sources[i]``; axis ``rank`` stands for size one."""
    layer = e.network.add_shuffle(x)
    if not sources:
        layer.reshape_dims = e.dims(())
        return outputs(e, layer)
    shape = e.add(e.network.add_shape(x)).get_output(0)
    extended = e.add(e.network.add_concatenation([shape, index_tensor(e, [1])])).get_output(0)
    layer.set_input(1, e.add(e.network.add_gather(extended, index_tensor(e, sources), 0)).get_output(0))
    return outputs(e, layer)


# -- concatenation ---------------------------------------------------------------------------------------------------


def _infer_concatenation(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check(bool(inputs), "a concatenation of nothing")
    check_same(inputs, "concatenation")
    dtype = check_dtype(inputs[0], MOVABLE, "concatenation")
    shapes = [dims_of(v) for v in inputs]
    axis = check_axis(integer(attrs, "axis"), len(shapes[0]), "concatenation")
    merged: Sequence[Dim] = [*shapes[0][:axis], None, *shapes[0][axis + 1 :]]
    total: Dim = 0
    for dims in shapes:
        check(len(dims) == len(merged), f"a concatenation of {len(dims)} and {len(merged)} dimensions")
        merged = merge_dims("concatenation", merged, [*dims[:axis], None, *dims[axis + 1 :]])
        total = None if total is None or (dim := dims[axis]) is None else total + dim
    return typed(dtype, [total if i == axis else d for i, d in enumerate(merged)])


def _mean_concatenation(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [tf.concat(inputs, integer(attrs, "axis"))]


def _emit_concatenation(e: Emitter, node: Node) -> Sequence[Any]:
    layer = e.network.add_concatenation(operands(e, node))
    layer.axis = integer(node.attrs, "axis")
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.shape", _infer_shape, _mean_shape, _emit_shape, {}, ("x",), "IShapeLayer: the dimensions as int64[rank]."
    ),
    LayerDef(
        "trt.transpose",
        _infer_transpose,
        _mean_transpose,
        _emit_transpose,
        {},
        ("x",),
        "IShuffleLayer: ``x`` with its axes permuted by ``perm``.",
    ),
    LayerDef(
        "trt.reshape",
        _infer_reshape,
        _mean_reshape,
        _emit_reshape,
        {"dims": None},
        ("x", "shape"),
        "IShuffleLayer: ``x`` with ``dims`` (-1 the rest, 0 the input's own), or those in ``shape`` at run time.",
    ),
    LayerDef(
        "trt.squeeze",
        _infer_squeeze,
        _mean_squeeze,
        _emit_squeeze,
        {},
        ("x",),
        "ISqueezeLayer: ``x`` without ``axes``.",
    ),
    LayerDef(
        "trt.unsqueeze",
        _infer_unsqueeze,
        _mean_unsqueeze,
        _emit_unsqueeze,
        {},
        ("x",),
        "IUnsqueezeLayer: ``x`` with new axes of size one at ``axes`` of the result.",
    ),
    LayerDef(
        "trt.concatenation",
        _infer_concatenation,
        _mean_concatenation,
        _emit_concatenation,
        {},
        ("operands",),
        "IConcatenationLayer along ``axis``.",
    ),
)
