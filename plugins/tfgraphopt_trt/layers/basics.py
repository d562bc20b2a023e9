"""Constants and changes of element type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, DType, Node, Tensor, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef, LayerError
from tfgraphopt_trt.layers.emission import constant_tensor, outputs
from tfgraphopt_trt.layers.rules import (
    ANY,
    MOVABLE,
    QUANTISED,
    check,
    check_arity,
    check_dtype,
    check_rank,
    element_type,
)

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

CONSTANT_TYPES = MOVABLE | QUANTISED


def _tensor(attrs: Attrs) -> Tensor:
    value = attrs.get("value")
    if not isinstance(value, Tensor):
        raise LayerError(f"the value of a constant is {type(value).__name__}, not a Tensor")
    return value


def _infer_constant(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    tensor = _tensor(attrs)
    check(tensor.dtype in CONSTANT_TYPES, f"TensorRT has no {tensor.dtype.tf_name} constants")
    check_rank(tensor.shape.known(), "a constant")
    return [tensor.type]


def _mean_constant(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    tensor = _tensor(attrs)
    return [tf.constant(tensor.numpy(), dtype=tensor.dtype.tf_name)]


def _emit_constant(e: Emitter, node: Node) -> Sequence[Any]:
    return [constant_tensor(e, _tensor(node.attrs).numpy())]


def _infer_identity(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "an identity")
    check_dtype(inputs[0], ANY, "identity")
    return [inputs[0].type]


def _mean_identity(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    return [tf.identity(inputs[0])]


def _emit_identity(e: Emitter, node: Node) -> Sequence[Any]:
    return outputs(e, e.network.add_identity(e.tensor(node.inputs[0])))


def _infer_cast(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 1, 1, "a cast")
    check_dtype(inputs[0], ANY, "cast")
    return [TensorType(element_type(attrs, "to", ANY), inputs[0].shape)]


def _mean_cast(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    to = attrs["to"]
    assert isinstance(to, DType)
    return [tf.cast(inputs[0], to.tf_name)]


def _emit_cast(e: Emitter, node: Node) -> Sequence[Any]:
    to = element_type(node.attrs, "to", ANY)
    return outputs(e, e.network.add_cast(e.tensor(node.inputs[0]), e.dtype(to)))


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.constant", _infer_constant, _mean_constant, _emit_constant, {}, (), "IConstantLayer: the tensor ``value``."
    ),
    LayerDef("trt.identity", _infer_identity, _mean_identity, _emit_identity, {}, ("x",), "IIdentityLayer: a copy."),
    LayerDef(
        "trt.cast",
        _infer_cast,
        _mean_cast,
        _emit_cast,
        {},
        ("x",),
        "ICastLayer: ``x`` in element type ``to``; floats are truncated towards zero.",
    ),
)
