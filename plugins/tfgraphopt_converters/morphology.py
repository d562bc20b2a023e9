"""Grey-scale dilation: a convolution of maxima and sums."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfgraphopt.ir import Tensor, Value
from tfgraphopt_converters.convolution import Ints
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.layout import spatial_part
from tfgraphopt_converters.sizes import Cut, cut
from tfgraphopt_converters.windows import extent, pads_of
from tfgraphopt_trt.builder import LayerBuilder, Operand, Pads, Unsupported
from tfgraphopt_trt.converter import Converter, Weights, converter

MAX_TAPS = 64  # two layers each


@converter("Dilation2D")
def convert_dilation(
    b: LayerBuilder, input: Operand, filter: Weights, *, strides: Ints, rates: Ints, padding: str
) -> Value:
    """The maximum of the shifted images plus the filter's numbers, one image for each place of the filter (N,H,W,C)."""
    require(b, FLOATS, input)
    height, width = input.shape.known()[1:3]
    if height is None or width is None:
        raise Unsupported("a dilation of an image of unknown size")
    window, gaps = filter.shape.static()[:2], spatial_part(rates, "NHWC", "rates")
    if window[0] * window[1] > MAX_TAPS:
        raise Unsupported(f"a dilation by {window[0]} x {window[1]} elements would be more than {2 * MAX_TAPS} layers")
    steps = spatial_part(strides, "NHWC", "strides")
    reach = [extent(w, g) for w, g in zip(window, gaps, strict=True)]
    pads = pads_of(padding, (), "NHWC", (height, width), reach, steps)
    x, sizes = _padded(b, input, (height, width), pads)
    counts = [(n - r) // s + 1 for n, r, s in zip(sizes, reach, steps, strict=True)]
    result: Value | None = None
    for (row, column), number in _taps(filter):
        cuts = {a: Cut(p * g, n, s) for a, p, g, n, s in zip((1, 2), (row, column), gaps, counts, steps, strict=True)}
        lifted = b.elementwise(cut(b, x, cuts), b.constant(number), "sum")
        result = lifted if result is None else b.elementwise(result, lifted, "max")
    assert result is not None
    return result


def _padded(b: LayerBuilder, x: Value, sizes: tuple[int, int], pads: Pads) -> tuple[Value, list[int]]:
    """``x`` with less than any number around it, and its new height and width."""
    whole = [s + p + q for s, p, q in zip(sizes, pads.before, pads.after, strict=True)]
    cuts = {a: Cut(-p, n) for a, p, n in zip((1, 2), pads.before, whole, strict=True)}
    return cut(b, x, cuts, "fill", b.constant(-np.inf, x.dtype)), whole


def _taps(filter: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Each place of a filter (H, W, C) and its numbers as 1, 1, 1, C."""
    numbers = filter.numpy()
    for row, column in np.ndindex(numbers.shape[:2]):
        yield (row, column), Tensor.of(numbers[row, column].reshape(1, 1, 1, -1), filter.dtype)


CONVERTERS: tuple[Converter, ...] = (convert_dilation,)
