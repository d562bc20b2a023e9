"""Loops and conditionals: layers that own the graphs they run, as TensorRT's ILoop and IIfConditional."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs as attrs_

from tfgraphopt.ir import Attrs, Body, Graph, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.rules import INDICES, check, check_arity, dims_of, flag, integer, typed
from tfgraphopt_trt.shape_values import is_computed_early, known_values

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

LOOP = "trt.loop"
CONDITIONAL = "trt.conditional"


def body_graph(attrs: Attrs, name: str) -> Graph:
    """The graph of attribute ``name``; LayerError when it holds none."""
    body = attrs.get(name)
    check(isinstance(body, Body), f"{name} is {type(body).__name__}, not the body of a loop or conditional")
    assert isinstance(body, Body)
    return body.graph


def _check_formals(what: str, body: Graph, operands: Sequence[TensorType]) -> None:
    check(len(body.inputs) == len(operands), f"{what} takes {len(body.inputs)} tensors, not {len(operands)}")
    for formal, actual in zip(body.inputs, operands, strict=True):
        fits = formal.dtype is actual.dtype and formal.shape.rank == actual.rank
        check(fits and formal.shape.compatible(actual.shape), f"{what} takes {formal.type} and gets {actual}")


def _check_truth(what: str, value: Value) -> None:
    check(value.dtype.text == "bool" and value.shape.dims == (), f"{what} is {value.type}, not one truth value")


# -- conditional -----------------------------------------------------------------------------------------------------


def _infer_conditional(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check(bool(inputs), "a conditional has no condition")
    _check_truth("the condition", inputs[0])
    then, otherwise = body_graph(attrs, "then"), body_graph(attrs, "otherwise")
    for branch in (then, otherwise):
        _check_formals("a branch", branch, [v.type for v in inputs[1:]])
    check(len(then.outputs) == len(otherwise.outputs), "the branches of a conditional differ in their results")
    return [_either(a, b) for a, b in zip(then.outputs, otherwise.outputs, strict=True)]


def _either(a: Value, b: Value) -> TensorType:
    """What is known of a tensor that is one of two."""
    known, other = dims_of(a), dims_of(b)
    fits = a.dtype is b.dtype and len(known) == len(other)
    check(fits, f"the branches of a conditional give {a.type} and {b.type}")
    return typed(a.dtype, [x if x == y else None for x, y in zip(known, other, strict=True)])[0]


def _mean_conditional(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    then, otherwise = attrs["then"], attrs["otherwise"]
    assert callable(then)
    assert callable(otherwise)
    return list(tf.cond(inputs[0], lambda: then(*inputs[1:]), lambda: otherwise(*inputs[1:])))


def _emit_conditional(e: Emitter, node: Node) -> Sequence[Any]:
    """Operands enter by input layers: what depends on those is run for its branch only.

    TensorRT for RTX 1.7 builds no loop or conditional that reads an input layer (internal errors in its scope analysis and in
    Myelin), so branches that have one are computed beforehand, both of them.
    """
    condition, *operands = node.inputs
    branches = [body_graph(node.attrs, name) for name in ("then", "otherwise")]
    lazy = not any(n.op in (LOOP, CONDITIONAL) for body in branches for n in body)
    conditional = e.network.add_if_conditional()
    conditional.name = node.name
    e.add(conditional.set_condition(e.tensor(condition)))
    results = []
    for body in branches:
        tensors = [e.tensor(v) for v in operands]
        entered = [e.add(conditional.add_input(t)).get_output(0) for t in tensors] if lazy else tensors
        results.append(e.body(body, entered))
    pairs = zip(*results, strict=True)
    return [e.add(conditional.add_output(then, otherwise)).get_output(0) for then, otherwise in pairs]


# -- loop ------------------------------------------------------------------------------------------------------------


@attrs_.frozen(slots=True)
class LoopParts:
    """The operands of a loop by what they are: ``things`` are values, tensors or types, in the order of the node's inputs."""

    trips: Any
    states: Sequence[Any]
    captured: Sequence[Any]
    iterated: Sequence[Any]

    @classmethod
    def of(cls, things: Sequence[Any], attrs: Attrs) -> LoopParts:
        """The parts of ``things``; LayerError when there are too few of them."""
        states, iterated, counted = integer(attrs, "states"), integer(attrs, "iterated"), flag(attrs, "counted")
        check(len(things) >= states + iterated + counted, f"a loop of {states} states has {len(things)} operands")
        rest = list(things[1:] if counted else things)
        end = len(rest) - iterated
        return cls(things[0] if counted else None, rest[:states], rest[states:end], rest[end:])


