"""Grey-scale dilation: a convolution of maxima and sums."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np

from tfgraphopt.ir import Tensor, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.convolution import Ints
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.layout import spatial_part
from tfgraphopt_converters.sizes import Cut, Size
from tfgraphopt_converters.windows import extent
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, Weights, converter

MAX_TAPS = 256  # two layers each
SPATIAL = (1, 2)


@attrs.frozen(slots=True)
class _Slide:
    """How the filter slides along one axis of ``size`` elements."""

    size: Size
    taps: int
    rate: int
    step: int
    padded: bool

    @property
    def reach(self) -> int:
        """From the first tap to the last."""
        return extent(self.taps, self.rate)

    def count(self, b: LayerBuilder) -> Size:
        """How many results there are."""
        if self.padded:
            return sizes.ceil_divide(b, self.size, self.step)
        return sizes.floor_divide(b, sizes.add(b, self.size, self.step - self.reach), self.step)

    def before(self, b: LayerBuilder) -> Size:
        """The padding in front."""
        if not self.padded:
            return 0
        last = sizes.multiply(b, sizes.subtract(b, self.count(b), 1), self.step)
        over = sizes.subtract(b, sizes.add(b, last, self.reach), self.size)
        return sizes.floor_divide(b, sizes.largest(b, over, 0), 2)


@converter("Dilation2D")
def convert_dilation(
    b: LayerBuilder, input: Operand, filter: Weights | Operand, *, strides: Ints, rates: Ints, padding: str
) -> Value:
    """The maximum of the shifted images plus the filter's numbers, one image for each place of the filter (N,H,W,C).

    Sizes of the image and the filter's numbers may be known only at run time.
    """
    require(b, FLOATS, input)
    dims = filter.shape.known()
    if dims[0] is None or dims[1] is None or dims[0] * dims[1] > MAX_TAPS:
        raise Unsupported(
            f"a dilation by {dims[0]} x {dims[1]} elements; up to {MAX_TAPS} are written out, two layers each"
        )
    gaps, steps = (spatial_part(v, "NHWC", name) for v, name in ((rates, "rates"), (strides, "strides")))
    slides = [
        _Slide(sizes.size_of(b, input, axis), taps, gap, step, padding == "SAME")
        for axis, taps, gap, step in zip(SPATIAL, (dims[0], dims[1]), gaps, steps, strict=True)
    ]
    starts, counts = [s.before(b) for s in slides], [s.count(b) for s in slides]
    lowest = b.constant(np.array(-np.inf), input.dtype)
    result: Value | None = None
    for places, number in _taps(b, filter, (dims[0], dims[1])):
        cuts = {
            axis: Cut(sizes.subtract(b, place * slide.rate, start), count, slide.step)
            for axis, place, slide, start, count in zip(SPATIAL, places, slides, starts, counts, strict=True)
        }
        lifted = b.elementwise(sizes.cut(b, input, cuts, "fill", lowest), number, "sum")
        result = lifted if result is None else b.elementwise(result, lifted, "max")
    assert result is not None, "a filter has elements"
    return result


def _taps(b: LayerBuilder, filter: Tensor | Value, window: tuple[int, int]) -> Iterator[tuple[tuple[int, int], Value]]:
    """Each place of a filter (H, W, C) and its numbers as 1, 1, 1, C."""
    for row, column in np.ndindex(*window):
        if isinstance(filter, Tensor):
            yield (row, column), b.constant(filter.numpy()[row, column].reshape(1, 1, 1, -1), filter.dtype)
        else:
            taken = sizes.cut(b, filter, {0: Cut(row, 1), 1: Cut(column, 1)})
            yield (row, column), b.unsqueeze(taken, (0,))


CONVERTERS: tuple[Converter, ...] = (convert_dilation,)
