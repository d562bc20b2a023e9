"""From layers to OpenVINO's operations: what a mapping is, and what it writes with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.ir import DType, Node, Shape, TensorType, Value, constant_of
from tfgraphopt.ir.tensor import Array
from tfgraphopt_openvino.openvino_api import OpenVino
from tfgraphopt_trt.layerdef import LayerError

TYPES: Mapping[DType, str] = {
    DType.FLOAT: "f32", DType.HALF: "f16", DType.BFLOAT16: "bf16", DType.INT8: "i8", DType.UINT8: "u8", DType.INT32: "i32",
    DType.INT64: "i64", DType.BOOL: "boolean",
}  # fmt: skip
"""Element types that models, their inputs and their outputs may have."""

LAYERS_HOOK = "tfgraphopt_openvino_layers"
Emit = Callable[["Writer", Node], Sequence[Any]]


class Unmapped(Exception):
    """OpenVINO cannot compute a layer; the text says why."""


class MappingFailed(EngineBuildFailed):
    """A layer that should have a mapping could not be written; ``where`` names the user's nodes."""


@attrs.frozen(slots=True)
class OpenVinoLayer:
    """How one layer becomes OpenVINO operations.

    Attributes:
        op: the layer, for example ``trt.softmax``.
        emit: ``emit(writer, node)`` returns one OpenVINO output for each result of the node, and raises :class:`Unmapped`
            with a reason for what OpenVINO cannot do.
    """

    op: str
    emit: Emit
    overrides: str = ""


class Writer:
    """What a mapping writes an OpenVINO model with; ``ops`` is the operation set."""

    def __init__(self, openvino: OpenVino) -> None:
        self.ov = openvino.module
        self.ops = openvino.ops
        self._outputs: dict[Value, Any] = {}

    def tensor(self, value: Value) -> Any:
        """The OpenVINO output that computes ``value``; a constant enters the model when it is first asked for."""
        if value not in self._outputs:
            array = self.array(value)
            if array is None:
                raise Unmapped(f"%{value.name} is read before it is computed")
            self._outputs[value] = self.constant(array)
        return self._outputs[value]

    def bind(self, value: Value, output: Any) -> None:
        """Let readers of ``value`` read ``output``."""
        self._outputs[value] = output

    def parameter(self, value: Value) -> Any:
        """A new model input for ``value``, which is bound to it."""
        parameter = self.ops.parameter(self.partial_shape(value.shape), self.type(value.dtype), name=value.name)
        self.bind(value, parameter.output(0))
        return parameter

    def array(self, value: Value) -> Array | None:
        """The elements behind a constant, or None."""
        tensor = constant_of(value)
        return None if tensor is None else np.asarray(tensor.numpy(), order="C")

    def constant(self, array: Any, dtype: DType | None = None) -> Any:
        """A constant of the elements of ``array``, which are copied."""
        array = np.asarray(array, dtype=None if dtype is None else dtype.np, order="C")
        kind = dtype or DType.of_numpy(array.dtype)
        if kind is DType.BFLOAT16:
            tensor = self.ov.Tensor(self.ov.Type.bf16, self.ov.Shape(array.shape))  # numpy has no such type of its own
            tensor.data.view(np.uint16)[...] = array.view(np.uint16)
            return self.ov.op.Constant(tensor).output(0)
        self.type(kind)
        return self.ov.op.Constant(array).output(0)

    def indices(self, values: Sequence[int] | int) -> Any:
        """An int64 constant: 0-d for a number, 1-d for a sequence."""
        return self.constant(np.array(values, np.int64))

    def like(self, x: Any, number: float) -> Any:
        """A 0-d constant of the element type of ``x``."""
        return self.ops.constant(number, x.get_element_type()).output(0)

    def type(self, dtype: DType) -> Any:
        """OpenVINO's element type; Unmapped when its engines have no such tensors."""
        if dtype not in TYPES:
            raise Unmapped(f"OpenVINO's CPU engine has no {dtype.tf_name} tensors")
        return getattr(self.ov.Type, TYPES[dtype])

    def partial_shape(self, shape: Shape) -> Any:
        """OpenVINO's form of a shape that need not be fully known."""
        return self.ov.PartialShape([-1 if d is None else d for d in shape])

    def type_of(self, output: Any) -> TensorType:
        """Element type and shape that OpenVINO infers, in our terms."""
        dtype = next((d for d in TYPES if self.type(d) == output.get_element_type()), DType.VARIANT)
        shape = output.get_partial_shape()
        if shape.rank.is_dynamic:
            return TensorType(dtype)
        return TensorType(dtype, Shape(None if d.is_dynamic else d.get_length() for d in shape))


def write_layer(writer: Writer, mappings: Mapping[str, OpenVinoLayer], node: Node) -> None:
    """Map one layer and bind its results.

    Raises:
        Unmapped: there is no mapping, it refuses, OpenVINO refuses the operation, or infers another type than the layer's rule.
    """
    mapping = mappings.get(node.op)
    if mapping is None:
        raise Unmapped(f"no plugin maps layer {node.op} to OpenVINO")
    try:
        outputs = mapping.emit(writer, node)
    except (RuntimeError, TypeError, ValueError, LayerError) as error:
        raise Unmapped(
            f"OpenVINO refuses {node.op}: {str(error).splitlines()[-1] if str(error) else error!r}"
        ) from error
    for value, output in zip(node.outputs, outputs, strict=True):
        theirs = writer.type_of(output)
        if theirs.dtype is not value.dtype or not theirs.shape.compatible(value.shape):
            raise Unmapped(f"OpenVINO infers {theirs} for {node.op} %{value.name}, the layer's shape rule {value.type}")
        writer.bind(value, output)
