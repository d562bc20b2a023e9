"""Makers that build, with drawn variations, what a rule looks for, where random graphs of its ops hardly ever do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tfgraphopt.ir import DType, Module, Value
from tfgraphopt.testing.growing import EVERY, Growing, any_dims
from tfgraphopt.testing.numbers import element_arrays
from tfgraphopt.testing.strategies import modules

Recipe = Callable[[Growing], object]
FLOAT = (DType.FLOAT,)
LINEAR = (
    "Conv2D",
    "DepthwiseConv2dNative",
    "Conv2DBackpropInput",
    "Conv3D",
    "MatMul",
    "MatMulTransposed",
    "BatchMatMulV2",
)


def having(recipe: Recipe, element_types: Collection[DType] = EVERY, max_size: int = 3) -> st.SearchStrategy[Module]:
    """Modules in which ``recipe`` was followed up to ``max_size`` times, among a few other ops."""
    makers = {"recipe": lambda g, op: recipe(g)}
    kinds = ["recipe", "recipe", "Neg", "Identity"]
    return modules(ops=kinds, makers=makers, min_size=1, max_size=max_size, element_types=element_types)


def _weights(g: Growing, *dims: int) -> Value:
    return g.const(g.draw(element_arrays(DType.FLOAT, dims, special=False)))


def _image(g: Growing, *dims: int) -> Value:
    return g.placeholder(DType.FLOAT, dims)


def _linear(g: Growing) -> tuple[Value, int]:
    """A linear op with constant weights, and how many output channels it has."""
    kind = g.draw(st.sampled_from(LINEAR))
    channels = g.draw(st.integers(1, 3))
    padding, strides = "SAME", (1, 1, 1, 1)
    if kind == "Conv2D":
        node = g.add(kind, [_image(g, 1, 3, 3, 2), _weights(g, 2, 2, 2, channels)], padding=padding, strides=strides)
    elif kind == "Conv3D":
        node = g.add(
            kind, [_image(g, 1, 2, 2, 2, 2), _weights(g, 1, 2, 2, 2, channels)], padding=padding, strides=(1,) * 5
        )
    elif kind == "DepthwiseConv2dNative":
        node = g.add(kind, [_image(g, 1, 3, 3, 2), _weights(g, 2, 2, 2, channels)], padding=padding, strides=strides)
        channels *= 2
    elif kind == "Conv2DBackpropInput":
        operands = [g.ints([1, 4, 4, channels]), _weights(g, 2, 2, channels, 2), _image(g, 1, 2, 2, 2)]
        node = g.add(kind, operands, padding=padding, strides=(1, 2, 2, 1))
    elif kind == "MatMul":
        node = g.add(kind, [_image(g, 2, 3), _weights(g, 3, channels)])
    elif kind == "MatMulTransposed":
        node = g.add("MatMul", [_image(g, 2, 3), _weights(g, channels, 3)], transpose_b=True)
    else:
        node = g.add(kind, [_image(g, 2, 2, 3), _weights(g, 3, channels)])
    return node.outputs[0], channels


def _constant_like(g: Growing, x: Value, channels: int, nonzero: bool = False) -> Value:
    """One number for each channel, or one for all, in any form that broadcasts."""
    dims = g.draw(st.sampled_from([(channels,), (1, channels), (), (1,)]))
    array = g.draw(element_arrays(DType.FLOAT, dims, special=False))
    return g.const(np.where(array == 0, np.float32(0.5), array) if nonzero else array)


def _scaled(g: Growing, x: Value, channels: int) -> None:
    op = g.draw(st.sampled_from(["Mul", "RealDiv"]))
    pair = [x, _constant_like(g, x, channels, nonzero=op == "RealDiv")]
    g.like(op, pair[::-1] if op == "Mul" and g.draw(st.booleans()) else pair)


def _shifted(g: Growing, x: Value, channels: int) -> Value:
    op = g.draw(st.sampled_from(["BiasAdd", "AddV2", "Sub"]))
    if op == "BiasAdd":
        return g.add(op, [x, _weights(g, channels)]).output
    return g.like(op, [x, _constant_like(g, x, channels)])


def scale(g: Growing) -> None:
    """A linear op and a scale."""
    _scaled(g, *_linear(g))


def bias_scale(g: Growing) -> None:
    """A linear op, a shift and a scale."""
    x, channels = _linear(g)
    _scaled(g, _shifted(g, x, channels), channels)


def bias_bias(g: Growing) -> None:
    """A linear op and two shifts."""
    x, channels = _linear(g)
    _shifted(g, _shifted(g, x, channels), channels)


def keras_batch_norm(g: Growing) -> None:
    """Convolution, BiasAdd, Mul and AddV2, as Keras 3 leaves a batch normalisation."""
    x, channels = _linear(g)
    x = g.add("BiasAdd", [x, _weights(g, channels)]).output
    x = g.like("Mul", [x, _weights(g, channels)])
    g.like("AddV2", [x, _weights(g, channels)])


def batch_norm(g: Growing) -> None:
    """A convolution, perhaps a bias, and a FusedBatchNorm of any version."""
    channels = g.draw(st.integers(1, 3))
    convolved = [_image(g, 1, 3, 3, 2), _weights(g, 2, 2, 2, channels)]
    x = g.add("Conv2D", convolved, padding="SAME", strides=(1, 1, 1, 1)).output
    if g.draw(st.booleans()):
        x = _shifted(g, x, channels)
    statistics = [_weights(g, channels) for _ in range(3)]
    variance = g.const(np.abs(g.draw(element_arrays(DType.FLOAT, (channels,), special=False))) + np.float32(0.5))
    op = g.draw(st.sampled_from(["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"]))
    g.add(op, [x, *statistics, variance], use=1, is_training=False, epsilon=1e-3)


def padded_convolution(g: Growing) -> None:
    """A convolution after zero padding."""
    x = _image(g, 1, 3, 3, 2)
    amounts = [[0, 0], *([g.draw(st.integers(0, 2)) for _ in range(2)] for _ in range(2)), [0, 0]]
    padded = g.add("Pad", [x, g.ints(amounts)]).output  # type: ignore[arg-type]
    op = g.draw(st.sampled_from(["Conv2D", "DepthwiseConv2dNative"]))
    g.add(op, [padded, _weights(g, 2, 2, 2, 2)], padding="VALID", strides=(1, 1, 1, 1))


def constant_chain(g: Growing) -> None:
    """Two products or sums with constants in a row."""
    op = g.draw(st.sampled_from(["Mul", "AddV2"]))
    x = g.value(FLOAT, dims=any_dims(0, 3))
    for _ in range(2):
        x = g.like(op, [x, g.const(np.float32(g.draw(st.integers(-8, 8)) / 4))])


def power(g: Growing) -> None:
    """A small constant power."""
    x = g.placeholder(DType.FLOAT, g.draw(any_dims(0, 3)))
    g.like("Pow", [x, g.const(np.float32(g.draw(st.integers(0, 4))))])


def neutral_float(g: Growing) -> None:
    """Arithmetic with 0 and 1."""
    op = g.draw(st.sampled_from(["AddV2", "Sub", "Mul", "RealDiv", "Pow"]))
    g.like(op, [g.placeholder(DType.FLOAT, g.draw(any_dims(1, 3))), g.const(np.float32(g.draw(st.integers(0, 1))))])


def _extreme(g: Growing, op: str, numbers: st.SearchStrategy[int]) -> None:
    x = g.placeholder(DType.FLOAT, g.draw(any_dims(1, 3)))
    if op == "Minimum":
        x = g.like("Relu", [x])
    g.like(op, [x, g.const(np.float32(g.draw(numbers)))])


def maximum_with_zero(g: Growing) -> None:
    """The maximum with a constant near 0."""
    _extreme(g, "Maximum", st.integers(0, 1))


def minimum_with_six(g: Growing) -> None:
    """The minimum of Relu with a constant near 6."""
    _extreme(g, "Minimum", st.integers(5, 6))


def leaky(g: Growing) -> None:
    """The maximum of x and a fraction of it."""
    x = g.placeholder(DType.FLOAT, g.draw(any_dims(1, 3)))
    g.like("Maximum", [x, g.like("Mul", [x, g.const(np.float32(g.draw(st.integers(0, 5)) / 4))])])


def sigmoid(g: Growing) -> None:
    """The definition of the logistic function."""
    x = g.placeholder(DType.FLOAT, g.draw(any_dims(1, 3)))
    power = g.like("Exp", [g.like("Neg", [x])])
    g.like("RealDiv", [g.const(np.float32(1)), g.like("AddV2", [power, g.const(np.float32(1))])])


def _centred(g: Growing) -> tuple[Value, dict[str, Any]]:
    x = g.placeholder(DType.FLOAT, g.draw(any_dims(2, 3)))
    axis = {"axis": g.draw(st.sampled_from([-1, -1, 0])), "keep": True}
    top = g.add("Max", [x, g.ints(axis["axis"])], keep_dims=axis["keep"]).output
    return g.like("Sub", [x, top]), axis


def softmax(g: Growing) -> None:
    """Softmax written out."""
    centred, how = _centred(g)
    exponentials = g.like("Exp", [centred])
    total = g.add("Sum", [exponentials, g.ints(how["axis"])], keep_dims=how["keep"]).output
    g.like("RealDiv", [exponentials, total])


def log_softmax(g: Growing) -> None:
    """LogSoftmax written out."""
    centred, how = _centred(g)
    total = g.add("Sum", [g.like("Exp", [centred]), g.ints(how["axis"])], keep_dims=how["keep"]).output
    g.like("Sub", [centred, g.like("Log", [total])])


def squeeze_and_back(g: Growing) -> None:
    """An axis of size 1 taken out and put in again, not always in the same place."""
    x = g.placeholder(DType.FLOAT, (g.draw(st.integers(1, 3)), 1, g.draw(st.integers(1, 3))))
    squeezed = g.add("Squeeze", [x], squeeze_dims=(g.draw(st.sampled_from([1, -2])),)).output
    g.add("ExpandDims", [squeezed, g.ints(g.draw(st.sampled_from([1, -2, 0])))])


def unpack_and_back(g: Growing) -> None:
    """All parts of a tensor packed again, not always in order or along the same axis."""
    x = g.placeholder(DType.FLOAT, (2, 2))
    axis = g.draw(st.integers(-2, 1))
    parts = list(g.add("Unpack", [x], num=2, axis=axis).outputs)
    if g.draw(st.booleans()):
        parts.reverse()
    g.add("Pack", parts, axis=g.draw(st.sampled_from([axis, axis % 2, 0])))


def expand_and_squeeze(g: Growing) -> None:
    """A new axis taken out again, or not."""
    x = g.placeholder(DType.FLOAT, (1, g.draw(st.integers(1, 2))))
    expanded = g.add("ExpandDims", [x, g.ints(g.draw(st.sampled_from([0, 1, -1])))]).output
    ones = [i for i, d in enumerate(g.dims(expanded)) if d == 1]
    g.add("Squeeze", [expanded], squeeze_dims=(g.draw(st.sampled_from(ones)),))


def split_and_join(g: Growing) -> None:
    """A tensor cut in two and joined again, not always in order or along the same axis."""
    x = g.placeholder(DType.FLOAT, (2, 2))
    axis = g.draw(st.integers(-2, 1))
    if g.draw(st.booleans()):
        parts = list(g.add("Split", [g.ints(axis), x], num_split=2).outputs)
    else:
        parts = list(g.add("SplitV", [x, g.ints([1, 1]), g.ints(axis)], num_split=2).outputs)
    if g.draw(st.booleans()):
        parts.reverse()
    g.add("ConcatV2", [*parts, g.ints(g.draw(st.sampled_from([axis, axis % 2, 0])))], N=2)


def shift(g: Growing) -> None:
    """A linear op and a shift."""
    _shifted(g, *_linear(g))


def product_of_transposed(g: Growing) -> None:
    """A product whose second operand is transposed before."""
    x, y = g.placeholder(DType.FLOAT, (1, 2, 3)), g.placeholder(DType.FLOAT, (1, 4, 3))
    perm = g.draw(st.sampled_from([[0, 2, 1], [0, 1, 2]]))
    flipped = g.add("Transpose", [y, g.ints(perm)]).output
    g.add("BatchMatMulV2", [x, flipped], adj_y=perm == [0, 1, 2])


def pick(g: Growing) -> None:
    """One element of a vector packed from scalars."""
    scalars = [g.placeholder(DType.INT32, ()) for _ in range(g.draw(st.integers(1, 3)))]
    packed = g.add("Pack", scalars, axis=0).output
    index = g.draw(st.integers(-len(scalars), len(scalars) - 1))
    masks = {
        "shrink_axis_mask": 1,
        "end_mask": g.draw(st.integers(0, 1)),
        "begin_mask": int(g.draw(st.integers(0, 3)) == 3),
    }
    g.add("StridedSlice", [packed, g.ints([index]), g.ints([index + 1]), g.ints([1])], **masks)


def neutral_integer(g: Growing) -> None:
    """Integer arithmetic with 0 and 1."""
    dtype = g.draw(st.sampled_from([DType.INT32, DType.INT64]))
    x = g.placeholder(dtype, g.draw(st.sampled_from([(), (1,), (2, 3), (1, 3), (3, 1, 2)])))
    op = g.draw(st.sampled_from(["AddV2", "Sub", "Mul", "FloorDiv"]))
    neutral = int(op in ("Mul", "FloorDiv"))
    number = g.draw(st.sampled_from([neutral, neutral, neutral + 1]))
    g.like(op, [x, g.const(np.full(g.draw(st.sampled_from([(), (1,), (1, 1, 1)])), number), dtype)])


def relu_relu6(g: Growing) -> None:
    """Relu and Relu6 in a row, in either order."""
    first, second = g.draw(st.permutations(["Relu", "Relu6"]))
    g.like(second, [g.like(first, [g.placeholder(DType.FLOAT, g.draw(any_dims(0, 3)))])])


RECIPES: Mapping[str, Recipe] = {
    "pick-from-pack": pick, "drop-neutral-integer": neutral_integer, "drop-relu-before-relu6": relu_relu6,
    "fold-scale": scale, "fold-scale-through-bias": bias_scale, "merge-biases": bias_bias, "fold-batch-norm": batch_norm,
    "fold-pad": padded_convolution, "merge-constants": constant_chain, "power-to-product": power,
    "drop-neutral-float": neutral_float, "relu-from-maximum": maximum_with_zero, "relu6-from-minimum": minimum_with_six,
    "leaky-relu-from-maximum": leaky, "sigmoid-from-exp": sigmoid, "softmax-from-exp": softmax,
    "log-softmax-from-exp": log_softmax, "cancel-expand-dims-of-squeeze": squeeze_and_back,
    "cancel-pack-of-unpack": unpack_and_back, "cancel-squeeze-of-expand-dims": expand_and_squeeze,
    "cancel-concat-of-split": split_and_join, "shift-to-bias": shift, "transpose-into-matmul": product_of_transposed,
}  # fmt: skip
