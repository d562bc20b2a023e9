"""Resize: separable resampling, written with gathers so that every element type, rank and device can do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from tfgraphopt.ir import Attrs, Dim, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import member, outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    INDICES,
    check,
    check_arity,
    check_dtype,
    dims_of,
    flag,
    ints,
    number,
    text,
    typed,
)  # fmt: skip
from tfgraphopt_trt.shape_values import known_values

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

COORDINATES = ("asymmetric", "half_pixel", "align_corners")
MOST_AXES = {"nearest": 8, "linear": 3, "cubic": 2}

# -- shape rule ------------------------------------------------------------------------------------------------------


def _infer(inputs: Sequence[Value], attributes: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 2, "resize")
    mode = text(attributes, "mode", MOST_AXES)
    text(attributes, "coordinates", COORDINATES)
    text(attributes, "rounding", _ROUNDINGS)
    dtype, dims = check_dtype(inputs[0], FLOATS, "resize"), dims_of(inputs[0])
    result = _result_dims(inputs, attributes, dims)
    check(len(result) == len(dims), f"resize of {len(dims)} dimensions to {len(result)}")
    changed = [
        i for i, (a, b) in enumerate(zip(dims, result, strict=True)) if a is not None and b is not None and a != b
    ]
    check(len(changed) <= MOST_AXES[mode], f"{mode} resize of axes {changed}; TensorRT does at most {MOST_AXES[mode]}")
    # TensorRT wants the axes that linear and cubic resizing change to be the last ones.
    wrong = [i for i in changed if i < len(dims) - MOST_AXES[mode]]
    check(not wrong, f"{mode} resize of axes {wrong}; TensorRT does it for the last {MOST_AXES[mode]} axes")
    return typed(dtype, result)


def _result_dims(inputs: Sequence[Value], attributes: Attrs, dims: Sequence[Dim]) -> Sequence[Dim]:
    if len(inputs) == 2:
        check_dtype(inputs[1], INDICES, "resize size")
        check(
            inputs[1].shape.dims == (len(dims),), f"the size of resize is {inputs[1].type} for {len(dims)} dimensions"
        )
        return known_values(inputs[1]) or (None,) * len(dims)
    if attributes.get("size") is not None:
        return ints(attributes, "size")
    scales = _scales(attributes)
    check(scales is not None and len(scales) == len(dims), f"resize has {scales} as scales for {len(dims)} dimensions")
    return [_scaled(d, s) for d, s in zip(dims, scales or (), strict=True)]


def _scales(attributes: Attrs) -> tuple[float, ...] | None:
    given: Any = attributes.get("scales")
    return None if given is None else tuple(float(s) for s in given)


def _scaled(dim: Dim, scale: float) -> Dim:
    """TensorRT multiplies in single precision and rounds down."""
    return None if dim is None else int(np.floor(np.float32(dim) * np.float32(scale)))


# -- meaning ---------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Axis:
    """One resampled axis: its number, its sizes (numbers or scalar tensors), input elements per output element."""

    tf: Any
    axis: int
    rank: int
    old: Any
    new: Any
    step: Any

    def source(self, coordinates: str) -> Any:
        """Where each output element lies among the input elements, as float32[new]."""
        tf = self.tf
        places = tf.range(tf.cast(self.new, tf.float32), dtype=tf.float32)
        if coordinates == "half_pixel":
            return (places + 0.5) * self.step - 0.5
        if coordinates == "align_corners":
            steps = tf.cast(tf.maximum(self.new - 1, 1), tf.float32)
            return places * tf.cast(self.old - 1, tf.float32) / steps
        return places * self.step

    def take(self, x: Any, places: Any) -> Any:
        """The elements of ``x`` at float ``places``, which are moved to the nearest border when outside."""
        tf = self.tf
        inside = tf.clip_by_value(tf.cast(places, tf.int32), 0, self.old - 1)
        return tf.gather(x, inside, axis=self.axis)

    def along(self, values: Any) -> Any:
        """``values`` (one per output element) shaped to multiply a tensor along this axis."""
        return self.tf.reshape(values, [-1 if i == self.axis else 1 for i in range(self.rank)])


_ROUNDINGS: Mapping[str, Callable[[Any, Any], Any]] = {
    "floor": lambda tf, x: tf.floor(x),
    "ceil": lambda tf, x: tf.math.ceil(x),
    "half_up": lambda tf, x: tf.floor(x + 0.5),
    "half_down": lambda tf, x: tf.math.ceil(x - 0.5),
}


def _nearest(axis: _Axis, x: Any, attributes: Attrs) -> Any:
    source = axis.source(text(attributes, "coordinates"))
    return axis.take(x, _ROUNDINGS[text(attributes, "rounding")](axis.tf, source))


def _linear(axis: _Axis, x: Any, attributes: Attrs) -> Any:
    source = axis.source(text(attributes, "coordinates"))
    low = axis.tf.floor(source)
    weight = axis.along(source - low)
    return axis.take(x, low) * (1.0 - weight) + axis.take(x, low + 1.0) * weight


def _cubic(axis: _Axis, x: Any, attributes: Attrs) -> Any:
    """Keys' cubic convolution (1981) with coefficient ``cubic_coeff``."""
    tf, source = axis.tf, axis.source(text(attributes, "coordinates"))
    low = tf.floor(source)
    taps = [low + float(i) for i in (-1, 0, 1, 2)]
    weights: Sequence[Any] = [keys(tf, source - t, number(attributes, "cubic_coeff")) for t in taps]
    if flag(attributes, "exclude_outside"):
        weights = _inside_only(axis, taps, weights)
    terms = [axis.take(x, t) * axis.along(w) for t, w in zip(taps, weights, strict=True)]
    return tf.add_n(terms)


