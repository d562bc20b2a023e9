"""Op definitions from TensorFlow's own registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorflow.core.framework import op_def_pb2
from tensorflow.python.framework import op_def_registry

from tfgraphopt.errors import MutationError
from tfgraphopt.graphdef.attributes import attr_of_proto
from tfgraphopt.ir import ArgDef, AttrDef, AttrValue, DType, OpDef, OpTable, Tensor, TensorType, Value

_COMMUTATIVE = frozenset({"Add", "AddV2", "Mul", "Maximum", "Minimum", "Equal", "NotEqual", "LogicalAnd", "LogicalOr"})


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
