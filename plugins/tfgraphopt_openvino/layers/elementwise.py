"""Activations, unary and binary functions, select."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfgraphopt.ir import DType, Node
from tfgraphopt_openvino.layers.attributes import number, text
from tfgraphopt_openvino.mapping import OpenVinoLayer, Unmapped, Writer

_Activation = Callable[[Writer, Any, float, float], Any]


def _scaled(w: Writer, x: Any, factor: float) -> Any:
    return x if factor == 1.0 else w.ops.multiply(x, w.like(x, factor)).output(0)


def _thresholded(w: Writer, x: Any, a: float, b: float) -> Any:
    return w.ops.select(w.ops.greater(x, w.like(x, a)), x, w.like(x, 0.0))


def _hard_sigmoid(w: Writer, x: Any, a: float, b: float) -> Any:
    if math.isclose(a, 1 / 6, rel_tol=1e-6) and b == 0.5:
        return w.ops.hsigmoid(x)  # OpenVINO makes x times this one HSwish, and fuses it with the convolution before it
    return w.ops.clamp(w.ops.add(_scaled(w, x, a), w.like(x, b)), 0.0, 1.0)


def _clip(w: Writer, x: Any, a: float, b: float) -> Any:
    return w.ops.clamp(x, a, b) if a <= b else w.ops.maximum(w.like(x, a), w.ops.minimum(w.like(x, b), x))


def _gelu(w: Writer, x: Any, a: float, b: float) -> Any:
    """``x/2 erf(x/sqrt 2) + x/2``, a form that OpenVINO does not make one operation.

    That one it would fuse with the product or convolution before it, whose kernels are slower with it than they are without it and
    GELU by itself: on AVX2 ConvNeXtTiny takes 4 % and BERT-base 3 to 11 % more. Kernels of integers are faster with it.
    """
    half = w.ops.multiply(x, w.like(x, 0.5))
    return w.ops.add(w.ops.multiply(half, w.ops.erf(w.ops.multiply(x, w.like(x, math.sqrt(0.5))))), half)


_ACTIVATIONS: Mapping[str, _Activation] = {
    "relu": lambda w, x, a, b: w.ops.relu(x),
    "sigmoid": lambda w, x, a, b: w.ops.sigmoid(x),
    "tanh": lambda w, x, a, b: w.ops.tanh(x),
    "leaky_relu": lambda w, x, a, b: w.ops.prelu(x, w.like(x, a)),
    "elu": lambda w, x, a, b: w.ops.elu(x, a),
    "selu": lambda w, x, a, b: w.ops.selu(x, w.like(x, a), w.like(x, b)),
    "softsign": lambda w, x, a, b: w.ops.softsign(x),
    "softplus": lambda w, x, a, b: _scaled(w, w.ops.softplus(_scaled(w, x, b)).output(0), a),
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "scaled_tanh": lambda w, x, a, b: _scaled(w, w.ops.tanh(_scaled(w, x, b)).output(0), a),
    "thresholded_relu": _thresholded,
    "gelu_erf": _gelu,
    "gelu_tanh": lambda w, x, a, b: w.ops.gelu(x, "tanh"),
}


_BEHIND_INTEGERS: Mapping[str, _Activation] = {"gelu_erf": lambda w, x, a, b: w.ops.gelu(x, "erf")}
"""What is written otherwise behind quantised products."""
_PRODUCTS = frozenset({"trt.convolution", "trt.deconvolution", "trt.matrix_multiply"})
_BETWEEN = frozenset({"trt.elementwise", "trt.transpose", "trt.reshape"})


def _activation(w: Writer, node: Node) -> Sequence[Any]:
    x, kind = w.tensor(node.inputs[0]), text(node, "type")
    if not node.inputs[0].dtype.is_floating:
        return [w.ops.maximum(x, w.like(x, 0)).output(0)]
    table = _BEHIND_INTEGERS if kind in _BEHIND_INTEGERS and _is_behind_integers(node) else _ACTIVATIONS
    return [_output(table[kind](w, x, number(node, "alpha"), number(node, "beta")))]


def _is_behind_integers(node: Node) -> bool:
    """Whether ``node`` follows a product or convolution of dequantised numbers, with nothing but sums, scales and orders between."""
    waiting, seen = _producers(node), set()
    while waiting:
        reached = waiting.pop()
        if reached in seen:
            continue
        seen.add(reached)
        before = _producers(reached)
        if reached.op in _PRODUCTS and any(n.op == "trt.dequantize" for n in before):
            return True
        if reached.op in _BETWEEN:
            waiting += before
    return False


def _producers(node: Node) -> list[Node]:
    return [value.producer for value in node.inputs if value.producer is not None]


def _output(made: Any) -> Any:
    """The only output of a node; an output is itself."""
    return made.output(0) if hasattr(made, "output") else made


_UNARY: Mapping[str, str] = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "abs": "abs", "neg": "negative", "sin": "sin", "cos": "cos", "tan": "tan",
    "sinh": "sinh", "cosh": "cosh", "asin": "asin", "acos": "acos", "atan": "atan", "asinh": "asinh", "acosh": "acosh",
    "atanh": "atanh", "ceil": "ceiling", "floor": "floor", "erf": "erf", "not": "logical_not", "sign": "sign",
    "isinf": "is_inf", "isnan": "is_nan",
}  # fmt: skip


def _unary(w: Writer, node: Node) -> Sequence[Any]:
    x, operation = w.tensor(node.inputs[0]), text(node, "operation")
    if operation == "recip":
        return [w.ops.divide(w.like(x, 1.0), x).output(0)]
    if operation == "round":
        return [w.ops.round(x, "HALF_TO_EVEN").output(0)]
    return [getattr(w.ops, _UNARY[operation])(x).output(0)]


def _divide(w: Writer, a: Any, b: Any, whole: bool) -> Any:
    """Integers are truncated."""
    if not whole:
        return w.ops.divide(a, b)
    sign = w.ops.multiply(w.ops.sign(a), w.ops.sign(b))
    return w.ops.multiply(sign, w.ops.divide(w.ops.abs(a), w.ops.abs(b)))


def _floor_divide(w: Writer, a: Any, b: Any, whole: bool) -> Any:
    if not whole:
        return w.ops.floor(w.ops.divide(a, b))
    quotient = _divide(w, a, b, whole)
    rest = w.ops.subtract(a, w.ops.multiply(quotient, b))
    below = w.ops.less(w.ops.multiply(w.ops.sign(rest), w.ops.sign(b)), w.like(a, 0))
    return w.ops.subtract(quotient, w.ops.convert(below, a.get_element_type().to_string()))


def _simple(name: str) -> Callable[[Writer, Any, Any, bool], Any]:
    return lambda w, a, b, whole: getattr(w.ops, name)(a, b)


_BINARY: Mapping[str, Callable[[Writer, Any, Any, bool], Any]] = {
    "sum": _simple("add"), "prod": _simple("multiply"), "max": _simple("maximum"), "min": _simple("minimum"),
    "sub": _simple("subtract"), "div": _divide, "pow": _simple("power"), "floor_div": _floor_divide,
    "and": _simple("logical_and"), "or": _simple("logical_or"), "xor": _simple("logical_xor"), "equal": _simple("equal"),
    "greater": _simple("greater"), "less": _simple("less"),
}  # fmt: skip


def _elementwise(w: Writer, node: Node) -> Sequence[Any]:
    operation, dtype = text(node, "operation"), node.inputs[0].dtype
    whole = not dtype.is_floating and dtype is not DType.BOOL
    if operation == "pow" and whole:
        raise Unmapped("OpenVINO's CPU engine raises integers to powers in floating point")
    if operation in ("div", "floor_div") and dtype in (DType.INT8, DType.UINT8):
        raise Unmapped("OpenVINO's CPU engine rounds quotients of 8-bit integers")
    a, b = (w.tensor(v) for v in node.inputs)
    return [_BINARY[operation](w, a, b, whole).output(0)]


def _select(w: Writer, node: Node) -> Sequence[Any]:
    return [w.ops.select(*(w.tensor(v) for v in node.inputs)).output(0)]


LAYERS = (
    OpenVinoLayer("trt.activation", _activation), OpenVinoLayer("trt.unary", _unary),
    OpenVinoLayer("trt.elementwise", _elementwise), OpenVinoLayer("trt.select", _select),
)  # fmt: skip
