"""Products and sums with constants, folded into the weights of the layer before them.

Keras 3 writes batch normalisation as a product and a sum behind the convolution and its bias. With kernel k and bias b,
``(conv(x, k) + b) * s + t`` is ``conv(x, k * s) + (b * s + t)`` when s and t depend on the output channel alone. The
arithmetic is in double precision, rounded once; kernels are computed only when somebody reads them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import DType, Node, Tensor, Value, constant_of
from tfgraphopt.ir.tensor import Array
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_trt.simplify.steps import ELEMENTWISE, HOST, along, rounded, step_of

WINDOWED = ("trt.convolution", "trt.deconvolution")
PRODUCT = "trt.matrix_multiply"


@attrs.frozen(slots=True)
class ScaleIntoWindow(Pattern):
    """A convolution or deconvolution times and plus constants per output channel is one with other weights."""

    name: ClassVar[str] = "trt-fold-scale-into-convolution"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, c: Tensor) -> Any:
        """An elementwise layer of a convolution and a constant."""
        return op[ELEMENTWISE](op[WINDOWED](...).named("window"), c).unordered()

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The convolution with the kernel and the bias that do both."""
        node: Node = m.window
        step = step_of(m.root, node.output)
        channels = node.output.shape[1]
        kernel, bias = _weights(node)
        assert channels is not None, "the shape rule knows the number of maps"
        if step.scale is not None:
            scale = along(step.scale, 1, channels)
            kernel = scaled_kernel(kernel, _kernel_scale(node, scale))
            bias = bias * scale
        if step.shift is not None:
            bias = bias + along(step.shift, 1, channels)
        return op[node.op](node.inputs[0], kernel, rounded(bias, node.output.dtype), like=node.output, **node.attrs)


def _weights(node: Node) -> tuple[Tensor, Array]:
    """The kernel, and the bias in double precision."""
    tensors = [constant_of(v) for v in node.inputs[1:]]
    known = [t for t in tensors if t is not None]
    if len(known) != len(tensors):
        raise NoMatch("its weights are known only at run time")
    maps = node.output.shape[1]
    assert maps is not None
    return known[0], known[1].numpy().astype(np.float64) if len(known) == 2 else np.zeros(maps)


def _kernel_scale(node: Node, scale: Array) -> Array:
    """``scale`` (one number an output channel) shaped to multiply the kernel."""
    rank = len(node.inputs[1].shape)
    if node.op == "trt.convolution":
        return scale.reshape(-1, *(1,) * (rank - 1))
    channels, per_group = node.inputs[1].shape.static()[:2]
    groups: Any = node.attrs["groups"]
    table = np.repeat(scale.reshape(groups, per_group), channels // groups, axis=0)
    return table.reshape(channels, per_group, *(1,) * (rank - 2))


def scaled_kernel(kernel: Tensor, scale: Array) -> Tensor:
    """``kernel * scale`` in the kernel's element type, computed when it is read.

    Raises:
        NoMatch: half precision might overflow.
    """
    if kernel.dtype is not DType.FLOAT:
        return rounded(kernel.numpy().astype(np.float64) * scale, kernel.dtype)
    return Tensor(kernel.dtype, kernel.shape, functools.partial(_multiply, kernel, scale))


def _multiply(kernel: Tensor, scale: Array) -> Array:
    array = kernel.numpy()
    return np.multiply(array, scale, dtype=np.float64).astype(array.dtype)


@attrs.frozen(slots=True)
class ScaleIntoProduct(Pattern):
    """A matrix product with a constant, times a constant per column, is one with another constant."""

    name: ClassVar[str] = "trt-fold-scale-into-product"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, weights: Tensor, c: Tensor) -> Any:
        """An elementwise layer of a product and a constant."""
        return op[ELEMENTWISE](op[PRODUCT](x, weights).named("product"), c).unordered()

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The product with scaled columns."""
        node: Node = m.product
        step = step_of(m.root, node.output)
        if step.scale is None or step.shift is not None:
            raise NoMatch("a matrix product has no bias")
        rank, turned = len(node.output.shape), bool(node.attrs["transpose_b"])
        axis = rank - 2 if turned else rank - 1
        columns = m.weights.shape.static()[axis]
        scale = along(step.scale, rank - 1, columns)
        shape = [columns if i == axis else 1 for i in range(rank)]
        return op[PRODUCT](m.x, scaled_kernel(m.weights, scale.reshape(shape)), like=node.output, **node.attrs)


PATTERNS: Sequence[Pattern] = (ScaleIntoWindow(), ScaleIntoProduct())
