"""Tensors that are made rather than computed: constants, fills, ranges."""

from __future__ import annotations

import numpy as np

from tfgraphopt.ir import DType, Tensor, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.dtypes import FLOATS, INTEGERS
from tfgraphopt_converters.sizes import Size
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import TENSORRT_DTYPES, Weights, converter

_NO_CONSTANTS = {
    DType.INT8: "TensorRT takes int8 constants only as quantised weights in front of a dequantise layer",
    DType.UINT8: "TensorRT has uint8 tensors only at the inputs and outputs of a network",
}


@converter("Const")
def const(b: LayerBuilder, *, value: Tensor) -> Value:
    """A constant layer; a tensor without elements is an empty slice, because TensorRT refuses empty constants."""
    if value.dtype not in TENSORRT_DTYPES or value.dtype in _NO_CONSTANTS:
        raise Unsupported(_NO_CONSTANTS.get(value.dtype, f"TensorRT has no {value.dtype.tf_name} tensors"))
    if value.num_elements:
        return b.constant(value)
    return sizes.filled(b, Tensor.of(np.zeros((), value.dtype.np), value.dtype), value.shape.static())


@converter("Fill")
def fill(b: LayerBuilder, dims: Weights | Operand, value: Weights | Operand) -> Value:
    """One element repeated; dimensions and value may be known only at run time."""
    return sizes.filled(b, value, sizes.elements(b, dims))


def _filled_like(b: LayerBuilder, x: Value, number: int) -> Value:
    return sizes.filled(b, Tensor.of(np.array(number, x.dtype.np), x.dtype), sizes.sizes_of(b, x))


@converter("ZerosLike")
def zeros_like(b: LayerBuilder, x: Operand) -> Value:
    """Zeros of the operand's shape."""
    return _filled_like(b, x, 0)


@converter("OnesLike")
def ones_like(b: LayerBuilder, x: Operand) -> Value:
    """Ones of the operand's shape."""
    return _filled_like(b, x, 1)


@converter("Empty")
def empty(b: LayerBuilder, shape: Weights | Operand, *, dtype: DType, init: bool) -> Value:
    """Zeros when ``init`` is set; refused otherwise."""
    if not init:
        raise Unsupported("the contents of an uninitialised tensor are not defined")
    if dtype not in TENSORRT_DTYPES:
        raise Unsupported(f"TensorRT has no {dtype.tf_name} tensors")
    return sizes.filled(b, Tensor.of(np.zeros((), dtype.np), dtype), sizes.elements(b, shape))


@converter("Range")
def range_(b: LayerBuilder, start: Operand, limit: Operand, delta: Operand) -> Value:
    """``start``, ``start + delta``, ... before ``limit``, all possibly known only at run time; integers."""
    if start.dtype not in INTEGERS:
        raise Unsupported(
            "a Range of floats with run-time bounds has a length that TensorRT cannot compute: no float shape tensors"
        )
    first, last, step = (sizes.elements(b, v)[0] for v in (start, limit, delta))
    count = sizes.largest(b, _steps(b, first, last, step), 0)
    counted = sizes.iota(b, count, start.dtype)
    return b.elementwise(b.elementwise(counted, delta, "prod"), start, "sum")


def _steps(b: LayerBuilder, first: Size, last: Size, step: Size) -> Size:
    """``ceil((last - first) / step)`` for a step of either sign, by a floor division."""
    sign: Size = int(np.sign(step)) if isinstance(step, int) else b.unary(step, "sign")
    reach = sizes.subtract(b, sizes.add(b, sizes.subtract(b, last, first), step), sign)
    return sizes.floor_divide(b, reach, step)


@converter("LinSpace")
def lin_space(b: LayerBuilder, start: Operand, stop: Operand, num: Weights) -> Value:
    """``num`` numbers from ``start`` to ``stop``, which is met exactly, as TensorFlow computes them."""
    if start.dtype not in FLOATS:
        raise Unsupported(f"TensorRT has no {start.dtype.tf_name} tensors")
    count = int(num.item())
    first, last = b.reshape(start, (1,)), b.reshape(stop, (1,))
    if count == 1:
        return first
    steps = b.constant(np.array([count - 1]), start.dtype)
    step = b.elementwise(b.elementwise(last, first, "sub"), steps, "div")
    inner = b.elementwise(step, b.constant(np.arange(count - 1), start.dtype), "prod")
    return b.concatenation([b.elementwise(first, inner, "sum"), last], 0)


CONVERTERS = (const, fill, zeros_like, ones_like, empty, range_, lin_space)
