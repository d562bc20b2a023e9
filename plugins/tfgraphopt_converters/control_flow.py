"""If, Case and While: conditionals and loops of TensorRT whose bodies are the converted functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfgraphopt.ir import FuncRef, Graph, Value, nodes_within
from tfgraphopt_converters.loops import convert_loop
from tfgraphopt_converters.tensor_lists import Stacked, stacked
from tfgraphopt_converters.truth import truth_of
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Argument, Arguments, Converter, converter
from tfgraphopt_trt.scopes import Scope

Branch = Callable[[LayerBuilder, Sequence[Argument]], Sequence[Argument]]
"""Writes a branch with a builder, for arguments that the builder's graph has."""


@converter("If", "StatelessIf")
def if_(
    b: LayerBuilder, cond: Operand, input: Arguments, *, then_branch: FuncRef, else_branch: FuncRef
) -> Sequence[Argument]:
    """A conditional, which runs one of its branches."""
    return _either(b, truth_of(b, cond), input, _branch(then_branch), _branch(else_branch))


@converter("Case", "StatelessCase")
def case(
    b: LayerBuilder, branch_index: Operand, input: Arguments, *, branches: tuple[FuncRef, ...]
) -> Sequence[Argument]:
    """One conditional after the other, each of which runs its branch or hands on what the ones before it made.

    An index out of range runs the last branch, as in TensorFlow; that one is also run for the indices from 1 on.
    """
    written = [_branch(ref) for ref in branches]
    results = _either(b, _is(b, branch_index, 0), input, written[0], written[-1])
    for index, branch in enumerate(written[1:-1], 1):
        results = _either(
            b, _is(b, branch_index, index), (*input, *results), _given(branch, len(input)), _rest(len(input))
        )
    return results


def _is(b: LayerBuilder, index: Value, number: int) -> Value:
    return b.elementwise(index, b.scalar(number, index), "equal")


def _given(branch: Branch, count: int) -> Branch:
    """``branch`` for the first ``count`` arguments."""
    return lambda b, arguments: branch(b, arguments[:count])


def _rest(count: int) -> Branch:
    """Hands on the arguments after the first ``count``."""
    return lambda b, arguments: arguments[count:]


@converter("While", "StatelessWhile")
def while_(b: LayerBuilder, input: Arguments, *, cond: FuncRef, body: FuncRef) -> Sequence[Argument]:
    """A loop. What the body hands on unchanged is captured, lists that it reads or writes are iterated over or stacked.

    The number of trips is known when the condition compares counters with limits; else the condition is asked before each trip.
    """
    return convert_loop(b, input, b.functions.find(cond.name), b.functions.find(body.name))


def _branch(ref: FuncRef) -> Branch:
    def write(b: LayerBuilder, arguments: Sequence[Argument]) -> Sequence[Argument]:
        return b.functions.write(b.functions.find(ref.name), arguments, b.graph)

    return write


def _either(
    b: LayerBuilder, condition: Value, arguments: Sequence[Argument], then: Branch, otherwise: Branch
) -> Sequence[Argument]:
    first = Scope.open(b, "then")
    one = then(first.builder, [first.enter(a) for a in arguments])
    second = Scope.open(b, "otherwise", captured=list(first.captured))
    two = otherwise(second.builder, [second.enter(a) for a in arguments])
    first.share(list(second.captured))
    are_lists = [not isinstance(x, Value) or not isinstance(y, Value) for x, y in zip(one, two, strict=True)]
    graphs = [s.close([_tensor(s.builder, r) for r in results]) for s, results in ((first, one), (second, two))]
    _check_ends(graphs)
    for x, y in zip(graphs[0].outputs, graphs[1].outputs, strict=True):
        if x.dtype is not y.dtype or x.shape.rank != y.shape.rank:
            raise Unsupported(
                f"the branches give {x.type} and {y.type}; TensorRT's conditional gives one type and rank"
            )
    results = b.conditional(condition, list(first.captured), *graphs) if one else ()
    return [Stacked(r) if is_list else r for r, is_list in zip(results, are_lists, strict=True)]


def _check_ends(branches: Sequence[Graph]) -> None:
    """TensorRT computes loops in branches beforehand (see the layer), and one that its branch guards might never end."""
    if any(node.op == "trt.loop" and not node.attrs["counted"] for body in branches for node in nodes_within(body)):
        raise Unsupported(
            "a branch has a loop that only data ends; TensorRT would run it whether the branch is taken or not"
        )


def _tensor(b: LayerBuilder, result: Argument) -> Value:
    return result if isinstance(result, Value) else stacked(b, result)


CONVERTERS: tuple[Converter, ...] = (if_, case, while_)
