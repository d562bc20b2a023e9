"""Hypothesis strategies for types, tensors, graphs, modules, feeds and pipelines.

Graphs are type- and shape-correct by construction: every node draws its inputs from the values that fit it, or gets a new
placeholder or constant. They shrink to few nodes, small dimensions and plain numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hypothesis import strategies as st
from numpy.typing import NDArray

from tfgraphopt.graphdef import GraphDef, export_graph_def, tf_op_table
from tfgraphopt.ir import DType, FuncRef, Graph, Module, Node, Shape, Tensor, TensorType, Value
from tfgraphopt.passes import Fixpoint, Pass, Step
from tfgraphopt.pipeline import Pipeline
from tfgraphopt.testing.growing import EVERY, EXAMPLE, Growing, any_dims
from tfgraphopt.testing.numbers import element_arrays
from tfgraphopt.testing.op_makers import MAKERS, Maker

OPS: tuple[str, ...] = tuple(MAKERS)
"""The ops that graphs are made of by default, besides Placeholder."""

CALLS: tuple[str, ...] = ("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf")
"""Ops that call functions; modules have them with ``functions=True``."""

Array = NDArray[Any]


def dtypes(allowed: Collection[DType] = EVERY) -> st.SearchStrategy[DType]:
    """Element types, float32 first."""
    return st.sampled_from(list(allowed))


def shapes(
    *, min_rank: int = 0, max_rank: int = 4, max_dim: int = 4, unknown_dims: bool = False, unknown_rank: bool = False
) -> st.SearchStrategy[Shape]:
    """Shapes, fully known unless told otherwise."""
    dims: st.SearchStrategy[int | None] = st.integers(1, max_dim)
    if unknown_dims:
        dims = st.one_of(dims, st.none())
    known = st.lists(dims, min_size=min_rank, max_size=max_rank).map(Shape)
    return st.one_of(known, st.just(Shape(None))) if unknown_rank else known


@st.composite
def tensors(draw: st.DrawFn, dtype: DType | None = None, shape: Shape | None = None, *, special: bool = True) -> Tensor:
    """Constant tensors; ``special`` allows NaN, infinities and signed zeros."""
    kind = dtype if dtype is not None else draw(dtypes())
    dims = (shape if shape is not None else draw(shapes())).static()
    return Tensor.of(draw(element_arrays(kind, dims, special)), kind)


@st.composite
def modules(
    draw: st.DrawFn,
    *,
    ops: Iterable[str] | None = None,
    min_size: int = 0,
    max_size: int = 8,
    control_edges: bool = True,
    unknown_dims: bool = True,
    functions: bool = False,
    element_types: Collection[DType] = EVERY,
    makers: Mapping[str, Maker] | None = None,
) -> Module:
    """Modules whose main graph has ``min_size`` to ``max_size`` nodes besides the operands that they needed.

    Args:
        ops: names out of :data:`OPS`; all by default.
        control_edges: let nodes wait for others.
        unknown_dims: leave dimensions of placeholders unknown (their attribute ``_example_shape`` holds ones that fit).
        functions: call functions too (:data:`CALLS`).
        element_types: of placeholders and constants.
        makers: for further ops, or several at once: a name and a function that adds nodes to a :class:`Growing` graph.
    """
    known = {**MAKERS, **(makers or {})}
    names = _checked([*OPS, *(makers or ())] if ops is None else ops, known)
    table = tf_op_table()
    module = Module(Graph("main", table), table)
    growing = Growing(draw, module.main, element_types, unknown_dims, control_edges)
    choices = st.sampled_from([*names, *(CALLS if functions else ())])
    for _ in range(draw(st.integers(min_size, max_size))):
        draw(_steps(growing, module, choices, known))
    if not growing.examples:
        growing.placeholder(DType.FLOAT, draw(any_dims()))
    _return_values(growing)
    return module


@st.composite
def _steps(
    draw: st.DrawFn, growing: Growing, module: Module, choices: st.SearchStrategy[str], known: Mapping[str, Maker]
) -> None:
    """One more op. It is a draw of its own: the shrinker lowers the number of steps and takes one draw out whole."""
    op = draw(choices)
    if op in CALLS:
        _call(growing, module, op)
    else:
        known[op](growing, op)


def _checked(ops: Iterable[str], known: Collection[str]) -> list[str]:
    names = list(ops)
    unknown = [n for n in names if n not in known]
    if unknown or not names:
        raise ValueError(f"strategies cannot make {unknown or 'graphs of no op'}; they can make {', '.join(known)}")
    return names


def _return_values(growing: Growing) -> None:
    """Everything that nothing reads is returned, and perhaps one more."""
    graph = growing.graph
    ends = [v for v in growing.examples if not v.uses]
    inner = [v for v in growing.examples if v.uses]
    if inner and (not ends or growing.draw(st.booleans())):
        ends.append(growing.draw(st.sampled_from(inner)))
    graph.set_outputs(ends, [f"{v.producer.name}:{v.index}" for v in ends if v.producer is not None])


_BODY_OPS = ("Relu", "Neg", "Square", "Abs", "Identity")


def _call(growing: Growing, module: Module, op: str) -> None:
    """A call of a new function of one or two operands that keeps their shapes."""
    numbers = [d for d in growing.element_types if d in MAKER_NUMBERS] or [DType.FLOAT]
    operands = [growing.value(numbers) for _ in range(growing.draw(st.integers(1, 2)))]
    branches = op in ("If", "StatelessIf")
    bodies = [_function(growing, module, operands) for _ in range(2 if branches else 1)]
    attributes: dict[str, Any] = {"Tin": tuple(v.dtype for v in operands), "Tout": tuple(v.dtype for v in operands)}
    inputs = list(operands)
    if branches:
        inputs.insert(0, growing.value((DType.BOOL,), lambda d: not d, st.just(())))
        attributes["then_branch"], attributes["else_branch"] = (FuncRef(b.name) for b in bodies)
    else:
        attributes["f"] = FuncRef(bodies[0].name)
    exact = [Shape(growing.dims(v)) for v in operands]
    growing.add_typed(op, inputs, attributes, [v.type for v in operands], exact)


MAKER_NUMBERS = frozenset({DType.FLOAT, DType.HALF, DType.DOUBLE, DType.INT32, DType.INT64})


def _function(growing: Growing, module: Module, operands: list[Value]) -> Graph:
    draw = growing.draw
    body = Graph(f"function_{len(module.functions)}", module.ops)
    values = [body.add_input(f"x{i}", v.type) for i, v in enumerate(operands)]
    for number in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(values) - 1))
        node = body.add(
            draw(st.sampled_from(_BODY_OPS)), [values[index]], name=f"node_{number}", types=[values[index].type]
        )
        values[index] = node.output
    body.set_outputs(values, [f"y{i}" for i in range(len(values))])
    module.add_function(body)
    return body


def graphs(**options: Any) -> st.SearchStrategy[Graph]:
    """Main graphs of :func:`modules`, which takes the same options."""
    return modules(**options).map(lambda module: module.main)


def graph_defs(**options: Any) -> st.SearchStrategy[GraphDef]:
    """GraphDefs of :func:`modules`, which takes the same options."""
    return modules(**options).map(export_graph_def)


def from_op(op: str, **options: Any) -> st.SearchStrategy[Module]:
    """Modules with one node of ``op`` and its operands; ``options`` as for :func:`modules`."""
    return modules(ops=[op], min_size=1, max_size=1, **options)


@st.composite
def feeds(draw: st.DrawFn, module: Module, *, special: bool = True) -> dict[str, Array]:
    """Arrays for every placeholder and formal input of the main graph, by name; dimensions are the example ones."""
    found = {v.name: _feed(draw, v.type, v.shape, special) for v in module.main.inputs}
    for node in module.main:
        if node.op == "Placeholder":
            found[node.name] = _feed(draw, node.output.type, example_shape(node), special)
    return found


def example_shape(node: Node) -> Shape:
    """Dimensions for which the graph around a placeholder fits together; unknown ones count as 2."""
    shape = node.attrs.get(EXAMPLE, node.attrs.get("shape"))
    if not isinstance(shape, Shape) or shape.dims is None:
        return Shape(())
    return Shape(2 if d is None else d for d in shape)


def _feed(draw: st.DrawFn, type_: TensorType, shape: Shape, special: bool) -> Array:
    return draw(element_arrays(type_.dtype, Shape(2 if d is None else d for d in shape).static(), special))


def support_masks(graph: Graph) -> st.SearchStrategy[frozenset[str]]:
    """Sets of node names: which nodes some converter could take."""
    names = [n.name for n in graph if n.op != "Placeholder"]
    return st.sets(st.sampled_from(names)).map(frozenset) if names else st.just(frozenset())


def pipelines(passes: Mapping[str, type[Pass]], *, max_size: int = 5) -> st.SearchStrategy[Pipeline]:
    """Pipelines of passes with their default options, fixpoints included; not necessarily in an order that makes sense."""
    single: st.SearchStrategy[Step] = st.sampled_from(sorted(passes)).map(lambda name: passes[name]())
    loop = st.lists(single, min_size=1, max_size=3).map(lambda steps: Fixpoint(tuple(steps)))
    return st.lists(st.one_of(single, loop), max_size=max_size).map(Pipeline)
