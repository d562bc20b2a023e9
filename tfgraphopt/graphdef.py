"""GraphDef to Module and back: the only place that touches TensorFlow's protocol buffers.

Law: ``export_graph_def(import_graph_def(g))`` equals ``g`` up to default attributes and node order.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.framework import (
    attr_value_pb2,
    function_pb2,
    graph_pb2,
    node_def_pb2,
    op_def_pb2,
    tensor_pb2,
    tensor_shape_pb2,
)
from tensorflow.python.framework import op_def_registry, tensor_util, versions

from tfgraphopt.errors import GraphDefError, MutationError
from tfgraphopt.ir import (
    ArgDef, AttrDef, AttrPlaceholder, AttrValue, DType, FuncRef, Graph, Module, Node, OpDef, OpTable, Shape, Tensor, TensorType,
    Value, constant_of,
)  # fmt: skip
from tfgraphopt.ir.names import LEGAL_NAME

GraphDef = graph_pb2.GraphDef
_LOOP_OPS = frozenset({"NextIteration", "RefNextIteration"})
_COMMUTATIVE = frozenset({"Add", "AddV2", "Mul", "Maximum", "Minimum", "Equal", "NotEqual", "LogicalAnd", "LogicalOr"})


# -- op definitions ------------------------------------------------------------------------------------------------------


def tf_op_table() -> OpTable:
    """The definitions of every op that TensorFlow has registered in this process, read as they are needed."""
    return OpTable(fallback=_registered)


def _registered(name: str) -> OpDef | None:
    proto = op_def_registry.get(name)
    return None if proto is None else op_def_of(proto)


def op_def_of(proto: op_def_pb2.OpDef) -> OpDef:
    """Our definition of an op (or of a function, by its signature) from TensorFlow's."""
    return OpDef(
        proto.name,
        inputs=tuple(_arg_def(a) for a in proto.input_arg),
        outputs=tuple(_arg_def(a) for a in proto.output_arg),
        attrs=tuple(_attr_def(a) for a in proto.attr),
        stateful=proto.is_stateful,
        commutative=proto.is_commutative or proto.name in _COMMUTATIVE,
        infer=_const_type if proto.name == "Const" else None,
    )


def _const_type(inputs: Sequence[Value], values: Mapping[str, AttrValue]) -> list[TensorType]:
    value = values.get("value")
    if not isinstance(value, Tensor):
        raise MutationError(f"attribute 'value' of a Const must be a tensor, not {value!r}")
    return [value.type]


def _arg_def(arg: op_def_pb2.OpDef.ArgDef) -> ArgDef:
    dtype = DType.of_number(arg.type % 100) if arg.type else None
    return ArgDef(arg.name, dtype, arg.type_attr, arg.number_attr, arg.type_list_attr)


def _attr_def(attr: op_def_pb2.OpDef.AttrDef) -> AttrDef:
    has_default = attr.HasField("default_value")
    default = attr_of_proto(attr.default_value) if has_default else None
    return AttrDef(attr.name, attr.type, default, has_default)


# -- attributes ----------------------------------------------------------------------------------------------------------


def attr_of_proto(proto: attr_value_pb2.AttrValue) -> AttrValue:
    """The Python value of an AttrValue; ValueError when it holds nothing that we know."""
    kind = proto.WhichOneof("value")
    if kind == "list":
        field = next((f for f, _ in proto.list.ListFields()), None)
        return () if field is None else tuple(_READ[field.name](v) for v in getattr(proto.list, field.name))
    if kind is None:
        return None
    return _READ[kind](getattr(proto, kind))


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _shape(proto: tensor_shape_pb2.TensorShapeProto) -> Shape:
    return Shape(None) if proto.unknown_rank else Shape(d.size for d in proto.dim)


def _func(proto: attr_value_pb2.NameAttrList) -> FuncRef:
    return FuncRef(proto.name, tuple((k, attr_of_proto(v)) for k, v in sorted(proto.attr.items())))


def tensor_of_proto(proto: tensor_pb2.TensorProto) -> Tensor:
    """A Tensor over the protobuf's own bytes; nothing is decoded yet."""
    dtype = DType.of_number(proto.dtype)
    return Tensor(dtype, _shape(proto.tensor_shape), functools.partial(_decode, proto, dtype), source=proto)


def _decode(proto: tensor_pb2.TensorProto, dtype: DType) -> Any:
    if proto.tensor_content and dtype is not DType.STRING:
        array = np.frombuffer(proto.tensor_content, dtype=dtype.np)
        return array.reshape([d.size for d in proto.tensor_shape.dim])
    return np.asarray(tensor_util.MakeNdarray(proto), dtype=dtype.np)


