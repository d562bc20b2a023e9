"""Small hypothesis strategies for the IR's own tests: values of every kind, and graphs over a handful of ops."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tfgraphopt.graphdef import tf_op_table
from tfgraphopt.ir import AttrPlaceholder, Body, DType, FuncRef, Graph, Node, OpTable, Shape, Tensor, TensorType, Value

OPS = tf_op_table()
NUMERIC = [d for d in DType if d.has_numpy and d is not DType.STRING]

dtypes = st.sampled_from(list(DType))
dims = st.one_of(st.none(), st.integers(0, 2**40))
shapes = st.one_of(st.just(Shape(None)), st.lists(dims, max_size=4).map(Shape))
types = st.builds(TensorType, dtypes, shapes)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
node_names = st.one_of(
    st.sampled_from(["x", "conv/1", "a>b", "back\\slash", "1-2"]),
    st.text("aZ0._/>-\\", min_size=1, max_size=4).map("n".__add__),
)


@st.composite
def tensors(draw: st.DrawFn, dtype: DType | None = None) -> Tensor:
    """Constants of any element type; the elements are any bits, NaN payloads included."""
    kind = dtype or draw(st.sampled_from([*NUMERIC, DType.STRING]))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    count = int(np.prod(shape))
    array: Any
    if kind is DType.STRING:
        array = np.empty(count, np.object_)
        array[:] = draw(st.lists(st.binary(max_size=4), min_size=count, max_size=count))
    elif kind in (DType.INT4, DType.UINT4, DType.BOOL):
        low, high = {DType.INT4: (-8, 7), DType.UINT4: (0, 15), DType.BOOL: (0, 1)}[kind]
        array = np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count))).astype(kind.np)
    else:
        size = count * kind.size
        array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), kind.np)
    return Tensor(kind, Shape(shape), lambda: array.reshape(shape))


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    """Graphs that nodes own; their ops are defined nowhere."""
    graph = Graph(draw(node_names), OpTable(), draw(st.sampled_from(["tf", "trt"])))
    value = graph.add_input("x", TensorType(DType.FLOAT, draw(shapes)))
    for _ in range(draw(st.integers(0, 2))):
        constant = draw(st.dictionaries(st.just("value"), tensors(), max_size=1))
        value = graph.add("Some", [value], constant, name=draw(node_names), types=[value.type]).output
    graph.set_outputs([value])
    return Body(graph)


_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), texts, st.binary(max_size=8), dtypes, shapes,
    tensors(), texts.map(AttrPlaceholder), bodies(),
)  # fmt: skip


def _func(children: st.SearchStrategy[Any]) -> st.SearchStrategy[FuncRef]:
    pairs = st.dictionaries(texts, children, max_size=2).map(lambda d: tuple(sorted(d.items())))
    return st.builds(FuncRef, texts, pairs)


attr_values = st.recursive(_leaves, lambda c: st.one_of(_func(c), st.lists(c, max_size=3).map(tuple)), max_leaves=4)


@st.composite
def graphs(draw: st.DrawFn, max_size: int = 8, odd_attrs: bool = True) -> Graph:
    """Sound graphs: elementwise ops, several results, control edges, odd names, attributes of every kind."""
    graph = Graph(draw(node_names), OPS)
    shape = draw(st.sampled_from([Shape(()), Shape((2, None)), Shape(None)]))
    for name in draw(st.lists(st.sampled_from(["x", "arg_0", "very_long"]), max_size=2)):
        graph.add_input(name, TensorType(draw(st.sampled_from([DType.FLOAT, DType.INT32])), shape))
    for _ in range(draw(st.integers(0, max_size))):
        add_node(draw, graph, odd_attrs)
    values = every_value(graph)
    if values:
        chosen = draw(st.lists(st.sampled_from(values), max_size=3))
        named = draw(st.booleans())
        graph.set_outputs(
            chosen, [f"out {i}" for i in range(len(chosen))] if named or len(set(chosen)) < len(chosen) else None
        )
    if len(graph):
        kept = draw(st.lists(st.sampled_from(list(graph)), max_size=2, unique=True))
        graph.set_keep({draw(st.sampled_from([n.name, f"{n.name}_kept"])): n for n in kept})
    if odd_attrs:
        graph.attrs = draw(st.dictionaries(texts, attr_values, max_size=1))
    return graph


def every_value(graph: Graph) -> list[Value]:
    """The formal inputs and all results."""
    return [*graph.inputs, *(v for n in graph for v in n.outputs)]


def add_node(draw: st.DrawFn, graph: Graph, odd_attrs: bool = True) -> Node:
    """Add one node that fits."""
    make = draw(st.sampled_from(_MAKERS))
    op, inputs, attributes, found = make(draw, graph)
    extra = draw(st.dictionaries(texts.map(lambda t: "_" + t), attr_values, max_size=1)) if odd_attrs else {}
    nodes = list(graph)
    return graph.add(
        op, inputs, {**attributes, **extra}, name=draw(node_names), types=found,
        control=draw(st.lists(st.sampled_from(nodes), max_size=2)) if nodes else (),
        device=draw(st.sampled_from(["", "/device:GPU:0", '/job:"a"/task:1'])),
        origin=draw(st.sampled_from([(), ("a",), ("a/b", 'c "d"')])),
    )  # fmt: skip


def _const(draw: st.DrawFn, graph: Graph) -> tuple[Any, ...]:
    tensor = draw(tensors())
    return "Const", [], {"value": tensor}, [tensor.type]


def _noop(draw: st.DrawFn, graph: Graph) -> tuple[Any, ...]:
    return "NoOp", [], {}, []


def _unary(draw: st.DrawFn, graph: Graph) -> tuple[Any, ...]:
    values = [v for v in every_value(graph) if v.dtype is DType.FLOAT]
    if not values:
        return _const(draw, graph)
    value = draw(st.sampled_from(values))
    op = draw(st.sampled_from(["Relu", "Identity", "Neg", "LeakyRelu"]))
    return op, [value], {"alpha": draw(st.floats(width=32))} if op == "LeakyRelu" else {}, [value.type]


def _binary(draw: st.DrawFn, graph: Graph) -> tuple[Any, ...]:
    values = [v for v in every_value(graph) if v.dtype in (DType.FLOAT, DType.INT32)]
    if not values:
        return _noop(draw, graph)
    one = draw(st.sampled_from(values))
    other = draw(st.sampled_from([v for v in values if v.dtype is one.dtype]))
    return draw(st.sampled_from(["AddV2", "Mul"])), [one, other], {}, [TensorType(one.dtype)]


def _pack(draw: st.DrawFn, graph: Graph) -> tuple[Any, ...]:
    values = every_value(graph)
    if not values:
        return _noop(draw, graph)
    chosen = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    return "IdentityN", chosen, {}, [v.type for v in chosen]


_MAKERS = [_const, _noop, _unary, _binary, _pack]
