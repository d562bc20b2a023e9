"""Asking TensorFlow: what its shape functions infer, and what its kernels compute of constants."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import op_def_registry, versions

from tfgraphopt.errors import GraphDefError
from tfgraphopt.graphdef.attributes import attr_to_proto, shape_proto
from tfgraphopt.graphdef.exporter import export_function, export_node, function_names, reference
from tfgraphopt.graphdef.op_defs import tf_op_table
from tfgraphopt.ir import AttrValue, Graph, Node, Shape, Tensor, TensorType, Value, constant_of

GraphDef: TypeAlias = Any


_LOOPS = frozenset({"While", "StatelessWhile"})
_LOOKUPS = frozenset({"LookupTableFind", "LookupTableFindV2"})
_SCALAR_TABLES = frozenset({"HashTable", "HashTableV2", "AnonymousHashTable", "MutableHashTable", "MutableHashTableV2"})
"""Tables whose keys and values are scalars."""
_SMALL = 1024  # elements; larger constants cannot matter to a shape function


@attrs.frozen(slots=True)
class Inferred:
    """What is known of a graph whose inputs have given shapes and, some of them, given elements."""

    shapes: dict[Value, Shape]
    elements: Mapping[Value, tuple[int, ...]]
    """Of integer values that were asked for and follow from the shapes and elements given: flat, row-major."""


def infer_at(
    graph: Graph, shapes: Mapping[Value, Shape], elements: Mapping[Value, Tensor], wanted: Iterable[Value] = ()
) -> Inferred:
    """The shapes of every value of ``graph``, and the elements of the integer values ``wanted``, at one point.

    Args:
        graph: is not changed.
        shapes: of formal inputs and placeholders.
        elements: of placeholders (of rank 0 or 1) from which shapes are computed.
        wanted: values of type int32 or int64 and rank 0 or 1.

    Raises:
        GraphDefError: TensorFlow refuses the graph with these shapes.
    """
    scratch = _imported(graph, shapes, elements)
    found = _types(graph, scratch)
    read = {v: _elements(scratch, v) for v in wanted if v.producer is not None}
    known = {v: shapes.get(v, v.shape) for v in graph.inputs} | {v: t.shape for v, t in found.items()}
    return Inferred(known, {v: e for v, e in read.items() if e is not None})


def _elements(scratch: Any, value: Value) -> tuple[int, ...] | None:
    """The elements of an integer tensor as far as TensorFlow's inference can compute them without running anything."""
    import tensorflow as tf

    assert value.producer is not None
    tensor = scratch.get_tensor_by_name(f"{value.producer.name}:{value.index}")
    static = tf.get_static_value(tensor)
    if static is not None:
        return tuple(int(v) for v in static.reshape(-1))
    with scratch.as_default():
        try:  # a shape function that reads the tensor as dimensions shows what is known of it
            dims = tf.raw_ops.Fill(dims=tf.reshape(tensor, [-1]), value=0.0).shape
        except ValueError:  # a negative element
            return None
    return tuple(dims.as_list()) if dims.is_fully_defined() else None


def infer_types(graph: Graph, shapes: Mapping[Value, Shape] | None = None) -> dict[Value, TensorType]:
    """What TensorFlow's own shape functions say of every value of ``graph``, given the types of its formal inputs.

    ``shapes`` overrides the shapes of formal inputs and of first results of nodes without inputs (placeholders). Loops are then held
    to keep the shapes that their variables start with.

    Ops that this TensorFlow has not registered keep the types they have. Large constants are represented by their shapes, so that
    no weight is copied.

    Raises:
        GraphDefError: TensorFlow refuses the graph; ``why`` is its own message.
    """
    return _types(graph, _imported(graph, shapes or {}, {}))


def _imported(graph: Graph, shapes: Mapping[Value, Shape], elements: Mapping[Value, Tensor]) -> Any:
    """``graph`` as a ``tf.Graph``, whose construction infers its shapes."""
    import tensorflow as tf

    proto = _skeleton(graph, shapes, elements)
    scratch = tf.Graph()
    try:
        with scratch.as_default():
            tf.graph_util.import_graph_def(proto, name="")
    except (ValueError, tf.errors.OpError) as error:
        raise GraphDefError(f"TensorFlow refuses graph {graph.name!r}", why=str(error)) from error
    return scratch


def _types(graph: Graph, scratch: Any) -> dict[Value, TensorType]:
    found: dict[Value, TensorType] = {}
    for node in graph:
        operation = scratch.get_operation_by_name(node.name)
        for value, tensor in zip(node.outputs, operation.outputs, strict=True):
            found[value] = value.type.with_shape(
                Shape(tensor.shape.as_list() if tensor.shape.rank is not None else None)
            )
    return found


