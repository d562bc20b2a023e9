"""Folding scales and shifts by constants into the weights before them: batch normalisation, whole or decomposed.

Numbers change by rounding (the folded weights are computed in double precision and rounded once), so the pass "fuse" hosts these.
Keras 3 leaves Convolution, BiasAdd, Mul, AddV2 of a batch normalisation; small rules take that apart and one handles the op.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from tfgraphopt.ir import Node, Tensor, Value
from tfgraphopt.matching import AnyOf, Capture
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps

FUSE = "fuse"
Array = NDArray[Any]
_FORWARD = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul", "BatchMatMulV2")
_BACKWARD = ("Conv2DBackpropInput", "Conv3DBackpropInputV2")
_BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def linear(op: PatternOps, w: Any) -> AnyOf:
    """Any op that is linear in its constant weights ``w``, as ``m.linear``."""
    x, sizes = Capture("x"), Capture("sizes")
    return op.any_of(op[_FORWARD](x, w).named("linear"), op[_BACKWARD](sizes, w, x).named("linear"))


def _format(node: Node) -> str:
    value = node.attrs.get("data_format", "NHWC")
    return value if isinstance(value, str) else "NHWC"


def channels_first(node: Node) -> bool:
    """Whether the channel axis of a linear op's result is axis 1 (and not the last)."""
    return _format(node).startswith("NC") and not _format(node).startswith("NCHW_VECT")


# -- where the output channels are in the weights ------------------------------------------------------------------------


def _flipped(node: Node) -> bool:
    return bool(node.attrs.get("transpose_b", node.attrs.get("adj_y", False)))


def scale_weights(node: Node, weights: Tensor, factors: Array) -> Tensor:
    """The weights of ``node`` with output channel ``i`` multiplied by ``factors[i]`` (or all by a scalar).

    Raises:
        NoMatch: the result would not be finite.
    """
    wide = weights.numpy().astype(np.float64)
    if factors.ndim:
        factors = _against(node, wide, factors)
    with np.errstate(all="ignore"):
        return rounded(wide * factors, weights)


def _against(node: Node, weights: Array, factors: Array) -> Array:
    """``factors`` shaped so that they broadcast along the output channels of ``weights``."""
    if node.op == "DepthwiseConv2dNative":
        return factors.reshape(weights.shape[-2:])
    if node.op in _BACKWARD or _flipped(node):
        return factors[:, None]
    return factors


def rounded(values: Array, like: Tensor) -> Tensor:
    """``values`` in the element type of ``like``; NoMatch when any overflows or is NaN."""
    with np.errstate(all="ignore"):
        array = values.astype(like.dtype.np)
    if not np.isfinite(array.astype(np.float64)).all():
        raise NoMatch("a folded constant would not be finite")
    return Tensor.of(array, like.dtype)


def channel_count(node: Node, weights: Tensor) -> int:
    """The number of output channels of a linear op."""
    dims = weights.shape.static()
    if node.op == "DepthwiseConv2dNative":
        return dims[-2] * dims[-1]
    return dims[-2] if node.op in _BACKWARD or _flipped(node) else dims[-1]


def per_channel(constant: Tensor, node: Node, weights: Tensor) -> Array:
    """A constant that is broadcast with the result of ``node`` as one double per output channel, or as a scalar.

    Raises:
        NoMatch: it varies along other axes, or would enlarge the result.
    """
    dims = constant.shape.static()
    if constant.num_elements == 1 and len(dims) <= _rank(node, weights):
        return constant.numpy().astype(np.float64).reshape(())
    count, rank = channel_count(node, weights), _rank(node, weights)
    full = (1,) * (rank - len(dims)) + dims
    axis = 1 if channels_first(node) else rank - 1
    if len(full) != rank or full[axis] != count or constant.num_elements != count:
        raise NoMatch(f"a constant of shape {constant.shape} is not one number for each of {count} channels")
    return constant.numpy().astype(np.float64).reshape(-1)


def _rank(node: Node, weights: Tensor) -> int:
    rank = node.outputs[0].shape.rank
    known = {"MatMul": 2, "Conv2D": 4, "DepthwiseConv2dNative": 4, "Conv2DBackpropInput": 4, "Conv3D": 5}
    found = known.get(node.op, rank)
    if found is None:
        raise NoMatch(f"the rank of {node.name!r} is unknown")
    return found


def rewritten(op: Draft, m: Match, weights: Tensor) -> Any:
    """The linear op again with other weights."""
    node: Node = m.linear
    inputs = [weights if v is m.value("w") else v for v in node.inputs]
    return op[node.op](*inputs, like=node.outputs[0], **node.attrs)


def biased(op: Draft, m: Match, value: Value, bias: Array, like: Value) -> Any:
    """``value + bias`` per channel, as a BiasAdd."""
    count = channel_count(m.linear, m.w)
    constant = rounded(np.broadcast_to(bias, (count,)), m.w)
    return op.BiasAdd(value, constant, like=like, data_format="NCHW" if channels_first(m.linear) else "NHWC")


