"""Layers along a sequence: cumulative, reverse_sequence, one_hot, linspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Dim, DType, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import index_tensor, member, operands, outputs
from tfgraphopt_trt.layers.rules import (
    INDICES,
    MOVABLE,
    WIDE,
    check,
    check_arity,
    check_axis,
    check_dtype,
    check_same,
    dims_of,
    flag,
    integer,
    ints,
    merge_dims,
    text,
    typed,
)  # fmt: skip
from tfgraphopt_trt.shape_values import known_values

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

LINSPACE_TYPES = frozenset({DType.FLOAT, DType.INT32, DType.INT64})

# -- cumulative ------------------------------------------------------------------------------------------------------


def _infer_cumulative(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "cumulative")
    text(attrs, "operation", ("sum",))
    check_dtype(inputs[0], WIDE, "cumulative")
    check_axis(integer(attrs, "axis"), len(dims_of(inputs[0])), "cumulative")
    return [inputs[0].type]


def _mean_cumulative(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    axis, exclusive, reverse = integer(attrs, "axis"), flag(attrs, "exclusive"), flag(attrs, "reverse")
    return [tf.cumsum(inputs[0], axis=axis, exclusive=exclusive, reverse=reverse)]


def _emit_cumulative(e: Emitter, node: Node) -> Sequence[Any]:
    operation = member(e.trt.CumulativeOperation, text(node.attrs, "operation"))
    axis, flags = index_tensor(e, integer(node.attrs, "axis")), [flag(node.attrs, n) for n in ("exclusive", "reverse")]
    return outputs(e, e.network.add_cumulative(e.tensor(node.inputs[0]), axis, operation, *flags))


# -- reverse sequence ------------------------------------------------------------------------------------------------


def _infer_reverse(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 2, 2, "reverse_sequence")
    check_dtype(inputs[0], MOVABLE, "reverse_sequence")
    check_dtype(inputs[1], INDICES, "reverse_sequence lengths")
    dims = dims_of(inputs[0])
    batch, sequence = (
        check_axis(integer(attrs, n), len(dims), "reverse_sequence") for n in ("batch_axis", "sequence_axis")
    )
    check(batch != sequence, f"reverse_sequence has axis {batch} as batch and as sequence")
    check(len(dims_of(inputs[1])) == 1, f"the lengths of reverse_sequence are {inputs[1].type}, not a vector")
    (count,) = merge_dims("reverse_sequence", dims_of(inputs[1]), [dims[batch]])
    return typed(inputs[0].dtype, [count if i == batch else d for i, d in enumerate(dims)])


def _mean_reverse(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    batch, sequence = integer(attrs, "batch_axis"), integer(attrs, "sequence_axis")
    return [tf.reverse_sequence(inputs[0], inputs[1], seq_axis=sequence, batch_axis=batch)]


def _emit_reverse(e: Emitter, node: Node) -> Sequence[Any]:
    layer = e.network.add_reverse_sequence(*operands(e, node))
    layer.batch_axis, layer.sequence_axis = integer(node.attrs, "batch_axis"), integer(node.attrs, "sequence_axis")
    return outputs(e, layer)


# -- one hot ---------------------------------------------------------------------------------------------------------


def _infer_one_hot(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 3, 3, "one_hot")
    indices, values, depth = inputs
    check_dtype(indices, INDICES, "one_hot indices")
    dtype = check_dtype(values, MOVABLE, "one_hot values")
    check_dtype(depth, INDICES, "one_hot depth")
    check(values.shape.dims == (2,), f"the values of one_hot are {values.type}, not [off, on]")
    check(depth.shape.dims == (), f"the depth of one_hot is {depth.type}, not a scalar")
    dims = dims_of(indices)
    axis = check_axis(integer(attrs, "axis"), len(dims) + 1, "one_hot")
    known = known_values(depth)
    return typed(dtype, [*dims[:axis], known[0] if known else None, *dims[axis:]])


def _mean_one_hot(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    indices, values, depth = inputs
    count = tf.cast(depth, tf.int32)
    return [
        tf.one_hot(
            indices, count, on_value=values[1], off_value=values[0], axis=integer(attrs, "axis"), dtype=values.dtype
        )
    ]


def _emit_one_hot(e: Emitter, node: Node) -> Sequence[Any]:
    return outputs(e, e.network.add_one_hot(*operands(e, node), integer(node.attrs, "axis")))


# -- linspace --------------------------------------------------------------------------------------------------------


def _infer_linspace(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 2, 3, "linspace")
    check_same(inputs[:2], "linspace")
    dtype = check_dtype(inputs[0], LINSPACE_TYPES, "linspace")
    check(inputs[0].shape.dims == (), f"the start of linspace is {inputs[0].type}, not a scalar")
    dims = _linspace_dims(inputs, attrs)
    check(len(dims) >= 1, "linspace of a scalar")
    check(inputs[1].shape.dims == (len(dims),), f"the delta of linspace is {inputs[1].type} for {len(dims)} dimensions")
    return typed(dtype, dims)


def _linspace_dims(inputs: Sequence[Value], attrs: Attrs) -> Sequence[Dim]:
    if len(inputs) == 2:
        check(attrs.get("shape") is not None, "linspace has no shape")
        return ints(attrs, "shape")
    check_dtype(inputs[2], INDICES, "linspace shape")
    check(inputs[2].shape.rank == 1 and inputs[2].shape.is_static, "TensorRT must know the rank of linspace")
    return known_values(inputs[2]) or (None,) * inputs[2].shape.static()[0]


def _mean_linspace(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    start, delta = inputs[:2]
    rank = delta.shape[0]
    sizes = tf.unstack(inputs[2], num=rank) if len(inputs) == 3 else ints(attrs, "shape")
    result = tf.reshape(start, [1] * rank)
    for axis, size in enumerate(sizes):
        steps = tf.cast(tf.range(size), start.dtype) * delta[axis]
        result = result + tf.reshape(steps, [-1 if i == axis else 1 for i in range(rank)])
    return [result]


def _emit_linspace(e: Emitter, node: Node) -> Sequence[Any]:
    start, delta, *shape = operands(e, node)
    dims = (0,) * node.inputs[1].shape.static()[0] if shape else ints(node.attrs, "shape")
    layer = e.network.add_fill(e.dims(dims), e.trt.FillOperation.LINSPACE, e.dtype(node.output.dtype))
    if shape:
        layer.set_input(0, shape[0])
    layer.set_input(1, start)
    layer.set_input(2, delta)
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.cumulative",
        _infer_cumulative,
        _mean_cumulative,
        _emit_cumulative,
        {"operation": "sum", "exclusive": False, "reverse": False},
        ("x",),
        "ICumulativeLayer along ``axis``.",
    ),
    LayerDef(
        "trt.reverse_sequence",
        _infer_reverse,
        _mean_reverse,
        _emit_reverse,
        {},
        ("x", "lengths"),
        "IReverseSequenceLayer: the first ``lengths[i]`` elements along ``sequence_axis`` of batch i, reversed.",
    ),
    LayerDef(
        "trt.one_hot",
        _infer_one_hot,
        _mean_one_hot,
        _emit_one_hot,
        {},
        ("indices", "values", "depth"),
        "IOneHotLayer: a new axis of ``depth`` elements, ``values[1]`` at the index and ``values[0]`` elsewhere.",
    ),
    LayerDef(
        "trt.linspace",
        _infer_linspace,
        _mean_linspace,
        _emit_linspace,
        {"shape": None},
        ("start", "delta", "shape"),
        "IFillLayer: ``start + sum(index[i] * delta[i])``.",
    ),
)
