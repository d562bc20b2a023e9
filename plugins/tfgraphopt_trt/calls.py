"""Calls of functions that must stay calls in TensorFlow: the layers of their bodies, without inlining anything there.

Keras marks its grouped convolutions ``_noinline``. Inlined into the TensorFlow body of an engine they would compute something else, or
nothing: Grappler fuses a Conv2D with the BiasAdd behind it, and the fused CPU kernel refuses groups.
"""

from __future__ import annotations

from collections.abc import Callable

from tfgraphopt.ir import FuncRef, Graph, Node, OpTable, Value, constant_of
from tfgraphopt.regions import copy_node
from tfgraphopt.transforms.infer_types import refresh_types
from tfgraphopt.transforms.inline_functions import CALLS
from tfgraphopt_trt.bodies import lower_body
from tfgraphopt_trt.builder import Unsupported
from tfgraphopt_trt.converter import Fragment


def called(node: Node) -> Graph | None:
    """The function that ``node`` calls, if it is a call of one that the module has."""
    ref = node.attrs.get("f") if node.op in CALLS else None
    return node.graph.functions(ref.name) if isinstance(ref, FuncRef) else None


def is_pure(body: Graph) -> bool:
    """Whether running ``body`` has no effect but its results."""
    return all(_is_pure(node) for node in body)


def _is_pure(node: Node) -> bool:
    inner = called(node)
    if inner is not None:
        return is_pure(inner)
    return node.definition is not None and not node.definition.stateful


def convert_call(node: Node, body: Graph, convert: Callable[[Node], Fragment], layers: OpTable) -> Fragment:
    """The layers of what ``node`` calls, for the types and constants that it passes.

    Raises:
        Unsupported: a node of the function cannot be converted; the reason names it.
    """
    if len(body.inputs) != len(node.inputs) or len(body.outputs) != len(node.outputs):
        raise Unsupported(f"it does not fit function {body.name!r}")
    special, operands = _specialised(node, body)

    def inside(inner: Node) -> Fragment:
        try:
            return convert(inner)
        except Unsupported as error:
            raise Unsupported(f"node {inner.name!r} ({inner.op}) of function {body.name!r}: {error}") from error

    return Fragment(lower_body(special, node.name, inside, layers), operands)


def _specialised(node: Node, body: Graph) -> tuple[Graph, tuple[Value, ...]]:
    """A copy of ``body`` for the actual arguments, and those that are known only at run time."""
    copy = Graph(node.name, body.ops)
    copy.functions = body.functions
    values: dict[Value, Value] = {}
    operands = []
    for formal, actual in zip(body.inputs, node.inputs, strict=True):
        tensor = constant_of(actual)
        if tensor is None:
            operands.append(actual)
            values[formal] = copy.add_input(formal.name, actual.type)
        else:
            values[formal] = copy.add("Const", [], {"value": tensor, "dtype": tensor.dtype}, types=[tensor.type]).output
    for inner in body:
        if inner.outputs:
            clone = copy_node(copy, inner, [values[v] for v in inner.inputs])
            values.update(zip(inner.outputs, clone.outputs, strict=True))
    copy.set_outputs([values[v] for v in body.outputs], body.output_names)
    refresh_types(copy)
    return copy, tuple(operands)
