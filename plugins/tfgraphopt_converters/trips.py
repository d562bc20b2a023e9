"""How often a loop runs, read off its condition: counters that rise by one and limits that do not change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from tfgraphopt.ir import DType, Value, constant_of
from tfgraphopt_converters import sizes
from tfgraphopt_converters.sizes import Size
from tfgraphopt_trt.builder import LayerBuilder
from tfgraphopt_trt.scopes import Scope


@attrs.frozen(slots=True, eq=False)
class Limit:
    """``counter < limit``, or ``counter <= limit``: the counter starts at ``start``."""

    start: int | Value
    limit: int | Value
    included: bool = False


@attrs.frozen(slots=True, eq=False)
class Trips:
    """The number of trips of a loop.

    Attributes:
        size: the number.
        limits: what it is the smallest of.
        counters: states of the body that count the trips, and the number that each starts with, if it is known.
    """

    size: Size
    limits: tuple[Limit, ...]
    counters: dict[Value, int | None]

    def scalar(self, b: LayerBuilder) -> Value:
        """The number as a tensor without dimensions."""
        return sizes.scalar_of(b, self.size, DType.INT64)

    def start_of(self, value: Value) -> int | None:
        """What ``value`` is in the first trip, when it rises by one with each."""
        return self.counters.get(value)

    def is_limit(self, count: int | Value) -> bool:
        """Whether there are exactly ``count`` trips."""
        return all(m.start == 0 and _same(m.limit, count) and not m.included for m in self.limits)


def _same(a: int | Value, b: int | Value) -> bool:
    return a is b or (isinstance(a, int) and a == b)


def count(
    b: LayerBuilder, initial: Sequence[Value], states: Sequence[Value], following: Sequence[Value], condition: Scope
) -> Trips | None:
    """The number of trips, or None when the condition compares something else than counters with limits.

    Args:
        b: writes the number.
        initial: the states before the loop.
        states: the states in the body.
        following: what the body makes of them.
        condition: the condition, closed.
    """
    rising = [i for i, (s, f) in enumerate(zip(states, following, strict=True)) if _rises(s, f)]
    starts = {i: _number(initial[i]) for i in rising}
    found = []
    for compared in _conjuncts(condition.graph.outputs[0]):
        limit = None if compared is None else _limit(*compared, initial, starts, condition)
        if limit is None:
            return None
        found.append(limit)
    if not found:
        return None
    unique = [x for i, x in enumerate(found) if not any(_equal(x, y) for y in found[:i])]
    number = _distance(b, unique[0])
    for limit in unique[1:]:
        number = sizes.smallest(b, number, _distance(b, limit))
    counters = {states[i]: start for i, start in starts.items()}
    return Trips(sizes.largest(b, number, 0), tuple(unique), counters)


def _equal(a: Limit, b: Limit) -> bool:
    return _same(a.start, b.start) and _same(a.limit, b.limit) and a.included is b.included


def _distance(b: LayerBuilder, limit: Limit) -> Size:
    high, low = (v if isinstance(v, int) else sizes.elements(b, v)[0] for v in (limit.limit, limit.start))
    return sizes.subtract(b, sizes.add(b, high, int(limit.included)), low)


def _rises(state: Value, following: Value) -> bool:
    node = following.producer
    if node is None or node.op != "trt.elementwise" or node.attrs["operation"] != "sum" or not state.dtype.is_integer:
        return False
    others = [v for v in node.inputs if v is not state]
    return state.shape.rank == 0 and len(others) == 1 and _number(others[0]) == 1


def _number(value: Value) -> int | None:
    tensor = constant_of(value)
    return int(tensor.item()) if tensor is not None and tensor.num_elements == 1 else None


def _conjuncts(truth: Value) -> Iterator[tuple[Value, Value, bool] | None]:
    """The parts of a conjunction as (a, b, False) for ``a < b`` and (a, b, True) for ``a <= b``; None for a part of another form.

    What is always true is left out.
    """
    node = truth.producer
    tensor = constant_of(truth)
    if tensor is not None and bool(tensor.item()):
        return
    operation = node.attrs["operation"] if node is not None and node.op == "trt.elementwise" else None
    if node is not None and operation == "and":
        for part in node.inputs:
            yield from _conjuncts(part)
    else:
        yield _ordered(truth)


def _ordered(truth: Value) -> tuple[Value, Value, bool] | None:
    node = truth.producer
    if node is None or node.op != "trt.elementwise":
        return None
    if node.attrs["operation"] in _ORDERS:
        low, high = (node.inputs[i] for i in _ORDERS[str(node.attrs["operation"])])
        return low, high, False
    strict, equal = (v.producer for v in node.inputs)
    if node.attrs["operation"] != "or" or strict is None or equal is None or equal.attrs.get("operation") != "equal":
        return None
    found = _ordered(node.inputs[0])
    return None if found is None or set(strict.inputs) != set(equal.inputs) else (found[0], found[1], True)


_ORDERS = {"less": (0, 1), "greater": (1, 0)}


def _limit(
    low: Value, high: Value, included: bool, initial: Sequence[Value], starts: dict[int, int | None], condition: Scope
) -> Limit | None:
    index = next((i for i, s in enumerate(condition.states) if s is low), None)
    number, outer = _number(high), condition.outside(high)
    if index is None or index not in starts or (number is None and outer is None):
        return None
    start = starts[index]
    limit: int | Value | None = outer if number is None else number
    assert limit is not None
    return Limit(initial[index] if start is None else start, limit, included)
