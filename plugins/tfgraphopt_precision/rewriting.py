"""Writes a body again with its layers in other precisions: casts where precisions meet, constants converted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
import numpy as np

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType, Graph, Node, Tensor, TensorType, Value
from tfgraphopt.regions import copy_node
from tfgraphopt_precision.slots import CAST, CONSTANT, is_constant, slots_of

Assignment = Mapping[str, DType]
"""The element type of each layer's slots, by layer name; layers left out keep theirs."""


def copied(graph: Graph) -> Graph:
    """A graph like ``graph`` that shares its constants."""
    twin = Graph(graph.name, graph.ops, graph.dialect)
    values = {v: twin.add_input(v.name, v.type) for v in graph.inputs}
    for node in graph:
        clone = copy_node(twin, node, [values[v] for v in node.inputs])
        values.update(zip(node.outputs, clone.outputs, strict=True))
    twin.set_outputs([values[v] for v in graph.outputs], graph.output_names)
    return twin


def is_assigned(graph: Graph, assignment: Assignment) -> bool:
    """Whether every layer of ``graph`` that ``assignment`` names has that type already."""
    return all(
        v.dtype is wanted for node in graph if (wanted := assignment.get(node.name)) for v in _slotted(node, assignment)
    )


def _slotted(node: Node, assignment: Assignment) -> list[Value]:
    slots = slots_of(node, _lows(assignment))
    return [
        *(node.inputs[i] for i in slots.inputs if not is_constant(node.inputs[i])),
        *(node.outputs[i] for i in slots.outputs),
    ]


def _lows(assignment: Assignment) -> frozenset[DType]:
    """The types whose slots follow the assignment."""
    return frozenset({DType.FLOAT, *assignment.values()})


def rewrite(source: Graph, target: Graph, assignment: Assignment, moving: Iterable[DType] = ()) -> None:
    """Let ``target`` compute what ``source`` does (they may be one) with its layers in the types that ``assignment`` says.

    What changes its type is what is float32 in ``source``, or of one of the types ``moving``. Formal inputs and outputs keep
    their types. A tensor is cast to another type at most once, and a constant converted once.

    Raises:
        ConfigError: a finite constant would become infinite.
    """
    inputs, outputs, names, nodes = source.inputs, source.outputs, source.output_names, list(source)
    target.set_outputs([], [])
    for node in reversed(list(target)):
        target.erase(node)
    writer = _Writer(target, assignment, _lows(assignment) | frozenset(moving))
    for old, new in zip(inputs, target.inputs, strict=True):
        writer.made[old] = {old.dtype: new}
        writer.native[old] = new
    for node in nodes:
        writer.write(node)
    target.set_outputs([writer.get(v, v.dtype) for v in outputs], names)


@attrs.define(slots=True)
class _Writer:
    """What has been written so far: each old value in the types in which it exists now."""

    graph: Graph
    assignment: Assignment
    moving: frozenset[DType]
    made: dict[Value, dict[DType, Value]] = attrs.field(factory=dict)
    native: dict[Value, Value] = attrs.field(factory=dict)

    def write(self, node: Node) -> None:
        if node.op == CONSTANT:
            return  # written when it is read, in the types in which it is read
        wanted = self.assignment.get(node.name)
        if node.op == CAST and self._is_superfluous(node, wanted):
            return
        slots = slots_of(node, self.moving)
        inputs = [self._operand(node, i, v, wanted if i in slots.inputs else None) for i, v in enumerate(node.inputs)]
        types = [_retyped(v.type, wanted if i in slots.outputs else None) for i, v in enumerate(node.outputs)]
        attributes = {**node.attrs, "to": types[0].dtype} if node.op == CAST else node.attrs
        added = self.graph.add(
            node.op, inputs, attributes, name=node.name, device=node.device, origin=node.origin, types=types
        )
        for old, new in zip(node.outputs, added.outputs, strict=True):
            self.made[old] = {new.dtype: new}
            self.native[old] = new

    def _is_superfluous(self, node: Node, wanted: DType | None) -> bool:
        """A cast to a type in which its operand exists already is that operand."""
        source, old = node.inputs[0], node.outputs[0]
        to = wanted if wanted is not None and old.dtype in self.moving else old.dtype
        there = None if is_constant(source) else self.made[source].get(to)
        if there is None or not source.dtype.is_floating:
            return False
        self.made[old] = self.made[source]
        self.native[old] = there
        return True

    def _operand(self, node: Node, index: int, value: Value, wanted: DType | None) -> Value:
        if wanted is not None:
            return self.get(value, wanted)
        if value.dtype in self.moving and not is_constant(value) and node.op in (CAST, "trt.shape"):
            return self.native[value]
        return self.get(value, value.dtype)

    def get(self, value: Value, dtype: DType) -> Value:
        """``value`` in type ``dtype``."""
        versions = self.made.setdefault(value, {})
        if dtype not in versions:
            versions[dtype] = self._constant(value, dtype) if is_constant(value) else self._cast(value, dtype)
        return versions[dtype]

    def _cast(self, value: Value, dtype: DType) -> Value:
        native = self.native[value]
        origin = value.producer.origin if value.producer is not None else (value.name,)
        name = f"{value.name.replace(':', '_')}/{dtype.tf_name}"
        types = [_retyped(native.type, dtype)]
        return self.graph.add(CAST, [native], {"to": dtype}, name=name, origin=origin, types=types).output

    def _constant(self, value: Value, dtype: DType) -> Value:
        node = value.producer
        assert node is not None
        tensor = node.attrs["value"]
        assert isinstance(tensor, Tensor)
        name = node.name if dtype is value.dtype or not self.made[value] else f"{node.name}/{dtype.tf_name}"
        attributes = {"value": _converted(tensor, dtype, node)}
        types = [TensorType(dtype, value.shape)]
        return self.graph.add(CONSTANT, [], attributes, name=name, origin=node.origin, types=types).output


def _retyped(type: TensorType, dtype: DType | None) -> TensorType:
    return type if dtype is None else TensorType(dtype, type.shape)


def _converted(tensor: Tensor, dtype: DType, node: Node) -> Tensor:
    """``tensor`` in ``dtype``, converted when it is read."""
    return tensor if tensor.dtype is dtype else Tensor(dtype, tensor.shape, lambda: _convert(tensor, dtype, node))


def _convert(tensor: Tensor, dtype: DType, node: Node) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        made = tensor.numpy().astype(dtype.np)
    if bool((np.isfinite(tensor.numpy()) & ~np.isfinite(made)).any()):
        raise ConfigError(
            f"constant {node.name!r} does not fit into {dtype.tf_name}", where=node.origin,
            hint="keep the layers that read it in float32",
        )  # fmt: skip
    return made