_READ: dict[str, Callable[[Any], AttrValue]] = {
    "s": _text, "i": int, "f": float, "b": bool, "type": lambda n: DType.of_number(n % 100), "shape": _shape,
    "tensor": tensor_of_proto, "func": _func, "placeholder": AttrPlaceholder,
}  # fmt: skip


def attr_to_proto(value: AttrValue, kind: str = "") -> attr_value_pb2.AttrValue:
    """The AttrValue of a Python value; ``kind`` (TensorFlow's word for the attribute's kind) settles empty lists and 1 for 1.0."""
    proto = attr_value_pb2.AttrValue()
    if isinstance(value, tuple):
        proto.list.SetInParent()
        element = kind[5:-1] if kind.startswith("list(") else ""
        for item in value:
            name, item = _encode(item, element)
            _put(getattr(proto.list, name), item)
        return proto
    if value is None:
        return proto
    name, item = _encode(value, kind)
    if isinstance(item, (int, float, bool, bytes, str)):
        setattr(proto, name, item)
    else:
        getattr(proto, name).CopyFrom(item)
    return proto


def _put(repeated: Any, item: Any) -> None:
    if isinstance(item, (int, float, bool, bytes)):
        repeated.append(item)
    else:
        repeated.add().CopyFrom(item)


def _encode(value: Any, kind: str) -> tuple[str, Any]:
    if kind == "float" and isinstance(value, int):
        value = float(value)
    for type_, (field, write) in _WRITE.items():
        if isinstance(value, type_):
            return field, write(value)
    raise GraphDefError(f"a {type(value).__name__} cannot be an attribute: {value!r}")


def _shape_proto(shape: Shape) -> tensor_shape_pb2.TensorShapeProto:
    if shape.dims is None:
        return tensor_shape_pb2.TensorShapeProto(unknown_rank=True)
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=-1 if d is None else d) for d in shape.dims]
    return tensor_shape_pb2.TensorShapeProto(dim=dims)


def _tensor_proto(tensor: Tensor) -> tensor_pb2.TensorProto:
    if isinstance(tensor.source, tensor_pb2.TensorProto):
        return tensor.source
    if tensor.dtype is DType.STRING:
        return tensor_util.make_tensor_proto(tensor.numpy(), shape=tensor.shape.static())
    array = np.ascontiguousarray(tensor.numpy())
    return tensor_pb2.TensorProto(
        dtype=tensor.dtype.number, tensor_shape=_shape_proto(tensor.shape), tensor_content=array.tobytes()
    )


def _func_proto(ref: FuncRef) -> attr_value_pb2.NameAttrList:
    return attr_value_pb2.NameAttrList(name=ref.name, attr={k: attr_to_proto(v) for k, v in ref.attrs})


_WRITE: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("b", bool), int: ("i", int), float: ("f", float), str: ("s", str.encode), bytes: ("s", bytes),
    DType: ("type", lambda d: d.number), Shape: ("shape", _shape_proto), Tensor: ("tensor", _tensor_proto),
    FuncRef: ("func", _func_proto), AttrPlaceholder: ("placeholder", lambda p: p.name),
}  # fmt: skip


# -- import --------------------------------------------------------------------------------------------------------------


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
    if not isinstance(graph_def, GraphDef):
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
        raise GraphDefError(f"{name} is not a binary GraphDef", why=str(error), hint="is it complete, and frozen?") from error
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
            node.op, inputs, values, name=node.name, control=control, device=node.device, origin=(node.name,), types=types
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
        raise GraphDefError("the graph has no such output", where=unknown, hint=f"its ends are: {', '.join(likely) or 'none'}")
    graph.set_outputs(values, names)
    graph.set_keep(keep)


def _sinks(graph: Graph) -> list[Value]:
    return [n.outputs[0] for n in graph if n.outputs and not n.users and not n.control_users]


# -- export --------------------------------------------------------------------------------------------------------------


def export_graph_def(module: Module, *, verbatim: bool = True) -> GraphDef:
    """The GraphDef of a Module; what the caller fetched is there under the same names.

    ``verbatim`` gives functions that nobody changed back as they came instead of writing them anew.
    """
    proto = GraphDef()
    proto.versions.producer, proto.versions.min_consumer = module.versions[:2]
    proto.versions.bad_consumers.extend(module.versions[2])
    _export_main(module.main, proto)
    for name, function in module.functions.items():
        proto.library.function.append(_export_function(name, function, verbatim))
    for opaque in module.opaque_functions.values():
        assert isinstance(opaque, function_pb2.FunctionDef)
        proto.library.function.append(opaque)
    for function_name, gradient in module.gradients:
        proto.library.gradient.add(function_name=function_name, gradient_func=gradient)
    return proto


