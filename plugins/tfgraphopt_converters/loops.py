"""Writing a While as a loop: which variables change, how often it runs, what it iterates over and what it stacks."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from tfgraphopt.ir import Graph, TensorType, Value, constant_of
from tfgraphopt_converters import sizes, trips
from tfgraphopt_converters.sizes import Cut
from tfgraphopt_converters.tensor_lists import Collected, Collecting, Reserved, Stacked, count_of, stacked
from tfgraphopt_converters.trips import Trips
from tfgraphopt_converters.truth import truth_of
from tfgraphopt_trt.builder import LayerBuilder, Unsupported
from tfgraphopt_trt.converter import Argument
from tfgraphopt_trt.scopes import Scope


def convert_loop(b: LayerBuilder, arguments: Sequence[Argument], condition: Graph, body: Graph) -> list[Argument]:
    """The final variables of ``while condition(variables): variables = body(variables)``.

    Lists that the loop only writes are stacked by it. When that does not work, they are carried along as tensors, if the shape of
    their elements is known.

    Raises:
        Unsupported: with the reason.
    """
    try:
        return _Loop(b, tuple(arguments), condition, body).convert()
    except Unsupported as reason:
        changed = _changed(body)
        lists = [i for i in changed if isinstance(arguments[i], Reserved)]
        if not lists:
            raise
        try:
            carried = {i: Stacked(stacked(b, arguments[i])) for i in lists}
            given = tuple(carried.get(i, a) for i, a in enumerate(arguments))
            return _Loop(b, given, condition, body).convert()
        except Unsupported:
            raise reason from None


def _changed(body: Graph) -> list[int]:
    """The variables that ``body`` does not hand on as they are."""
    pairs = enumerate(zip(body.inputs, body.outputs, strict=True))
    return [i for i, (given, returned) in pairs if _forwarded(returned) is not given]


def _forwarded(value: Value) -> Value:
    while value.producer is not None and value.producer.op in ("Identity", "IdentityN"):
        value = value.producer.inputs[value.index]
    return value


@attrs.define(slots=True, eq=False)
class _Loop:
    """One While while it is converted; variables are numbered as in TensorFlow, states as in the layer."""

    b: LayerBuilder
    arguments: tuple[Argument, ...]
    condition: Graph
    body: Graph
    states: list[int] = attrs.field(factory=list)
    stacks: list[Value] = attrs.field(factory=list)

    def convert(self) -> list[Argument]:
        changed = _changed(self.body)
        self.states = [i for i in changed if not isinstance(self.arguments[i], Reserved)]
        initial = [_tensor(self.arguments[i]) for i in self.states]
        types = [v.type for v in initial]
        body = Scope.open(self.b, "body", types)
        results = self.b.functions.write(self.body, self._variables(body, changed), body.graph)
        following = [_tensor(results[i]) for i in self.states]
        for variable, formal, value in zip(self.states, body.states, following, strict=True):
            _check_state(self.body.inputs[variable].name, formal.type, value.type)
        condition = Scope.open(self.b, "condition", types, list(body.captured))
        (truth,) = self.b.functions.write(self.condition, self._variables(condition, changed), condition.graph)
        if not isinstance(truth, Value):
            raise Unsupported("its condition is a list of tensors")
        asked = condition.close([truth_of(condition.builder, truth)])
        body.share(list(condition.captured))
        known = trips.count(self.b, initial, body.states, following, condition)
        makers = {i: self._list(results[i], following, known) for i in changed if i not in self.states}
        graph = body.close([*following, *self.stacks])
        iterated = [_taken(self.b, v, known) for v in _iterate(body, known)] if known is not None else []
        made = self.b.loop(
            graph, initial, list(body.captured), iterated, trips=None if known is None else known.scalar(self.b),
            condition=asked,
        )  # fmt: skip
        final = dict(zip(self.states, made, strict=False))
        return [self._result(i, final, made, makers) for i in range(len(self.arguments))]

    def _variables(self, scope: Scope, changed: Sequence[int]) -> list[Argument]:
        """What stands for each variable in a body."""
        states = dict(zip(self.states, scope.states, strict=True))
        return [self._variable(i, a, scope, states, changed) for i, a in enumerate(self.arguments)]

    def _variable(
        self, index: int, argument: Argument, scope: Scope, states: dict[int, Value], changed: Sequence[int]
    ) -> Argument:
        if index in states:
            return states[index] if isinstance(argument, Value) else Stacked(states[index])
        if isinstance(argument, Reserved) and index in changed:
            return Collecting(argument)
        return scope.enter(argument)

    def _result(
        self, index: int, final: dict[int, Value], made: Sequence[Value], makers: dict[int, _Written | None]
    ) -> Argument:
        if index in final:
            return final[index] if isinstance(self.arguments[index], Value) else Stacked(final[index])
        maker = makers.get(index)
        return self.arguments[index] if maker is None else Stacked(maker.elements(self.b, made, len(self.states)))

    # -- lists that are written --------------------------------------------------------------------------------------

    def _list(self, result: Argument, following: Sequence[Value], known: Trips | None) -> _Written | None:
        """How the elements of a list follow from what the loop gives; None for one that is not written at all."""
        if isinstance(result, Collecting):
            return None
        if not isinstance(result, Collected):
            raise Unsupported("the loop replaces a list by another one")
        if known is None:
            raise Unsupported("it writes a list, and only its condition knows the number of its trips")
        place = constant_of(result.index) if result.index is not None else None
        if place is not None:
            state = next((i for i, v in enumerate(following) if v is result.item), None)
            return _Written(
                result.source, known, int(place.item()), state, -1 if state is not None else self._stack(result)
            )
        start = 0 if result.index is None else known.start_of(result.index)
        if start is None:
            raise Unsupported("it writes a list at places that do not count its trips")
        if result.index is None and result.source.count != 0:
            raise Unsupported("it appends to a list that has elements")
        return _Written(
            result.source, known, start, None, self._stack(result), appended=result.index is None, rows=True
        )

    def _stack(self, result: Collected) -> int:
        self.stacks.append(result.item)
        return len(self.stacks) - 1


@attrs.frozen(slots=True)
class _Written:
    """A list after the loop.

    Attributes:
        source: the list before it.
        known: the trips.
        start: where the first (or only) write went.
        state: the state that is written each trip, all to one place.
        stack: which stacked result holds what was written.
        appended: whether the list grew by each write.
        rows: whether each write went one place further.
    """

    source: Reserved
    known: Trips
    start: int
    state: int | None
    stack: int
    appended: bool = False
    rows: bool = False

    def elements(self, b: LayerBuilder, made: Sequence[Value], states: int) -> Value:
        """The elements, from what the loop made."""
        if self.rows:
            rows = made[states + self.stack]
            whole = self.appended or (self.start == 0 and self.known.is_limit(self.source.count))
            return rows if whole else self._placed(b, rows)
        if self.state is not None:
            last = made[self.state]
        else:
            last = sizes.take(b, made[states + self.stack], 0, sizes.subtract(b, self.known.size, 1))
        row = b.unsqueeze(last, (0,))
        return row if self.source.count == 1 and self.start == 0 else self._placed(b, row)

    def _placed(self, b: LayerBuilder, rows: Value) -> Value:
        """``rows`` from place ``start`` on, and zeros where nothing was written."""
        zero = b.constant(np.zeros((), rows.dtype.np), rows.dtype)
        return sizes.cut(b, rows, {0: Cut(-self.start, count_of(b, self.source))}, "fill", zero)


def _tensor(argument: Argument) -> Value:
    if isinstance(argument, Value):
        return argument
    if isinstance(argument, Stacked):
        return argument.elements
    raise Unsupported("the loop makes a list of one that it does not only write")


def _check_state(name: str, before: TensorType, after: TensorType) -> None:
    if before.dtype is not after.dtype or not before.shape.compatible(after.shape):
        raise Unsupported(f"%{name} is {before} before a trip and {after} after it; TensorRT's loops keep shapes")


def _taken(b: LayerBuilder, elements: Value, known: Trips) -> Value:
    """As many slices as there are trips: TensorRT takes it that a loop iterates over the whole of a tensor."""
    return sizes.cut(b, elements, {0: Cut(0, known.size)})


def _iterate(body: Scope, known: Trips) -> list[Value]:
    """Let the loop iterate over captured tensors of which the body reads slice after slice; those tensors."""
    found: dict[Value, Value] = {}
    for node in body.graph:
        if node.op != "trt.gather" or node.attrs["axis"] or node.attrs["batch_dims"] or node.attrs["mode"] != "default":
            continue
        outer = body.outside(node.inputs[0])
        if outer is None or known.start_of(node.inputs[1]) != 0:
            continue
        if outer not in found:
            found[outer] = body.graph.add_input(f"{node.name}/slice", node.output.type)
        node.output.replace_uses(found[outer])
        body.graph.erase(node)
    return list(found)
