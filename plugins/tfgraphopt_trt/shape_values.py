"""What is known of the elements of shape tensors (integers of rank 0 or 1) without running anything.

TensorRT computes shapes on the host while it infers them, so a reshape to ``[shape(x)[0], 3, 4]`` has two known
dimensions for it, and must have them for us.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfgraphopt.ir import Attrs, Dim, DType, Tensor, Value

Values = tuple[int | None, ...]
MAX_ELEMENTS = 256
_INTEGERS: Mapping[DType, int] = {DType.INT32: 31, DType.INT64: 63}


def known_values(value: Value) -> Values | None:
    """The elements of ``value``, None for each that is not known; None when not even their number is.

    A scalar gives one element. Only int32 and int64 tensors of rank 0 and 1 are looked at.
    """
    return _Evaluator().values(value)


def is_computed_early(value: Value | None) -> bool:
    """Whether ``value`` depends on constants and dimensions only, so that TensorRT knows it before an engine runs."""
    waiting, seen = [value], set()
    while waiting:
        one = waiting.pop()
        if one is None or one.producer is None:
            return False
        if one.producer.op != "trt.shape" and one not in seen:
            seen.add(one)
            waiting.extend(one.producer.inputs)
    return True


class _Evaluator:
    """Walks from a value to what it is computed from; each value is looked at once."""

    def __init__(self) -> None:
        self._found: dict[Value, Values | None] = {}

    def values(self, value: Value) -> Values | None:
        if value not in self._found:
            self._found[value] = None  # no answer while it is being looked for
            self._found[value] = self._compute(value)
        return self._found[value]

    def _compute(self, value: Value) -> Values | None:
        count = _count(value)
        if count is None or value.dtype not in _INTEGERS:
            return None
        unknown: Values = (None,) * count
        rule = None if value.producer is None else _RULES.get(value.producer.op)
        if rule is None or value.producer is None:
            return unknown
        found = rule(self, value.producer.inputs, value.producer.attrs)
        if found is None or len(found) != count:
            return unknown
        limit = 1 << _INTEGERS[value.dtype]
        return tuple(v if v is not None and -limit <= v < limit else None for v in found)


def _count(value: Value) -> int | None:
    dims = value.shape.dims
    if dims is None or len(dims) > 1:
        return None
    count = dims[0] if dims else 1
    return count if count is not None and count <= MAX_ELEMENTS else None


def _constant(found: _Evaluator, inputs: Sequence[Value], attrs: Attrs) -> Values | None:
    tensor = attrs.get("value")
    return tuple(int(v) for v in tensor.numpy().reshape(-1)) if isinstance(tensor, Tensor) else None


def _shape(found: _Evaluator, inputs: Sequence[Value], attrs: Attrs) -> Values | None:
    return inputs[0].shape.dims


def _same(found: _Evaluator, inputs: Sequence[Value], attrs: Attrs) -> Values | None:
    """Casts and reshapes between rank 0 and 1 keep the elements (``_compute`` checks their number and range)."""
    return found.values(inputs[0])


def _concatenation(found: _Evaluator, inputs: Sequence[Value], attrs: Attrs) -> Values | None:
    parts = [found.values(v) for v in inputs]
    if any(p is None for p in parts):
        return None
    return tuple(v for p in parts if p is not None for v in p)


def _gather(found: _Evaluator, inputs: Sequence[Value], attrs: Attrs) -> Values | None:
    values, indices = found.values(inputs[0]), found.values(inputs[1])
    if values is None or indices is None or attrs.get("mode") != "default" or attrs.get("batch_dims"):
        return None
    return tuple(None if i is None or not 0 <= i < len(values) else values[i] for i in indices)


def _slice(found: _Evaluator, inputs: Sequence[Value], attrs: Attrs) -> Values | None:
    values = found.values(inputs[0])
    start, size, stride = (_one(slice_numbers(found.values, inputs, attrs, n)) for n in ("start", "size", "stride"))
    if values is None or start is None or size is None or stride is None or attrs.get("mode") != "strict_bounds":
        return None
    places = [start + i * stride for i in range(size)]
    return tuple(values[p] if 0 <= p < len(values) else None for p in places)


def _one(values: Values | None) -> int | None:
    return values[0] if values is not None and len(values) == 1 else None


def slice_numbers(
    find: Callable[[Value], Values | None], inputs: Sequence[Value], attrs: Attrs, name: str
) -> Values | None:
    """``start``, ``size`` or ``stride`` of a trt.slice as far as known, wherever it comes from."""
    names: Any = attrs["operands"]
    if name in names:
        return find(inputs[1 + names.index(name)])
    given: Any = attrs[name]
    return None if given is None else tuple(given)


def _truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_ARITHMETIC: Mapping[str, Callable[[int, int], int | None]] = {
    "sum": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "prod": lambda a, b: a * b,
    "max": max,
    "min": min,
    "div": lambda a, b: _truncated(a, b) if b else None,
    "floor_div": lambda a, b: a // b if b else None,
}


def _elementwise(found: _Evaluator, inputs: Sequence[Value], attrs: Attrs) -> Values | None:
    operation = _ARITHMETIC.get(str(attrs["operation"]))
    a, b = found.values(inputs[0]), found.values(inputs[1])
    if operation is None or a is None or b is None:
        return None
    count = len(b) if len(a) == 1 else len(a)
    pairs = zip(a * count if len(a) == 1 else a, b * count if len(b) == 1 else b, strict=False)
    return tuple(None if x is None or y is None else operation(x, y) for x, y in pairs)


_REDUCTIONS: Mapping[str, Callable[[Sequence[int]], int]] = {"sum": sum, "prod": math.prod, "max": max, "min": min}


def _reduce(found: _Evaluator, inputs: Sequence[Value], attrs: Attrs) -> Values | None:
    operation, values = _REDUCTIONS.get(str(attrs["operation"])), found.values(inputs[0])
    if operation is None or not values:
        return None
    known = [v for v in values if v is not None]
    return (operation(known),) if len(known) == len(values) else (None,)


_Rule = Callable[[_Evaluator, Sequence[Value], Attrs], "tuple[Dim, ...] | None"]
_RULES: Mapping[str, _Rule] = {
    "trt.constant": _constant,
    "trt.shape": _shape,
    "trt.identity": _same,
    "trt.cast": _same,
    "trt.squeeze": _same,
    "trt.unsqueeze": _same,
    "trt.reshape": _same,
    "trt.concatenation": _concatenation,
    "trt.gather": _gather,
    "trt.slice": _slice,
    "trt.elementwise": _elementwise,
    "trt.reduce": _reduce,
}
