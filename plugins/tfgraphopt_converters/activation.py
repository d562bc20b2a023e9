"""Activations, clipping and softmax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfgraphopt.ir import Tensor, Value
from tfgraphopt_converters.dtypes import FLOATS, INTEGERS, NUMBERS, require
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, Weights, converter

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _relu(b: LayerBuilder, x: Value) -> Value:
    require(b, NUMBERS, x)
    return b.activation(x, "relu")


def _relu6(b: LayerBuilder, x: Value) -> Value:
    require(b, NUMBERS, x)
    return clipped(b, x, 0, 6)


def _of_type(type: str, alpha: float = 0.0, beta: float = 0.0) -> Callable[[LayerBuilder, Value], Value]:
    def activate(b: LayerBuilder, x: Value) -> Value:
        require(b, FLOATS, x)
        return b.activation(x, type, alpha, beta)

    return activate


OF_FEATURES: dict[str, Callable[[LayerBuilder, Value], Value]] = {
    "Relu": _relu,
    "Relu6": _relu6,
    "Elu": _of_type("elu", 1.0),
    "Selu": _of_type("selu", SELU_ALPHA, SELU_SCALE),
    "Softsign": _of_type("softsign"),
    "Softplus": _of_type("softplus", 1.0, 1.0),
}
"""TF ops of one argument ``features``."""

OF_X: dict[str, Callable[[LayerBuilder, Value], Value]] = {
    "Sigmoid": _of_type("sigmoid"),
    "Tanh": _of_type("tanh"),
}
"""TF ops of one argument ``x``."""

ACTIVATIONS = OF_FEATURES | OF_X


def leaky_relu(b: LayerBuilder, x: Value, alpha: float) -> Value:
    """``x`` where positive, else ``alpha * x``."""
    require(b, FLOATS, x)
    return b.activation(x, "leaky_relu", alpha)


def clipped(b: LayerBuilder, x: Value, low: float, high: float) -> Value:
    """``x`` between the numbers ``low`` <= ``high``; TensorRT clips floats only, integers take minimum and maximum."""
    if x.dtype in FLOATS:
        return b.activation(x, "clip", low, high)
    return b.elementwise(b.elementwise(x, b.scalar(high, x), "min"), b.scalar(low, x), "max")


def _of_features(op: str, activate: Callable[[LayerBuilder, Value], Value]) -> Converter:
    def convert_activation(b: LayerBuilder, features: Operand) -> Value:
        """TensorRT's activation of the same name, element by element."""
        return activate(b, features)

    return converter(op)(convert_activation)


def _of_x(op: str, activate: Callable[[LayerBuilder, Value], Value]) -> Converter:
    def convert_activation(b: LayerBuilder, x: Operand) -> Value:
        """TensorRT's activation of the same name, element by element."""
        return activate(b, x)

    return converter(op)(convert_activation)


@converter("LeakyRelu")
def convert_leaky_relu(b: LayerBuilder, features: Operand, *, alpha: float) -> Value:
    """``features`` where positive, else ``alpha * features``."""
    return leaky_relu(b, features, alpha)


@converter("ClipByValue")
def convert_clip(
    b: LayerBuilder, t: Operand, clip_value_min: Weights | Operand, clip_value_max: Weights | Operand
) -> Value:
    """Bounds of any shape that broadcasts; constant scalars become one clip layer."""
    require(b, NUMBERS, t)
    low, high = _number(clip_value_min), _number(clip_value_max)
    if low is not None and high is not None and low <= high:
        return clipped(b, t, low, high)
    upper = b.elementwise(t, _operand(b, clip_value_max), "min")
    return b.elementwise(upper, _operand(b, clip_value_min), "max")


def _number(bound: Weights | Value) -> float | None:
    if not isinstance(bound, Tensor) or bound.num_elements != 1 or bound.dtype in INTEGERS:
        return None
    value = float(bound.numpy().reshape(-1)[0])
    return value if np.isfinite(value) and bound.shape.rank == 0 else None


def _operand(b: LayerBuilder, bound: Weights | Value) -> Value:
    return b.constant(bound) if isinstance(bound, Tensor) else bound


@converter("Softmax")
def convert_softmax(b: LayerBuilder, logits: Operand) -> Value:
    """Softmax over the last axis."""
    require(b, FLOATS, logits)
    if _last(logits) == 0:  # TensorRT's softmax wants two dimensions
        return b.squeeze(b.softmax(b.unsqueeze(logits, (0,)), 1), (0,))
    return b.softmax(logits, _last(logits))


@converter("LogSoftmax")
def convert_log_softmax(b: LayerBuilder, logits: Operand) -> Value:
    """``s - log(sum(exp(s)))`` with ``s = x - max(x)``, which cannot overflow."""
    require(b, FLOATS, logits)
    axes = (_last(logits),)
    shifted = b.elementwise(logits, b.reduce(logits, "max", axes, True), "sub")
    total = b.reduce(b.unary(shifted, "exp"), "sum", axes, True)
    return b.elementwise(shifted, b.unary(total, "log"), "sub")


def _last(x: Value) -> int:
    rank = len(x.shape)
    if rank == 0:
        raise Unsupported("softmax of a scalar")
    return rank - 1


CONVERTERS: tuple[Converter, ...] = (
    *(_of_features(op, activate) for op, activate in OF_FEATURES.items()),
    *(_of_x(op, activate) for op, activate in OF_X.items()),
    convert_leaky_relu, convert_clip, convert_softmax, convert_log_softmax,
)  # fmt: skip
