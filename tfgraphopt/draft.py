"""The replacement nodes of a rewrite while they are written: loose nodes that are put into the graph only when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfgraphopt.ir import Attrs, DType, Graph, Node, Tensor, TensorType, Value

_NOT_INHERITED = frozenset({"_output_shapes", "_class"})
Operand = Value | Tensor | NDArray[Any] | np.generic | int | float | bool


class Draft:
    """Writes replacement nodes: ``op.Relu(x)``, ``op["trt.activation"](x, type="relu")``, ``op.Conv2D(x, w, **m.conv.attrs)``.

    Operands are values, or constants as Tensor, array or number (which takes the element type of the first operand that is a
    value). An op with one result gives a Value, others a tuple. ``like=value`` says that the result has the type of ``value``,
    which saves asking TensorFlow for its shape. Nothing is in the graph before the rule returns.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.nodes: list[Node] = []

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("_"):
            raise AttributeError(op)
        return self[op]

    def __getitem__(self, op: str) -> Callable[..., Any]:
        def write(*operands: Operand, like: Value | None = None, **attributes: Any) -> Any:
            return self.add(op, operands, attributes, like)

        return write

    def const(self, value: Any, dtype: DType | None = None) -> Value:
        """A constant node."""
        tensor = value if isinstance(value, Tensor) else Tensor.of(value, dtype)
        if self._graph.dialect == "trt":
            result: Value = self.add("trt.constant", (), {"value": tensor}, None)
        else:
            result = self.add("Const", (), {"value": tensor, "dtype": tensor.dtype}, None, [tensor.type])
        return result

    def add(
        self, op: str, operands: Sequence[Operand], attributes: Mapping[str, Any], like: Value | None,
        types: Sequence[TensorType] | None = None,
    ) -> Any:  # fmt: skip
        """Write one node; the general form of ``op.Name(...)``."""
        inputs = self._values(operands)
        given = {k: v for k, v in attributes.items() if k not in _NOT_INHERITED}
        definition = self._graph.ops.get(op)
        values = given if definition is None else definition.complete(inputs, given)
        if types is None:
            types = [like.type] if like is not None else result_types(self._graph, op, inputs, values)
        node = Node(self._graph, op, op, definition, dict(values))  # a loose node: in no graph, nobody's user
        node.inputs = tuple(inputs)
        node.outputs = tuple(Value(self._graph, node, i, t) for i, t in enumerate(types))
        self.nodes.append(node)
        return node.outputs[0] if len(node.outputs) == 1 else node.outputs

    def _values(self, operands: Sequence[Operand]) -> list[Value]:
        dtype = next((o.dtype for o in operands if isinstance(o, Value)), None)
        return [
            o if isinstance(o, Value) else self.const(o, dtype if isinstance(o, int | float) else None)
            for o in operands
        ]


def result_types(graph: Graph, op: str, inputs: Sequence[Value], attributes: Attrs) -> Sequence[TensorType]:
    """The types of the results of a node, by its definition's own rule or else by TensorFlow's shape function."""
    from tfgraphopt.graphdef import infer_node

    definition = graph.ops.get(op)
    if definition is None:
        raise TypeError(f"op {op!r} is unknown")
    if definition.infer is not None or graph.dialect != "tf":
        return definition.result_types(inputs, attributes)
    return infer_node(op, inputs, attributes) or definition.result_types(inputs, attributes)
