"""Which operands and results of a layer have the layer's precision, and whether the layer exists in another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs

from tfgraphopt.errors import TfGraphOptError
from tfgraphopt.ir import DType, Node, TensorType, Value
from tfgraphopt.ir.core import CONSTANT_OPS

CAST = "trt.cast"
CONSTANT = "trt.constant"

_INDIFFERENT: Mapping[str, frozenset[int]] = MappingProxyType({"trt.shape": frozenset({0}), CAST: frozenset({0})})
"""Operands that a layer reads in whatever precision they come."""


@attrs.frozen(slots=True, eq=False)
class Slots:
    """The operands (by index) and results of a layer that are in its precision."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)


def slots_of(node: Node, dtypes: Iterable[DType] = (DType.FLOAT,)) -> Slots:
    """The slots of ``node`` whose element type is among ``dtypes``; constants have none, they are in every precision."""
    if node.op in CONSTANT_OPS:
        return Slots((), ())
    wanted, free = frozenset(dtypes), _INDIFFERENT.get(node.op, frozenset())
    return Slots(
        tuple(i for i, v in enumerate(node.inputs) if v.dtype in wanted and i not in free),
        tuple(i for i, v in enumerate(node.outputs) if v.dtype in wanted),
    )


def values_of(node: Node, slots: Slots) -> list[Value]:
    """The tensors at ``slots``."""
    return [*(node.inputs[i] for i in slots.inputs), *(node.outputs[i] for i in slots.outputs)]


def is_constant(value: Value) -> bool:
    """Whether ``value`` is a constant of the body itself."""
    return value.producer is not None and value.producer.op in CONSTANT_OPS


def refusal(node: Node, slots: Slots, dtype: DType) -> str | None:
    """Why the layer's own type rule does not take ``dtype`` at ``slots``; None when it does."""
    if node.op == CAST:
        return None
    if node.definition is None or node.definition.infer is None:
        return f"nothing is known of layer {node.op}"
    inputs = [_retyped(v, dtype) if i in slots.inputs else v for i, v in enumerate(node.inputs)]
    try:
        types = node.definition.infer(inputs, node.attrs)
    except TfGraphOptError:
        raise
    except Exception as error:  # a LayerError, or whatever a third party's rule raises on a type it has not thought of
        return str(error) or type(error).__name__
    fixed = [i for i in slots.outputs if types[i].dtype is not dtype]
    return f"result {fixed[0]} of {node.op} stays {types[fixed[0]].dtype.tf_name}" if fixed else None


def _retyped(value: Value, dtype: DType) -> Value:
    """A stand-in for ``value`` with another element type; it is in no graph's use lists."""
    return Value(value.graph, value.producer, value.index, TensorType(dtype, value.shape), value.name_hint)
