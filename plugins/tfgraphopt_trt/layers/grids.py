"""IGridSampleLayer: an image read at given places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from tfgraphopt.ir import Attrs, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import member, operands, outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    check,
    check_arity,
    check_dtype,
    check_same,
    dims_of,
    flag,
    merge_dims,
    text,
    typed,
)  # fmt: skip
from tfgraphopt_trt.layers.sampling import keys
from tfgraphopt_trt.layers.spatial import channels_first, channels_last

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

CUBIC_COEFFICIENT = -0.75


def _infer(inputs: Sequence[Value], attributes: Attrs) -> list[TensorType]:
    check_arity(inputs, 2, 2, "grid_sample")
    check_same(inputs, "grid_sample")
    dtype = check_dtype(inputs[0], FLOATS, "grid_sample")
    text(attributes, "mode", _KERNELS)
    text(attributes, "padding", _PADDINGS)
    x, grid = dims_of(inputs[0]), dims_of(inputs[1])
    check(
        len(x) == 4 and len(grid) == 4,
        f"grid_sample takes N,C,H,W and N,H,W,2, not {inputs[0].shape} and {inputs[1].shape}",
    )
    batch, _ = merge_dims("grid_sample", [x[0], 2], [grid[0], grid[3]])
    return typed(dtype, (batch, x[1], grid[1], grid[2]))


# -- meaning ---------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Line:
    """Positions along one axis of ``size`` elements, in elements (float32)."""

    tf: Any
    size: Any
    padding: str
    align_corners: bool

    def source(self, places: Any) -> Any:
        """Grid coordinates as positions: -1 and 1 are the centres of the border elements, or their outer edges."""
        size = self.tf.cast(self.size, self.tf.float32)
        if self.align_corners:
            return (places + 1.0) * 0.5 * (size - 1.0)
        return ((places + 1.0) * size - 1.0) * 0.5

    def moved(self, positions: Any) -> Any:
        """``positions`` moved into the input as the padding mode says."""
        return _PADDINGS[self.padding](self, positions)

    def index(self, positions: Any) -> Any:
        """Integer indices that exist, and whether the element is really there."""
        tf = self.tf
        last = self.size - 1
        inside = tf.clip_by_value(positions, -1.0, tf.cast(self.size, tf.float32))
        numbers = tf.cast(inside, tf.int32)
        return tf.clip_by_value(numbers, 0, last), (inside >= 0.0) & (numbers <= last)


def _clamped(line: _Line, positions: Any) -> Any:
    return line.tf.clip_by_value(positions, 0.0, line.tf.cast(line.size - 1, line.tf.float32))


def _reflected(line: _Line, positions: Any) -> Any:
    """Mirrored about the centres of the border elements (aligned corners) or about their outer edges."""
    tf = line.tf
    size = tf.cast(line.size, tf.float32)
    low, span = (0.0, size - 1.0) if line.align_corners else (-0.5, size)
    period = tf.maximum(2.0 * span, 1e-6)
    along = tf.math.floormod(positions - low, period)
    return _clamped(line, tf.minimum(along, period - along) + low)


_PADDINGS: Mapping[str, Callable[[_Line, Any], Any]] = {
    "fill": lambda line, positions: positions, "clamp": _clamped, "reflect": _reflected,
}  # fmt: skip

Taps = tuple[Any, Any]
"""Whole positions along one axis and the weights of the elements there; the last axis counts the taps of one place."""


def _nearest(tf: Any, positions: Any) -> Taps:
    return tf.round(positions)[..., tf.newaxis], tf.ones_like(positions)[..., tf.newaxis]


def _linear(tf: Any, positions: Any) -> Taps:
    low = tf.floor(positions)
    return tf.stack([low, low + 1.0], -1), tf.stack([1.0 - (positions - low), positions - low], -1)


def _cubic(tf: Any, positions: Any) -> Taps:
    taps = tf.floor(positions)[..., tf.newaxis] + tf.constant([-1.0, 0.0, 1.0, 2.0])
    return taps, keys(tf, positions[..., tf.newaxis] - taps, CUBIC_COEFFICIENT)


_KERNELS: Mapping[str, Callable[[Any, Any], Taps]] = {"nearest": _nearest, "linear": _linear, "cubic": _cubic}


def _mean(tf: Any, inputs: Sequence[Any], attributes: Attrs) -> Sequence[Any]:
    x = tf.cast(channels_last(tf, inputs[0]), tf.float32)
    grid = tf.cast(inputs[1], tf.float32)
    sizes = [s if s is not None else tf.shape(x)[i] for i, s in enumerate(x.shape.as_list())]
    padding, aligned = text(attributes, "padding"), flag(attributes, "align_corners")
    across, down = (_Line(tf, sizes[i], padding, aligned) for i in (2, 1))
    columns, column_weights = _taps(across, grid[..., 0], text(attributes, "mode"))
    rows, row_weights = _taps(down, grid[..., 1], text(attributes, "mode"))
    # Every row tap with every column tap: N,H,W,rows,columns.
    pairs = tf.broadcast_dynamic_shape(tf.shape(rows[..., tf.newaxis]), tf.shape(columns[..., tf.newaxis, :]))
    places = [tf.broadcast_to(rows[..., tf.newaxis], pairs), tf.broadcast_to(columns[..., tf.newaxis, :], pairs)]
    values = tf.gather_nd(x, tf.stack(places, axis=-1), batch_dims=1)
    weights = row_weights[..., tf.newaxis] * column_weights[..., tf.newaxis, :]
    result = tf.reduce_sum(values * weights[..., tf.newaxis], axis=[3, 4])
    return [tf.cast(channels_first(tf, result), inputs[0].dtype)]


def _taps(line: _Line, places: Any, mode: str) -> Taps:
    """The indices to read along one axis and their weights, zero for elements that are not there.

    Cubic interpolation reads beyond the border, so there each tap is moved into the input and not the position.
    """
    positions = line.source(places)
    if mode == "cubic":
        taps, weights = _cubic(line.tf, positions)
        taps = line.moved(taps)
    else:
        taps, weights = _KERNELS[mode](line.tf, line.moved(positions))
    indices, there = line.index(taps)
    return indices, line.tf.where(there, weights, line.tf.zeros_like(weights))


def _emit(e: Emitter, node: Node) -> Sequence[Any]:
    layer = e.network.add_grid_sample(*operands(e, node))
    layer.interpolation_mode = member(e.trt.InterpolationMode, text(node.attrs, "mode"))
    layer.sample_mode = member(e.trt.SampleMode, text(node.attrs, "padding"))
    layer.align_corners = flag(node.attrs, "align_corners")
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.grid_sample",
        _infer,
        _mean,
        _emit,
        {"mode": "linear", "align_corners": False, "padding": "fill"},
        ("x", "grid"),
        "IGridSampleLayer: N,C,H,W read at the (x, y) places in [-1, 1] that the grid N,H,W,2 holds.",
    ),
)