def _skeleton(graph: Graph, shapes: Mapping[Value, Shape], elements: Mapping[Value, Tensor]) -> GraphDef:
    proto = graph_pb2.GraphDef()
    proto.versions.producer = versions.GRAPH_DEF_VERSION
    needed: set[str] = set()
    for value in graph.inputs:
        _placeholder(proto, value.name_hint, value.type.with_shape(shapes.get(value, value.shape)))
    for node in graph:
        tensor = node.attrs.get("value")
        if node.op == "Const" and isinstance(tensor, Tensor) and tensor.num_elements > _SMALL:
            _placeholder(proto, node.name, tensor.type)
        elif node.outputs and node.outputs[0] in elements:
            _constant(proto, node.name, elements[node.outputs[0]])
        elif node.outputs and node.outputs[0] in shapes:
            _placeholder(proto, node.name, node.outputs[0].type.with_shape(shapes[node.outputs[0]]))
        elif op_def_registry.get(node.op) is None:
            _stand_in(proto, node)
        elif node.op in _LOOKUPS and _finds_scalars(node):
            _lookup(proto, node)
        else:
            export_node(node, proto.node.add(), lambda v: reference(v, {}), {})
            needed |= function_names(node.attrs.values())
            if shapes and node.op in _LOOPS:
                proto.node[-1].attr["output_shapes"].list.SetInParent()
                del proto.node[-1].attr["output_shapes"].list.shape[:]
    _add_functions(proto, needed, graph)
    return proto


def _placeholder(proto: GraphDef, name: str, type_: TensorType) -> None:
    node = proto.node.add(name=name, op="Placeholder")
    node.attr["dtype"].type = type_.dtype.number
    node.attr["shape"].shape.CopyFrom(shape_proto(type_.shape))


def _constant(proto: GraphDef, name: str, tensor: Tensor) -> None:
    node = proto.node.add(name=name, op="Const")
    node.attr["dtype"].type = tensor.dtype.number
    node.attr["value"].CopyFrom(attr_to_proto(tensor))


def _stand_in(proto: GraphDef, node: Node) -> None:
    """A node of the same name and result types for an op that TensorFlow does not know."""
    inputs = []
    for value in node.outputs:
        inputs.append(f"{node.name}/known_{value.index}")
        _placeholder(proto, inputs[-1], value.type)
    stand_in = proto.node.add(name=node.name, op="IdentityN" if inputs else "NoOp", input=inputs)
    if inputs:
        stand_in.attr["T"].CopyFrom(attr_to_proto(tuple(v.dtype for v in node.outputs)))


def _finds_scalars(node: Node) -> bool:
    """Whether a lookup gives a scalar for every key, and keys are scalars."""
    table, keys, default = node.inputs
    if table.producer is not None and table.producer.op in _SCALAR_TABLES:
        return True
    # The table is a handle from elsewhere, but somebody has written the rank of the result beside the op.
    rank = keys.shape.rank
    return default.shape.rank == 0 and rank is not None and rank == node.outputs[0].shape.rank


def _lookup(proto: GraphDef, node: Node) -> None:
    """A node whose result has the shape of the keys, which TensorFlow's own inference does not know: only ``tf.lookup`` says so."""
    _, keys, default = (reference(v, {}) for v in node.inputs)
    shape = proto.node.add(name=f"{node.name}/keys_shape", op="Shape", input=[keys])
    shape.attr["T"].type = node.inputs[1].dtype.number
    made = proto.node.add(name=node.name, op="Fill", input=[shape.name, default])
    made.attr["T"].type = node.outputs[0].dtype.number


def _add_functions(proto: GraphDef, needed: set[str], graph: Graph) -> None:
    seen: set[str] = set()
    while needed - seen:
        name = (needed - seen).pop()
        seen.add(name)
        function = graph.functions(name)
        if function is None:
            continue
        proto.library.function.append(export_function(name, function, verbatim=True))
        needed |= function_names(v for n in function for v in n.attrs.values())


def evaluate(graph: Graph, values: Sequence[Value]) -> list[Any]:
    """The numpy arrays of ``values``, which depend on constants only, computed by TensorFlow on the CPU.

    Raises:
        GraphDefError: TensorFlow fails to compute them; ``why`` is its own message.
    """
    import tensorflow as tf

    proto = graph_pb2.GraphDef()
    proto.versions.producer = versions.GRAPH_DEF_VERSION
    for node in _ancestors(values):
        export_node(node, proto.node.add(), lambda v: reference(v, {}), {})
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
            raise GraphDefError(
                "TensorFlow cannot compute a constant", where=[v.name for v in values], why=str(error)
            ) from error


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
