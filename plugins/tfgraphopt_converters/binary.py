"""Functions of two tensors, element by element, with TensorFlow's broadcasting."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

from tfgraphopt.ir import DType, Value
from tfgraphopt_converters.dtypes import BOOLS, FLOATS, INTEGERS, NUMBERS, require
from tfgraphopt_converters.unary import log1p
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, Operands, converter, never

Function = Callable[[LayerBuilder, Value, Value], Value]
COMPARABLE = NUMBERS | BOOLS


def _layer(operation: str, dtypes: frozenset[DType] = NUMBERS) -> Function:
    def apply(b: LayerBuilder, x: Value, y: Value) -> Value:
        require(b, dtypes, x, y)
        return b.elementwise(x, y, operation)

    return apply


# -- division --------------------------------------------------------------------------------------------------------


def _floor_div(b: LayerBuilder, x: Value, y: Value) -> Value:
    require(b, NUMBERS, x, y)
    if x.dtype in INTEGERS:
        return b.elementwise(x, y, "floor_div")
    return b.unary(b.elementwise(x, y, "div"), "floor")


def _truncated_mod(b: LayerBuilder, x: Value, y: Value) -> Value:
    """The remainder with ``x``'s sign: exact for integers, within a rounding of ``x`` for floats."""
    require(b, NUMBERS, x, y)
    if x.dtype in INTEGERS:
        return _remainder(b, x, y, b.elementwise(x, y, "div"))
    ratio = b.elementwise(x, y, "div")
    negative = b.elementwise(ratio, b.scalar(0, ratio), "less")
    whole = b.select(negative, b.unary(ratio, "ceil"), b.unary(ratio, "floor"))
    left = _remainder(b, x, y, whole)
    # a ratio just below an integer may have been rounded up to it
    crossed = _negative_product(b, left, x)
    step = b.elementwise(b.unary(y, "abs"), b.unary(x, "sign"), "prod")
    left = b.select(crossed, b.elementwise(left, step, "sum"), left)
    return b.select(_finite_by_infinite(b, x, y), x, left)


def _floor_mod(b: LayerBuilder, x: Value, y: Value) -> Value:
    """The remainder with ``y``'s sign: exact for integers, within a rounding of ``x`` for floats."""
    require(b, NUMBERS, x, y)
    if x.dtype in INTEGERS:
        return _remainder(b, x, y, b.elementwise(x, y, "floor_div"))
    left = _truncated_mod(b, x, y)
    return b.select(_negative_product(b, left, y), b.elementwise(left, y, "sum"), left)


def _negative_product(b: LayerBuilder, x: Value, y: Value) -> Value:
    """Whether two numbers have opposite signs; by their signs, whose product cannot underflow."""
    return b.elementwise(b.elementwise(b.unary(x, "sign"), b.unary(y, "sign"), "prod"), b.scalar(0, x), "less")


def _remainder(b: LayerBuilder, x: Value, y: Value, quotient: Value) -> Value:
    return b.elementwise(x, b.elementwise(y, quotient, "prod"), "sub")


def _finite_by_infinite(b: LayerBuilder, x: Value, y: Value) -> Value:
    return b.elementwise(b.unary(y, "isinf"), b.unary(b.unary(x, "isinf"), "not"), "and")


def _zero_where(zero: Callable[[Value, Value], Value], function: Function) -> Function:
    """``function``, but zero where the operand that ``zero`` picks is zero (whatever the other is)."""

    def apply(b: LayerBuilder, x: Value, y: Value) -> Value:
        require(b, FLOATS, x, y)
        none = b.scalar(0, x)
        return b.select(b.elementwise(zero(x, y), b.scalar(0, zero(x, y)), "equal"), none, function(b, x, y))

    return apply


def _first(x: Value, y: Value) -> Value:
    return x


def _second(x: Value, y: Value) -> Value:
    return y


def _times(function: Callable[[LayerBuilder, Value], Value]) -> Function:
    return lambda b, x, y: b.elementwise(x, function(b, y), "prod")


def _log(b: LayerBuilder, x: Value) -> Value:
    return b.unary(x, "log")


# -- powers and angles -----------------------------------------------------------------------------------------------

MAX_POWER = 64


def _pow(b: LayerBuilder, x: Value, y: Value) -> Value:
    """Floats by TensorRT's power; integers by multiplication, so their exponent must be one small constant."""
    require(b, NUMBERS, x, y)
    if x.dtype in FLOATS:
        return b.elementwise(x, y, "pow")
    exponent = b.tensor_of(y)
    if exponent is None or exponent.num_elements != 1 or not 0 <= exponent.numpy().reshape(-1)[0] <= MAX_POWER:
        raise Unsupported(
            f"an integer power needs one constant exponent from 0 to {MAX_POWER}; TensorRT's is not exact"
        )
    zeros = b.elementwise(x, b.scalar(0, x), "prod")
    ones = b.elementwise(zeros, b.expand_to(b.constant(1, x.dtype), len(y.shape)), "sum")
    return _power(b, x, ones, int(exponent.numpy().reshape(-1)[0]))


def _power(b: LayerBuilder, x: Value, ones: Value, exponent: int) -> Value:
    """By repeated squaring; ``ones`` has the shape of the result."""
    result, factor = ones, x
    while exponent:
        if exponent & 1:
            result = b.elementwise(result, factor, "prod")
        exponent >>= 1
        if exponent:
            factor = b.elementwise(factor, factor, "prod")
    return result


