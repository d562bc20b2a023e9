"""Quantize and dequantize.

A pair of them becomes one FakeQuantize, and a dequantized constant a conversion and a product: the forms that OpenVINO's
low-precision transformations look for, so that what lies between is computed in 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import DType, Node, Value
from tfgraphopt.ir.tensor import Array
from tfgraphopt_openvino.mapping import TYPES, OpenVinoLayer, Unmapped, Writer

INT8_WEIGHTS = 64
"""The largest magnitude of weights whose products may be added in pairs in 16 bits: 2 * 255 * 64 < 2**15 (vpmaddubsw)."""
_RANGES: Mapping[DType, tuple[int, int]] = {DType.INT8: (-128, 127)}


def _range(dtype: DType) -> tuple[int, int]:
    if dtype not in _RANGES:
        raise Unmapped(f"OpenVINO's CPU engine does not quantize to {dtype.tf_name}")
    return _RANGES[dtype]


def _aligned(w: Writer, node: Node, scale: Value, rank: int) -> Any:
    """The scale shaped to broadcast against the operand."""
    axis: Any = node.attrs.get("axis")
    dims = [] if axis is None else [-1 if i == axis else 1 for i in range(rank)]
    array = w.array(scale)
    if array is not None:
        return w.constant(array.reshape(dims))
    return w.ops.reshape(w.tensor(scale), w.indices(dims), special_zero=False).output(0)


def _quantize(w: Writer, node: Node) -> Sequence[Any]:
    low, high = _range(node.output.dtype)
    x, scale = w.tensor(node.inputs[0]), _aligned(w, node, node.inputs[1], len(node.inputs[0].shape))
    wide = w.ops.divide(w.ops.convert(x, "f32"), w.ops.convert(scale, "f32"))
    whole = w.ops.clamp(w.ops.round(wide, "HALF_TO_EVEN"), low, high)
    return [w.ops.convert(whole, TYPES[node.output.dtype]).output(0)]


def _dequantize(w: Writer, node: Node) -> Sequence[Any]:
    x, scale = node.inputs
    source = x.producer
    if source is not None and source.op == "trt.quantize" and _same_scale(source, node):
        return [_fake_quantize(w, source)]
    _range(x.dtype)
    array = w.array(x)
    if array is not None and array.ndim > 0 and int(np.abs(array.astype(np.int16)).max(initial=0)) > INT8_WEIGHTS:
        return [w.constant(_single(w, node, array), node.output.dtype)]
    wide = w.ops.convert(w.tensor(x), TYPES[node.output.dtype])
    return [w.ops.multiply(wide, _aligned(w, node, scale, len(x.shape))).output(0)]


def _single(w: Writer, node: Node, array: Array) -> Array:
    """Weights of more than 7 bits, of graphs trained with quantisation: integer kernels of CPUs without VNNI overflow with them,
    silently, so that their layers compute in floating point.
    """
    axis: Any = node.attrs.get("axis")
    scale = w.array(node.inputs[1])
    if scale is None:
        raise Unmapped("OpenVINO's weights need constant scales")
    dims = [] if axis is None else [-1 if i == axis else 1 for i in range(array.ndim)]
    return np.asarray(array.astype(np.float32) * scale.astype(np.float32).reshape(dims))


def _same_scale(quantize: Node, dequantize: Node) -> bool:
    one, two = quantize.inputs[1], dequantize.inputs[1]
    return quantize.attrs.get("axis") == dequantize.attrs.get("axis") and one is two


def _fake_quantize(w: Writer, quantize: Node) -> Any:
    low, high = _range(quantize.output.dtype)
    rank = len(quantize.inputs[0].shape)
    scale = w.array(quantize.inputs[1])
    axis: Any = quantize.attrs.get("axis")
    dims = [] if axis is None else [-1 if i == axis else 1 for i in range(rank)]
    if scale is None:
        raise Unmapped("OpenVINO's FakeQuantize needs constant scales")
    shaped = scale.astype(np.float32).reshape(dims)
    limits = [w.constant((shaped * bound).astype(scale.dtype)) for bound in (low, high)]
    return w.ops.fake_quantize(w.tensor(quantize.inputs[0]), *limits, *limits, high - low + 1).output(0)


LAYERS = (OpenVinoLayer("trt.quantize", _quantize), OpenVinoLayer("trt.dequantize", _dequantize))
