"""What grappler fuses behind a convolution or a matrix product: bias, summand, batch normalisation, activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from tfgraphopt.ir import Value
from tfgraphopt_converters.activation import ACTIVATIONS, leaky_relu
from tfgraphopt_converters.layout import per_channel
from tfgraphopt_converters.normalization import Statistics, normalized
from tfgraphopt_trt.builder import LayerBuilder, Unsupported


@attrs.frozen
class Epilogue:
    """The attributes of a fused op and where its channels are."""

    fused_ops: tuple[str, ...]
    data_format: str
    epsilon: float = 0.0
    leakyrelu_alpha: float = 0.2

    def apply(self, b: LayerBuilder, y: Value, operands: Sequence[Value]) -> Value:
        """``y`` after each fused op in turn, which take what they need from ``operands``.

        Raises:
            Unsupported: an op of the list is none that this knows.
        """
        left = iter(operands)
        for op in self.fused_ops:
            if op not in _STEPS:
                raise Unsupported(f"fused op {op!r}; known are {', '.join(sorted(_STEPS))}")
            y = _STEPS[op](b, y, left, self)
        return y


Step = Callable[[LayerBuilder, Value, Iterator[Value], Epilogue], Value]


def _bias(b: LayerBuilder, y: Value, operands: Iterator[Value], fused: Epilogue) -> Value:
    return b.elementwise(y, per_channel(b, next(operands), fused.data_format, len(y.shape)), "sum")


def _sum(b: LayerBuilder, y: Value, operands: Iterator[Value], fused: Epilogue) -> Value:
    return b.elementwise(y, next(operands), "sum")


def _batch_norm(b: LayerBuilder, y: Value, operands: Iterator[Value], fused: Epilogue) -> Value:
    by = Statistics(next(operands), next(operands), next(operands), next(operands))
    return normalized(b, y, by, fused.epsilon, fused.data_format)


def _leaky_relu(b: LayerBuilder, y: Value, operands: Iterator[Value], fused: Epilogue) -> Value:
    return leaky_relu(b, y, fused.leakyrelu_alpha)


def _gelu(type: str) -> Step:
    return lambda b, y, operands, fused: b.activation(y, type)


def _activation(op: str) -> Step:
    return lambda b, y, operands, fused: ACTIVATIONS[op](b, y)


_STEPS: dict[str, Step] = {
    "BiasAdd": _bias,
    "Add": _sum,
    "FusedBatchNorm": _batch_norm,
    "LeakyRelu": _leaky_relu,
    "GeluApproximate": _gelu("gelu_tanh"),
    "GeluExact": _gelu("gelu_erf"),
    **{op: _activation(op) for op in ("Relu", "Relu6", "Elu", "Sigmoid", "Tanh")},
}
