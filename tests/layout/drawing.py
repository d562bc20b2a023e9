"""Random graphs of layers with transposes strewn in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from tfgraphopt.ir import DType, Graph, OpTable, Shape, Tensor, TensorType, Value
from tfgraphopt_trt.builder import LayerBuilder, Pads
from tfgraphopt_trt.dimensions import Entry, dimension
from tfgraphopt_trt.layers import layer_table

Array = np.ndarray[Any, Any]
BATCH = 2
MOST_ELEMENTS = 4096


@attrs.define
class Drawing:
    """A graph under construction; ``dynamic`` graphs do not know their batch, which is the first axis of the inputs."""

    draw: Any
    dynamic: bool
    graph: Graph
    values: list[Value] = attrs.field(factory=list)
    feeds: list[Array] = attrs.field(factory=list)

    @property
    def b(self) -> LayerBuilder:
        """Writes layers, each with an origin of its own."""
        builder = LayerBuilder(self.graph, name="node")
        builder.origin = (f"tf/{len(self.graph)}",)
        return builder

    def number(self, low: int, high: int) -> int:
        """An integer."""
        return int(self.draw(st.integers(low, high)))

    def pick(self) -> Value:
        """A value, mostly a late one."""
        return self.values[max(0, len(self.values) - 1 - self.number(0, 3))]

    def perm(self, rank: int) -> tuple[int, ...]:
        """An order of axes."""
        return tuple(self.draw(st.permutations(range(rank))))

    def axis(self, x: Value) -> int:
        """An axis of ``x``."""
        return self.number(0, len(x.shape) - 1)

    def array(self, *dims: int) -> Array:
        """Small numbers, so that nothing overflows."""
        seed = self.number(0, 1 << 16)
        return np.random.default_rng(seed).uniform(-1.0, 1.0, dims).astype(np.float32)

    def keep(self, made: Value) -> None:
        """Let later layers read ``made``, unless it is too large or of an odd rank; what nothing reads is a result."""
        if made not in self.values and _is_usable(made):
            self.values.append(made)

    def add_input(self, rank: int) -> None:
        """An input, its feed, and some shape with units among its sizes."""
        dims = [BATCH, *(self.number(1, 5) for _ in range(rank - 1))]
        known = Shape([None if self.dynamic and i == 0 else d for i, d in enumerate(dims)])
        self.values.append(self.graph.add_input(f"x{len(self.feeds)}", TensorType(DType.FLOAT, known)))
        self.feeds.append(self.array(*dims))


# -- layers ----------------------------------------------------------------------------------------------------------


def _transpose(d: Drawing) -> Value:
    x = d.pick()
    return d.b.transpose(x, d.perm(len(x.shape)))


def _activation(d: Drawing) -> Value:
    return d.b.activation(d.pick(), d.draw(st.sampled_from(["relu", "sigmoid", "tanh"])))


def _constant_operand(d: Drawing) -> Value:
    x = d.pick()
    dims = [1 if s is None or d.number(0, 1) else s for s in x.shape]
    constant = d.b.constant(d.array(*dims))
    one, two = (x, constant) if d.number(0, 1) else (constant, x)
    return d.b.elementwise(one, two, d.draw(st.sampled_from(["sum", "prod", "sub", "max"])))


def _two_operands(d: Drawing) -> Value:
    x = d.pick()
    same = [v for v in d.values if len(v.shape) == len(x.shape) and _broadcast(v, x)]
    y = same[d.number(0, len(same) - 1)]
    return d.b.elementwise(x, y, d.draw(st.sampled_from(["sum", "prod", "min"])))


def _broadcast(a: Value, b: Value) -> bool:
    return all(x == y or 1 in (x, y) for x, y in zip(_sizes(a), _sizes(b), strict=True))


def _sizes(x: Value) -> list[Entry]:
    """The dimensions, unknown ones by where they come from."""
    return [dimension(x, i) for i in range(len(x.shape))]


def _reduce(d: Drawing) -> Value:
    x = d.pick()
    axes = tuple(sorted(d.draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1, max_size=2))))
    keep = len(axes) >= len(x.shape) - 1 or bool(d.number(0, 1))
    return d.b.reduce(x, d.draw(st.sampled_from(["sum", "max", "avg"])), axes, keep)


def _softmax(d: Drawing) -> Value:
    x = d.pick()
    return d.b.softmax(x, d.axis(x))


def _cumulative(d: Drawing) -> Value:
    x = d.pick()
    return d.b.cumulative(d.b.activation(x, "tanh"), d.axis(x), exclusive=bool(d.number(0, 1)))


def _concatenation(d: Drawing) -> Value:
    x = d.pick()
    same = [v for v in d.values if _sizes(v) == _sizes(x)]
    return d.b.concatenation([x, same[d.number(0, len(same) - 1)]], d.axis(x))


def _pad(d: Drawing) -> Value:
    """With unknown sizes, the size of the result is computed at run time."""
    x = d.pick()
    rank = len(x.shape)
    before, after = ([d.number(0, 1) for _ in range(rank)] for _ in range(2))
    start = [-n for n in before]
    if x.shape.is_static:
        return d.b.slice(
            x, start, [s + a + z for s, a, z in zip(x.shape.static(), before, after, strict=True)], mode="fill"
        )
    more = d.b.constant(np.array([a + z for a, z in zip(before, after, strict=True)], np.int64))
    return d.b.slice(x, start, d.b.elementwise(d.b.shape(x), more, "sum"), mode="fill")


def _gather(d: Drawing) -> Value:
    x = d.pick()
    axis = next((i for i, s in enumerate(x.shape) if s is not None), None)
    size = None if axis is None else x.shape[axis]
    if axis is None or size is None:
        return x
    indices = d.b.constant(np.array([d.number(0, size - 1) for _ in range(d.number(1, 3))], np.int32))
    return d.b.gather(x, indices, axis)


def _reshape(d: Drawing) -> Value:
    """Merges two neighbouring axes, or splits one."""
    x = d.pick()
    place = d.number(0, len(x.shape) - 2)
    dims = [s if s is not None else 0 if i < place else -1 for i, s in enumerate(x.shape)]
    if dims.count(-1) > 1:
        return x
    if d.number(0, 1):
        merged = -1 if -1 in dims[place : place + 2] else dims[place] * dims[place + 1]
        return d.b.reshape(x, [*dims[:place], merged, *dims[place + 2 :]]) if len(dims) > 2 else x
    factor = next((f for f in (2, 3, 5) if dims[place] > 0 and dims[place] % f == 0), 1)
    if dims[place] < 0 or len(dims) > 5:
        return x
    return d.b.reshape(x, [*dims[:place], dims[place] // factor, factor, *dims[place + 1 :]])


def _units(d: Drawing) -> Value:
    x = d.pick()
    units = [i for i, s in enumerate(x.shape) if s == 1]
    if units and len(x.shape) > 2 and d.number(0, 1):
        return d.b.squeeze(x, (units[d.number(0, len(units) - 1)],))
    return d.b.unsqueeze(x, (d.number(0, len(x.shape)),)) if len(x.shape) < 6 else x


def _matrix(d: Drawing) -> Value:
    x = d.pick()
    turned, inner = bool(d.number(0, 1)), x.shape[-1]
    columns = d.number(1, 4)
    if inner is None:
        return x
    lead = (1,) * (len(x.shape) - 2)
    weights = d.b.constant(d.array(*lead, columns, inner) if turned else d.array(*lead, inner, columns))
    return d.b.matrix_multiply(x, weights, transpose_b=turned)


def _convolution(d: Drawing) -> Value:
    """Channels first or, behind transposes, channels last."""
    images = [v for v in d.values if len(v.shape) == 4]
    if not images:
        return d.pick()
    x, last = images[d.number(0, len(images) - 1)], bool(d.number(0, 1))
    first = d.b.transpose(x, (0, 3, 1, 2)) if last else x
    channels = first.shape[1]
    if channels is None:
        return x
    kernel = d.b.constant(d.array(d.number(1, 4), channels, 1, 1) / channels)
    made = d.b.convolution(first, kernel, stride=(1, 1), pads=Pads("explicit", (0, 0), (0, 0)), dilation=(1, 1))
    return d.b.transpose(made, (0, 2, 3, 1)) if last else made


def _flat_product(d: Drawing) -> Value:
    """Flattens all but the batch and multiplies by a constant, as the head of a network does."""
    x = d.pick()
    count = Shape(x.shape.known()[1:]).num_elements
    if count is None or count > 512:
        return x
    flat = d.b.reshape(x, (-1 if x.shape[0] is None else x.shape[0], count))
    return d.b.matrix_multiply(flat, d.b.constant(d.array(count, d.number(1, 3)) / count))


Maker = Callable[[Drawing], Value]
MAKERS: tuple[Maker, ...] = (
    _transpose, _transpose, _transpose, _activation, _constant_operand, _two_operands, _reduce, _softmax, _cumulative,
    _concatenation, _pad, _gather, _reshape, _units, _matrix, _convolution, _convolution, _flat_product,
)  # fmt: skip


@st.composite
def drawings(
    draw: st.DrawFn, dynamic: bool | None = None, makers: Sequence[Maker] = MAKERS, sizes: tuple[int, int] = (3, 14),
    table: OpTable | None = None,
) -> tuple[Graph, list[Array]]:  # fmt: skip
    """A graph with the numbers to feed it, made in ``sizes`` steps (least and most); some batches are unknown.

    ``table`` has the layers that passes may add; by default the shipped ones of TensorRT.
    """
    graph = Graph("random", table or layer_table(), dialect="trt")
    d = Drawing(draw, draw(st.booleans()) if dynamic is None else dynamic, graph)
    for _ in range(draw(st.integers(1, 2))):
        d.add_input(draw(st.integers(2, 4)))
    for _ in range(draw(st.integers(*sizes))):
        d.keep(draw(st.sampled_from(makers))(d))
    ends = [v for v in d.values if not v.uses] or [d.values[-1]]
    d.graph.set_outputs(ends, [f"out{i}" for i in range(len(ends))])
    return d.graph, d.feeds


def _is_usable(value: Value) -> bool:
    known = [s for s in value.shape.known() if s is not None]
    return 2 <= len(value.shape) <= 6 and 0 not in known and int(np.prod(known)) * BATCH <= MOST_ELEMENTS


def constant(graph: Graph, array: Array) -> Value:
    """A constant node."""
    return graph.add("trt.constant", [], {"value": Tensor.of(array)}).output
