"""Functions of one tensor, element by element."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from tfgraphopt.ir import DType, Value
from tfgraphopt_converters.dtypes import BOOLS, FLOATS, INTEGERS, NUMBERS, require
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, converter, never

Function = Callable[[LayerBuilder, Value], Value]


def _layer(operation: str, dtypes: frozenset[DType] = FLOATS) -> Function:
    def apply(b: LayerBuilder, x: Value) -> Value:
        require(b, dtypes, x)
        return b.unary(x, operation)

    return apply


def _rsqrt(b: LayerBuilder, x: Value) -> Value:
    require(b, FLOATS, x)
    return b.unary(b.unary(x, "sqrt"), "recip")


def _square(b: LayerBuilder, x: Value) -> Value:
    require(b, NUMBERS, x)
    return b.elementwise(x, x, "prod")


def _is_finite(b: LayerBuilder, x: Value) -> Value:
    require(b, FLOATS, x)
    return b.unary(b.elementwise(b.unary(x, "isnan"), b.unary(x, "isinf"), "or"), "not")


def _invert(b: LayerBuilder, x: Value) -> Value:
    """Two's complement: ``~x`` is ``-1 - x``."""
    require(b, INTEGERS, x)
    return b.elementwise(b.scalar(-1, x), x, "sub")


def expm1(b: LayerBuilder, x: Value) -> Value:
    """``exp(x) - 1`` without cancellation: ``2 t / (1 - t)``, ``t = tanh(x / 2)``, for small ``x``."""
    require(b, FLOATS, x)
    t = b.activation(b.elementwise(x, b.scalar(0.5, x), "prod"), "tanh")
    small = b.elementwise(b.elementwise(t, b.scalar(2, x), "prod"), b.elementwise(b.scalar(1, x), t, "sub"), "div")
    large = b.elementwise(b.unary(x, "exp"), b.scalar(1, x), "sub")
    return b.select(_below(b, x, 0.5), small, large)


def log1p(b: LayerBuilder, x: Value) -> Value:
    """``log(1 + x)`` without cancellation: ``2 atanh(x / (2 + x))`` for small ``x``."""
    require(b, FLOATS, x)
    ratio = b.elementwise(x, b.elementwise(x, b.scalar(2, x), "sum"), "div")
    small = b.elementwise(b.unary(ratio, "atanh"), b.scalar(2, x), "prod")
    large = b.unary(b.elementwise(x, b.scalar(1, x), "sum"), "log")
    return b.select(_below(b, x, 0.5), small, large)


def _below(b: LayerBuilder, x: Value, limit: float) -> Value:
    return b.elementwise(b.unary(x, "abs"), b.scalar(limit, x), "less")


_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
)  # fmt: skip


def erfc(b: LayerBuilder, x: Value) -> Value:
    """``1 - erf(x)`` accurate also where erf is almost 1; computed in float32.

    For ``z = |x|``, ``t = 1 / (1 + z / 2)``: ``t exp(-z^2 + P(t))`` with the Chebyshev fit P of Press et al., Numerical
    Recipes, §6.2, whose relative error is below 1.2e-7 before rounding.
    """
    require(b, FLOATS, x)
    wide = b.cast(x, DType.FLOAT)
    z = b.unary(wide, "abs")
    t = b.unary(b.elementwise(b.elementwise(z, b.scalar(0.5, z), "prod"), b.scalar(1, z), "sum"), "recip")
    power = b.elementwise(_polynomial(b, t, _ERFC), b.elementwise(z, z, "prod"), "sub")
    tail = b.elementwise(t, b.unary(power, "exp"), "prod")
    mirrored = b.elementwise(b.scalar(2, tail), tail, "sub")
    negative = b.elementwise(wide, b.scalar(0, wide), "less")
    return b.cast(b.select(negative, mirrored, tail), x.dtype)


def _polynomial(b: LayerBuilder, t: Value, coefficients: tuple[float, ...]) -> Value:
    """Horner's scheme; lowest power first."""
    total = b.scalar(coefficients[-1], t)
    for c in reversed(coefficients[:-1]):
        total = b.elementwise(b.elementwise(total, t, "prod"), b.scalar(c, t), "sum")
    return total


FUNCTIONS: dict[str, Function] = {
    "Exp": _layer("exp"),
    "Log": _layer("log"),
    "Sqrt": _layer("sqrt"),
    "Sin": _layer("sin"),
    "Cos": _layer("cos"),
    "Tan": _layer("tan"),
    "Sinh": _layer("sinh"),
    "Cosh": _layer("cosh"),
    "Asin": _layer("asin"),
    "Acos": _layer("acos"),
    "Atan": _layer("atan"),
    "Asinh": _layer("asinh"),
    "Acosh": _layer("acosh"),
    "Atanh": _layer("atanh"),
    "Ceil": _layer("ceil"),
    "Floor": _layer("floor"),
    "Rint": _layer("round"),
    "Round": _layer("round"),
    "Erf": _layer("erf"),
    "Abs": _layer("abs", NUMBERS),
    "Neg": _layer("neg", NUMBERS),
    "Sign": _layer("sign", NUMBERS),
    "IsNan": _layer("isnan"),
    "IsInf": _layer("isinf"),
    "IsFinite": _is_finite,
    "LogicalNot": _layer("not", BOOLS),
    "Invert": _invert,
    "Reciprocal": _layer("recip"),
    "Inv": _layer("recip"),
    "Rsqrt": _rsqrt,
    "Square": _square,
    "Expm1": expm1,
    "Log1p": log1p,
    "Erfc": erfc,
}
"""TF ops of one argument."""

_NOT_EXACT = "TensorRT has no such function, and none of its layers gives it to full accuracy"
REFUSED = ("Lgamma", "Digamma", "Ndtri", "Erfinv", "BesselI0e", "BesselI1e")
"""TF ops that have a reason instead of layers."""


def _named(op: str, function: Function) -> Converter:
    def convert_unary(b: LayerBuilder, x: Operand) -> Value:
        return function(b, x)

    convert_unary.__doc__ = inspect.getdoc(function) or f"TensorRT's {op.lower()}, element by element."
    return converter(op)(convert_unary)


CONVERTERS: tuple[Converter, ...] = (
    *(_named(op, function) for op, function in FUNCTIONS.items()),
    never(_NOT_EXACT, *REFUSED),
)
