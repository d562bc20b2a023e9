"""The shipped rules: the ops that are sensitive, constants, whole numbers, measured ranges.

The table of sensitive ops is the consensus of automatic mixed precision (Micikevicius et al. 2018, and the float32 lists of its
implementations): what has an exponential, a logarithm or a power in it, what normalises, and what adds up much. TensorRT fuses
the casts around such layers into their kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from tfgraphopt.ir import DType, Node, Value, constant_of
from tfgraphopt_precision.rules import Objection, PrecisionRule, Surroundings
from tfgraphopt_precision.slots import slots_of, values_of

_MOSTLY = 0.5

# -- sensitive ops -------------------------------------------------------------------------------------------------------

_UNARY: Mapping[str, Objection] = MappingProxyType(
    {
        "exp": Objection("exponentials overflow early and magnify errors of their argument"),
        "log": Objection("logarithms of numbers near zero, which are rounded away"),
        "sinh": Objection("an exponential"),
        "cosh": Objection("an exponential"),
        "tan": Objection("unbounded near its poles"),
        "atanh": Objection("unbounded near one"),
        "recip": Objection("division by what may be small", 2.0),
        "sqrt": Objection("roots of numbers near zero, which are rounded away", 1.0),
        "acosh": Objection("a logarithm", 2.0),
        "asinh": Objection("a logarithm", 2.0),
    }
)
_WHOLE_LAYERS: Mapping[str, Objection] = MappingProxyType(
    {
        "trt.softmax": Objection("softmax: exponentials and their sum"),
        "trt.normalization": Objection("a normalisation: squares and their sum"),
        "trt.lrn": Objection("a normalisation: squares and their sum"),
        "trt.cumulative": Objection("a cumulative sum: errors add up along it"),
        "trt.nms": Objection("coordinates and thresholds of boxes"),
        "trt.grid_sample": Objection("coordinates finer than a pixel", 1.0),
    }
)


def _unary(node: Node, around: Surroundings) -> Objection | None:
    return _UNARY.get(str(node.attrs["operation"]))


def _whole_layer(node: Node, around: Surroundings) -> Objection | None:
    return _WHOLE_LAYERS[node.op]


def _binary(node: Node, around: Surroundings) -> Objection | None:
    operation = node.attrs["operation"]
    if operation == "pow":
        return Objection("a power")
    if operation in ("div", "floor_div") and constant_of(node.inputs[1]) is None:
        return Objection("division by what may be small", 2.0)
    return _square(node, around) if operation == "prod" else None


def _square(node: Node, around: Surroundings) -> Objection | None:
    """Squares that are added up: the variance of a normalisation written in single ops, or the square of a norm."""
    summed = any(u.op == "trt.reduce" and u.attrs["operation"] in ("sum", "avg") for u in node.users)
    if node.inputs[0] is node.inputs[1] and summed:
        return Objection("squares that are added up (a variance or a norm)")
    return None


def _reduce(node: Node, around: Surroundings) -> Objection | None:
    operation = node.attrs["operation"]
    if operation in ("max", "min"):
        return None
    if operation == "prod":
        return Objection("a product of many numbers")
    source = node.inputs[0].producer
    if source is not None and _is_square(source):
        return Objection("squares that are added up (a variance or a norm)")
    if any(
        u.op == "trt.elementwise" and u.attrs["operation"] == "sub" and node.inputs[0] in u.inputs for u in node.users
    ):
        return Objection("the mean of a normalisation, subtracted from what it is the mean of")
    if not around.is_deeper(node, around.max_reduce_depth):
        return None
    return Objection(f"it adds up more than {around.max_reduce_depth} numbers", None if operation == "sum" else 2.0)


def _is_square(node: Node) -> bool:
    return node.op == "trt.elementwise" and node.attrs["operation"] == "prod" and node.inputs[0] is node.inputs[1]


def _product(node: Node, around: Surroundings) -> Objection | None:
    """Off unless the caller sets a limit: the sums of products are kept in float32."""
    limit = around.max_product_depth
    return (
        Objection(f"it adds up more than {limit} products")
        if limit is not None and around.is_deeper(node, limit)
        else None
    )


# -- numbers that the type does not hold ---------------------------------------------------------------------------------


def _constants(node: Node, around: Surroundings) -> Objection | None:
    for tensor in around.constants(node):
        if around.mode.overflows(tensor):
            return Objection(
                f"a constant of it is beyond {around.mode.largest:g}, the largest {around.mode.dtype.tf_name}"
            )
    return None


_MOVING = frozenset(
    f"trt.{name}"
    for name in ("reshape", "transpose", "squeeze", "unsqueeze", "slice", "concatenation", "gather", "identity")
)
_FAR = 4
"""How many layers back a large number is looked for."""


def _large_operands(node: Node, around: Surroundings) -> Objection | None:
    """What reads the result of an exponential or a sum of squares, or a mask of the kind ``(1 - mask) * -1e9``.

    Such numbers are computed in float32 because they may be large; rounded to float16 they would become infinite after all.
    """
    large = next((node.inputs[i] for i in slots_of(node).inputs if _may_be_large(node.inputs[i], around, _FAR)), None)
    return None if large is None else Objection(f"%{large.name} may be larger than {around.mode.largest:g}")


def _may_be_large(value: Value, around: Surroundings, far: int) -> bool:
    node = value.producer
    if node is None or not far or around.mode.largest > _WIDE:
        return False
    if _has_large_constant(node, around) or _is_growing(node, around):
        return True
    adding = node.op == "trt.elementwise" and node.attrs["operation"] in ("sum", "sub")
    return (adding or node.op in _MOVING) and any(
        _may_be_large(v, around, far - 1) for v in node.inputs if v.dtype.is_floating
    )


_WIDE = 1e30
"""A type that holds this holds what float32 does."""


def _has_large_constant(node: Node, around: Surroundings) -> bool:
    arithmetic = node.op == "trt.elementwise" and node.attrs["operation"] in ("sum", "sub", "prod")
    return (arithmetic or node.op == "trt.select") and any(around.mode.overflows(t) for t in around.constants(node))


def _is_growing(node: Node, around: Surroundings) -> bool:
    operation = node.attrs.get("operation")
    if node.op == "trt.reduce" and operation in ("sum", "avg"):
        source = node.inputs[0].producer
        squares = source is not None and _is_square(source)
        return squares or (operation == "sum" and around.is_deeper(node, around.max_reduce_depth))
    return (node.op, operation) in _GROWING or node.op == "trt.cumulative"


_GROWING = frozenset(
    {
        ("trt.unary", "exp"),
        ("trt.unary", "sinh"),
        ("trt.unary", "cosh"),
        ("trt.unary", "tan"),
        ("trt.elementwise", "pow"),
    }
)


def _small_constants(node: Node, around: Surroundings) -> Objection | None:
    for tensor in around.constants(node):
        if around.mode.vanishing(tensor) > _MOSTLY:
            least = f"{around.mode.smallest:.3g}, the smallest normal {around.mode.dtype.tf_name}"
            return Objection(f"its constants are mostly below {least}")
    return None


def _parameters(node: Node, around: Surroundings) -> Objection | None:
    """Numbers among the attributes (bounds of a clip, slopes)."""
    numbers = [v for v in node.attrs.values() if isinstance(v, float) and math.isfinite(v)]
    if any(abs(v) > around.mode.largest for v in numbers):
        return Objection(
            f"a parameter of it is beyond {around.mode.largest:g}, the largest {around.mode.dtype.tf_name}"
        )
    return None


_WIDE_INTEGERS = frozenset({DType.INT32, DType.INT64})


def _whole_numbers(node: Node, around: Surroundings) -> Objection | None:
    """Casts between integers that count or point and floating-point numbers."""
    source, result = node.inputs[0].dtype, node.outputs[0].dtype
    if source in _WIDE_INTEGERS or (source is DType.UINT8 and around.mode.whole < 256):
        return Objection(f"whole numbers beyond {around.mode.whole} are not exact in {around.mode.dtype.tf_name}")
    if source.is_floating and result.is_floating and source is not DType.FLOAT and source is not around.mode.dtype:
        return Objection(f"the model computes its operand in {source.tf_name}")
    return None


def _measured(node: Node, around: Surroundings) -> Objection | None:
    for value in values_of(node, slots_of(node)):
        seen = around.range_of(value)
        if seen is not None and seen.absmax > around.limit:
            return Objection(f"%{value.name} reaches {seen.absmax:.4g} on the sample data (limit {around.limit:g})")
        if seen is not None and 0 < seen.absmax < around.mode.smallest:
            return Objection(f"%{value.name} stays below {seen.absmax:.4g} on the sample data")
    return None


RULES: tuple[PrecisionRule, ...] = (
    PrecisionRule("large-constants", _constants, final=True),
    PrecisionRule("large-operands", _large_operands),
    PrecisionRule("small-constants", _small_constants),
    PrecisionRule("large-parameters", _parameters, final=True),
    PrecisionRule("measured-range", _measured),
    PrecisionRule("whole-numbers", _whole_numbers, ("trt.cast",)),
    PrecisionRule("sensitive-unary", _unary, ("trt.unary",)),
    PrecisionRule("sensitive-binary", _binary, ("trt.elementwise",)),
    PrecisionRule("sensitive-layer", _whole_layer, tuple(_WHOLE_LAYERS)),
    PrecisionRule("reduction-depth", _reduce, ("trt.reduce",)),
    PrecisionRule(
        "product-depth", _product, ("trt.convolution", "trt.deconvolution", "trt.matrix_multiply", "trt.einsum")
    ),
)