def _export_main(graph: Graph, proto: GraphDef) -> None:
    displaced, wrappers = _output_wrappers(graph)
    renamed = {name: _free_name(graph, f"{name}_replaced") for name in displaced}
    for node in graph:
        _export_node(node, proto.node.add(), lambda v: _reference(v, renamed), renamed)
    for name, values in wrappers.items():
        wrapper = proto.node.add(name=name, op="Identity" if len(values) == 1 else "IdentityN")
        wrapper.input.extend(_reference(v, renamed) for v in values)
        types: AttrValue = values[0].dtype if len(values) == 1 else tuple(v.dtype for v in values)
        wrapper.attr["T"].CopyFrom(attr_to_proto(types))


def _output_wrappers(graph: Graph) -> tuple[set[str], dict[str, list[Value]]]:
    """Nodes to write so that every output is found under its name, and nodes that have to give a name up for it."""
    wanted: dict[str, dict[int, Value]] = {}
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        node_name, _, index = name.partition(":")
        wanted.setdefault(node_name, {})[int(index or 0)] = value
    wrappers: dict[str, list[Value]] = {}
    for name, values in wanted.items():
        node = graph.find(name)
        if node is None or any(v.producer is not node or v.index != i for i, v in values.items()):
            filler = next(iter(values.values()))
            wrappers[name] = [values.get(i, filler) for i in range(max(values) + 1)]
    return {n for n in wrappers if graph.find(n) is not None}, wrappers


def _free_name(graph: Graph, name: str) -> str:
    while graph.find(name) is not None:
        name += "_"
    return name


def _reference(value: Value, renamed: Mapping[str, str]) -> str:
    if value.producer is None:
        return value.name_hint
    name = renamed.get(value.producer.name, value.producer.name)
    return name if value.index == 0 else f"{name}:{value.index}"


def _export_node(
    node: Node, proto: node_def_pb2.NodeDef, refer: Callable[[Value], str], renamed: Mapping[str, str]
) -> None:
    extra = node.graph.extras.get(node.name)
    if isinstance(extra, node_def_pb2.NodeDef) and extra.op == node.op:
        proto.experimental_debug_info.CopyFrom(extra.experimental_debug_info)
        if extra.HasField("experimental_type"):
            proto.experimental_type.CopyFrom(extra.experimental_type)
    proto.name, proto.op, proto.device = renamed.get(node.name, node.name), node.op, node.device
    proto.input.extend(refer(v) for v in node.inputs)
    proto.input.extend("^" + renamed.get(c.name, c.name) for c in node.control)
    kinds = {a.name: a.kind for a in node.definition.attrs} if node.definition else {}
    for name, value in node.attrs.items():
        if name == "_class":
            value = _live_colocation(node.graph, value)
            if not value:
                continue
        proto.attr[name].CopyFrom(attr_to_proto(value, kinds.get(name, "")))


def _live_colocation(graph: Graph, value: AttrValue) -> AttrValue:
    """Colocation with a node that is gone would make TensorFlow refuse the graph."""
    if not isinstance(value, tuple):
        return value
    return tuple(v for v in value if not str(v).startswith("loc:@") or graph.find(str(v)[5:]) is not None)


def _export_function(name: str, graph: Graph, verbatim: bool) -> function_pb2.FunctionDef:
    source, version = graph.source if isinstance(graph.source, tuple) else (None, -1)
    if verbatim and isinstance(source, function_pb2.FunctionDef) and version == graph.version:
        return source
    proto = function_pb2.FunctionDef()
    if isinstance(source, function_pb2.FunctionDef):
        proto.CopyFrom(source)
        for field in ("node_def", "ret", "control_ret", "attr"):
            proto.ClearField(field)
    _export_signature(name, graph, proto)
    for key, value in graph.attrs.items():
        proto.attr[key].CopyFrom(attr_to_proto(value))
    for node in graph:
        _export_node(node, proto.node_def.add(), _function_reference, {})
    for out, value in zip(graph.output_names, graph.outputs, strict=True):
        proto.ret[out] = _function_reference(value)
    for key, node in graph.keep.items():
        proto.control_ret[key] = node.name
    return proto


