"""Converters: a function whose signature is its support rule.

Parameters bind by TensorFlow's own argument names; the annotation says what the argument must be: ``Operand`` a tensor (run-time
or constant), ``Operands`` a list argument, ``Weights`` a constant, ``Weights | Operand`` the constant when it is one. Keyword-only
parameters are attributes. The function writes layers with its LayerBuilder, returns the results, and raises ``Unsupported(reason)``.

Inside functions a value need not be one tensor: a list of tensors is whatever :class:`Compound` its converters make of it.
``Argument`` takes a tensor or a compound, ``Arguments`` a list of them.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from tfgraphopt.errors import PluginError
from tfgraphopt.ir import DType, Graph, Node, OpDef, OpTable, Tensor, Value, constant_of
from tfgraphopt_trt.builder import Compound, Functions, LayerBuilder, Operand, Unsupported

Weights = Tensor
Operands = tuple[Value, ...]
Argument = Value | Compound
Arguments = tuple[Value | Compound, ...]
Function = Callable[..., Any]

TENSORRT_DTYPES = frozenset(
    {DType.FLOAT, DType.HALF, DType.BFLOAT16, DType.INT8, DType.INT32, DType.INT64, DType.BOOL, DType.UINT8}
)
"""Element types that TensorRT 10, 11 and RTX have for tensors."""


@attrs.frozen(slots=True)
class Parameter:
    """One parameter of a converter: an argument of the op, and in which forms it takes it."""

    name: str
    constant: bool
    operand: bool
    many: bool
    compound: bool


@attrs.frozen(slots=True)
class Converter:
    """Turns nodes of the TF ops ``ops`` into layers; made by :func:`converter` (or by :func:`never`, then with a refusal)."""

    ops: tuple[str, ...]
    function: Function
    parameters: tuple[Parameter, ...]
    attributes: tuple[tuple[str, Any], ...]
    overrides: str = ""
    refusal: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What two plugins must not both claim."""
        return self.ops

    @property
    def doc(self) -> str:
        """The function's own documentation."""
        return inspect.getdoc(self.function) or ""

    def check(self, definition: OpDef) -> None:
        """PluginError when the signature names an argument or attribute that the op does not have."""
        known = {a.name for a in definition.inputs}
        wrong = [p.name for p in self.parameters if p.name not in known]
        attributes = {a.name for a in definition.attrs}
        wrong += [n for n, default in self.attributes if n not in attributes and default is inspect.Parameter.empty]
        if wrong:
            raise PluginError(
                f"converter {self.function.__name__} for {definition.name} names {', '.join(wrong)}",
                why=f"the op's arguments are {sorted(known)} and its attributes {sorted(attributes)}",
            )


def converter(*ops: str, overrides: str = "") -> Callable[[Function], Converter]:
    """Declare a function as the converter of ``ops``; ``overrides`` names a plugin whose converter it replaces."""

    def declare(function: Function) -> Converter:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function)
        parameters, attributes = [], []
        for parameter in list(signature.parameters.values())[1:]:
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                attributes.append((parameter.name, parameter.default))
            else:
                parameters.append(_parameter(parameter.name, hints.get(parameter.name, Operand)))
        return Converter(tuple(ops), function, tuple(parameters), tuple(attributes), overrides)

    return declare


def never(reason: str, *ops: str) -> Converter:
    """The declaration that ``ops`` are never converted; ``reason`` is what the report says of their nodes."""

    def function(b: LayerBuilder) -> Any:
        raise Unsupported(reason)

    function.__doc__ = f"Never converted: {reason}."
    return Converter(tuple(ops), function, (), (), refusal=reason)


def _parameter(name: str, hint: Any) -> Parameter:
    forms = typing.get_args(hint) if typing.get_origin(hint) is not tuple else (hint,)
    forms = forms or (hint,)
    many = any(typing.get_origin(f) is tuple for f in forms)
    compound = Compound in forms or Compound in typing.get_args(typing.get_args(hint)[0] if many else hint)
    return Parameter(name, Tensor in forms, Value in forms, many, compound)


@attrs.frozen(slots=True)
class Fragment:
    """A converted node: a closed graph whose formal inputs stand for the node's run-time operands, in order.

    ``operands`` are the source values that feed them; ``graph.outputs`` are the node's results.
    """

    graph: Graph
    operands: tuple[Value, ...]