def keys(tf: Any, distance: Any, a: float) -> Any:
    """The weight of an element ``distance`` away in cubic convolution with coefficient ``a``."""
    d = tf.abs(distance)
    near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    far = a * (((d - 5.0) * d + 8.0) * d - 4.0)
    return tf.where(d <= 1.0, near, far)


def _inside_only(axis: _Axis, taps: Sequence[Any], weights: Sequence[Any]) -> Sequence[Any]:
    """The weights without those of elements outside of the input, scaled to sum to one again."""
    tf = axis.tf
    end = tf.cast(axis.old - 1, tf.float32)
    kept = [tf.where((t >= 0.0) & (t <= end), w, tf.zeros_like(w)) for t, w in zip(taps, weights, strict=True)]
    total = tf.add_n(kept)
    return [w / total for w in kept]


_MODES: Mapping[str, Callable[[_Axis, Any, Attrs], Any]] = {"nearest": _nearest, "linear": _linear, "cubic": _cubic}


def _mean(tf: Any, inputs: Sequence[Any], attributes: Attrs) -> Sequence[Any]:
    x = inputs[0]
    mode = text(attributes, "mode")
    result = x if mode == "nearest" else tf.cast(x, tf.float32)
    for axis in _axes(tf, inputs, attributes):
        result = _MODES[mode](axis, result, attributes)
    return [tf.cast(result, x.dtype)]


def _axes(tf: Any, inputs: Sequence[Any], attributes: Attrs) -> list[_Axis]:
    """The axes that change size, or may."""
    x = inputs[0]
    scales, rank = _scales(attributes), x.shape.rank
    axes = []
    for i in range(rank):
        old = x.shape[i] if x.shape[i] is not None else tf.shape(x)[i]
        new = _new_size(tf, inputs, attributes, i, old)
        scale = None if scales is None or len(inputs) == 2 or attributes.get("size") is not None else scales[i]
        if (scale == 1.0) or (isinstance(new, int) and isinstance(old, int) and new == old):
            continue
        step = (
            tf.cast(old, tf.float32) / tf.cast(new, tf.float32)
            if scale is None
            else tf.constant(1.0 / scale, tf.float32)
        )
        axes.append(_Axis(tf, i, rank, old, new, step))
    return axes


def _new_size(tf: Any, inputs: Sequence[Any], attributes: Attrs, axis: int, old: Any) -> Any:
    if len(inputs) == 2:
        static = tf.get_static_value(inputs[1], partial=True)
        known = None if static is None else static[axis]
        return tf.cast(inputs[1][axis], tf.int32) if known is None else int(known)
    if attributes.get("size") is not None:
        return ints(attributes, "size")[axis]
    scale = (_scales(attributes) or ())[axis]
    if isinstance(old, int):
        return _scaled(old, scale)
    return tf.cast(tf.floor(tf.cast(old, tf.float32) * tf.constant(scale, tf.float32)), tf.int32)


# -- emission --------------------------------------------------------------------------------------------------------


def _emit(e: Emitter, node: Node) -> Sequence[Any]:
    attributes = node.attrs
    layer = e.network.add_resize(e.tensor(node.inputs[0]))
    if len(node.inputs) == 2:
        layer.set_input(1, e.tensor(node.inputs[1]))
    elif attributes.get("size") is not None:
        layer.shape = e.dims(ints(attributes, "size"))
    else:
        layer.scales = list(_scales(attributes) or ())
    layer.resize_mode = member(e.trt.InterpolationMode, text(attributes, "mode"))
    layer.coordinate_transformation = member(e.trt.ResizeCoordinateTransformation, text(attributes, "coordinates"))
    layer.nearest_rounding = member(e.trt.ResizeRoundMode, text(attributes, "rounding"))
    layer.cubic_coeff, layer.exclude_outside = number(attributes, "cubic_coeff"), flag(attributes, "exclude_outside")
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.resize",
        _infer,
        _mean,
        _emit,
        {"size": None, "scales": None, "rounding": "floor", "cubic_coeff": -0.75, "exclude_outside": False},
        ("x", "size"),
        "IResizeLayer: ``x`` resampled to ``size`` or by ``scales``, nearest, linear or cubic.",
    ),
)