# -- rules ---------------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class FoldScale(Pattern):
    """A scale after a linear op goes into its weights."""

    name: ClassVar[str] = "fold-scale"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, w: Tensor, c: Tensor) -> Any:
        """``linear(x, w) * c`` or ``/ c``."""
        return op["Mul", "RealDiv"](linear(op, w), c)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The linear op with scaled weights."""
        factors = _factors(m)
        return rewritten(op, m, scale_weights(m.linear, m.w, factors))


def _factors(m: Match) -> Array:
    factors = per_channel(m.c, m.linear, m.w)
    if m.root.op != "RealDiv":
        return factors
    if not factors.all():
        raise NoMatch("it divides by zero")
    with np.errstate(all="ignore"):
        return np.asarray(1 / factors)


@attrs.frozen(slots=True)
class FoldScaleThroughBias(Pattern):
    """A scale after a linear op and its bias goes into weights and bias."""

    name: ClassVar[str] = "fold-scale-through-bias"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, w: Tensor, b: Tensor, c: Tensor) -> Any:
        """``(linear(x, w) + b) * c``."""
        return op["Mul", "RealDiv"](op["BiasAdd", "AddV2", "Add", "Sub"](linear(op, w), b).named("bias"), c)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``linear(x, w * c) + b * c``."""
        factors, bias = _factors(m), _bias(m.bias, m.b, m)
        value = rewritten(op, m, scale_weights(m.linear, m.w, factors))
        with np.errstate(all="ignore"):
            return biased(op, m, value, bias * factors, m.root.output)


def _bias(node: Node, constant: Tensor, m: Match) -> Array:
    """What ``node`` adds per channel."""
    if node.op == "BiasAdd":
        if channels_first(node) != channels_first(m.linear):
            raise NoMatch(f"{node.name!r} and {m.linear.name!r} have different data formats")
        return constant.numpy().astype(np.float64)
    added = per_channel(constant, m.linear, m.w)
    return -added if node.op == "Sub" else added


@attrs.frozen(slots=True)
class MergeBiases(Pattern):
    """Two shifts after a linear op are one bias."""

    name: ClassVar[str] = "merge-biases"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, w: Tensor, b: Tensor, c: Tensor) -> Any:
        """``(linear(x, w) + b) + c``."""
        shifts = ("BiasAdd", "AddV2", "Add", "Sub")
        return op[shifts](op[shifts](linear(op, w), b).named("first"), c)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``linear(x, w) + (b + c)``."""
        with np.errstate(all="ignore"):
            total = _bias(m.first, m.b, m) + _bias(m.root, m.c, m)
        return biased(op, m, m.linear.outputs[0], total, m.root.output)


@attrs.frozen(slots=True)
class ShiftToBias(Pattern):
    """A shift per channel after a linear op is its bias."""

    name: ClassVar[str] = "shift-to-bias"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, w: Tensor, c: Tensor) -> Any:
        """``linear(x, w) + c``."""
        return op["AddV2", "Add", "Sub"](linear(op, w), c)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """``BiasAdd(linear(x, w), c)``."""
        return biased(op, m, m.linear.outputs[0], _bias(m.root, m.c, m), m.root.output)


@attrs.frozen(slots=True)
class SplitBatchNorm(Pattern):
    """A batch normalisation after a linear op is a scale and a shift, which the other rules fold."""

    name: ClassVar[str] = "fold-batch-norm"
    host: ClassVar[str] = FUSE

    def pattern(
        self, op: PatternOps, w: Tensor, b: Tensor, scale: Tensor, offset: Tensor, mean: Tensor, variance: Tensor
    ) -> Any:
        """``FusedBatchNorm(linear(x, w) [+ b])`` with constant statistics."""
        value = linear(op, w)
        before = op.any_of(value, op["BiasAdd", "AddV2", "Add", "Sub"](value, b).named("bias"))
        return op[_BATCH_NORMS](before, scale, offset, mean, variance, is_training=False)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """Weights and bias with everything folded."""
        if channels_first(m.root) != channels_first(m.linear):
            raise NoMatch("the data formats of the two ops differ")
        scale, offset, mean, variance = (t.numpy().astype(np.float64) for t in (m.scale, m.offset, m.mean, m.variance))
        epsilon = m.root.attrs["epsilon"]
        if (variance + epsilon <= 0).any():
            raise NoMatch("a variance is negative")
        factors = scale / np.sqrt(variance + epsilon)
        bias = _bias(m.bias, m.b, m) if m.b is not None else 0.0
        value = rewritten(op, m, scale_weights(m.linear, m.w, factors))
        return biased(op, m, value, (bias - mean) * factors + offset, m.root.outputs[0])


@attrs.frozen(slots=True)
class FoldPad(Pattern):
    """Zero padding before a convolution becomes its own padding."""

    name: ClassVar[str] = "fold-pad"
    host: ClassVar[str] = FUSE

    def pattern(self, op: PatternOps, x: Value, paddings: Tensor, w: Value) -> Any:
        """``Conv2D(Pad(x), w)`` without padding of its own."""
        return op["Conv2D", "DepthwiseConv2dNative"](op.Pad(x, paddings), w, padding="VALID")

    def rewrite(self, op: Draft, m: Match) -> Any:
        """A convolution with explicit padding."""
        amounts = [int(n) for n in m.paddings.numpy().reshape(-1)]
        channel = 1 if channels_first(m.root) else 3
        if len(amounts) != 8 or any(amounts[2 * axis] or amounts[2 * axis + 1] for axis in (0, channel)):
            raise NoMatch("it pads images or channels")
        changed = {**m.root.attrs, "padding": "EXPLICIT", "explicit_paddings": tuple(amounts)}
        return op[m.root.op](m.x, m.w, like=m.root.output, **changed)