def _infer_loop(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    parts = LoopParts.of(inputs, attrs)
    body, conditioned = body_graph(attrs, "body"), attrs.get("condition") is not None
    check(parts.trips is not None or conditioned, "a loop has neither a number of trips nor a condition")
    if parts.trips is not None:
        check(parts.trips.dtype in INDICES and parts.trips.shape.dims == (), f"the trips are {parts.trips.type}")
    slices = [TensorType(v.dtype, _sliced(v)[0].shape) for v in parts.iterated]
    carried = [v.type for v in (*parts.states, *parts.captured)]
    _check_formals("the body of a loop", body, [*carried, *slices])
    if conditioned:
        condition = body_graph(attrs, "condition")
        _check_formals("the condition of a loop", condition, carried)
        check_arity(condition.outputs, 1, 1, "the condition of a loop")
        _check_truth("the condition of a loop", condition.outputs[0])
    check(len(body.outputs) >= len(parts.states), f"the body of a loop gives {len(body.outputs)} tensors")
    following, stacked = body.outputs[: len(parts.states)], body.outputs[len(parts.states) :]
    check(not stacked or parts.trips is not None, "TensorRT stacks results of loops with a known number of trips only")
    states = zip(parts.states, body.inputs, following, strict=False)
    return [*(_state(*s) for s in states), *(_stacked(v, parts.trips) for v in stacked)]


def _sliced(value: Value) -> list[TensorType]:
    dims = dims_of(value)
    check(len(dims) > 0, "a loop iterates over a scalar")
    return typed(value.dtype, dims[1:])


def _state(initial: Value, formal: Value, following: Value) -> TensorType:
    """TensorRT's recurrences keep their shape, so each of the three may know something of it."""
    fits = following.dtype is formal.dtype and following.shape.rank == formal.shape.rank
    check(
        fits and following.shape.compatible(formal.shape), f"a state of a loop is {formal.type}, then {following.type}"
    )
    return formal.type.with_shape(formal.shape.merge(initial.shape).merge(following.shape))


def _stacked(value: Value, trips: Value) -> TensorType:
    known = known_values(trips)
    count = known[0] if known else None
    check(count is None or count >= 0, f"a loop of {count} trips")
    return typed(value.dtype, [count, *dims_of(value)])[0]


def _mean_loop(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    parts = LoopParts.of(inputs, attrs)
    body: Any = attrs["body"]
    condition: Any = attrs.get("condition")
    count = len(parts.states)
    trips = None if parts.trips is None else tf.cast(parts.trips, tf.int32)
    stacks = [
        tf.TensorArray(v.dtype.tf_name, trips, element_shape=v.shape.dims, infer_shape=False)
        for v in body.graph.outputs[count:]
    ]
    shapes = [v.shape.dims for v in body.graph.inputs[:count]]

    def goes_on(index: Any, states: Any, stacks: Any) -> Any:
        return condition(*states, *parts.captured)[0] if trips is None else index < trips

    def step(index: Any, states: Any, stacks: Any) -> Any:
        made = body(*states, *parts.captured, *(tf.gather(x, index) for x in parts.iterated))
        following = [tf.ensure_shape(t, s) for t, s in zip(made[:count], shapes, strict=True)]
        return index + 1, following, [s.write(index, t) for s, t in zip(stacks, made[count:], strict=True)]

    invariants = (tf.TensorShape([]), [tf.TensorShape(s) for s in shapes], [tf.TensorShape(None) for _ in stacks])
    initial = (tf.constant(0), list(parts.states), stacks)
    _, final, filled = tf.while_loop(goes_on, step, initial, shape_invariants=invariants)
    return [*final, *(s.stack() for s in filled)]


def _emit_loop(e: Emitter, node: Node) -> Sequence[Any]:
    parts = LoopParts.of(node.inputs, node.attrs)
    body, condition = body_graph(node.attrs, "body"), node.attrs.get("condition")
    loop = e.network.add_loop()
    loop.name = node.name
    recurrences = [e.add(loop.add_recurrence(e.tensor(v))) for v in parts.states]
    carried = [*(r.get_output(0) for r in recurrences), *(e.tensor(v) for v in parts.captured)]
    slices = [e.add(loop.add_iterator(e.tensor(v), 0, False)).get_output(0) for v in parts.iterated]
    counts = condition is None or _needs_count(body, parts) or is_computed_early(parts.trips)
    if counts:
        e.add(loop.add_trip_limit(e.tensor(parts.trips), e.trt.TripLimit.COUNT))
    else:
        (truth,) = e.body(body_graph(node.attrs, "condition"), carried)
        e.add(loop.add_trip_limit(truth, e.trt.TripLimit.WHILE))
    made = e.body(body, [*carried, *slices])
    for recurrence, following in zip(recurrences, made, strict=False):
        recurrence.set_input(1, following)
    final = [e.add(loop.add_loop_output(r.get_output(0), e.trt.LoopOutput.LAST_VALUE)) for r in recurrences]
    stacked = [_stack(e, loop, tensor, parts.trips) for tensor in made[len(recurrences) :]]
    return [layer.get_output(0) for layer in (*final, *stacked)]


def _needs_count(body: Graph, parts: LoopParts) -> bool:
    return bool(parts.iterated) or len(body.outputs) > len(parts.states)


def _stack(e: Emitter, loop: Any, tensor: Any, trips: Value) -> Any:
    layer = loop.add_loop_output(tensor, e.trt.LoopOutput.CONCATENATE, 0)
    layer.set_input(1, e.tensor(trips))
    return e.add(layer)


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        CONDITIONAL,
        _infer_conditional,
        _mean_conditional,
        _emit_conditional,
        {},
        ("condition", "operands"),
        "IIfConditional: what body ``then`` computes of the operands where the condition holds, else ``otherwise``.",
    ),
    LayerDef(
        LOOP,
        _infer_loop,
        _mean_loop,
        _emit_loop,
        {"counted": False, "states": 0, "iterated": 0, "condition": None},
        ("trips", "states", "captured", "iterated"),
        "ILoop: repeats ``body`` ``trips`` times, or while ``condition`` holds before a trip; gives the last states and stacks "
        "the body's further results.",
    ),
)
