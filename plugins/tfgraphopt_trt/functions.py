"""Functions of the module as layers: calls, and the bodies that the converters of loops and conditionals ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from tfgraphopt.ir import DType, FuncRef, Graph, Node, OpTable, TensorType, Value, constant_of
from tfgraphopt.regions import copy_node
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt.transforms.infer_types import refresh_types
from tfgraphopt.transforms.inline_functions import CALLS
from tfgraphopt_trt.builder import Compound, Unsupported
from tfgraphopt_trt.converter import Argument, Converter, Fragment, check_type, convert_into

DEEPEST = 16
"""Functions within functions; a function that calls itself has no end."""


@attrs.frozen(slots=True)
class FunctionWriter:
    """Writes functions with ``converters``; ``lookup`` finds a function of the module."""

    converters: Mapping[str, Converter]
    layers: OpTable
    lookup: Callable[[str], Graph | None]
    depth: int = 0

    def find(self, name: str) -> Graph:
        """The function ``name`` in TensorFlow ops; Unsupported when there is none."""
        found = self.lookup(name)
        if found is None:
            raise Unsupported(f"there is no function {name!r}")
        return found

    def write(self, function: Graph, arguments: Sequence[Argument], into: Graph) -> list[Argument]:
        """Write the layers of ``function`` into ``into`` and return its results; see :class:`Functions`."""
        if len(function.inputs) != len(arguments):
            raise Unsupported(f"it does not fit function {function.name!r}")
        if self.depth == DEEPEST:
            raise Unsupported(
                f"function {function.name!r} calls itself, or functions are nested more than {DEEPEST} deep"
            )
        values: dict[Value, Argument] = {}
        special = _specialised(function, arguments, values)
        inner = attrs.evolve(self, depth=self.depth + 1)
        for node in special:
            if node.outputs and (node.op != "Const" or node.control):
                results = inner._convert(node, values, into, function)
                values.update(zip(node.outputs, results, strict=True))
        return [_found(v, values, into) for v in special.outputs]

    def _convert(
        self, node: Node, values: Mapping[Value, Argument], into: Graph, function: Graph
    ) -> Sequence[Argument]:
        try:
            called = called_function(node)
            if called is not None and node.op not in self.converters:
                return self.write(called, [_found(v, values, into) for v in node.inputs], into)
            if node.op not in self.converters:
                raise Unsupported(f"no plugin converts {node.op}")
            for value in node.outputs:
                if value.dtype is not DType.VARIANT and (value.uses or value.is_output):
                    check_type(value)
            return convert_into(into, self.converters[node.op], node, values.__getitem__, self)
        except Unsupported as error:
            raise Unsupported(f"node {node.name!r} ({node.op}) of function {function.name!r}: {error}") from error

    def convert_call(self, node: Node, function: Graph) -> Fragment:
        """The layers of what ``node`` calls, for the types and constants that it passes.

        Raises:
            Unsupported: a node of the function cannot be converted; the reason names it.
        """
        if len(function.outputs) != len(node.outputs):
            raise Unsupported(f"it does not fit function {function.name!r}")
        graph = Graph(node.name, self.layers, dialect="trt")
        operands: dict[Value, Value] = {}
        arguments: list[Argument] = []
        for value in node.inputs:
            tensor = constant_of(value)
            if tensor is not None:
                arguments.append(graph.add("trt.constant", [], {"value": tensor}, name=value.name).output)
                continue
            if value not in operands:
                check_type(value)
                operands[value] = graph.add_input(value.name, value.type)
            arguments.append(operands[value])
        results = self.write(function, arguments, graph)
        tensors = [r for r in results if isinstance(r, Value)]
        if len(tensors) < len(results):
            raise Unsupported(f"function {function.name!r} returns lists of tensors, which cannot leave an engine")
        graph.set_outputs(tensors)
        erase_dead(graph, keep_placeholders=False)
        return Fragment(graph, tuple(operands))


def called_function(node: Node) -> Graph | None:
    """The function that ``node`` calls, if it is a call of one that the module has."""
    ref = node.attrs.get("f") if node.op in CALLS else None
    return node.graph.functions(ref.name) if isinstance(ref, FuncRef) else None


def _specialised(function: Graph, arguments: Sequence[Argument], values: dict[Value, Argument]) -> Graph:
    """A copy of ``function`` for the types and constants of ``arguments``, which ``values`` gets by formal input."""
    copy = Graph(function.name, function.ops)
    copy.functions = function.functions
    inside: dict[Value, Value] = {}
    for formal, argument in zip(function.inputs, arguments, strict=True):
        tensor = constant_of(argument) if isinstance(argument, Value) else None
        if tensor is not None and tensor.dtype is formal.dtype:
            inside[formal] = copy.add("Const", [], {"value": tensor, "dtype": tensor.dtype}, types=[tensor.type]).output
        else:
            type_ = argument.type if isinstance(argument, Value) else TensorType(formal.dtype, formal.shape)
            if type_.dtype is not formal.dtype:
                raise Unsupported(f"function {function.name!r} takes {formal.type} as %{formal.name}, not {type_}")
            inside[formal] = copy.add_input(formal.name, type_)
            values[inside[formal]] = argument
    for node in function:
        if node.outputs:
            clone = copy_node(copy, node, [inside[v] for v in node.inputs])
            inside.update(zip(node.outputs, clone.outputs, strict=True))
    copy.set_outputs([inside[v] for v in function.outputs], function.output_names)
    erase_dead(copy, keep_placeholders=False)
    refresh_types(copy)
    return copy


def _found(value: Value, values: Mapping[Value, Argument], into: Graph) -> Argument:
    """What stands for ``value``; a constant is written now."""
    if value in values:
        return values[value]
    tensor = constant_of(value)
    if tensor is None:
        raise Unsupported(f"%{value.name} was not converted")
    return into.add("trt.constant", [], {"value": tensor}, name=value.name, origin=(value.name,)).output


def is_pure(function: Graph, seen: frozenset[str] = frozenset()) -> bool:
    """Whether running ``function`` has no effect but its results (``seen`` are functions that this one is part of)."""
    return function.name in seen or all(is_pure_node(node, seen | {function.name}) for node in function)


def is_pure_node(node: Node, seen: frozenset[str] = frozenset()) -> bool:
    """Whether running ``node`` has no effect but its results; an op that runs functions has the effects of those."""
    functions = functions_of(node)
    if functions:
        return all(f is not None and is_pure(f, seen) for f in functions)
    definition = node.definition
    if definition is None or not definition.stateful:
        return definition is not None
    return definition.stateless is not None and definition.stateless(node.attrs)


def functions_of(node: Node) -> list[Graph | None]:
    """The functions that ``node`` runs, None for those that the module does not have."""
    values = [v for value in node.attrs.values() for v in (value if isinstance(value, tuple) else (value,))]
    return [node.graph.functions(v.name) for v in values if isinstance(v, FuncRef) and v.name]


__all__ = ["Compound", "FunctionWriter", "called_function", "functions_of", "is_pure", "is_pure_node"]
