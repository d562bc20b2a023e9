"""Quantize and dequantize: symmetric, per tensor or along one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, DType, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import outputs
from tfgraphopt_trt.layers.rules import (
    FLOATS,
    QUANTISED,
    check,
    check_arity,
    check_axis,
    check_dtype,
    dims_of,
    element_type,
    typed,
)

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

_RANGES: Mapping[DType, tuple[float, float]] = {
    DType.INT8: (-128.0, 127.0), DType.INT4: (-8.0, 7.0), DType.FLOAT8_E4M3FN: (-448.0, 448.0),
}  # fmt: skip


def _axis(attrs: Attrs) -> int | None:
    axis: Any = attrs.get("axis")
    return None if axis is None else int(axis)


def _check_scale(x: Value, scale: Value, attrs: Attrs, what: str) -> None:
    check_dtype(scale, FLOATS, f"{what} scale")
    dims, axis = dims_of(x), _axis(attrs)
    if axis is None:
        check(scale.shape.dims in ((), (1,)), f"the scale of a per-tensor {what} is {scale.type}, not a scalar")
        return
    check_axis(axis, len(dims), what)
    check(dims[axis] is not None, f"{what} along axis {axis}, whose size is unknown")
    check(scale.shape.dims == (dims[axis],), f"the scale of {what} along {dims[axis]} channels is {scale.type}")


def _infer_quantize(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 2, 2, "quantize")
    check_dtype(inputs[0], FLOATS, "quantize")
    _check_scale(inputs[0], inputs[1], attrs, "quantize")
    return typed(element_type(attrs, "to", QUANTISED), dims_of(inputs[0]))


def _infer_dequantize(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 2, 2, "dequantize")
    check_dtype(inputs[0], QUANTISED, "dequantize")
    _check_scale(inputs[0], inputs[1], attrs, "dequantize")
    return typed(inputs[1].dtype, dims_of(inputs[0]))


def _aligned(tf: Any, scale: Any, x: Any, attrs: Attrs) -> Any:
    """``scale`` in single precision, shaped to broadcast against ``x``."""
    axis = _axis(attrs)
    shape = [] if axis is None else [-1 if i == axis else 1 for i in range(x.shape.rank)]
    return tf.reshape(tf.cast(scale, tf.float32), shape)


def _mean_quantize(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    to = element_type(attrs, "to", QUANTISED)
    x = tf.cast(inputs[0], tf.float32) / _aligned(tf, inputs[1], inputs[0], attrs)
    rounded = x if to is DType.FLOAT8_E4M3FN else tf.round(x)
    return [tf.cast(tf.clip_by_value(rounded, *_RANGES[to]), to.tf_name)]


def _mean_dequantize(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    x, scale = inputs
    return [tf.cast(tf.cast(x, tf.float32) * _aligned(tf, scale, x, attrs), scale.dtype)]


def _emit_quantize(e: Emitter, node: Node) -> Sequence[Any]:
    return _emit(e, node, e.network.add_quantize)


def _emit_dequantize(e: Emitter, node: Node) -> Sequence[Any]:
    return _emit(e, node, e.network.add_dequantize)


def _emit(e: Emitter, node: Node, add: Any) -> Sequence[Any]:
    x, scale = node.inputs
    layer = add(e.tensor(x), e.tensor(scale), e.dtype(node.output.dtype))
    axis = _axis(node.attrs)
    if axis is not None:
        layer.axis = axis
    return outputs(e, layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.quantize",
        _infer_quantize,
        _mean_quantize,
        _emit_quantize,
        {"axis": None, "to": DType.INT8},
        ("x", "scale"),
        "IQuantizeLayer: ``round_half_even(x / scale)`` clipped to the range of ``to``.",
    ),
    LayerDef(
        "trt.dequantize",
        _infer_dequantize,
        _mean_dequantize,
        _emit_dequantize,
        {"axis": None},
        ("x", "scale"),
        "IDequantizeLayer: ``x * scale`` in the element type of ``scale``.",
    ),
)
