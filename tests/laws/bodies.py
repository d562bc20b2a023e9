"""Lowered bodies with, in drawn variations, what each rule about layers looks for; random bodies hardly ever have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st
from layout.drawing import MAKERS, Array, Drawing, Maker, drawings

from tfgraphopt.ir import DType, Graph, Value
from tfgraphopt_trt.builder import Pads

FEW = (1, 4)


def bodies_with(*recipes: Maker) -> st.SearchStrategy[tuple[Graph, list[Array]]]:
    """Small bodies in which some of ``recipes`` were followed, among a few other layers."""
    return drawings(makers=(*recipes * 4, *MAKERS), sizes=FEW)


def _image(d: Drawing, channels: int = 3) -> Value:
    """A tensor of N,C,H,W: one that is there, or a new input."""
    found = [v for v in d.values if len(v.shape) == 4 and v.shape[1] is not None]
    if not found or d.number(0, 1):
        d.add_input(4)
        found = d.values[-1:]
    return found[d.number(0, len(found) - 1)]


def _matrix(d: Drawing, most: int = 4) -> Value:
    """A tensor whose last size is known."""
    found = [v for v in d.values if v.shape[-1] is not None and len(v.shape) <= most]
    if not found:
        d.add_input(2)
        found = d.values[-1:]
    return found[d.number(0, len(found) - 1)]


def _constant_for(d: Drawing, x: Value, *axes: int) -> Value:
    """A constant of the rank of ``x`` that varies along ``axes``, or along none, or in one of eight cases along others too."""
    odd = d.number(0, 7) == 7
    vary = [(i in axes and d.number(0, 2) > 0) or (odd and d.number(0, 1)) for i in range(len(x.shape))]
    dims = [s if v and s is not None else 1 for s, v in zip(x.shape.known(), vary, strict=True)]
    array = d.array(*dims)
    return d.b.constant(np.where(np.abs(array) < 0.1, np.float32(0.5), array))


def _with_constant(
    d: Drawing, x: Value, *axes: int, operations: Sequence[str] = ("sum", "prod", "sub", "div")
) -> Value:
    c, operation = _constant_for(d, x, *axes), d.draw(st.sampled_from(operations))
    swapped = operation != "div" and d.number(0, 3) == 3
    return d.b.elementwise(*((c, x) if swapped else (x, c)), operation)


def _explicit(d: Drawing) -> Pads:
    return Pads("explicit", (d.number(0, 1), d.number(0, 1)), (d.number(0, 1), d.number(0, 1)))


def _windowed(d: Drawing, x: Value) -> Value:
    """A convolution or deconvolution, plain, grouped or depthwise, with or without a bias."""
    channels = x.shape[1] or 1
    groups = channels if d.number(0, 2) == 2 else 1
    per_group, turned = d.number(1, 2), bool(d.number(0, 1))
    maps = per_group * groups
    dims = (channels, per_group, 1, 1) if turned else (maps, channels // groups, 1, 1)
    kernel, bias = d.b.constant(d.array(*dims)), d.b.constant(d.array(maps)) if d.number(0, 1) else None
    write = d.b.deconvolution if turned else d.b.convolution
    return write(x, kernel, bias, stride=(1, 1), pads=Pads("explicit", (0, 0), (0, 0)), dilation=(1, 1), groups=groups)


def scaled_window(d: Drawing) -> Value:
    """A convolution or deconvolution and one to three steps behind it."""
    x = _windowed(d, _image(d))
    for _ in range(d.number(1, 3)):
        x = _with_constant(d, x, 1)
    return x


def scaled_product(d: Drawing) -> Value:
    """A matrix product and a step behind it."""
    x = _matrix(d)
    turned, columns, inner = bool(d.number(0, 1)), d.number(1, 3), x.shape[-1] or 1
    lead = (1,) * (len(x.shape) - 2)
    weights = d.b.constant(d.array(*lead, columns, inner) if turned else d.array(*lead, inner, columns))
    product = d.b.matrix_multiply(x, weights, transpose_b=turned)
    return _with_constant(d, product, len(x.shape) - 1, operations=("prod", "prod", "div", "sum"))


def steps_in_a_row(d: Drawing) -> Value:
    """Two sums, products, differences or quotients with constants."""
    x = d.pick()
    for _ in range(2):
        x = _with_constant(d, x, *range(len(x.shape)))
    return x


def neutral_step(d: Drawing) -> Value:
    """A step with zeros or ones."""
    x, operation = d.pick(), d.draw(st.sampled_from(["sum", "prod", "sub", "div"]))
    number = int(operation in ("prod", "div")) if d.number(0, 3) else d.number(1, 2)
    return d.b.elementwise(x, d.b.constant(np.full((1,) * len(x.shape), number, np.float32)), operation)


def neutral_integer(d: Drawing) -> Value:
    """Arithmetic with 0 and 1 on sizes that are computed at run time."""
    x = d.pick()
    sizes, operation = d.b.shape(x), d.draw(st.sampled_from(["sum", "sub", "prod", "div", "floor_div"]))
    number = int(operation not in ("sum", "sub")) if d.number(0, 3) else d.number(1, 2)
    dims = d.draw(st.sampled_from([(1,), (len(x.shape),)]))
    made = d.b.elementwise(sizes, d.b.constant(np.full(dims, number, np.int64)), operation)
    return d.b.elementwise(
        x, d.b.reshape(d.b.cast(d.b.reduce(made, "sum", (0,), True), DType.FLOAT), (1,) * len(x.shape)), "sum"
    )


def _padded(d: Drawing, x: Value) -> Value:
    """Zeros around the last two axes, now and then another number or around other axes."""
    around = [0, 0, d.number(0, 2), d.number(0, 1)] if d.number(0, 5) else [0, d.number(0, 1), 1, 1]
    behind = [0, 0, d.number(0, 1), d.number(0, 2)]
    fill = None if d.number(0, 5) else d.b.constant(np.array(d.number(0, 1), np.float32))
    start = [-n for n in around]
    total = [a + z for a, z in zip(around, behind, strict=True)]
    if x.shape.is_static and d.number(0, 1):
        size = [s + t for s, t in zip(x.shape.static(), total, strict=True)]
        return d.b.slice(x, start, size, mode="fill", fill=fill)
    return d.b.slice(x, start, _sizes_at_run_time(d, x, total), mode="fill", fill=fill)


def _sizes_at_run_time(d: Drawing, x: Value, total: Sequence[int]) -> Value:
    """The sizes of ``x`` and ``total``: the batch copied and the rest known, or a sum."""
    rest = x.shape.known()[1:]
    if None in rest or d.number(0, 3) == 3:
        return d.b.elementwise(d.b.shape(x), d.b.constant(np.array(total, np.int64)), "sum")
    known = np.array([(s or 0) + t for s, t in zip(rest, total[1:], strict=True)], np.int64)
    return d.b.concatenation([d.b.slice(d.b.shape(x), (0,), (1,)), d.b.constant(known)], 0)


def padded_convolution(d: Drawing) -> Value:
    """A convolution of a padded tensor."""
    x = _padded(d, _image(d))
    channels = x.shape[1]
    if channels is None or any(s is not None and s < 2 for s in x.shape.known()[2:]):
        return x
    kernel = d.b.constant(d.array(d.number(1, 2), channels, 2, 2))
    return d.b.convolution(x, kernel, stride=(1, 1), pads=_explicit(d), dilation=(1, 1))


def padded_pooling(d: Drawing) -> Value:
    """An average or a maximum of a padded tensor that may be nowhere negative."""
    x = _image(d)
    if d.number(0, 2):
        x = d.b.activation(x, d.draw(st.sampled_from(["relu", "sigmoid", "tanh"])))
    x = _padded(d, x)
    if any(s is not None and s < 2 for s in x.shape.known()[2:]):
        return x
    pads = Pads("explicit", (0, 0), (0, 0)) if d.number(0, 4) else _explicit(d)
    return d.b.pooling(x, d.draw(st.sampled_from(["average", "max"])), window=(2, 2), stride=(1, 1), pads=pads)


def copy(d: Drawing) -> Value:
    """An identity layer."""
    return d.b.identity(d.pick())


def casts(d: Drawing) -> Value:
    """There and back through one or two types, of integers or of floating-point numbers."""
    x = d.pick()
    kinds = [DType.FLOAT, DType.HALF, DType.INT32, DType.INT64, DType.BOOL]
    for dtype in d.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
        x = d.b.layer("trt.cast", [x], {"to": dtype})[0]
    return d.b.layer("trt.cast", [x], {"to": DType.FLOAT})[0]


def transposes(d: Drawing) -> Value:
    """Two transposes, which may cancel."""
    x = d.pick()
    first = d.perm(len(x.shape))
    second = d.perm(len(x.shape)) if d.number(0, 1) else tuple(first.index(i) for i in range(len(first)))
    return d.b.transpose(d.b.transpose(x, first), second)


def reshapes(d: Drawing) -> Value:
    """Two or three reshapes, flattening, inserting and removing axes of size one, and perhaps back to the first shape."""
    x = d.pick()
    known = [s if s is not None else -1 for s in x.shape.known()]
    if known.count(-1) > 1 or len(known) > 4:
        return x
    y = d.b.unsqueeze(x, (d.number(0, len(known)),)) if d.number(0, 1) else d.b.reshape(x, (-1,))
    if d.number(0, 1) and 1 in y.shape.known():
        y = d.b.squeeze(y, (y.shape.known().index(1),))
    return d.b.reshape(y, known if d.number(0, 1) else sorted(known))


def still_transpose(d: Drawing) -> Value:
    """A transpose that moves axes of size one, between reshapes."""
    x = _matrix(d, 3)
    y = d.b.unsqueeze(x, (d.number(0, len(x.shape)),))
    order = list(range(len(y.shape)))
    order.insert(d.number(0, len(order) - 1), order.pop(d.number(0, len(order) - 1)))
    return d.b.transpose(y, order)


def reduction_and_reshape(d: Drawing) -> Value:
    """A reduction, and its axes put in or taken out afterwards."""
    x = d.pick()
    rank = len(x.shape)
    if rank < 3:
        d.add_input(4)
        x, rank = d.values[-1], 4
    axes = tuple(sorted(d.draw(st.sets(st.integers(1, rank - 1), min_size=1, max_size=rank - 2))))
    keep = bool(d.number(0, 1))
    made = d.b.reduce(x, d.draw(st.sampled_from(["sum", "max", "avg"])), axes, keep)
    if keep:
        return d.b.squeeze(made, axes) if d.number(0, 3) else d.b.reshape(made, (-1, 1))
    dims = [1 if i in axes else (s if s is not None else -1) for i, s in enumerate(x.shape.known())]
    return d.b.reshape(made, dims if d.number(0, 3) or dims.count(-1) > 1 else dims[::-1])


def flattened_product(d: Drawing) -> Value:
    """A reshape to a matrix, a product with a constant, and a reshape, back or to something else; sizes known or not."""
    d.add_input(d.draw(st.sampled_from([3, 3, 4])))
    x = d.values[-1]
    inner, columns, turned = x.shape[-1] or 1, d.draw(st.sampled_from([1, 4, 6])), bool(d.number(0, 1))
    flat = d.b.reshape(x, (-1, inner))
    weights = d.b.constant(d.array(columns, inner) if turned else d.array(inner, columns))
    product = d.b.matrix_multiply(flat, weights, transpose_b=turned)
    lead = [s if s is not None else -1 for s in x.shape.known()[:-1]]
    rest = d.draw(st.sampled_from([[columns], [columns], [2, columns // 2] if columns > 1 else [1]]))
    return d.b.reshape(product, [*(lead if d.number(0, 4) else lead[::-1]), *rest])


RECIPES: Mapping[str, Sequence[Maker]] = {
    "trt-fold-scale-into-convolution": (scaled_window,),
    "trt-fold-scale-into-product": (scaled_product,),
    "trt-merge-scale-and-shift": (steps_in_a_row, scaled_window),
    "trt-plain-scale-or-shift": (neutral_step, steps_in_a_row),
    "trt-drop-neutral-number": (neutral_integer,),
    "trt-fold-padding-into-convolution": (padded_convolution,),
    "trt-fold-padding-into-pooling": (padded_pooling,),
    "trt-drop-copy": (copy,),
    "trt-merge-casts": (casts,),
    "trt-merge-transposes": (transposes,),
    "trt-merge-reshapes": (reshapes,),
    "trt-reshape-from-transpose": (still_transpose,),
    "trt-keep-reduced-axes": (reduction_and_reshape,),
    "trt-product-of-flattened": (flattened_product,),
}
"""By rule."""
