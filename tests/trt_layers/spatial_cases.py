"""Convolution, pooling, resampling, normalisation and quantisation, against direct sums in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from trt_layers.cases import F32, FLOATS, data
from trt_layers.harness import Array, Case, Const


def same_pads(dims: Sequence[int], extent: Sequence[int], stride: Sequence[int]) -> tuple[list[int], list[int]]:
    """The padding that SAME_UPPER stands for."""
    totals = [max((-(-d // s) - 1) * s + k - d, 0) for d, k, s in zip(dims, extent, stride, strict=True)]
    return [t // 2 for t in totals], [t - t // 2 for t in totals]


def windows(
    x: Array, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int], pre: Any, post: Any, value: float
) -> Array:
    """Every window of padded ``x`` (N,C,spatial) as N,C,places...,window..."""
    rank = len(size)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *zip(pre, post, strict=True)], constant_values=value)
    extent = tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=tuple(range(2, 2 + rank)))
    return views[
        (slice(None), slice(None), *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))
    ]


def convolved(x: Array, kernel: Array, bias: Array | None, attributes: dict[str, Any]) -> Array:
    """Convolution as a sum over windows, group by group."""
    size, rank, groups = kernel.shape[2:], kernel.ndim - 2, attributes.get("groups", 1)
    stride, dilation = attributes["stride"], attributes["dilation"]
    extent = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    pre, post = attributes.get("pre") or (0,) * rank, attributes.get("post") or (0,) * rank
    if attributes.get("padding") == "same_upper":
        pre, post = same_pads(x.shape[2:], extent, stride)
    seen = windows(x, size, stride, dilation, pre, post, 0.0)
    places, taps = "uvw"[:rank], "abc"[:rank]
    parts = zip(np.split(seen, groups, 1), np.split(kernel.astype(np.float64), groups, 0), strict=True)
    whole = np.concatenate([np.einsum(f"ni{places}{taps},oi{taps}->no{places}", a, b) for a, b in parts], 1)
    return whole if bias is None else whole + bias.astype(np.float64).reshape(-1, *(1,) * rank)


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 8, 9), (4, 3, 3, 3), {}),
    "stride": ((2, 3, 8, 9), (4, 3, 3, 2), {"stride": (2, 3)}),
    "asymmetric": ((2, 3, 8, 9), (4, 3, 3, 3), {"pre": (0, 1), "post": (1, 2)}),
    "same": ((2, 3, 8, 9), (4, 3, 4, 3), {"padding": "same_upper", "stride": (2, 2)}),
    "dilated": ((2, 3, 9, 9), (4, 3, 3, 3), {"dilation": (2, 3), "padding": "same_upper"}),
    "dilated-stride": (
        (2, 3, 9, 9),
        (4, 3, 2, 3),
        {"dilation": (2, 3), "stride": (2, 1), "pre": (1, 1), "post": (0, 2)},
    ),
    "grouped": ((2, 6, 7, 7), (4, 3, 3, 3), {"groups": 2}),
    "depthwise": ((2, 4, 7, 7), (8, 1, 3, 3), {"groups": 4, "padding": "same_upper"}),
    "depthwise-stride": ((2, 4, 8, 7), (4, 1, 3, 3), {"groups": 4, "stride": (2, 1), "pre": (1, 1), "post": (1, 0)}),
    "depthwise-dilated": (
        (2, 4, 8, 7),
        (4, 1, 3, 3),
        {"groups": 4, "stride": (2, 2), "dilation": (2, 1), "pre": (1, 1), "post": (1, 1)},
    ),
    "3d": ((1, 2, 5, 6, 7), (3, 2, 2, 3, 3), {"stride": (1, 2, 1), "padding": "same_upper"}),
    "3d-dilated-grouped": (
        (1, 4, 6, 6, 7),
        (6, 2, 2, 2, 3),
        {"groups": 2, "dilation": (2, 1, 2), "pre": (1, 0, 0), "post": (0, 1, 0)},
    ),
}


def _convolutions() -> list[Case]:
    cases = []
    for (name, (x, kernel, given)), dtype in itertools.product(CONVOLUTIONS.items(), FLOATS):
        rank = len(kernel) - 2
        attributes = {"stride": (1,) * rank, "dilation": (1,) * rank, **given}
        operands = (
            data(*x, dtype=dtype),
            Const(data(*kernel, dtype=dtype, seed=1)),
            Const(data(kernel[0], dtype=dtype, seed=2)),
        )
        expected = lambda x, k, b, a=attributes: convolved(x, k, b, a)  # noqa: E731
        cases.append(
            Case(
                f"conv-{name}-{dtype}",
                "trt.convolution",
                operands,
                attributes,
                expected,
                (1,),
                builds=dtype == F32,
                scale=10,
            )
        )
    x, kernel = data(2, 3, 6, 6), data(4, 3, 3, 3, seed=1)
    attributes = {"stride": (1, 1), "dilation": (1, 1)}
    expected = lambda x, k, a=attributes: convolved(x, k, None, a)  # noqa: E731
    cases.append(
        Case("conv-run-time-kernel", "trt.convolution", (x, kernel), attributes, expected, (0, 1, 2, 3), scale=10)
    )
    cases.append(Case("conv-no-bias", "trt.convolution", (x, Const(kernel)), attributes, expected, (1,), scale=10))
    return cases


def deconvolved(x: Array, kernel: Array, bias: Array | None, attributes: dict[str, Any]) -> Array:
    """Transposed convolution: each input element adds its multiple of the kernel to the result."""
    rank, groups = kernel.ndim - 2, attributes.get("groups", 1)
    stride, dilation, size = attributes["stride"], attributes["dilation"], kernel.shape[2:]
    spatial = [(d - 1) * s + (k - 1) * e + 1 for d, s, k, e in zip(x.shape[2:], stride, size, dilation, strict=True)]
    each = kernel.shape[1]
    result = np.zeros((x.shape[0], each * groups, *spatial))
    per = x.shape[1] // groups
    for tap in np.ndindex(*size):
        places = tuple(
            slice(t * e, t * e + (d - 1) * s + 1, s)
            for t, e, d, s in zip(tap, dilation, x.shape[2:], stride, strict=True)
        )
        for group in range(groups):
            part = x[:, group * per : (group + 1) * per].astype(np.float64)
            weights = kernel[(slice(group * per, (group + 1) * per), slice(None), *tap)].astype(np.float64)
            added = np.moveaxis(np.tensordot(part, weights, ([1], [0])), -1, 1)
            result[(slice(None), slice(group * each, (group + 1) * each), *places)] += added
    pre, post = attributes.get("pre") or (0,) * rank, attributes.get("post") or (0,) * rank
    result = result[(slice(None), slice(None), *(slice(a, d - b) for a, b, d in zip(pre, post, spatial, strict=True)))]
    return result if bias is None else result + bias.astype(np.float64).reshape(-1, *(1,) * rank)


DECONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 4, 5), (3, 2, 3, 3), {}),
    "stride": ((2, 3, 4, 5), (3, 2, 3, 2), {"stride": (2, 3), "pre": (0, 1), "post": (1, 0)}),
    "dilated": ((2, 3, 4, 5), (3, 2, 3, 2), {"dilation": (2, 1)}),
    "grouped": ((2, 4, 4, 5), (4, 3, 2, 2), {"groups": 2, "stride": (2, 2)}),
    "3d": ((1, 2, 3, 4, 3), (2, 3, 2, 2, 3), {"stride": (2, 1, 2), "pre": (1, 0, 0), "post": (0, 0, 1)}),
}


def _deconvolutions() -> list[Case]:
    cases = []
    for (name, (x, kernel, given)), dtype in itertools.product(DECONVOLUTIONS.items(), FLOATS):
        rank = len(kernel) - 2
        attributes = {"stride": (1,) * rank, "dilation": (1,) * rank, **given}
        maps = kernel[1] * given.get("groups", 1)
        operands = (
            data(*x, dtype=dtype),
            Const(data(*kernel, dtype=dtype, seed=1)),
            Const(data(maps, dtype=dtype, seed=2)),
        )
        expected = lambda x, k, b, a=attributes: deconvolved(x, k, b, a)  # noqa: E731
        cases.append(
            Case(
                f"deconv-{name}-{dtype}",
                "trt.deconvolution",
                operands,
                attributes,
                expected,
                (1,),
                builds=dtype == F32,
                scale=10,
            )
        )
    return cases


def pooled(x: Array, attributes: dict[str, Any]) -> Array:
    """Pooling with the padding counted or not."""
    size, stride, rank = attributes["window"], attributes["stride"], len(attributes["window"])
    pre, post = attributes.get("pre") or (0,) * rank, attributes.get("post") or (0,) * rank
    if attributes.get("padding") == "same_upper":
        pre, post = same_pads(x.shape[2:], size, stride)
    axes, ones = tuple(range(-rank, 0)), (1,) * rank
    if attributes["type"] == "max":
        return np.asarray(windows(x, size, stride, ones, pre, post, -np.inf).max(axes))
    total = windows(x, size, stride, ones, pre, post, 0.0).sum(axes)
    counted = 1.0 if attributes.get("count_padding") else 0.0
    return np.asarray(total / windows(np.ones_like(x), size, stride, ones, pre, post, counted).sum(axes))


POOLINGS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 7, 8), {"window": (2, 3), "stride": (2, 1)}),
    "same": ((2, 3, 7, 8), {"window": (3, 2), "stride": (2, 2), "padding": "same_upper"}),
    "same-counted": (
        (2, 3, 7, 8),
        {"window": (3, 4), "stride": (2, 3), "padding": "same_upper", "count_padding": True},
    ),
    "padded": ((2, 3, 7, 8), {"window": (3, 3), "stride": (2, 2), "pre": (1, 0), "post": (2, 1)}),
    "padded-counted": (
        (2, 3, 7, 8),
        {"window": (3, 3), "stride": (2, 2), "pre": (1, 0), "post": (2, 1), "count_padding": True},
    ),
    "3d": ((1, 2, 5, 6, 7), {"window": (2, 3, 2), "stride": (1, 2, 2), "pre": (1, 0, 0), "post": (0, 1, 1)}),
}


def _poolings() -> list[Case]:
    cases = []
    for (name, (x, given)), kind, dtype in itertools.product(POOLINGS.items(), ("max", "average"), FLOATS):
        attributes = {"type": kind, **given}
        expected = lambda x, a=attributes: pooled(x, a)  # noqa: E731
        cases.append(
            Case(
                f"pool-{kind}-{name}-{dtype}",
                "trt.pooling",
                (data(*x, dtype=dtype),),
                attributes,
                expected,
                (1,),
                builds=dtype == F32,
            )
        )
    return cases


def _lrn(x: Array, window: int, alpha: float, beta: float, k: float) -> Array:
    wide, half = x.astype(np.float64), window // 2
    sums = windows(
        np.moveaxis(wide, 1, -1)[:, None], (1, 1, window), (1, 1, 1), (1, 1, 1), (0, 0, half), (0, 0, half), 0.0
    )
    return np.asarray(wide / np.moveaxis(k + alpha / window * (sums**2).sum((-1, -2, -3))[:, 0], -1, 1) ** beta)


def _normalised(x: Array, scale: Array, bias: Array, axes: tuple[int, ...], groups: int) -> Array:
    wide = x.astype(np.float64)
    view = wide.reshape(x.shape[0], groups, -1, *x.shape[2:]) if groups > 1 else wide
    over = (2, *(a + 1 for a in axes)) if groups > 1 else axes
    view = (view - view.mean(over, keepdims=True)) / np.sqrt(view.var(over, keepdims=True) + 1e-3)
    return np.asarray(view.reshape(x.shape) * scale + bias)


def _normalisations() -> list[Case]:
    cases = []
    for dtype in FLOATS:
        x = data(2, 6, 5, 4, dtype=dtype)
        lrn = {"window": 5, "alpha": 0.3, "beta": 0.75, "k": 1.5}
        cases.append(Case(f"lrn-{dtype}", "trt.lrn", (x,), lrn, lambda x, a=lrn: _lrn(x, **a), (1,)))
        for name, axes, groups, shape in (
            ("instance", (2, 3), 1, (1, 6, 1, 1)),
            ("layer", (3,), 1, (1, 1, 1, 4)),
            ("group", (2, 3), 3, (1, 6, 1, 1)),
        ):
            operands = (x, Const(data(*shape, dtype=dtype, seed=1)), Const(data(*shape, dtype=dtype, seed=2)))
            attributes = {"axes": axes, "epsilon": 1e-3, "groups": groups}
            expected = lambda x, s, b, a=axes, g=groups: _normalised(x, s, b, a, g)  # noqa: E731
            cases.append(
                Case(f"norm-{name}-{dtype}", "trt.normalization", operands, attributes, expected, (1, 3), scale=5)
            )
    return cases


def _attention(query: Array, key: Array, value: Array) -> Array:
    scores = np.einsum("bhqd,bhkd->bhqk", query, key, dtype=np.float64)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(np.einsum("bhqk,bhkv->bhqv", weights / weights.sum(-1, keepdims=True), value.astype(np.float64)))


def _attentions() -> list[Case]:
    cases = []
    for dtype in FLOATS:
        operands = tuple(data(2, 3, *s, dtype=dtype, seed=i) for i, s in enumerate(((4, 8), (5, 8), (5, 8))))
        cases.append(Case(f"attention-{dtype}", "trt.attention", operands, {}, _attention, (1, 3)))
    return cases


# -- quantisation ----------------------------------------------------------------------------------------------------


def _to_int8(x: Array, scale: Array) -> Array:
    return np.asarray(np.clip(np.rint(x.astype(np.float32) / scale), -128, 127).astype(np.int8))


def _quantisations() -> list[Case]:
    cases = []
    for dtype in FLOATS:
        x = data(2, 3, 4, dtype=dtype, low=-40, high=40)
        whole, each = np.array(0.25, dtype), np.array([0.25, 0.5, 1.0], dtype)
        shaped = each.astype(np.float32).reshape(1, 3, 1)
        codes = _to_int8(x, np.float32(0.25))
        cases += [
            Case(
                f"quantize-{dtype}",
                "trt.quantize",
                (x, Const(whole)),
                {},
                lambda x, s: _to_int8(x, s.astype(np.float32)),
            ),
            Case(
                f"quantize-axis-{dtype}",
                "trt.quantize",
                (x, Const(each)),
                {"axis": 1},
                lambda x, s, p=shaped: _to_int8(x, p),
                (1,),
            ),
            Case(
                f"dequantize-{dtype}",
                "trt.dequantize",
                (codes, Const(whole)),
                {},
                lambda x, s: x * s.astype(np.float32),
            ),
            Case(
                f"dequantize-axis-{dtype}",
                "trt.dequantize",
                (codes, Const(each)),
                {"axis": 1},
                lambda x, s, p=shaped: x * p,
                (1,),
            ),
        ]
    half = np.array([0.125, 0.375, -0.125, 40.0, -40.0], np.float32)
    expected = lambda x, s: np.array([0, 2, 0, 127, -128], np.int8)  # noqa: E731
    cases.append(
        Case("quantize-half-to-even", "trt.quantize", (half, Const(np.float32(0.25)[()].reshape(()))), {}, expected)
    )
    return cases


# -- resampling ------------------------------------------------------------------------------------------------------

_ROUND = {
    "floor": np.floor,
    "ceil": np.ceil,
    "half_up": lambda v: np.floor(v + 0.5),
    "half_down": lambda v: np.ceil(v - 0.5),
}


def _matrix(old: int, new: int, attributes: dict[str, Any], scale: float | None) -> Array:
    """Resampling of one axis as a matrix, element by element."""
    matrix, step = np.zeros((new, old)), old / new if scale is None else 1 / scale
    for out in range(new):
        coordinates = attributes["coordinates"]
        if coordinates == "align_corners":
            place = out * (old - 1) / max(new - 1, 1)
        else:
            place = (out + 0.5) * step - 0.5 if coordinates == "half_pixel" else out * step
        for tap, weight in _weights(float(np.float32(place)), attributes):
            matrix[out, min(max(tap, 0), old - 1)] += weight
    return matrix


def _weights(place: float, attributes: dict[str, Any]) -> list[tuple[int, float]]:
    low = int(np.floor(place))
    if attributes["mode"] == "nearest":
        return [(int(_ROUND[attributes.get("rounding", "floor")](place)), 1.0)]
    if attributes["mode"] == "linear":
        return [(low, 1 - (place - low)), (low + 1, place - low)]
    return [(low + i, _cubic(abs(place - low - i), attributes.get("cubic_coeff", -0.75))) for i in (-1, 0, 1, 2)]


def _cubic(d: float, a: float) -> float:
    return (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a


def resampled(x: Array, attributes: dict[str, Any], size: Sequence[int]) -> Array:
    """Resize as a product of one matrix per axis."""
    result = x.astype(np.float64)
    scales = attributes.get("scales") or (None,) * x.ndim
    for axis, new in enumerate(size):
        matrix = _matrix(x.shape[axis], new, attributes, scales[axis])
        result = np.moveaxis(np.tensordot(matrix, result, ([1], [axis])), 0, axis)
    return result


def _resizes() -> list[Case]:
    cases, x = [], data(2, 3, 5, 8)
    combinations = [
        (m, c, "floor") for m in ("nearest", "linear", "cubic") for c in ("asymmetric", "half_pixel", "align_corners")
    ]
    combinations += [("nearest", "half_pixel", r) for r in ("half_up", "half_down", "ceil")]
    for (mode, coordinates, rounding), size in itertools.product(combinations, ((2, 3, 10, 4), (2, 3, 7, 11))):
        if mode != "linear" and size[2] == 7:
            continue
        attributes = {"mode": mode, "coordinates": coordinates, "rounding": rounding, "size": size}
        expected = lambda x, *_, a=attributes, s=size: resampled(x, a, s)  # noqa: E731
        name = f"resize-{mode}-{coordinates}-{rounding}-{size[2]}"
        # TensorRT wants to know the axes that the new size is not for; with unknown ones the size must be a tensor.
        cases.append(Case(name, "trt.resize", (x,), attributes, expected, (0, 1, 2, 3), scale=5))
    attributes = {"mode": "linear", "coordinates": "half_pixel", "scales": (1.0, 1.0, 2.0, 1.5)}
    by_scales = lambda x, a=attributes: resampled(x, a, (2, 3, 10, 12))  # noqa: E731
    cases.append(Case("resize-scales", "trt.resize", (x,), attributes, by_scales, scale=5))
    attributes = {"mode": "nearest", "coordinates": "asymmetric"}
    to_tensor = lambda x, s, a=attributes: resampled(x, a, (2, 3, 10, 16))  # noqa: E731
    size = Const(np.array([2, 3, 10, 16], np.int64))
    cases.append(Case("resize-tensor", "trt.resize", (x, size), attributes, to_tensor, (0, 1)))
    for dtype in FLOATS[1:]:
        attributes = {"mode": "linear", "coordinates": "half_pixel", "size": (2, 3, 10, 16)}
        expected = lambda x, a=attributes: resampled(x, a, (2, 3, 10, 16))  # noqa: E731
        cases.append(Case(f"resize-{dtype}", "trt.resize", (x.astype(dtype),), attributes, expected, (0, 1, 2, 3)))
    return cases


def _sampled(x: Array, grid: Array, attributes: dict[str, Any]) -> Array:
    """grid_sample one point at a time."""
    n, _, height, width = x.shape
    result = np.zeros((n, x.shape[1], *grid.shape[1:3]))
    for b, i, j in np.ndindex(n, *grid.shape[1:3]):
        across, down = (_line(float(v), s, attributes) for v, s in zip(grid[b, i, j], (width, height), strict=True))
        for (r, p), (c, q) in itertools.product(down, across):
            if r is not None and c is not None:
                result[b, :, i, j] += p * q * x[b, :, r, c]
    return result


def _line(value: float, size: int, attributes: dict[str, Any]) -> list[tuple[int | None, float]]:
    aligned = attributes["align_corners"]
    place = (value + 1) / 2 * (size - 1) if aligned else ((value + 1) * size - 1) / 2
    if attributes["mode"] != "cubic":
        place = _move(place, size, attributes)
    nearest = attributes["mode"] == "nearest"
    taps = [(int(np.rint(place)), 1.0)] if nearest else _weights(place, attributes)
    if attributes["mode"] == "cubic":
        taps = [(int(np.rint(_move(t, size, attributes))), w) for t, w in taps]
    return [(t if 0 <= t < size else None, w) for t, w in taps]


def _move(place: float, size: int, attributes: dict[str, Any]) -> float:
    if attributes["padding"] == "clamp":
        return min(max(place, 0), size - 1)
    if attributes["padding"] == "reflect":
        low, high = (0.0, size - 1.0) if attributes["align_corners"] else (-0.5, size - 0.5)
        while not low <= place <= high:
            place = 2 * low - place if place < low else 2 * high - place
        return min(max(place, 0), size - 1)
    return place


def _grids() -> list[Case]:
    cases, x, grid = [], data(2, 3, 4, 5), data(2, 3, 2, 2, low=-1.6, high=1.6, seed=4)
    settings = itertools.product(("nearest", "linear", "cubic"), ("fill", "clamp", "reflect"), (False, True))
    for mode, padding, aligned in settings:
        if aligned and mode != "linear":
            continue
        attributes = {"mode": mode, "padding": padding, "align_corners": aligned}
        expected = lambda x, g, a=attributes: _sampled(x, g, a)  # noqa: E731
        cases.append(
            Case(
                f"grid-{mode}-{padding}-{aligned}", "trt.grid_sample", (x, grid), attributes, expected, (1, 3), scale=10
            )
        )
    return cases


SPATIAL = [
    *_convolutions(),
    *_deconvolutions(),
    *_poolings(),
    *_normalisations(),
    *_attentions(),
    *_quantisations(),
    *_resizes(),
    *_grids(),
]
