"""What the emit functions of the layers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfgraphopt.ir import Node
from tfgraphopt.ir.tensor import Array

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter


def member(enum: Any, name: str) -> Any:
    """The member of a TensorRT enum for our lower-case name."""
    return getattr(enum, name.upper())


def mask(axes: Sequence[int]) -> int:
    """TensorRT's bit mask of ``axes``."""
    return sum(1 << a for a in axes)


def constant_tensor(e: Emitter, array: Array) -> Any:
    """A new constant layer's ITensor (0-d arrays stay 0-d: numpy.ascontiguousarray would make them 1-d)."""
    layer = e.add(e.network.add_constant(e.dims(array.shape), e.as_weights(array)))
    return layer.get_output(0)


def index_tensor(e: Emitter, values: Sequence[int] | int) -> Any:
    """A constant int64 tensor of ``values``: 0-d for a number, 1-d for a sequence."""
    return constant_tensor(e, np.array(values, np.int64))


def operands(e: Emitter, node: Node) -> list[Any]:
    """The ITensors of every input of ``node``."""
    return [e.tensor(v) for v in node.inputs]


def outputs(e: Emitter, layer: Any) -> list[Any]:
    """Adds ``layer``; its output ITensors."""
    added = e.add(layer)
    return [added.get_output(i) for i in range(added.num_outputs)]
