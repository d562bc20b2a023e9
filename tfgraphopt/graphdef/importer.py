"""GraphDef to Module; every fault of a graph is found before it is refused."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from google.protobuf.message import DecodeError
from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2
from tensorflow.python.framework import versions

from tfgraphopt.errors import GraphDefError, MutationError
from tfgraphopt.graphdef.attributes import attr_of_proto
from tfgraphopt.graphdef.op_defs import op_def_of, tf_op_table
from tfgraphopt.ir import (
    AttrValue,
    DType,
    Graph,
    Module,
    Node,
    OpDef,
    OpTable,
    Shape,
    TensorType,
    Value,
)  # fmt: skip
from tfgraphopt.ir.names import LEGAL_NAME

if TYPE_CHECKING:
    GraphDef: TypeAlias = Any
else:
    GraphDef = graph_pb2.GraphDef
_LOOP_OPS = frozenset({"NextIteration", "RefNextIteration"})


def is_graph_def(model: object) -> bool:
    """Whether ``model`` is a GraphDef."""
    return isinstance(model, graph_pb2.GraphDef)


def import_graph_def(
    graph_def: GraphDef, outputs: Sequence[str] | None = None, *, ops: OpTable | None = None, copy: bool = False
) -> Module:
    """The Module of a GraphDef.

    Args:
        graph_def: read, never changed; constants keep referring to its bytes, so it must not be changed afterwards either
            (``copy=True`` takes a copy first).
        outputs: what the caller fetches, as node names or tensor names; by default everything that nothing reads.
        ops: op definitions; by default those of this TensorFlow.

    Raises:
        GraphDefError: naming every node at fault: not a GraphDef, version too new, duplicate names, unknown ops, dangling inputs,
            wrong number or types of inputs, wrong attributes, cycles, unknown outputs.
    """
    if not isinstance(graph_def, graph_pb2.GraphDef):
        raise GraphDefError(f"expected a GraphDef, not a {type(graph_def).__name__}", hint=_HINT_TYPES)
    if copy:
        own = GraphDef()
        own.CopyFrom(graph_def)
        graph_def = own
    _check_version(graph_def)
    base = ops or tf_op_table()
    signatures = [op_def_of(f.signature) for f in graph_def.library.function]
    table = base.with_defs(signatures)
    module = Module(Graph("main", table), table)
    producer = graph_def.versions
    module.versions = (producer.producer, producer.min_consumer, tuple(producer.bad_consumers))
    module.gradients = tuple((g.function_name, g.gradient_func) for g in graph_def.library.gradient)
    for function in graph_def.library.function:
        _import_function(module, function)
    _Body(module.main, graph_def.node, {}).run()
    _choose_outputs(module.main, outputs)
    return module


_HINT_TYPES = "pass a frozen GraphDef, or use tfgraphopt.optimize() for SavedModels, Keras models and functions"


def _check_version(graph_def: GraphDef) -> None:
    needed, have = graph_def.versions.min_consumer, versions.GRAPH_DEF_VERSION
    if needed > have:
        raise GraphDefError(
            f"the graph needs a TensorFlow that reads GraphDef version {needed}; this one reads up to {have}",
            hint="use the TensorFlow that wrote the graph, or a newer one",
        )


def parse_graph_def(data: bytes, name: str = "the file") -> GraphDef:
    """The GraphDef in ``data``; GraphDefError when it is damaged or something else."""
    graph_def = GraphDef()
    try:
        graph_def.ParseFromString(data)
    except DecodeError as error:
        raise GraphDefError(
            f"{name} is not a binary GraphDef", why=str(error), hint="is it complete, and frozen?"
        ) from error
    if not graph_def.node:
        raise GraphDefError(f"{name} holds a GraphDef without any node", hint="is it complete?")
    return graph_def


def _import_function(module: Module, function: function_pb2.FunctionDef) -> None:
    signature = function.signature
    if any(a.type_attr or a.number_attr or a.type_list_attr for a in [*signature.input_arg, *signature.output_arg]):
        module.opaque_functions[signature.name] = function
        return
    graph = Graph(signature.name, module.ops)
    arguments: dict[str, Value] = {}
    for index, arg in enumerate(signature.input_arg):
        shapes = attr_of_proto(function.arg_attr[index].attr["_output_shapes"]) if index in function.arg_attr else ()
        known = shapes[0] if isinstance(shapes, tuple) and shapes and isinstance(shapes[0], Shape) else Shape(None)
        arguments[arg.name] = graph.add_input(arg.name, TensorType(DType.of_number(arg.type % 100), known))
    graph.attrs = {k: attr_of_proto(v) for k, v in function.attr.items()}
    body = _Body(graph, function.node_def, arguments)
    body.run()
    names = [a.name for a in signature.output_arg]
    graph.set_outputs([body.value(function.ret[n], f"output {n!r} of function") for n in names], names)
    graph.set_keep({n: graph.node(function.control_ret[n]) for n in signature.control_output})
    body.finish()
    graph.source = (function, graph.version)
    module.add_function(graph)


@attrs.define(slots=True)
class _Body:
    """Builds the nodes of one graph; collects every fault before it gives up."""

    graph: Graph
    nodes: Sequence[node_def_pb2.NodeDef]
    arguments: Mapping[str, Value]
    faults: dict[str, str] = attrs.field(factory=dict)
    by_name: dict[str, node_def_pb2.NodeDef] = attrs.field(factory=dict)
    ranges: dict[str, dict[str, slice]] = attrs.field(factory=dict)

    def run(self) -> None:
        for node in self.nodes:
            if node.name in self.by_name or node.name in self.arguments:
                self.faults[node.name] = "another node has the same name"
            elif not node.name:
                self.faults["(unnamed)"] = f"a {node.op} node without a name"
            elif not LEGAL_NAME.fullmatch(node.name):
                self.faults[node.name] = "it is not a legal name (letters, digits and _ . / > - \\)"
            self.by_name.setdefault(node.name, node)
        for node in self._ordered():
            self._import(node)
        self.finish()

    def finish(self) -> None:
        if not self.faults:
            return
        listed = "\n    ".join(("", *(f"{name}: {why}" for name, why in self.faults.items())))
        raise GraphDefError(
            f"{len(self.faults)} nodes of {self.graph.name!r} cannot be imported", where=tuple(self.faults), why=listed
        )

    def _ordered(self) -> list[node_def_pb2.NodeDef]:
        """Topological order, the given order where there is a choice."""
        index = {name: i for i, name in enumerate(self.by_name)}
        waiting: dict[str, int] = {}
        readers: dict[str, list[str]] = {}
        for name, node in self.by_name.items():
            needed = {_node_of(i) for i in node.input} - self.arguments.keys()
            for missing in needed - self.by_name.keys():
                self.faults[name] = f"input {missing!r} does not exist"
            needed &= self.by_name.keys()
            waiting[name] = len(needed)
            for producer in needed:
                readers.setdefault(producer, []).append(name)
        ready = [index[name] for name, count in waiting.items() if count == 0]
        heapq.heapify(ready)
        names, order = list(self.by_name), []
        while ready:
            name = names[heapq.heappop(ready)]
            order.append(self.by_name[name])
            for reader in readers.get(name, ()):
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    heapq.heappush(ready, index[reader])
        self._report_cycle([n for n in names if waiting[n] > 0])
        return order

    def _report_cycle(self, rest: list[str]) -> None:
        loop = [n for n in rest if self.by_name[n].op in _LOOP_OPS]
        why = "it is part of a cycle"
        if loop:
            why = (
                "it is part of a TF1 while loop (Enter/NextIteration), which is refused; freeze with lower_control_flow=False or "
                "rebuild the graph with tf.compat.v1.enable_control_flow_v2()"
            )
        for name in loop or rest:
            self.faults.setdefault(name, why)

    def _import(self, node: node_def_pb2.NodeDef) -> None:
        definition = self.graph.ops.get(node.op)
        if definition is None:
            self.faults[node.name] = (
                f"op {node.op!r} is not registered; load its library (tf.load_op_library) or give its definition by a plugin"
            )
            return
        if node.name in self.faults:
            return
        try:
            self._add(node, definition)
        except (MutationError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.faults.setdefault(node.name, _reason(error))

    def _add(self, node: node_def_pb2.NodeDef, definition: OpDef) -> None:
        given = {k: attr_of_proto(v) for k, v in node.attr.items()}
        _check_attrs(definition, given)
        inputs = [self.value(i, node.name) for i in node.input if not i.startswith("^")]
        control = [self._waited(i[1:]) for i in node.input if i.startswith("^") and i[1:] not in self.arguments]
        values = definition.complete(inputs, given)
        _check_inputs(definition, inputs, values)
        types = _announced(definition.result_types(inputs, values), given)
        added = self.graph.add(
            node.op,
            inputs,
            values,
            name=node.name,
            control=control,
            device=node.device,
            origin=(node.name,),
            types=types,
        )
        self.ranges[node.name] = definition.slices(definition.outputs, added.attrs)
        if node.HasField("experimental_debug_info") or node.HasField("experimental_type"):
            self.graph.extras[node.name] = node

    def _waited(self, name: str) -> Node:
        node = self.graph.find(name)
        if node is None:
            raise ValueError(f"{name!r}, which it waits for, could not be imported")
        return node

    def value(self, reference: str, reader: str) -> Value:
        """The value that an input reference means: ``name``, ``name:i``, or in a function ``name:output:i``."""
        if reference in self.arguments:
            return self.arguments[reference]
        name, _, rest = reference.partition(":")
        producer = self.graph.find(name)
        if producer is None:
            raise ValueError(f"its input {name!r} could not be imported")
        arg, _, number = rest.partition(":")
        if arg and not arg.isdigit() and arg not in self.ranges[name]:
            raise ValueError(f"input {reference!r} does not exist: {producer.op} has no output {arg!r}")
        index = int(number or 0) + self.ranges[name][arg].start if arg and not arg.isdigit() else int(arg or 0)
        if index >= len(producer.outputs):
            raise ValueError(f"input {reference!r} does not exist: {producer.op} has {len(producer.outputs)} outputs")
        return producer.outputs[index]


def _announced(types: list[TensorType], given: Mapping[str, AttrValue]) -> list[TensorType]:
    shapes = given.get("_output_shapes")
    if not isinstance(shapes, tuple) or len(shapes) != len(types):
        return types
    return [t.with_shape(s) if isinstance(s, Shape) else t for t, s in zip(types, shapes, strict=True)]


def _reason(error: Exception) -> str:
    if isinstance(error, MutationError):
        return f"{error.what}: {error.why}" if error.why else error.what
    return str(error)


def _node_of(reference: str) -> str:
    return reference.removeprefix("^").partition(":")[0]


def _check_attrs(definition: OpDef, given: Mapping[str, AttrValue]) -> None:
    for attr in definition.attrs:
        if attr.name in given and not attr.accepts(given[attr.name]):
            raise ValueError(f"attribute {attr.name!r} must be of kind {attr.kind}, not {given[attr.name]!r}")


def _check_inputs(definition: OpDef, inputs: Sequence[Value], values: Mapping[str, AttrValue]) -> None:
    missing = [a.name for a in definition.attrs if a.name not in values]
    if missing:
        raise ValueError(f"attribute {missing[0]!r} is missing")
    expected = definition.input_dtypes(values)
    if len(expected) != len(inputs):
        raise ValueError(f"{definition.name} takes {len(expected)} inputs, not {len(inputs)}")
    for index, (dtype, value) in enumerate(zip(expected, inputs, strict=True)):
        if dtype is not value.dtype:
            raise ValueError(f"input {index} ({value.name}) is {value.dtype.tf_name}, not {dtype.tf_name}")


def _choose_outputs(graph: Graph, outputs: Sequence[str] | None) -> None:
    if outputs is None:
        graph.set_outputs(_sinks(graph))
        graph.set_keep({n.name: n for n in graph if not n.outputs and not n.control_users})
        graph.output_names = tuple(f"{v.producer.name}:{v.index}" for v in graph.outputs if v.producer is not None)
        return
    values, names, keep, unknown = [], [], {}, []
    for name in dict.fromkeys(outputs):
        node_name, _, index = name.removeprefix("^").partition(":")
        node = graph.find(node_name)
        if node is None or (index and int(index) >= len(node.outputs)):
            unknown.append(name)
        elif not node.outputs:
            keep[node_name] = node
        else:
            values.append(node.outputs[int(index or 0)])
            names.append(f"{node_name}:{index or 0}")
    if unknown:
        likely = [n.name for n in graph if n.outputs and not n.users and n.op not in ("Const", "NoOp")][:8]
        raise GraphDefError(
            "the graph has no such output", where=unknown, hint=f"its ends are: {', '.join(likely) or 'none'}"
        )
    graph.set_outputs(values, names)
    graph.set_keep(keep)


def _sinks(graph: Graph) -> list[Value]:
    return [n.outputs[0] for n in graph if n.outputs and not n.users and not n.control_users]