def _squared_difference(b: LayerBuilder, x: Value, y: Value) -> Value:
    require(b, NUMBERS, x, y)
    difference = b.elementwise(x, y, "sub")
    return b.elementwise(difference, difference, "prod")


def _atan2(b: LayerBuilder, y: Value, x: Value) -> Value:
    """The angle of (x, y) in all four quadrants, with signed zeros and infinities as C has them."""
    require(b, FLOATS, x, y)
    angle = b.unary(_slope(b, y, x), "atan")
    angle = b.select(_is_negative(b, x), b.elementwise(b.scalar(math.pi, x), angle, "sub"), angle)
    return b.select(_is_negative(b, y), b.unary(angle, "neg"), angle)


def _slope(b: LayerBuilder, y: Value, x: Value) -> Value:
    """``|y / x|``, 0 for two zeros and 1 for two infinities."""
    x, y = b.unary(x, "abs"), b.unary(y, "abs")
    zeros = b.elementwise(_is_zero(b, x), _is_zero(b, y), "and")
    infinities = b.elementwise(b.unary(x, "isinf"), b.unary(y, "isinf"), "and")
    slope = b.select(zeros, b.scalar(0, x), b.elementwise(y, x, "div"))
    return b.select(infinities, b.scalar(1, x), slope)


def _is_zero(b: LayerBuilder, x: Value) -> Value:
    return b.elementwise(x, b.scalar(0, x), "equal")


def _is_negative(b: LayerBuilder, x: Value) -> Value:
    """Whether the sign bit is set: -0 has a negative reciprocal."""
    signed = b.select(_is_zero(b, x), b.unary(x, "recip"), x)
    return b.elementwise(signed, b.scalar(0, x), "less")


# -- comparison ------------------------------------------------------------------------------------------------------


def _not_equal(b: LayerBuilder, x: Value, y: Value) -> Value:
    require(b, COMPARABLE, x, y)
    return b.unary(b.elementwise(x, y, "equal"), "not")


def _or_equal(operation: str) -> Function:
    """Not the negation of the opposite, which would be true for NaN."""

    def apply(b: LayerBuilder, x: Value, y: Value) -> Value:
        require(b, NUMBERS, x, y)
        return b.elementwise(b.elementwise(x, y, operation), b.elementwise(x, y, "equal"), "or")

    return apply


FUNCTIONS: dict[str, Function] = {
    "Add": _layer("sum"),
    "AddV2": _layer("sum"),
    "Sub": _layer("sub"),
    "Mul": _layer("prod"),
    "Div": _layer("div"),
    "RealDiv": _layer("div", FLOATS),
    "TruncateDiv": _layer("div", INTEGERS),
    "FloorDiv": _floor_div,
    "FloorMod": _floor_mod,
    "Mod": _truncated_mod,
    "TruncateMod": _truncated_mod,
    "DivNoNan": _zero_where(_second, _layer("div")),
    "MulNoNan": _zero_where(_second, _layer("prod")),
    "Xdivy": _zero_where(_first, _layer("div")),
    "Xlogy": _zero_where(_first, _times(_log)),
    "Xlog1py": _zero_where(_first, _times(log1p)),
    "Maximum": _layer("max"),
    "Minimum": _layer("min"),
    "Pow": _pow,
    "SquaredDifference": _squared_difference,
    "Equal": _layer("equal", COMPARABLE),
    "NotEqual": _not_equal,
    "Less": _layer("less"),
    "LessEqual": _or_equal("less"),
    "Greater": _layer("greater"),
    "GreaterEqual": _or_equal("greater"),
    "LogicalAnd": _layer("and", BOOLS),
    "LogicalOr": _layer("or", BOOLS),
}
"""TF ops of arguments ``x`` and ``y``."""

_BITS = "TensorRT has no operations on bits"
REFUSED = ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift", "NextAfter")
"""TF ops that have a reason instead of layers."""


def _named(op: str, function: Function) -> Converter:
    def convert_binary(b: LayerBuilder, x: Operand, y: Operand) -> Value:
        return function(b, x, y)

    convert_binary.__doc__ = inspect.getdoc(function) or f"{op} with broadcasting."
    return converter(op)(convert_binary)


@converter("Atan2")
def convert_atan2(b: LayerBuilder, y: Operand, x: Operand) -> Value:
    """The angle of (x, y) in all four quadrants, with signed zeros and infinities as C has them."""
    return _atan2(b, y, x)


@converter("ApproximateEqual")
def convert_approximate_equal(b: LayerBuilder, x: Operand, y: Operand, *, tolerance: float) -> Value:
    """``|x - y| < tolerance``."""
    require(b, FLOATS, x, y)
    distance = b.unary(b.elementwise(x, y, "sub"), "abs")
    return b.elementwise(distance, b.scalar(tolerance, distance), "less")


@converter("AddN")
def convert_add_n(b: LayerBuilder, inputs: Operands) -> Value:
    """The sum of tensors of one shape, left to right."""
    require(b, NUMBERS, *inputs)
    total = inputs[0]
    for x in inputs[1:]:
        total = b.elementwise(total, x, "sum")
    return total


CONVERTERS: tuple[Converter, ...] = (
    *(_named(op, function) for op, function in FUNCTIONS.items()),
    never(_BITS, *REFUSED),
    convert_atan2, convert_approximate_equal, convert_add_n,
)  # fmt: skip
