"""How strategies add one op to a growing graph: a table from op names to makers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tfgraphopt.ir import DType, Value
from tfgraphopt.testing.growing import EVERY, FLOATS, INTS, NUMBERS, Dims, Growing, any_dims
from tfgraphopt.testing.numbers import element_arrays

Maker = Callable[[Growing, str], object]
FLOAT = (DType.FLOAT,)
BOOL = (DType.BOOL,)

# -- elementwise ---------------------------------------------------------------------------------------------------------


def _unary(dtypes: tuple[DType, ...], result: DType | None = None) -> Maker:
    return lambda g, op: g.like(op, [g.value(dtypes)], result)


def _partner(g: Growing, x: Value) -> Value:
    """A second operand that broadcasts with ``x``."""
    dims = g.dims(x)
    return g.value((x.dtype,), lambda other: _broadcasts(dims, other), _partner_dims(dims))


def _broadcasts(one: Dims, two: Dims) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(reversed(one), reversed(two), strict=False))


def _partner_dims(dims: Dims) -> st.SearchStrategy[Dims]:
    start = st.integers(0, len(dims))
    ones = st.lists(st.booleans(), min_size=len(dims), max_size=len(dims))
    return st.builds(lambda s, flags: tuple(1 if o else d for d, o in zip(dims, flags, strict=True))[s:], start, ones)


def _binary(dtypes: tuple[DType, ...], result: DType | None = None) -> Maker:
    def make(g: Growing, op: str) -> None:
        x = g.value(dtypes)
        pair = [x, _partner(g, x)]
        g.like(op, pair[::-1] if g.draw(st.booleans()) else pair, result)

    return make


def _divide(g: Growing, op: str) -> None:
    """Integers are divided by constants only, none of them zero."""
    x = g.value(NUMBERS)
    y = _partner(g, x) if x.dtype in FLOATS else g.const(g.draw(st.integers(1, 3)), x.dtype)
    g.like(op, [x, y])


def _select(g: Growing, op: str) -> None:
    x = g.value(EVERY)
    condition = g.value(BOOL, lambda d: _broadcasts(g.dims(x), d), _partner_dims(g.dims(x)))
    y = g.value((x.dtype,), lambda d: d == g.dims(x), st.just(g.dims(x)))
    g.like(op, [condition, x, y])


def _cast(g: Growing, op: str) -> None:
    target = g.draw(st.sampled_from([d for d in EVERY if d in g.element_types]))
    sources = tuple(d for d in EVERY if not (d in FLOATS and target in INTS))  # NaN to integer is undefined
    g.like(op, [g.value(sources)], target, DstT=target)


def _clip(g: Growing, op: str) -> None:
    x = g.value(FLOATS)
    low = g.draw(st.integers(-2, 1))
    g.like(op, [g.const(low, x.dtype), g.const(low + 1, x.dtype), x][::-1])


def _bias_add(g: Growing, op: str) -> None:
    x = g.value(FLOATS, lambda d: len(d) >= 2, any_dims(2, 4))
    bias = g.value((x.dtype,), lambda d: d == g.dims(x)[-1:], st.just(g.dims(x)[-1:]))
    g.add(op, [x, bias])


def _forward_many(g: Growing, op: str) -> None:
    values = [g.value(EVERY) for _ in range(g.draw(st.integers(1, 3)))]
    g.add(op, values)


def _same_shape_list(g: Growing, op: str, dtypes: tuple[DType, ...], **attributes: Any) -> None:
    x = g.value(dtypes)
    same = [g.value((x.dtype,), lambda d: d == g.dims(x), st.just(g.dims(x))) for _ in range(g.draw(st.integers(0, 2)))]
    g.add(op, [x, *same], **attributes)


def _pack(g: Growing, op: str) -> None:
    _same_shape_list(g, op, EVERY, axis=g.draw(st.integers(-1, 0)))


# -- reductions ----------------------------------------------------------------------------------------------------------


def _axes(g: Growing, rank: int) -> list[int]:
    chosen = g.draw(st.sets(st.integers(0, rank - 1))) if rank else set()
    return [a - rank if g.draw(st.booleans()) else a for a in sorted(chosen)]


def _reduce(dtypes: tuple[DType, ...]) -> Maker:
    def make(g: Growing, op: str) -> None:
        x = g.value(dtypes)
        axes = np.array(_axes(g, len(g.dims(x))), np.int32)
        g.add(op, [x, g.const(axes)], keep_dims=g.draw(st.booleans()))

    return make


def _arg_reduce(g: Growing, op: str) -> None:
    x = g.value(NUMBERS, lambda d: len(d) >= 1, any_dims(1))
    g.add(op, [x, g.ints(_axis(g, len(g.dims(x))))])


def _axis(g: Growing, rank: int) -> int:
    return g.draw(st.integers(-rank, rank - 1))


def _cumulate(g: Growing, op: str) -> None:
    x = g.value(NUMBERS, lambda d: len(d) >= 1, any_dims(1))
    g.add(op, [x, g.ints(_axis(g, len(g.dims(x))))], exclusive=g.draw(st.booleans()), reverse=g.draw(st.booleans()))


def _softmax(g: Growing, op: str) -> None:
    g.like(op, [g.value(FLOATS, lambda d: len(d) >= 1, any_dims(1))])


# -- linear algebra and images -------------------------------------------------------------------------------------------


def _matmul(g: Growing, op: str) -> None:
    batch = op != "MatMul"
    a = g.value(FLOATS, lambda d: len(d) == 2 or (batch and len(d) == 3), any_dims(2, 3 if batch else 2))
    flip_a, flip_b = g.draw(st.booleans()), g.draw(st.booleans())
    inner, columns = g.dims(a)[-2 if flip_a else -1], g.draw(st.integers(1, 4))
    dims = (columns, inner) if flip_b else (inner, columns)
    b = g.value((a.dtype,), lambda d: len(d) == 2 and d[-1 if flip_b else -2] == inner, st.just(dims))
    names = ("adj_x", "adj_y") if batch else ("transpose_a", "transpose_b")
    g.add(op, [a, b], **dict(zip(names, (flip_a, flip_b), strict=True)))


def _image(g: Growing) -> Value:
    sizes = st.tuples(st.integers(1, 2), st.integers(2, 5), st.integers(2, 5), st.integers(1, 3))
    return g.value(FLOAT, lambda d: len(d) == 4 and min(d[1:3]) >= 2, sizes)


def _window(g: Growing) -> dict[str, Any]:
    stride = g.draw(st.integers(1, 2))
    return {"strides": (1, stride, stride, 1), "padding": g.draw(st.sampled_from(["SAME", "VALID"]))}


def _filter(g: Growing, dims: Dims) -> Value:
    return g.const(g.draw(element_arrays(DType.FLOAT, dims, special=False)), DType.FLOAT)


def _convolution(g: Growing, op: str) -> None:
    x = _image(g)
    size = g.draw(st.integers(1, 2))
    g.add(op, [x, _filter(g, (size, size, g.dims(x)[-1], g.draw(st.integers(1, 3))))], **_window(g))


def _transposed_convolution(g: Growing, op: str) -> None:
    x = _image(g)
    count, height, width, channels = g.dims(x)
    out = g.draw(st.integers(1, 3))
    stride = g.draw(st.integers(1, 2))
    sizes = g.ints([count, height * stride, width * stride, out])
    g.add(op, [sizes, _filter(g, (2, 2, out, channels)), x], strides=(1, stride, stride, 1), padding="SAME")


def _pool(g: Growing, op: str) -> None:
    g.add(op, [_image(g)], ksize=(1, 2, 2, 1), **_window(g))


def _batch_norm(g: Growing, op: str) -> None:
    x = _image(g)
    channels = g.dims(x)[-1:]
    scale, offset, mean = (g.const(g.draw(element_arrays(DType.FLOAT, channels, special=False))) for _ in range(3))
    variance = g.const(np.abs(g.draw(element_arrays(DType.FLOAT, channels, special=False))) + np.float32(0.5))
    g.add(op, [x, scale, offset, mean, variance], use=1, is_training=False, epsilon=1e-3)


# -- movement ------------------------------------------------------------------------------------------------------------


def _reshape(g: Growing, op: str) -> None:
    x = g.value(EVERY)
    dims = g.dims(x)
    if g.draw(st.integers(0, 3)) == 3:
        g.add(op, [x, g.add("Shape", [x]).output])
        return
    count = int(np.prod(dims))
    choices: list[Dims] = [dims, (count,), (1, *dims), (*dims, 1), tuple(reversed(dims))]
    target = list(g.draw(st.sampled_from(choices)))
    infers = g.draw(st.booleans())
    if target and infers:
        target[g.draw(st.integers(0, len(target) - 1))] = -1
    g.add(op, [x, g.const(np.array(target, np.int32))])


def _transpose(g: Growing, op: str) -> None:
    x = g.value(EVERY)
    g.add(op, [x, g.const(np.array(g.draw(st.permutations(range(len(g.dims(x))))), np.int32))])


def _expand_dims(g: Growing, op: str) -> None:
    x = g.value(EVERY)
    rank = len(g.dims(x))
    g.add(op, [x, g.ints(g.draw(st.integers(-rank - 1, rank)))])


def _squeeze(g: Growing, op: str) -> None:
    x = g.value(EVERY)
    ones = [i for i, d in enumerate(g.dims(x)) if d == 1]
    axes = g.draw(st.sets(st.sampled_from(ones))) if ones else set()
    g.add(op, [x], squeeze_dims=tuple(sorted(axes)))


def _concat(g: Growing, op: str) -> None:
    x = g.value(EVERY, lambda d: len(d) >= 1, any_dims(1))
    axis = _axis(g, len(g.dims(x)))
    same = [g.value((x.dtype,), lambda d: d == g.dims(x), st.just(g.dims(x))) for _ in range(g.draw(st.integers(1, 2)))]
    g.add(op, [x, *same, g.ints(axis)], N=1 + len(same))


def _split(g: Growing, op: str) -> None:
    x = g.value(EVERY, lambda d: len(d) >= 1, any_dims(1))
    axis = _axis(g, len(g.dims(x)))
    size = g.dims(x)[axis]
    if op == "Split":
        parts = g.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        g.add(op, [g.ints(axis), x], num_split=parts)
    else:
        first = g.draw(st.integers(1, size))
        sizes = [first, size - first] if first < size else [size]
        g.add(op, [x, g.ints(sizes), g.ints(axis)], num_split=len(sizes))


def _unpack(g: Growing, op: str) -> None:
    x = g.value(EVERY, lambda d: len(d) >= 1, any_dims(1))
    axis = _axis(g, len(g.dims(x)))
    g.add(op, [x], num=g.dims(x)[axis], axis=axis)


def _pad(g: Growing, op: str) -> None:
    x = g.value(NUMBERS, lambda d: len(d) <= 4)
    rank = len(g.dims(x))
    amounts = np.array([[g.draw(st.integers(0, 1)) for _ in range(2)] for _ in range(rank)], np.int32).reshape(rank, 2)
    extra = [g.const(g.draw(st.integers(-1, 1)), x.dtype)] if op == "PadV2" else []
    more = {"mode": "SYMMETRIC"} if op == "MirrorPad" else {}
    g.add(op, [x, g.const(amounts), *extra], None, **more)


def _slice(g: Growing, op: str) -> None:
    x = g.value(EVERY)
    begin = [g.draw(st.integers(0, d - 1)) for d in g.dims(x)]
    size = [g.draw(st.sampled_from([-1, d - b])) for d, b in zip(g.dims(x), begin, strict=True)]
    g.add(op, [x, g.const(np.array(begin, np.int32)), g.const(np.array(size, np.int32))])


def _strided_slice(g: Growing, op: str) -> None:
    x = g.value(EVERY, lambda d: len(d) >= 1, any_dims(1))
    taken = g.draw(st.integers(1, len(g.dims(x))))
    begin = [g.draw(st.integers(0, d - 1)) for d in g.dims(x)[:taken]]
    end = [g.draw(st.integers(b + 1, d)) for b, d in zip(begin, g.dims(x), strict=False)]
    masks = {n: g.draw(st.integers(0, 2**taken - 1)) for n in ("begin_mask", "end_mask", "shrink_axis_mask")}
    g.add(op, [x, g.ints(begin), g.ints(end), g.ints([1] * taken)], **masks)


def _gather(g: Growing, op: str) -> None:
    x = g.value(EVERY, lambda d: len(d) >= 1, any_dims(1))
    axis = g.draw(st.integers(0, len(g.dims(x)) - 1))
    indices = g.draw(st.lists(st.integers(0, g.dims(x)[axis] - 1), min_size=1, max_size=3))
    g.add(op, [x, g.ints(indices), g.ints(axis)])


def _tile(g: Growing, op: str) -> None:
    x = g.value(EVERY, lambda d: int(np.prod(d)) <= 64)
    g.add(op, [x, g.const(np.array([g.draw(st.integers(1, 2)) for _ in g.dims(x)], np.int32))])


def _broadcast_to(g: Growing, op: str) -> None:
    x = g.value(EVERY, lambda d: len(d) <= 3, any_dims(0, 3))
    target = [g.draw(st.integers(1, 2)) if d == 1 else d for d in g.dims(x)]
    g.add(op, [x, g.const(np.array(target, np.int32))])


def _reverse(g: Growing, op: str) -> None:
    x = g.value(EVERY)
    g.add(op, [x, g.const(np.array(_axes(g, len(g.dims(x))), np.int32))])


def _of_shape(g: Growing, op: str) -> None:
    g.add(op, [g.value(EVERY)])


def _one_hot(g: Growing, op: str) -> None:
    g.add(
        op,
        [
            g.value(INTS, lambda d: len(d) <= 2, any_dims(0, 2)),
            g.ints(3),
            g.const(np.float32(1)),
            g.const(np.float32(0)),
        ],
    )


def _const(g: Growing, op: str) -> None:
    dtype = g.draw(st.sampled_from([d for d in EVERY if d in g.element_types]))
    g.const(g.draw(element_arrays(dtype, g.draw(any_dims()))), dtype)


def _table(makers: Mapping[str, Maker]) -> dict[str, Maker]:
    return {op: maker for ops, maker in makers.items() for op in ops.split()}


MAKERS: Mapping[str, Maker] = _table({
    "Identity StopGradient Snapshot": _unary(EVERY),
    "Relu": _unary(NUMBERS),
    "Neg Abs Square Sign": _unary(NUMBERS),
    "Relu6 Exp Expm1 Log1p Log Sqrt Rsqrt Tanh Sigmoid Elu Selu Softplus Softsign LeakyRelu Sin Cos Atan Sinh Cosh Asinh Erf "
    "Erfc Floor Ceil Round Reciprocal ZerosLike OnesLike": _unary(FLOATS),
    "Rint": _unary((DType.FLOAT, DType.DOUBLE)),
    "IsNan IsInf IsFinite": _unary(FLOATS, DType.BOOL),
    "LogicalNot": _unary(BOOL),
    "AddV2 Add Sub Mul Maximum Minimum SquaredDifference": _binary(NUMBERS),
    "Atan2 Xdivy DivNoNan Pow": _binary(FLOAT),
    "RealDiv": _binary(FLOATS),
    "FloorDiv FloorMod": _divide,
    "Less LessEqual Greater GreaterEqual": _binary(NUMBERS, DType.BOOL),
    "Equal NotEqual": _binary(EVERY, DType.BOOL),
    "LogicalAnd LogicalOr": _binary(BOOL),
    "SelectV2": _select, "Cast": _cast, "ClipByValue": _clip, "BiasAdd": _bias_add, "IdentityN": _forward_many,
    "AddN": lambda g, op: _same_shape_list(g, op, NUMBERS),
    "Pack": _pack, "Unpack": _unpack, "ConcatV2": _concat, "Split SplitV": _split,
    "Sum Mean Prod Max Min": _reduce(FLOATS),
    "All Any": _reduce(BOOL),
    "ArgMax ArgMin": _arg_reduce, "Cumsum": _cumulate, "Softmax LogSoftmax": _softmax,
    "MatMul BatchMatMulV2": _matmul, "Conv2D DepthwiseConv2dNative": _convolution,
    "Conv2DBackpropInput": _transposed_convolution, "MaxPool AvgPool": _pool, "FusedBatchNormV3": _batch_norm,
    "Reshape": _reshape, "Transpose": _transpose, "ExpandDims": _expand_dims, "Squeeze": _squeeze,
    "Pad PadV2 MirrorPad": _pad, "Slice": _slice, "StridedSlice": _strided_slice, "GatherV2": _gather, "Tile": _tile,
    "BroadcastTo": _broadcast_to, "ReverseV2": _reverse, "Shape Size Rank": _of_shape, "OneHot": _one_hot, "Const": _const,
})  # fmt: skip
"""Every op that strategies can add, by name."""