def _export_signature(name: str, graph: Graph, proto: function_pb2.FunctionDef) -> None:
    signature = proto.signature
    same_args = [a.name for a in signature.input_arg] == [v.name_hint for v in graph.inputs]
    signature.name = name
    if not same_args:
        signature.ClearField("input_arg")
        proto.ClearField("arg_attr")
        for index, value in enumerate(graph.inputs):
            signature.input_arg.add(name=value.name_hint, type=value.dtype.number)
            if value.shape.rank is not None:
                proto.arg_attr[index].attr["_output_shapes"].CopyFrom(attr_to_proto((value.shape,), "list(shape)"))
    if [a.name for a in signature.output_arg] != list(graph.output_names):
        signature.ClearField("output_arg")
        for out, value in zip(graph.output_names, graph.outputs, strict=True):
            signature.output_arg.add(name=out, type=value.dtype.number)
    del signature.control_output[:]
    signature.control_output.extend(graph.keep)
    signature.is_stateful = signature.is_stateful or any(n.definition is not None and n.definition.stateful for n in graph)


def _function_reference(value: Value) -> str:
    producer = value.producer
    if producer is None:
        return value.name_hint
    assert producer.definition is not None
    for arg, part in producer.definition.slices(producer.definition.outputs, producer.attrs).items():
        if part.start <= value.index < part.stop:
            return f"{producer.name}:{arg}:{value.index - part.start}"
    raise GraphDefError(f"result {value.index} of {producer.op} has no argument name", where=(producer.name,))


def opaque_to_bytes(name: str, function: object) -> bytes:
    """The bytes of a function that a module carries along unread."""
    if not isinstance(function, function_pb2.FunctionDef):
        raise GraphDefError(f"function {name!r} is a {type(function).__name__}, not a FunctionDef")
    data: bytes = function.SerializeToString(deterministic=True)
    return data


def opaque_of_bytes(data: bytes) -> tuple[str, object]:
    """Name and value of a function that :func:`opaque_to_bytes` wrote."""
    function = function_pb2.FunctionDef.FromString(data)
    return function.signature.name, function


def function_names(values: Iterable[AttrValue]) -> set[str]:
    """Names of the functions that attribute values refer to."""
    found: set[str] = set()
    for value in values:
        items = value if isinstance(value, tuple) else (value,)
        for ref in items:
            if isinstance(ref, FuncRef):
                found |= {ref.name} | function_names(v for _, v in ref.attrs)
    return found


# -- asking TensorFlow ---------------------------------------------------------------------------------------------------

_SMALL = 1024  # elements; larger constants cannot matter to a shape function


def infer_types_at(graph: Graph, shapes: Mapping[Value, Shape]) -> dict[Value, Shape]:
    """The shapes of every value of ``graph`` when the given values (formal inputs, placeholders) have these shapes."""
    return {value: found.shape for value, found in infer_types(graph, shapes).items()}


def infer_types(graph: Graph, shapes: Mapping[Value, Shape] | None = None) -> dict[Value, TensorType]:
    """What TensorFlow's own shape functions say of every value of ``graph``, given the types of its formal inputs.

    ``shapes`` overrides the shapes of formal inputs and of first results of nodes without inputs (placeholders).

    Ops that this TensorFlow has not registered keep the types they have. Large constants are represented by their shapes, so that
    no weight is copied.

    Raises:
        GraphDefError: TensorFlow refuses the graph; ``why`` is its own message.
    """
    import tensorflow as tf

    proto = _skeleton(graph, shapes or {})
    scratch = tf.Graph()
    try:
        with scratch.as_default():
            tf.graph_util.import_graph_def(proto, name="")
    except (ValueError, tf.errors.OpError) as error:
        raise GraphDefError(f"TensorFlow refuses graph {graph.name!r}", why=str(error)) from error
    found: dict[Value, TensorType] = {}
    for node in graph:
        operation = scratch.get_operation_by_name(node.name)
        for value, tensor in zip(node.outputs, operation.outputs, strict=True):
            found[value] = value.type.with_shape(Shape(tensor.shape.as_list() if tensor.shape.rank is not None else None))
    return found


def _skeleton(graph: Graph, shapes: Mapping[Value, Shape]) -> GraphDef:
    proto = GraphDef()
    proto.versions.producer = versions.GRAPH_DEF_VERSION
    needed: set[str] = set()
    for value in graph.inputs:
        _placeholder(proto, value.name_hint, value.type.with_shape(shapes.get(value, value.shape)))
    for node in graph:
        tensor = node.attrs.get("value")
        if node.op == "Const" and isinstance(tensor, Tensor) and tensor.num_elements > _SMALL:
            _placeholder(proto, node.name, tensor.type)
        elif node.outputs and node.outputs[0] in shapes:
            _placeholder(proto, node.name, node.outputs[0].type.with_shape(shapes[node.outputs[0]]))
        elif op_def_registry.get(node.op) is None:
            _stand_in(proto, node)
        else:
            _export_node(node, proto.node.add(), lambda v: _reference(v, {}), {})
            needed |= function_names(node.attrs.values())
    _add_functions(proto, needed, graph)
    return proto


