"""A graph that grows op by op from hypothesis draws: type- and shape-correct at every step.

Every value has a declared type (dimensions may be unknown) and example dimensions, which are always known and which feeds follow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from tfgraphopt.graphdef import infer_node
from tfgraphopt.ir import DType, Graph, Node, Shape, Tensor, TensorType, Value, constant_of
from tfgraphopt.testing.numbers import element_arrays

Dims = tuple[int, ...]
Fits = Callable[[Dims], bool]

EXAMPLE = "_example_shape"
"""Attribute of a placeholder with unknown dimensions: dimensions for which the whole graph fits together."""

FLOATS = (DType.FLOAT, DType.HALF, DType.DOUBLE)
INTS = (DType.INT32, DType.INT64)
NUMBERS = (*FLOATS, *INTS)
EVERY = (*NUMBERS, DType.BOOL)


@attrs.define(slots=True, eq=False)
class Growing:
    """A graph under construction.

    ``draw`` is hypothesis' draw function; ``element_types`` limits what new placeholders and constants may hold.
    """

    draw: st.DrawFn
    graph: Graph
    element_types: Collection[DType] = EVERY
    unknown_dims: bool = True
    control_edges: bool = True
    placeholders: bool = True
    examples: dict[Value, Dims] = attrs.field(factory=dict)
    functions: dict[str, Graph] = attrs.field(factory=dict)

    # -- values ----------------------------------------------------------------------------------------------------------

    def value(
        self,
        dtypes: Collection[DType] = EVERY,
        fits: Fits = lambda dims: True,
        dims: st.SearchStrategy[Dims] | None = None,
    ) -> Value:
        """A value of one of ``dtypes`` whose dimensions fit: one that is there, or a new one of dimensions ``dims``."""
        candidates = [v for v, d in reversed(self.examples.items()) if v.dtype in dtypes and fits(d)]
        if self.draw(st.integers(0, 3)) and candidates:  # a new value is the simplest: steps shrink away one by one
            return candidates[self.draw(st.integers(0, len(candidates) - 1))]
        return self.fresh(dtypes, self.draw(dims if dims is not None else any_dims()))

    def fresh(self, dtypes: Collection[DType], dims: Dims) -> Value:
        """A new placeholder or constant."""
        dtype = self.draw(st.sampled_from([d for d in dtypes if d in self.element_types] or list(dtypes)))
        if self.placeholders and not self.draw(st.booleans()):
            return self.placeholder(dtype, dims)
        return self.const(self.draw(element_arrays(dtype, dims)), dtype)

    def placeholder(self, dtype: DType, dims: Dims) -> Value:
        """A new placeholder; some of its dimensions may be unknown."""
        known = [not (self.unknown_dims and self.draw(st.booleans())) for _ in dims]
        shape = Shape(d if k else None for d, k in zip(dims, known, strict=True))
        attributes: dict[str, Any] = {"dtype": dtype, "shape": shape}
        if not shape.is_static:
            attributes[EXAMPLE] = Shape(dims)
        node = self._node("Placeholder", (), attributes, [TensorType(dtype, shape)])
        self.examples[node.output] = dims
        return node.output

    def const(self, array: Any, dtype: DType | None = None) -> Value:
        """A constant."""
        tensor = Tensor.of(array, dtype)
        node = self._node("Const", (), {"value": tensor, "dtype": tensor.dtype}, [tensor.type])
        if tensor.dtype in self.element_types and tensor.num_elements:
            self.examples[node.output] = tensor.shape.static()
        return node.output

    def ints(self, numbers: Sequence[int] | int) -> Value:
        """A constant int32 operand (axes, shapes, permutations)."""
        return self.const(np.asarray(numbers, np.int32))

    def dims(self, value: Value) -> Dims:
        """The example dimensions."""
        if value in self.examples:
            return self.examples[value]
        return value.shape.static()

    # -- nodes -----------------------------------------------------------------------------------------------------------

    def like(self, op: str, inputs: Sequence[Value], dtype: DType | None = None, **attributes: Any) -> Value:
        """Add an elementwise node and return its result, which is the broadcast of its operands."""
        shape, dims = _broadcast([v.shape for v in inputs]), np.broadcast_shapes(*(self.dims(v) for v in inputs))
        node = self._node(op, inputs, attributes, [TensorType(dtype or inputs[-1].dtype, shape)])
        self._wait(node)
        self.examples[node.output] = tuple(dims)
        return node.output

    def add(self, op: str, inputs: Sequence[Value], use: int | None = None, **attributes: Any) -> Node:
        """Add a node whose result types TensorFlow infers; ``use`` limits how many of its results others may read."""
        definition = self.graph.ops.get(op)
        assert definition is not None, op
        complete = definition.complete(inputs, attributes)
        types = infer_node(op, list(inputs), complete)
        exact = infer_node(op, [self._exact(v) for v in inputs], complete)
        return self.add_typed(op, inputs, complete, types, [t.shape for t in exact], use)

    def add_typed(
        self, op: str, inputs: Sequence[Value], attributes: Mapping[str, Any], types: Sequence[TensorType],
        exact: Sequence[Shape], use: int | None = None,
    ) -> Node:  # fmt: skip
        """Add a node of known result types and example shapes."""
        node = self._node(op, inputs, attributes, types)
        self._wait(node)
        for value, shape in list(zip(node.outputs, exact, strict=True))[:use]:
            if shape.num_elements and value.dtype in EVERY:
                self.examples[value] = shape.static()
        return node

    def _exact(self, value: Value) -> TensorType | Tensor:
        tensor = constant_of(value)
        return tensor if tensor is not None else TensorType(value.dtype, Shape(self.dims(value)))

    def _node(
        self, op: str, inputs: Sequence[Value], attributes: Mapping[str, Any], types: Sequence[TensorType]
    ) -> Node:
        name = f"{op.lower()}_{len(self.graph)}"
        return self.graph.add(op, inputs, attributes, name=name, types=types, origin=(name,))

    def _wait(self, node: Node) -> None:
        if self.control_edges and self.draw(st.integers(0, 7)) == 7:
            earlier = [n for n in self.graph if n is not node and n.op not in ("Const", "Placeholder")]
            if earlier:
                node.set_control([self.draw(st.sampled_from(earlier))])


def any_dims(min_rank: int = 0, max_rank: int = 4, max_dim: int = 4) -> st.SearchStrategy[Dims]:
    """Small dimensions."""
    return st.lists(st.integers(1, max_dim), min_size=min_rank, max_size=max_rank).map(tuple)


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    """The declared shape of a broadcast: a dimension is known when an operand fixes it."""
    if any(s.dims is None for s in shapes):
        return Shape(None)
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + s.known() for s in shapes]
    return Shape(_broadcast_dim(column) for column in zip(*padded, strict=True))


def _broadcast_dim(column: Sequence[int | None]) -> int | None:
    fixed = {d for d in column if d is not None and d != 1}
    if fixed:
        return fixed.pop()
    return None if None in column else 1
