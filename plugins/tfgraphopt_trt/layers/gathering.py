"""Gather and scatter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Dim, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import member, operands, outputs
from tfgraphopt_trt.layers.rules import (
    INDICES,
    MOVABLE,
    check,
    check_arity,
    check_axis,
    check_dtype,
    check_same,
    dims_of,
    integer,
    merge_dims,
    text,
    typed,
)  # fmt: skip

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

GATHER_MODES = ("default", "nd", "element")
SCATTER_MODES = ("nd", "element")

Dims = Sequence[Dim]

# -- gather ----------------------------------------------------------------------------------------------------------


def _infer_gather(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 2, 2, "gather")
    mode = text(attrs, "mode", GATHER_MODES)
    dtype = check_dtype(inputs[0], MOVABLE, "gather")
    check_dtype(inputs[1], INDICES, "gather indices")
    dims, indices = dims_of(inputs[0]), dims_of(inputs[1])
    check(len(dims) > 0, "gather from a scalar")
    return typed(dtype, _GATHERED[mode](dims, indices, attrs))


def _taken(dims: Dims, indices: Dims, attrs: Attrs) -> Dims:
    axis, batch = check_axis(integer(attrs, "axis"), len(dims), "gather"), integer(attrs, "batch_dims")
    check(batch in (0, 1), f"gather over {batch} batch axes; TensorRT's default mode has 0 or 1")
    check(batch <= axis and batch <= len(indices), f"gather with {batch} batch axes along axis {axis}")
    first = merge_dims("gather", dims[:batch], indices[:batch])
    return [*first, *dims[batch:axis], *indices[batch:], *dims[axis + 1 :]]


def _gathered_nd(dims: Dims, indices: Dims, attrs: Attrs) -> Dims:
    batch = integer(attrs, "batch_dims")
    check(0 <= batch < min(len(dims), len(indices)), f"gather nd with {batch} batch axes")
    depth = indices[-1]
    if depth is None:
        check(False, "TensorRT must know how many coordinates the indices of gather nd have")
        return []
    check(1 <= depth <= len(dims) - batch, f"gather nd of {len(dims)} dimensions by {depth} coordinates")
    return [*merge_dims("gather nd", dims[:batch], indices[:batch]), *indices[batch:-1], *dims[batch + depth :]]


def _elements(dims: Dims, indices: Dims, attrs: Attrs) -> Dims:
    check_axis(integer(attrs, "axis"), len(dims), "gather")
    check(len(indices) == len(dims), f"gather element of {len(dims)} dimensions by indices of {len(indices)}")
    return indices


_GATHERED: Mapping[str, Callable[[Dims, Dims, Attrs], Dims]] = {
    "default": _taken,
    "nd": _gathered_nd,
    "element": _elements,
}


def _mean_gather(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    x, indices = inputs
    mode, axis, batch = text(attrs, "mode"), integer(attrs, "axis"), integer(attrs, "batch_dims")
    if mode == "default":
        return [tf.gather(x, indices, axis=axis, batch_dims=batch)]
    if mode == "nd":
        return [tf.gather_nd(x, indices, batch_dims=batch)]
    return [tf.gather_nd(x, element_coordinates(tf, indices, axis))]


def element_coordinates(tf: Any, indices: Any, axis: int) -> Any:
    """The coordinates that the elements of ``indices`` stand for: their own, but along ``axis`` what they say."""
    shape, rank = tf.shape(indices, out_type=indices.dtype), indices.shape.rank
    columns = []
    for i in range(rank):
        along = tf.reshape(tf.range(shape[i]), [-1 if j == i else 1 for j in range(rank)])
        columns.append(indices if i == axis else tf.broadcast_to(along, shape))
    return tf.stack(columns, axis=-1)


def _emit_gather(e: Emitter, node: Node) -> Sequence[Any]:
    mode = text(node.attrs, "mode")
    layer = e.network.add_gather_v2(*operands(e, node), member(e.trt.GatherMode, mode))
    if mode != "nd":
        layer.axis = integer(node.attrs, "axis")
    if mode != "element":
        layer.num_elementwise_dims = integer(node.attrs, "batch_dims")
    return outputs(e, layer)


# -- scatter ---------------------------------------------------------------------------------------------------------


def _infer_scatter(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 3, 3, "scatter")
    mode = text(attrs, "mode", SCATTER_MODES)
    dtype = check_dtype(inputs[0], MOVABLE, "scatter")
    check_same([inputs[0], inputs[2]], "scatter")
    check_dtype(inputs[1], INDICES, "scatter indices")
    dims, indices, updates = (dims_of(v) for v in inputs)
    check(len(dims) > 0, "scatter into a scalar")
    expected = indices if mode == "element" else _nd_updates(dims, indices)
    check(len(updates) == len(expected), f"scatter {mode} of updates {inputs[2].shape} at indices {inputs[1].shape}")
    merge_dims("scatter", updates, expected)
    if mode == "element":
        check_axis(integer(attrs, "axis"), len(dims), "scatter")
        check(len(indices) == len(dims), f"scatter element of {len(dims)} dimensions by indices of {len(indices)}")
    return typed(dtype, dims)


def _nd_updates(dims: Dims, indices: Dims) -> Dims:
    depth = indices[-1] if indices else None
    if depth is None:
        check(False, "TensorRT must know how many coordinates the indices of scatter have")
        return []
    check(1 <= depth <= len(dims), f"scatter into {len(dims)} dimensions by {depth} coordinates")
    return [*indices[:-1], *dims[depth:]]


def _mean_scatter(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    x, indices, updates = inputs
    if text(attrs, "mode") == "element":
        indices = element_coordinates(tf, indices, integer(attrs, "axis"))
    return [tf.tensor_scatter_nd_update(x, indices, updates)]


def _emit_scatter(e: Emitter, node: Node) -> Sequence[Any]:
    mode = text(node.attrs, "mode")
    layer = e.network.add_scatter(*operands(e, node), member(e.trt.ScatterMode, mode))
    if mode == "element":
        layer.axis = integer(node.attrs, "axis")
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.gather",
        _infer_gather,
        _mean_gather,
        _emit_gather,
        {"axis": 0, "batch_dims": 0, "mode": "default"},
        ("x", "indices"),
        "IGatherLayer: numpy.take, GatherNd or take_along_axis.",
    ),
    LayerDef(
        "trt.scatter",
        _infer_scatter,
        _mean_scatter,
        _emit_scatter,
        {"mode": "nd", "axis": 0},
        ("x", "indices", "updates"),
        "IScatterLayer: ``x`` with ``updates`` written at ``indices``.",
    ),
)
