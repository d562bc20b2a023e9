"""Attributes and tensors between protocol buffers and Python values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tensorflow.core.framework import attr_value_pb2, tensor_pb2, tensor_shape_pb2
from tensorflow.python.framework import tensor_util

from tfgraphopt.errors import GraphDefError
from tfgraphopt.ir import AttrPlaceholder, AttrValue, DType, FuncRef, Shape, Tensor


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


def shape_proto(shape: Shape) -> tensor_shape_pb2.TensorShapeProto:
    """The TensorShapeProto of a shape."""
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
        dtype=tensor.dtype.number, tensor_shape=shape_proto(tensor.shape), tensor_content=array.tobytes()
    )


def _func_proto(ref: FuncRef) -> attr_value_pb2.NameAttrList:
    return attr_value_pb2.NameAttrList(name=ref.name, attr={k: attr_to_proto(v) for k, v in ref.attrs})


_WRITE: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("b", bool), int: ("i", int), float: ("f", float), str: ("s", str.encode), bytes: ("s", bytes),
    DType: ("type", lambda d: d.number), Shape: ("shape", shape_proto), Tensor: ("tensor", _tensor_proto),
    FuncRef: ("func", _func_proto), AttrPlaceholder: ("placeholder", lambda p: p.name),
}  # fmt: skip
