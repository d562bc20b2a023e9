"""Layer normalisation, from its moments."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import Node, Tensor, Value, constant_of
from tfgraphopt.ir.tensor import Array
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_converters.composites.ops import ADD, FLOATS, HOST, LAYER_NORM, unchanged_shape
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, converter

# -- parts of the patterns -----------------------------------------------------------------------------------------------


def _mean(op: PatternOps, x: Any) -> Any:
    return op.Mean(x, ..., keep_dims=True).named("mean")


def _shifted_variance(op: PatternOps, x: Any, mean: Any, centred: Any, epsilon: Any) -> Any:
    """variance + epsilon; ``centred`` is the difference that the rest of the pattern has, where it has one."""
    squares = op.any_of(
        op.SquaredDifference(x, mean), op.SquaredDifference(mean, x), op.Square(centred), op.Mul(centred, centred)
    )
    return op[ADD](op.Mean(squares, ..., keep_dims=True).named("variance"), epsilon)


def _last_axes(x: Value, *moments: Node) -> tuple[int, ...]:
    """The axes that all ``moments`` are over; NoMatch unless they are the last ones, of known sizes."""
    rank = x.shape.rank
    if rank is None:
        raise NoMatch(f"the rank of %{x.name} is unknown")
    found = {_axes(node, rank) for node in moments}
    axes = found.pop()
    if found or axes != tuple(range(rank - len(axes), rank)) or not axes:
        raise NoMatch("the moments are not over the same last axes")
    if any(x.shape[a] is None for a in axes):
        raise NoMatch("the size of a normalised axis is known only at run time")
    return axes


def _axes(node: Node, rank: int) -> tuple[int, ...]:
    tensor = constant_of(node.inputs[1])
    if tensor is None:
        raise NoMatch(f"the axes of {node.name!r} are known only at run time")
    return tuple(sorted(int(a) % rank for a in np.asarray(tensor.numpy()).reshape(-1)))


def _parameter(tensor: Tensor | None, default: float, x: Value, axes: tuple[int, ...]) -> Array:
    """A scale or an offset of the rank of ``x``, whole along ``axes``; NoMatch when it varies along another one."""
    rank = x.shape.rank or 0
    shape = [(x.shape[i] or 0) if i in axes else 1 for i in range(rank)]
    array = np.full((), default, x.dtype.np) if tensor is None else np.asarray(tensor.numpy())
    dims = (1,) * (rank - array.ndim) + array.shape
    if len(dims) > rank or any(d not in (1, s) for d, s in zip(dims, shape, strict=True)):
        raise NoMatch("a scale or an offset varies along an axis that is not normalised")
    return np.ascontiguousarray(np.broadcast_to(array.reshape(dims), shape))


def _epsilon(tensor: Tensor) -> float:
    if tensor.num_elements != 1:
        raise NoMatch("epsilon is not one number")
    return float(tensor.numpy().reshape(-1)[0])


def _written(op: Draft, m: Match, scale: Tensor | None, offset: Tensor | None) -> Any:
    axes = _last_axes(m.x, m.mean, m.variance)
    unchanged_shape(m, m.x)
    parameters = [_parameter(t, d, m.x, axes) for t, d in ((scale, 1.0), (offset, 0.0))]
    return op[LAYER_NORM](m.x, *parameters, like=m.root.output, axes=axes, epsilon=_epsilon(m.epsilon))


# -- rules ---------------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class LayerNormFromFactor(Pattern):
    """x * factor + (offset - mean * factor) with factor = scale / sqrt(variance + epsilon), as Keras writes it."""

    name: ClassVar[str] = "layer-norm-from-factor"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, scale: Tensor, offset: Tensor, epsilon: Tensor) -> Any:
        """A product and what is left of the offset."""
        mean = _mean(op, x)
        inverse = op.Rsqrt(_shifted_variance(op, x, mean, op.Sub(x, mean), epsilon))
        factor = op.any_of(op.Mul(inverse, scale), inverse)
        moved = op.Mul(op.Neg(mean), factor)
        shift = op.any_of(op[ADD](moved, offset), op.Sub(offset, op.Mul(mean, factor)), moved)
        return op[ADD](op.Mul(x, factor), shift, T=FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """Layer normalisation."""
        return _written(op, m, m.scale, m.offset)


@attrs.frozen(slots=True)
class LayerNormFromDifference(Pattern):
    """(x - mean) / sqrt(variance + epsilon); scale and offset follow by the two rules below."""

    name: ClassVar[str] = "layer-norm-from-difference"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, epsilon: Tensor) -> Any:
        """A difference times the inverse deviation."""
        mean = _mean(op, x)
        centred = op.Sub(x, mean)
        return op.Mul(centred, op.Rsqrt(_shifted_variance(op, x, mean, centred, epsilon)), T=FLOATS)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """Layer normalisation."""
        return _written(op, m, None, None)


@attrs.frozen(slots=True)
class LayerNormFromQuotient(LayerNormFromDifference):
    """(x - mean) divided by sqrt(variance + epsilon)."""

    name: ClassVar[str] = "layer-norm-from-quotient"

    def pattern(self, op: PatternOps, x: Value, epsilon: Tensor) -> Any:
        """A difference and the deviation."""
        mean = _mean(op, x)
        centred = op.Sub(x, mean)
        return op.RealDiv(centred, op.Sqrt(_shifted_variance(op, x, mean, centred, epsilon)), T=FLOATS)


@attrs.frozen(slots=True)
class LayerNormScale(Pattern):
    """A product behind a layer normalisation is its scale."""

    name: ClassVar[str] = "layer-norm-scale"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, scale: Tensor, offset: Tensor, c: Tensor) -> Any:
        """The norm times a constant."""
        return op.Mul(op[LAYER_NORM](x, scale, offset).named("norm"), c)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """Scale and offset multiplied."""
        unchanged_shape(m, m.x)
        factor = _parameter(m.c, 1.0, m.x, tuple(m.norm.attrs["axes"]))
        parameters = (m.scale.numpy() * factor, m.offset.numpy() * factor)
        return op[LAYER_NORM](m.x, *parameters, like=m.root.output, **m.norm.attrs)


@attrs.frozen(slots=True)
class LayerNormOffset(Pattern):
    """A sum behind a layer normalisation is its offset."""

    name: ClassVar[str] = "layer-norm-offset"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value, scale: Tensor, offset: Tensor, c: Tensor) -> Any:
        """The norm plus a constant."""
        return op[ADD](op[LAYER_NORM](x, scale, offset).named("norm"), c)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """Offsets added."""
        unchanged_shape(m, m.x)
        summand = _parameter(m.c, 0.0, m.x, tuple(m.norm.attrs["axes"]))
        return op[LAYER_NORM](m.x, m.scale, m.offset.numpy() + summand, like=m.root.output, **m.norm.attrs)


@converter(LAYER_NORM)
def convert_layer_norm(
    b: LayerBuilder, x: Operand, scale: Operand, offset: Operand, *, axes: tuple[int, ...], epsilon: float
) -> Value:
    """TensorRT's normalization."""
    return b.normalization(x, scale, offset, axes, epsilon)


PATTERNS: tuple[Pattern, ...] = (
    LayerNormFromFactor(), LayerNormFromDifference(), LayerNormFromQuotient(), LayerNormScale(), LayerNormOffset(),
)  # fmt: skip
CONVERTERS: tuple[Converter, ...] = (convert_layer_norm,)