def convert(converter: Converter, node: Node, layers: OpTable, functions: Functions | None = None) -> Fragment:
    """The layers that compute ``node``, in a graph of their own; the source graph is not touched.

    Args:
        converter: of the op of ``node``.
        node: what to convert.
        layers: the definitions of the layers.
        functions: writes the bodies of functions that ``node`` refers to.

    Raises:
        Unsupported: with the reason.
    """
    scratch = Graph(node.name, layers, dialect="trt")
    operands: dict[Value, Value] = {}

    def find(value: Value) -> Value:
        if value not in operands:
            check_type(value)
            operands[value] = scratch.add_input(value.name, value.type)
        return operands[value]

    if converter.refusal:
        raise Unsupported(converter.refusal)
    for value in _wanted(node):
        check_type(value)
    results = convert_into(scratch, converter, node, find, functions)
    tensors = [r for r in results if isinstance(r, Value)]
    if len(tensors) < len(results):
        raise Unsupported("it makes lists of tensors, which cannot leave an engine")
    scratch.set_outputs(tensors)
    return Fragment(scratch, tuple(operands))


def convert_into(
    graph: Graph,
    converter: Converter,
    node: Node,
    find: Callable[[Value], Argument],
    functions: Functions | None = None,
) -> Sequence[Argument]:
    """Write the layers of ``node`` into ``graph`` and return its results; ``find`` gives what stands for an operand there.

    Raises:
        Unsupported: with the reason.
    """
    if converter.refusal:
        raise Unsupported(converter.refusal)
    builder = LayerBuilder(graph, node.op, [v.type for v in node.outputs], node.name, functions)
    builder.origin = node.origin or (node.name,)
    binding = _Binding(node, builder, find)
    arguments = [binding.bind(p) for p in converter.parameters]
    results = converter.function(builder, *arguments, **_attributes(converter, node))
    return _results(node, results)


def check_type(value: Value) -> None:
    """Unsupported for types and ranks that no converter can do anything about."""
    if constant_of(value) is not None:
        return
    if value.dtype not in TENSORRT_DTYPES:
        raise Unsupported(f"TensorRT has no {value.dtype.tf_name} tensors (%{value.name})")
    if value.shape.rank is None:
        raise Unsupported(f"the rank of %{value.name} is unknown")
    if value.shape.rank > 8:
        raise Unsupported(f"%{value.name} has {value.shape.rank} dimensions; TensorRT has at most 8")


def _wanted(node: Node) -> list[Value]:
    """Operands and results; results that nothing reads do not matter."""
    return [*node.inputs, *(v for v in node.outputs if v.uses or v.is_output)]


def _attributes(converter: Converter, node: Node) -> dict[str, Any]:
    return {
        name: node.attrs[name] if name in node.attrs or default is inspect.Parameter.empty else default
        for name, default in converter.attributes
    }


def _results(node: Node, results: Any) -> Sequence[Argument]:
    values = [results] if isinstance(results, Value | Compound) else list(results)
    if len(values) != len(node.outputs):
        raise TypeError(f"the converter of {node.op} returned {len(values)} results, not {len(node.outputs)}")
    for value, wanted in zip(values, node.outputs, strict=True):
        if isinstance(value, Compound):
            continue
        if value.dtype is not wanted.dtype or not value.shape.compatible(wanted.shape):
            raise TypeError(f"the converter of {node.op} made {value.type} for {wanted.type}")
    return values


@attrs.define(slots=True)
class _Binding:
    """Binds the arguments of one node to the parameters of a converter."""

    node: Node
    builder: LayerBuilder
    find: Callable[[Value], Argument]

    def bind(self, parameter: Parameter) -> Any:
        values = self.node.arguments(parameter.name)
        if parameter.many:
            return tuple(self._operand(v, parameter) for v in values)
        tensor = constant_of(values[0])
        if parameter.constant and tensor is not None:
            return tensor
        if not parameter.operand:
            raise Unsupported(f"{parameter.name!r} must be a constant; %{values[0].name} is known only at run time")
        return self._operand(values[0], parameter)

    def _operand(self, value: Value, parameter: Parameter) -> Argument:
        tensor = constant_of(value)
        if tensor is not None:
            if tensor.dtype not in TENSORRT_DTYPES:
                raise Unsupported(f"TensorRT has no {tensor.dtype.tf_name} constants (%{value.name})")
            return self.builder.constant(tensor)
        found = self.find(value)
        if isinstance(found, Compound) and not parameter.compound:
            raise Unsupported(f"%{value.name} is not one tensor but {found.what}")
        return found
