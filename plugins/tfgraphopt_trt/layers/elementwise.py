"""Layers that work element by element: activation, unary, binary, select."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, DType, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import member, operands, outputs
from tfgraphopt_trt.layers.rules import (
    ANY,
    FLOATS,
    MOVABLE,
    NUMBERS,
    WIDE,
    broadcast,
    check_arity,
    check_dtype,
    check_same,
    dims_of,
    number,
    text,
    typed,
)  # fmt: skip

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

BOOL = frozenset({DType.BOOL})

# -- activation ------------------------------------------------------------------------------------------------------

Activation = Callable[[Any, Any, Any, Any], Any]


def _like(tf: Any, x: Any, value: float) -> Any:
    return tf.constant(value, x.dtype)


def _relu(tf: Any, x: Any, alpha: Any, beta: Any) -> Any:
    return tf.maximum(x, tf.zeros([], x.dtype))


def _elu(tf: Any, x: Any, alpha: Any, beta: Any) -> Any:
    return tf.where(x >= 0, x, alpha * tf.math.expm1(tf.minimum(x, _like(tf, x, 0))))


def _selu(tf: Any, x: Any, alpha: Any, beta: Any) -> Any:
    return beta * tf.where(x > 0, x, alpha * tf.math.expm1(tf.minimum(x, _like(tf, x, 0))))


def _hard_sigmoid(tf: Any, x: Any, alpha: Any, beta: Any) -> Any:
    return tf.clip_by_value(alpha * x + beta, _like(tf, x, 0), _like(tf, x, 1))


def _thresholded_relu(tf: Any, x: Any, alpha: Any, beta: Any) -> Any:
    return tf.where(x > alpha, x, tf.zeros_like(x))


_ACTIVATIONS: Mapping[str, Activation] = {
    "relu": _relu,
    "sigmoid": lambda tf, x, a, b: tf.math.sigmoid(x),
    "tanh": lambda tf, x, a, b: tf.math.tanh(x),
    "leaky_relu": lambda tf, x, a, b: tf.where(x >= 0, x, a * x),
    "elu": _elu,
    "selu": _selu,
    "softsign": lambda tf, x, a, b: tf.math.softsign(x),
    "softplus": lambda tf, x, a, b: a * tf.math.softplus(b * x),
    "clip": lambda tf, x, a, b: tf.maximum(a, tf.minimum(b, x)),
    "hard_sigmoid": _hard_sigmoid,
    "scaled_tanh": lambda tf, x, a, b: a * tf.math.tanh(b * x),
    "thresholded_relu": _thresholded_relu,
    "gelu_erf": lambda tf, x, a, b: tf.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda tf, x, a, b: tf.nn.gelu(x, approximate=True),
}


def _infer_activation(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "an activation")
    kind = text(attrs, "type", _ACTIVATIONS)
    check_dtype(inputs[0], NUMBERS if kind == "relu" else FLOATS, f"{kind} activation")
    dims_of(inputs[0])
    return [inputs[0].type]


def _mean_activation(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    (x,) = inputs
    if not x.dtype.is_floating:
        return [_relu(tf, x, None, None)]
    alpha, beta = _like(tf, x, number(attrs, "alpha")), _like(tf, x, number(attrs, "beta"))
    return [_ACTIVATIONS[text(attrs, "type")](tf, x, alpha, beta)]


def _emit_activation(e: Emitter, node: Node) -> Sequence[Any]:
    kind = member(e.trt.ActivationType, text(node.attrs, "type"))
    layer = e.network.add_activation(e.tensor(node.inputs[0]), kind)
    layer.alpha, layer.beta = number(node.attrs, "alpha"), number(node.attrs, "beta")
    return outputs(e, layer)


# -- unary -----------------------------------------------------------------------------------------------------------

_SIGNED = ("abs", "neg", "sign")
_LOGICAL = ("not",)
_TESTS = ("isinf", "isnan")
_UNARY_NAMES: Mapping[str, str] = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "recip": "reciprocal", "abs": "abs", "neg": "negative", "sin": "sin",
    "cos": "cos", "tan": "tan", "sinh": "sinh", "cosh": "cosh", "asin": "asin", "acos": "acos", "atan": "atan",
    "asinh": "asinh", "acosh": "acosh", "atanh": "atanh", "ceil": "ceil", "floor": "floor", "erf": "erf",
    "not": "logical_not", "sign": "sign", "round": "round", "isinf": "is_inf", "isnan": "is_nan",
}  # fmt: skip


def _unary_types(operation: str) -> frozenset[DType]:
    if operation in _LOGICAL:
        return BOOL
    return NUMBERS if operation in _SIGNED else FLOATS


def _infer_unary(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "a unary layer")
    operation = text(attrs, "operation", _UNARY_NAMES)
    dtype = check_dtype(inputs[0], _unary_types(operation), f"unary {operation}")
    return typed(DType.BOOL if operation in _TESTS else dtype, dims_of(inputs[0]))


def _mean_unary(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [getattr(tf.math, _UNARY_NAMES[text(attrs, "operation")])(inputs[0])]


def _emit_unary(e: Emitter, node: Node) -> Sequence[Any]:
    operation = member(e.trt.UnaryOperation, text(node.attrs, "operation"))
    return outputs(e, e.network.add_unary(e.tensor(node.inputs[0]), operation))


# -- binary ----------------------------------------------------------------------------------------------------------


def _divide(tf: Any, a: Any, b: Any) -> Any:
    return tf.math.divide(a, b) if a.dtype.is_floating else tf.truncatediv(a, b)


_COMPARE = ("equal", "greater", "less")
_BINARY: Mapping[str, tuple[frozenset[DType], Callable[[Any, Any, Any], Any]]] = {
    "sum": (NUMBERS, lambda tf, a, b: tf.math.add(a, b)),
    "prod": (NUMBERS, lambda tf, a, b: tf.math.multiply(a, b)),
    "max": (NUMBERS, lambda tf, a, b: tf.math.maximum(a, b)),
    "min": (NUMBERS, lambda tf, a, b: tf.math.minimum(a, b)),
    "sub": (NUMBERS, lambda tf, a, b: tf.math.subtract(a, b)),
    "div": (NUMBERS, _divide),
    "pow": (WIDE, lambda tf, a, b: tf.math.pow(a, b)),
    "floor_div": (NUMBERS, lambda tf, a, b: tf.math.floordiv(a, b)),
    "and": (BOOL, lambda tf, a, b: tf.math.logical_and(a, b)),
    "or": (BOOL, lambda tf, a, b: tf.math.logical_or(a, b)),
    "xor": (BOOL, lambda tf, a, b: tf.math.logical_xor(a, b)),
    "equal": (ANY, lambda tf, a, b: tf.math.equal(a, b)),
    "greater": (NUMBERS, lambda tf, a, b: tf.math.greater(a, b)),
    "less": (NUMBERS, lambda tf, a, b: tf.math.less(a, b)),
}  # fmt: skip


def _infer_elementwise(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 2, 2, "an elementwise layer")
    operation = text(attrs, "operation", _BINARY)
    check_same(inputs, f"elementwise {operation}")
    dtype = check_dtype(inputs[0], _BINARY[operation][0], f"elementwise {operation}")
    dims = broadcast(f"elementwise {operation}", *(dims_of(v) for v in inputs))
    return typed(DType.BOOL if operation in _COMPARE else dtype, dims)


def _mean_elementwise(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [_BINARY[text(attrs, "operation")][1](tf, *inputs)]


def _emit_elementwise(e: Emitter, node: Node) -> Sequence[Any]:
    operation = member(e.trt.ElementWiseOperation, text(node.attrs, "operation"))
    return outputs(e, e.network.add_elementwise(*operands(e, node), operation))


# -- select ----------------------------------------------------------------------------------------------------------


def _infer_select(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 3, 3, "a select")
    check_dtype(inputs[0], BOOL, "select condition")
    check_same(inputs[1:], "select")
    dtype = check_dtype(inputs[1], MOVABLE, "select")
    return typed(dtype, broadcast("select", *(dims_of(v) for v in inputs)))


def _mean_select(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [tf.where(*inputs)]


def _emit_select(e: Emitter, node: Node) -> Sequence[Any]:
    return outputs(e, e.network.add_select(*operands(e, node)))


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.activation",
        _infer_activation,
        _mean_activation,
        _emit_activation,
        {"alpha": 0.0, "beta": 0.0},
        ("x",),
        "IActivationLayer: the activation function ``type`` with parameters ``alpha`` and ``beta``.",
    ),
    LayerDef(
        "trt.unary", _infer_unary, _mean_unary, _emit_unary, {}, ("x",), "IUnaryLayer: ``operation`` of each element."
    ),
    LayerDef(
        "trt.elementwise",
        _infer_elementwise,
        _mean_elementwise,
        _emit_elementwise,
        {},
        ("a", "b"),
        "IElementWiseLayer: ``operation`` of two tensors of one rank; axes of size one are repeated.",
    ),
    LayerDef(
        "trt.select",
        _infer_select,
        _mean_select,
        _emit_select,
        {},
        ("condition", "then", "otherwise"),
        "ISelectLayer: ``then`` where ``condition`` holds, else ``otherwise``.",
    ),
)
