"""The layers with operands, and what they should compute by numpy (or another formulation than the layer's own)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import ml_dtypes
import numpy as np

from tfgraphopt.ir import DType
from trt_layers.harness import Array, Case, Const

F32, F16, BF16 = np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
I8, I32, I64, BOOL = np.dtype(np.int8), np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.bool_)
FLOATS, INTS = (F32, F16, BF16), (I8, I32, I64)


def data(*shape: int, dtype: Any = F32, low: float = -2.0, high: float = 2.0, seed: int = 0) -> Array:
    """Reproducible numbers between ``low`` and ``high``."""
    random = np.random.default_rng([seed, *shape]).uniform(low, high, shape)
    dtype = np.dtype(dtype)
    return (random > 0) if dtype == BOOL else np.asarray(random.astype(dtype))


# -- elementwise -----------------------------------------------------------------------------------------------------

_erf = np.vectorize(math.erf)
UNARY = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "recip": np.reciprocal,
    "abs": np.abs,
    "neg": np.negative,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "floor": np.floor,
    "erf": _erf,
    "sign": np.sign,
    "round": np.rint,
}
DOMAIN = {
    "log": (0.1, 3.0),
    "sqrt": (0.0, 3.0),
    "recip": (0.5, 3.0),
    "asin": (-0.9, 0.9),
    "acos": (-0.9, 0.9),
    "acosh": (1.1, 3.0),
    "atanh": (-0.9, 0.9),
    "tan": (-1.0, 1.0),
}


def _unary() -> list[Case]:
    cases = []
    for name, function in UNARY.items():
        for dtype in FLOATS:
            x = data(2, 3, 4, dtype=dtype, low=DOMAIN.get(name, (-2, 2))[0], high=DOMAIN.get(name, (-2, 2))[1])
            expected = lambda x, f=function: f(x.astype(np.float64))  # noqa: E731
            cases.append(Case(f"{name}-{dtype}", "trt.unary", (x,), {"operation": name}, expected, builds=dtype == F32))
    x = np.array([[0.5, 1.5, 2.5, -0.5, -1.5]], np.float32)
    cases.append(
        Case("round-half-to-even", "trt.unary", (x,), {"operation": "round"}, lambda x: [[0.0, 2.0, 2.0, -0.0, -2.0]])
    )
    special = np.array([[np.inf, -np.inf, np.nan, 1.0]], np.float32)
    cases += [
        Case("isinf", "trt.unary", (special,), {"operation": "isinf"}, np.isinf),
        Case("isnan", "trt.unary", (special,), {"operation": "isnan"}, np.isnan),
        Case("not", "trt.unary", (data(3, 4, dtype=BOOL),), {"operation": "not"}, np.logical_not),
    ]
    signed = [(n, d) for n in ("abs", "neg", "sign") for d in INTS]
    cases += [
        Case(f"{n}-{d}", "trt.unary", (data(3, 4, dtype=d, low=-9, high=9),), {"operation": n}, UNARY[n])
        for n, d in signed
    ]
    return cases


def _truncating_divide(a: Array, b: Array) -> Array:
    return np.asarray(np.trunc(a.astype(np.float64) / b).astype(a.dtype) if a.dtype.kind == "i" else a / b)


BINARY = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "sub": np.subtract,
    "div": _truncating_divide,
    "floor_div": np.floor_divide,
    "equal": np.equal,
    "greater": np.greater,
    "less": np.less,
}


def _binary() -> list[Case]:
    cases = []
    for (name, function), dtype in itertools.product(BINARY.items(), (*FLOATS, *INTS)):
        a, b = data(2, 1, 4, dtype=dtype, low=-9, high=9), data(1, 3, 4, dtype=dtype, low=1, high=9, seed=1)
        b = np.where(np.arange(4) % 2 == 0, b, -b).astype(dtype)
        cases.append(
            Case(f"{name}-{dtype}", "trt.elementwise", (a, b), {"operation": name}, function, known=(0, 1), scale=2)
        )
    for name, function in {
        "and": np.logical_and,
        "or": np.logical_or,
        "xor": np.logical_xor,
        "equal": np.equal,
    }.items():
        a, b = data(3, 4, dtype=BOOL), data(3, 4, dtype=BOOL, seed=1)
        cases.append(Case(f"{name}-bool", "trt.elementwise", (a, b), {"operation": name}, function))
    for dtype in (*FLOATS, I32, I64):
        a, b = data(3, 4, dtype=dtype, low=1, high=4), data(3, 4, dtype=dtype, low=0, high=3, seed=1)
        cases.append(Case(f"pow-{dtype}", "trt.elementwise", (a, b), {"operation": "pow"}, np.power, scale=2))
    return cases


_sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
ACTIVATIONS = {
    "relu": (0, 0, lambda x: np.maximum(x, 0)),
    "sigmoid": (0, 0, _sigmoid),
    "tanh": (0, 0, np.tanh),
    "leaky_relu": (0.1, 0, lambda x: np.where(x < 0, 0.1 * x, x)),
    "elu": (1.5, 0, lambda x: np.where(x < 0, 1.5 * (np.exp(x) - 1), x)),
    "selu": (1.67, 1.05, lambda x: 1.05 * np.where(x < 0, 1.67 * (np.exp(x) - 1), x)),
    "softsign": (0, 0, lambda x: x / (1 + np.abs(x))),
    "softplus": (1.5, 0.5, lambda x: 1.5 * np.log(1 + np.exp(0.5 * x))),
    "clip": (-0.5, 1.0, lambda x: np.clip(x, -0.5, 1.0)),
    "hard_sigmoid": (0.25, 0.5, lambda x: np.clip(0.25 * x + 0.5, 0, 1)),
    "scaled_tanh": (1.5, 0.5, lambda x: 1.5 * np.tanh(0.5 * x)),
    "thresholded_relu": (0.5, 0, lambda x: np.where(x > 0.5, x, 0)),
    "gelu_erf": (0, 0, lambda x: x * 0.5 * (1 + _erf(x / np.sqrt(2)))),
    "gelu_tanh": (0, 0, lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
}


def _activations() -> list[Case]:
    cases = []
    for (name, (alpha, beta, function)), dtype in itertools.product(ACTIVATIONS.items(), FLOATS):
        attributes = {"type": name, "alpha": float(alpha), "beta": float(beta)}
        expected = lambda x, f=function: f(x.astype(np.float64))  # noqa: E731
        x = data(2, 3, 4, dtype=dtype)
        cases.append(Case(f"{name}-{dtype}", "trt.activation", (x,), attributes, expected, builds=dtype == F32))
    for dtype in INTS:
        x = data(3, 5, dtype=dtype, low=-9, high=9)
        cases.append(Case(f"relu-{dtype}", "trt.activation", (x,), {"type": "relu"}, lambda x: np.maximum(x, 0)))
    return cases


def _select_and_casts() -> list[Case]:
    condition = data(2, 1, dtype=BOOL)
    cases = [
        Case(
            f"select-{d}",
            "trt.select",
            (condition, data(1, 3, dtype=d, seed=1), data(2, 3, dtype=d)),
            {},
            np.where,
            known=(0, 1),
        )
        for d in (*FLOATS, *INTS, BOOL)
    ]
    x = np.array([[-2.7, -0.5, 0.0, 0.5, 2.7, 100.0]], np.float32)
    targets = {
        DType.FLOAT: F32,
        DType.HALF: F16,
        DType.BFLOAT16: BF16,
        DType.INT8: I8,
        DType.INT32: I32,
        DType.INT64: I64,
        DType.BOOL: BOOL,
    }
    for to, dtype in targets.items():
        cases.append(Case(f"cast-to-{dtype}", "trt.cast", (x,), {"to": to}, lambda x, d=dtype: x.astype(d)))
        y = data(3, 4, dtype=dtype, low=-9, high=9)
        cases.append(Case(f"cast-from-{dtype}", "trt.cast", (y,), {"to": DType.FLOAT}, lambda x: x.astype(np.float32)))
    cases.append(
        Case(
            "cast-from-uint8", "trt.cast", (data(3, dtype=np.uint8, low=0, high=255),), {"to": DType.FLOAT}, np.float32
        )
    )
    cases.append(Case("identity", "trt.identity", (data(3, 4),), {}, lambda x: x))
    cases.append(Case("identity-scalar", "trt.identity", (data(),), {}, lambda x: x))
    return cases


ELEMENTWISE = [*_unary(), *_binary(), *_activations(), *_select_and_casts()]


# -- linear algebra, reductions --------------------------------------------------------------------------------------


def _softmax(x: Array, axis: int) -> Array:
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def _linear() -> list[Case]:
    cases = []
    for (ta, tb), dtype in itertools.product(itertools.product((False, True), repeat=2), FLOATS):
        a = data(2, 1, *((5, 3) if ta else (3, 5)), dtype=dtype)
        b = data(1, 4, *((6, 5) if tb else (5, 6)), dtype=dtype, seed=1)

        def product(a: Array, b: Array, ta: bool = ta, tb: bool = tb) -> Array:
            a, b = (np.swapaxes(m, -1, -2) if t else m for m, t in ((a, ta), (b, tb)))
            return np.asarray(a.astype(np.float64) @ b.astype(np.float64))

        attributes = {"transpose_a": ta, "transpose_b": tb}
        cases.append(
            Case(f"matmul-{ta}-{tb}-{dtype}", "trt.matrix_multiply", (a, b), attributes, product, known=(0, 1), scale=3)
        )
    for equation, shapes in {
        "bij,bjk->bik": ((2, 3, 4), (2, 4, 5)),
        "abc->cab": ((2, 3, 4),),
        "bnth,bnsh->bnts": ((2, 2, 3, 4), (2, 2, 5, 4)),
    }.items():
        operands = tuple(data(*s, seed=i) for i, s in enumerate(shapes))
        expected = lambda *a, e=equation: np.einsum(e, *a)  # noqa: E731
        cases.append(Case(f"einsum-{equation}", "trt.einsum", operands, {"equation": equation}, expected))
    return cases


REDUCTIONS = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "avg": np.mean}


def _reductions() -> list[Case]:
    cases = []
    settings = itertools.product(REDUCTIONS.items(), (*FLOATS, I32, I64), (((1,), True), ((0, 2), False)))
    for (name, function), dtype, (axes, keep) in settings:
        if name == "avg" and dtype in INTS:
            continue
        x = data(3, 4, 5, dtype=dtype, low=-2, high=2)
        wide = np.float64 if dtype in FLOATS else dtype

        def expected(x: Array, f: Any = function, w: Any = wide, a: Any = axes, k: bool = keep) -> Array:
            return np.asarray(f(x.astype(w), axis=a, keepdims=k)).astype(x.dtype)

        attributes = {"operation": name, "axes": axes, "keep_dims": keep}
        cases.append(
            Case(
                f"reduce-{name}-{axes}-{dtype}", "trt.reduce", (x,), attributes, expected, scale=3, builds=dtype == F32
            )
        )
    for axis, dtype in itertools.product((0, 1, 2), FLOATS):
        x = data(2, 3, 4, dtype=dtype, low=-50, high=50)
        expected = lambda x, a=axis: _softmax(x, a)  # noqa: E731
        cases.append(Case(f"softmax-{axis}-{dtype}", "trt.softmax", (x,), {"axis": axis}, expected))
    return cases


LINEAR = [*_linear(), *_reductions()]


# -- layout ----------------------------------------------------------------------------------------------------------


def _layout() -> list[Case]:
    x = data(2, 3, 4, 5)
    return [
        Case("shape", "trt.shape", (x,), {}, lambda x: np.array(x.shape)),
        Case("transpose", "trt.transpose", (x,), {"perm": (0, 2, 3, 1)}, lambda x: x.transpose(0, 2, 3, 1)),
        Case("reshape", "trt.reshape", (x,), {"dims": (6, 20)}, lambda x: x.reshape(6, 20)),
        Case("reshape-rest", "trt.reshape", (x,), {"dims": (0, -1)}, lambda x: x.reshape(2, 60), known=(1, 2, 3)),
        Case("reshape-copies", "trt.reshape", (x,), {"dims": (0, 0, -1)}, lambda x: x.reshape(2, 3, 20)),
        Case("reshape-flat", "trt.reshape", (x,), {"dims": (-1,)}, lambda x: x.reshape(-1)),
        Case("reshape-to-scalar", "trt.reshape", (data(1, 1),), {"dims": ()}, lambda x: x.reshape(())),
        Case(
            "reshape-to",
            "trt.reshape",
            (x, Const(np.array([4, -1], np.int64))),
            {"dims": None},
            lambda x, s: x.reshape(4, 30),
        ),
        Case("squeeze", "trt.squeeze", (data(2, 1, 3, 1),), {"axes": (1, 3)}, lambda x: x.reshape(2, 3)),
        Case("squeeze-to-scalar", "trt.squeeze", (data(1),), {"axes": (0,)}, lambda x: x.reshape(())),
        Case("unsqueeze", "trt.unsqueeze", (data(2, 3),), {"axes": (0, 3)}, lambda x: x.reshape(1, 2, 3, 1)),
        Case("unsqueeze-scalar", "trt.unsqueeze", (data(),), {"axes": (0,)}, lambda x: x.reshape(1)),
        Case(
            "concatenation",
            "trt.concatenation",
            (data(2, 3), data(2, 5), data(2, 1)),
            {"axis": 1},
            lambda *a: np.concatenate(a, 1),
        ),
        Case("transpose-bool", "trt.transpose", (data(2, 3, dtype=BOOL),), {"perm": (1, 0)}, lambda x: x.T),
    ]


def _slice(name: str, x: Array, start: Any, size: Any, stride: Any, mode: str, expected: Any, fill: Any = None) -> Case:
    operands = () if fill is None else (Const(np.array(fill, x.dtype)),)
    attributes = {
        "operands": ("fill",) if operands else (),
        "start": start,
        "size": size,
        "stride": stride,
        "mode": mode,
    }
    return Case(f"slice-{name}", "trt.slice", (x, *operands), attributes, lambda x, *_: expected(x), known=(0, 1, 2, 3))


def _slices() -> list[Case]:
    x = data(4, 6)
    return [
        _slice("strict", x, (1, 2), (2, 3), (1, 1), "strict_bounds", lambda x: x[1:3, 2:5]),
        _slice("strided", x, (0, 1), (2, 2), (2, 3), "strict_bounds", lambda x: x[0:4:2, 1:5:3]),
        _slice("backwards", x, (3, 5), (4, 3), (-1, -2), "strict_bounds", lambda x: x[::-1, ::-2]),
        _slice("empty", x, (0, 0), (0, 6), (1, 1), "strict_bounds", lambda x: x[:0]),
        _slice("wrap", x, (-1, 0), (6, 6), (1, 1), "wrap", lambda x: np.pad(x, ((1, 1), (0, 0)), "wrap")),
        _slice("clamp", x, (-1, -2), (6, 9), (1, 1), "clamp", lambda x: np.pad(x, ((1, 1), (2, 1)), "edge")),
        _slice("reflect", x, (-2, -3), (8, 10), (1, 1), "reflect", lambda x: np.pad(x, ((2, 2), (3, 1)), "reflect")),
        _slice(
            "fill",
            x,
            (-1, 2),
            (6, 6),
            (1, 1),
            "fill",
            lambda x: np.pad(x, ((1, 1), (0, 2)), constant_values=7.0)[:, 2:],
            7.0,
        ),
        _slice("fill-zero", x, (0, -1), (4, 8), (1, 1), "fill", lambda x: np.pad(x, ((0, 0), (1, 1)))),
        _slice(
            "fill-strided",
            x,
            (-1, 0),
            (3, 6),
            (2, 1),
            "fill",
            lambda x: np.pad(x, ((1, 1), (0, 0)), constant_values=3.0)[::2],
            3.0,
        ),
        _slice("int", data(4, 6, dtype=I32, high=50), (1, 2), (2, 3), (1, 1), "strict_bounds", lambda x: x[1:3, 2:5]),
    ]


def _dynamic_slices() -> list[Case]:
    x = data(4, 6)
    numbers = [Const(np.array(v, np.int64)) for v in ((1, 0), (2, 3), (1, 2))]
    attributes = {
        "operands": ("start", "size", "stride"),
        "start": None,
        "size": None,
        "stride": None,
        "mode": "strict_bounds",
    }
    whole = Case("slice-operands", "trt.slice", (x, *numbers), attributes, lambda x, *_: x[1:3, 0:6:2])
    one = {**attributes, "operands": ("start",), "size": (2, 3), "stride": (1, 1)}
    return [whole, Case("slice-start", "trt.slice", (x, numbers[0]), one, lambda x, _: x[1:3, 0:3])]


LAYOUT = [*_layout(), *_slices(), *_dynamic_slices()]


# -- gather, scatter, sequences, selection ---------------------------------------------------------------------------


def _scattered_nd(x: Array, indices: Array, updates: Array) -> Array:
    result = x.copy()
    result[tuple(np.moveaxis(indices, -1, 0))] = updates
    return result


def _scattered(x: Array, indices: Array, updates: Array) -> Array:
    result = x.copy()
    np.put_along_axis(result, indices, updates, 1)
    return result


def _gathers() -> list[Case]:
    x, i = data(3, 4, 5), np.array([[2, 0], [1, 1]], np.int32)
    nd = np.array([[0, 1], [2, 3]], np.int64)
    along = np.array([[[3] * 5, [0] * 5]] * 3, np.int32)
    batched = lambda x, i: np.stack([x[b][i[b]] for b in range(3)])  # noqa: E731
    rows = np.array([[0, 1], [2, 3], [1, 1]], np.int32)
    cases = [
        Case("gather", "trt.gather", (x, i), {"axis": 1}, lambda x, i: x[:, i]),
        Case("gather-scalar", "trt.gather", (x, np.array(2, np.int32)), {"axis": 2}, lambda x, i: x[:, :, i]),
        Case("gather-batch", "trt.gather", (x, rows), {"axis": 1, "batch_dims": 1}, batched),
        Case("gather-nd", "trt.gather", (x, nd), {"mode": "nd"}, lambda x, i: x[i[:, 0], i[:, 1]], known=(1,)),
        Case(
            "gather-nd-batch",
            "trt.gather",
            (x, rows[:, :, None]),
            {"mode": "nd", "batch_dims": 1},
            lambda x, i: batched(x, i[..., 0]),
            known=(2,),
        ),
        Case(
            "gather-element",
            "trt.gather",
            (x, along),
            {"mode": "element", "axis": 1},
            lambda x, i: np.take_along_axis(x, i, 1),
        ),
        Case("gather-bool", "trt.gather", (data(4, 2, dtype=BOOL), i), {"axis": 0}, lambda x, i: x[i]),
        Case("scatter-nd", "trt.scatter", (x, nd, data(2, 5, seed=3)), {"mode": "nd"}, _scattered_nd, known=(1,)),
        Case(
            "scatter-element",
            "trt.scatter",
            (x, along, data(3, 2, 5, seed=3)),
            {"mode": "element", "axis": 1},
            _scattered,
        ),
        Case(
            "scatter-bool",
            "trt.scatter",
            (data(3, 4, dtype=BOOL), nd, np.array([True, False])),
            {"mode": "nd"},
            _scattered_nd,
            known=(1,),
        ),
    ]
    for dtype in (F16, BF16, I8, I32, I64):
        cases.append(
            Case(
                f"scatter-{dtype}",
                "trt.scatter",
                (x.astype(dtype), nd, data(2, 5, seed=3).astype(dtype)),
                {"mode": "nd"},
                _scattered_nd,
                known=(1,),
            )
        )
    return cases


def _cumulated(x: Array, exclusive: bool, reverse: bool) -> Array:
    y = x[:, ::-1] if reverse else x
    y = np.cumsum(y.astype(np.float64 if x.dtype.kind != "i" else x.dtype), axis=1)
    y = np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], 1) if exclusive else y
    return np.asarray(y[:, ::-1] if reverse else y)


def _reversed(x: Array, lengths: Array) -> Array:
    result = x.copy()
    for row, n in enumerate(lengths):
        result[row, :n] = x[row, :n][::-1]
    return result


def _sequences() -> list[Case]:
    cases = []
    for exclusive, reverse in itertools.product((False, True), repeat=2):
        for dtype in (F32, F16, I32, I64):
            x = data(3, 5, dtype=dtype, low=-9, high=9)
            expected = lambda x, e=exclusive, r=reverse: _cumulated(x, e, r)  # noqa: E731
            attributes = {"axis": 1, "exclusive": exclusive, "reverse": reverse}
            cases.append(
                Case(f"cumulative-{exclusive}-{reverse}-{dtype}", "trt.cumulative", (x,), attributes, expected, scale=5)
            )
    x, lengths = data(3, 5, 2), np.array([1, 5, 3], np.int32)
    cases.append(
        Case("reverse-sequence", "trt.reverse_sequence", (x, lengths), {"batch_axis": 0, "sequence_axis": 1}, _reversed)
    )
    indices, depth = np.array([[0, 2], [1, 3]], np.int32), Const(np.array(4, np.int32))
    for axis, values in itertools.product(
        (0, 1, 2), (np.array([-1.0, 2.5], np.float32), np.array([0, 7], np.int32), np.array([False, True]))
    ):

        def hot(i: Array, v: Array, d: Array, axis: int = axis) -> Array:
            return np.moveaxis(np.where(np.eye(int(d), dtype=bool)[i], v[1], v[0]), -1, axis)

        cases.append(
            Case(f"one-hot-{axis}-{values.dtype}", "trt.one_hot", (indices, Const(values), depth), {"axis": axis}, hot)
        )
    start, delta = Const(np.array(2, np.float32)), Const(np.array([0.5, -3.0], np.float32))
    grid = lambda s, d, *_: s + np.arange(3)[:, None] * d[0] + np.arange(4)[None] * d[1]  # noqa: E731
    cases.append(Case("linspace", "trt.linspace", (start, delta), {"shape": (3, 4)}, grid))
    cases.append(
        Case("linspace-to", "trt.linspace", (start, delta, Const(np.array([3, 4], np.int64))), {"shape": None}, grid)
    )
    for dtype in (I32, I64):
        operands = (Const(np.array(-1, dtype)), Const(np.array([2], dtype)))
        cases.append(
            Case(
                f"linspace-{dtype}",
                "trt.linspace",
                operands,
                {"shape": (5,)},
                lambda s, d, t=dtype: (s + np.arange(5) * d).astype(t),
            )
        )
    return cases


def _topk(x: Array, operation: str, k: int, axis: int, dtype: Any) -> tuple[Array, Array]:
    key = -x.astype(np.float64) if operation == "max" else x.astype(np.float64)
    order = np.take(np.argsort(key, axis=axis, kind="stable"), range(k), axis)
    return np.take_along_axis(x, order, axis), order.astype(dtype)


def _selection() -> list[Case]:
    cases = []
    for operation, axis, dtype in itertools.product(("max", "min"), (1, 0), (F32, F16, I8, I32, I64)):
        x = data(5, 6, dtype=dtype, low=-100, high=100).astype(dtype)
        index = DType.INT64 if dtype == I64 else DType.INT32
        attributes = {"operation": operation, "k": 3, "axis": axis, "indices": index}
        expected = lambda x, o=operation, a=axis, i=index: _topk(x, o, 3, a, i.np)  # noqa: E731
        cases.append(Case(f"topk-{operation}-{axis}-{dtype}", "trt.topk", (x,), attributes, expected))
    low = np.array([[-128, 127, 0]], np.int8)
    attributes = {"operation": "min", "k": 2, "axis": 1}
    cases.append(Case("topk-lowest", "trt.topk", (low,), attributes, lambda x: ([[-128, 0]], [[0, 2]])))
    cases.append(
        Case(
            "topk-k",
            "trt.topk",
            (data(2, 5), Const(np.array(2, np.int32))),
            {"operation": "max", "k": None, "axis": 1},
            lambda x, k: _topk(x, "max", 2, 1, np.int32),
        )
    )
    x = np.array([[0, 1, 0], [2, 0, 3]], np.float32)
    for value in (x, x.astype(np.int32), x != 0):
        cases.append(
            Case(
                f"non-zero-{value.dtype}",
                "trt.non_zero",
                (value,),
                {},
                lambda x: np.stack(np.nonzero(x)),
                xla=False,
                builds=False,
            )
        )
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 0.9], [2, 2, 3, 3], [0, 0, 0.2, 0.2]]], np.float32)
    scores = np.array([[[0.9, 0.1], [0.8, 0.9], [0.7, 0.6], [0.2, 0.8]]], np.float32)
    limits = tuple(Const(np.array(v, d)) for v, d in ((3, np.int32), (0.5, np.float32), (0.3, np.float32)))
    found = np.array([[0, 0, 0], [0, 0, 2], [0, 1, 1], [0, 1, 3], [0, 1, 2]], np.int32)
    cases.append(
        Case(
            "nms",
            "trt.nms",
            (boxes, scores, *limits),
            {},
            lambda *_: (found, np.int32(5)),
            known=(2,),
            xla=False,
            builds=False,
        )
    )
    return cases


SELECTION = [*_gathers(), *_sequences(), *_selection()]