def _placeholder(proto: GraphDef, name: str, type_: TensorType) -> None:
    node = proto.node.add(name=name, op="Placeholder")
    node.attr["dtype"].type = type_.dtype.number
    node.attr["shape"].shape.CopyFrom(_shape_proto(type_.shape))


def _stand_in(proto: GraphDef, node: Node) -> None:
    """A node of the same name and result types for an op that TensorFlow does not know."""
    inputs = []
    for value in node.outputs:
        inputs.append(f"{node.name}/known_{value.index}")
        _placeholder(proto, inputs[-1], value.type)
    stand_in = proto.node.add(name=node.name, op="IdentityN" if inputs else "NoOp", input=inputs)
    if inputs:
        stand_in.attr["T"].CopyFrom(attr_to_proto(tuple(v.dtype for v in node.outputs)))


def _add_functions(proto: GraphDef, needed: set[str], graph: Graph) -> None:
    seen: set[str] = set()
    while needed - seen:
        name = (needed - seen).pop()
        seen.add(name)
        function = graph.functions(name)
        if function is None:
            continue
        proto.library.function.append(_export_function(name, function, verbatim=True))
        needed |= function_names(v for n in function for v in n.attrs.values())


def evaluate(graph: Graph, values: Sequence[Value]) -> list[Any]:
    """The numpy arrays of ``values``, which depend on constants only, computed by TensorFlow on the CPU.

    Raises:
        GraphDefError: TensorFlow fails to compute them; ``why`` is its own message.
    """
    import tensorflow as tf

    proto = GraphDef()
    proto.versions.producer = versions.GRAPH_DEF_VERSION
    for node in _ancestors(values):
        _export_node(node, proto.node.add(), lambda v: _reference(v, {}), {})
        proto.node[-1].device = ""
        proto.node[-1].attr.pop("_class", None)
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    scratch = tf.Graph()
    with scratch.as_default():
        tf.graph_util.import_graph_def(proto, name="")
    with tf.compat.v1.Session(graph=scratch, config=config) as session:
        try:
            return list(session.run([f"{v.producer.name}:{v.index}" for v in values if v.producer is not None]))
        except tf.errors.OpError as error:
            raise GraphDefError("TensorFlow cannot compute a constant", where=[v.name for v in values], why=str(error)) from error


def _ancestors(values: Sequence[Value]) -> list[Node]:
    needed: dict[Node, None] = {}
    stack = [v.producer for v in values if v.producer is not None]
    while stack:
        node = stack.pop()
        if node not in needed:
            needed[node] = None
            stack.extend(v.producer for v in node.inputs if v.producer is not None)
    return sorted(needed, key=lambda n: n.position)


def infer_node(
    op: str, operands: Sequence[Value | TensorType | Tensor], attributes: Mapping[str, AttrValue]
) -> list[TensorType]:
    """What TensorFlow's shape function says of the results of one node; nothing for ops that it cannot be asked about.

    An operand may be a value, a type, or a constant. Answers are kept by op, attributes and operand types (and values, of small
    constants).

    Raises:
        GraphDefError: TensorFlow refuses such a node; ``why`` is its own message.
    """
    if op_def_registry.get(op) is None or function_names(attributes.values()):
        return []
    known = tuple(_known_operand(o) if isinstance(o, Value) else o for o in operands)
    return list(_infer_node(op, tuple((k, type(v), v) for k, v in sorted(attributes.items())), known))


def _known_operand(value: Value) -> TensorType | Tensor:
    tensor = constant_of(value)
    return tensor if tensor is not None and tensor.num_elements <= _SMALL else value.type


@functools.lru_cache(maxsize=4096)
def _infer_node(
    op: str, attributes: tuple[tuple[str, type, AttrValue], ...], operands: tuple[TensorType | Tensor, ...]
) -> tuple[TensorType, ...]:
    graph = Graph("one", tf_op_table())
    inputs = []
    for index, operand in enumerate(operands):
        if isinstance(operand, Tensor):
            inputs.append(graph.add("Const", [], {"value": operand, "dtype": operand.dtype}).output)
        else:
            inputs.append(graph.add_input(f"operand_{index}", operand))
    node = graph.add(op, inputs, {name: value for name, _, value in attributes}, name="node")
    found = infer_types(graph)
    return tuple(found[v] for v in node.outputs)
