"""trt-canonicalize: bodies get smaller and compute the same up to the rounding of folded weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from layout.drawing import Array, constant, drawings
from trt_layers.harness import emitted, plan_size

from tfgraphopt.ir import DType, Graph, Shape, TensorType, Value
from tfgraphopt.ir.verify import verify_graph
from tfgraphopt.rewrite import apply_patterns
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_layout.layout import lay_out
from tfgraphopt_layout.shipped import rule_map
from tfgraphopt_trt.builder import LayerBuilder, Pads
from tfgraphopt_trt.canonicalize import fold_constants, merge_equal, until_stable
from tfgraphopt_trt.layers import layer_map, layer_table
from tfgraphopt_trt.meaning import evaluate
from tfgraphopt_trt.simplify import all_patterns

LAYERS = layer_map()
PLAIN = Pads("explicit", (0, 0), (0, 0))


def canonicalize(graph: Graph) -> None:
    """What the pass does."""
    fold_constants(graph, LAYERS)
    until_stable(graph, lambda: apply_patterns(graph, all_patterns()))
    fold_constants(graph, LAYERS)
    merge_equal(graph)
    erase_dead(graph, keep_placeholders=False)


def check_same(
    graph: Graph, feeds: Sequence[Array], change: Any = canonicalize, tolerance: float = 2e-5
) -> Counter[str]:
    """Change ``graph``; its results stay, relative to their largest element. Gives the layers that are left."""
    wanted = evaluate(graph, LAYERS, feeds)
    change(graph)
    verify_graph(graph)
    for have, want in zip(evaluate(graph, LAYERS, feeds), wanted, strict=True):
        assert have.shape == want.shape
        assert have.dtype == want.dtype
        scale = max(1.0, float(np.abs(want.astype(np.float64)).max(initial=0)))
        np.testing.assert_allclose(
            have.astype(np.float64) / scale, want.astype(np.float64) / scale, atol=tolerance, rtol=0
        )
    return Counter(n.op.removeprefix("trt.") for n in graph if n.op != "trt.constant")


class Body:
    """A lowered body under construction, with one image as input."""

    def __init__(self, *dims: int | None, dtype: DType = DType.FLOAT) -> None:
        self.graph = Graph("body", layer_table(), dialect="trt")
        self.b = LayerBuilder(self.graph, name="body")
        self.random = np.random.default_rng(11)
        self.x = self.graph.add_input("x", TensorType(dtype, Shape(dims)))
        self.feed = self.random.normal(size=[2 if d is None else d for d in dims]).astype(dtype.np)

    def weights(self, *dims: int) -> Value:
        """A constant of the input's element type."""
        return constant(self.graph, self.random.normal(size=dims).astype(self.feed.dtype))

    def conv(
        self, x: Value, maps: int, size: int = 3, groups: int = 1, bias: bool = False, pads: Pads = PLAIN
    ) -> Value:
        """A convolution."""
        kernel = self.weights(maps, (x.shape[1] or 0) // groups, size, size)
        given = self.weights(maps) if bias else None
        return self.b.convolution(x, kernel, given, stride=(1, 1), pads=pads, dilation=(1, 1), groups=groups)

    def normalised(self, x: Value) -> Value:
        """Bias, product and sum per channel, as Keras writes batch normalisation."""
        channels = x.shape[1] or 0
        for operation in ("sum", "prod", "sum"):
            x = self.b.elementwise(x, self.weights(1, channels, 1, 1), operation)
        return x

    def checked(self, *outputs: Value, tolerance: float = 2e-5) -> Counter[str]:
        """Canonicalize and check."""
        self.graph.set_outputs(outputs)
        return check_same(self.graph, [self.feed], tolerance=tolerance)


# -- laws ------------------------------------------------------------------------------------------------------------


def layer_count(graph: Graph) -> int:
    """Layers that are no constants."""
    return sum(n.op != "trt.constant" for n in graph)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawings())
def test_layers_never_become_more(drawn: tuple[Graph, list[Array]]) -> None:
    """What every pass promises besides is in tests/laws."""
    graph, _ = drawn
    before = layer_count(graph)
    canonicalize(graph)
    assert layer_count(graph) <= before


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawings())
def test_random_graphs_behind_the_layout_pass(drawn: tuple[Graph, list[Array]]) -> None:
    graph, feeds = drawn

    def both(graph: Graph) -> None:
        lay_out(graph, rule_map())
        canonicalize(graph)

    check_same(graph, feeds, both)
    assert emitted(graph).network.num_outputs == len(graph.outputs)


# -- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("maps", "groups"), [(6, 1), (4, 4), (8, 2)], ids=["plain", "depthwise", "grouped"])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_normalisation_goes_into_a_convolution(maps: int, groups: int, bias: bool) -> None:
    body = Body(None, 4, 6, 6)
    made = body.checked(body.normalised(body.conv(body.x, maps, groups=groups, bias=bias)))
    assert made == {"convolution": 1}
    assert plan_size_fixed(body) > 0


def plan_size_fixed(body: Body) -> int:
    """TensorRT builds the body."""
    return plan_size(body.graph, [body.feed])


@pytest.mark.parametrize("groups", [1, 2])
def test_batch_normalisation_goes_into_a_deconvolution(groups: int) -> None:
    body = Body(2, 4, 5, 5)
    kernel = body.weights(4, 6 // groups, 3, 3)
    made = body.b.deconvolution(body.x, kernel, stride=(2, 2), pads=PLAIN, dilation=(1, 1), groups=groups)
    assert body.checked(body.normalised(made)) == {"deconvolution": 1}


@pytest.mark.parametrize("turned", [True, False])
def test_a_scale_goes_into_a_matrix_product(turned: bool) -> None:
    body = Body(None, 4)
    product = body.b.matrix_multiply(body.x, body.weights(*((5, 4) if turned else (4, 5))), transpose_b=turned)
    shifted = body.b.elementwise(product, body.weights(1, 5), "sum")
    made = body.checked(body.b.elementwise(shifted, body.weights(1, 5), "prod"))
    assert made == {"matrix_multiply": 1, "elementwise": 1}


def test_half_precision_weights_that_would_overflow_stay() -> None:
    body = Body(2, 4, 6, 6, dtype=DType.HALF)
    large = constant(body.graph, np.full((1, 4, 1, 1), 60000, np.float16))
    small = body.b.elementwise(body.x, constant(body.graph, np.full((1, 1, 1, 1), 1e-4, np.float16)), "prod")
    kernel = constant(body.graph, np.full((4, 4, 1, 1), 3, np.float16))
    conv = body.b.convolution(small, kernel, stride=(1, 1), pads=PLAIN, dilation=(1, 1))
    made = body.checked(body.b.elementwise(conv, large, "prod"), tolerance=5e-3)
    assert made == {"convolution": 1, "elementwise": 2}


def test_what_others_read_and_what_differs_within_a_channel_stays() -> None:
    body = Body(2, 4, 6, 6)
    shared = body.conv(body.x, 4)
    scaled = body.b.elementwise(shared, body.weights(1, 4, 1, 1), "prod")
    other = body.b.elementwise(body.conv(body.x, 4), body.weights(1, 4, 4, 1), "prod")
    made = body.checked(shared, scaled, other)
    assert made == {"convolution": 2, "elementwise": 2}


def test_kernels_are_computed_when_they_are_read() -> None:
    body = Body(None, 4, 6, 6)
    body.graph.set_outputs([body.normalised(body.conv(body.x, 6))])
    canonicalize(body.graph)
    kernel: Any = next(n for n in body.graph if n.op == "trt.convolution").inputs[1].producer
    assert kernel.attrs["value"]._array is None


def test_a_constant_that_broadcasts_the_result_stays() -> None:
    body = Body(2, 4, 6, 6)
    made = body.checked(body.b.elementwise(body.conv(body.x, 1), body.weights(1, 5, 1, 1), "sum"))
    assert made == {"convolution": 1, "elementwise": 1}


# -- chains, neutral elements ----------------------------------------------------------------------------------------


def test_chains_become_one_product_and_one_sum() -> None:
    body = Body(None, 3, 4, 4)
    x = body.b.elementwise(body.x, body.weights(1, 1, 1, 1), "prod")
    x = body.b.elementwise(x, body.weights(1, 3, 1, 1), "sub")
    x = body.b.elementwise(body.weights(1, 1, 1, 1), x, "sub")
    assert body.checked(body.b.elementwise(x, body.weights(1, 3, 1, 1), "div")) == {"elementwise": 2}


def test_neutral_elements_vanish() -> None:
    body = Body(None, 3)
    x = body.b.elementwise(body.x, constant(body.graph, np.ones((1, 3), np.float32)), "prod")
    x = body.b.elementwise(x, constant(body.graph, np.zeros((1, 1), np.float32)), "sum")
    assert body.checked(body.b.activation(body.b.identity(x), "relu")) == {"activation": 1}


def test_division_by_zero_stays() -> None:
    body = Body(None, 3)
    made = body.b.elementwise(body.x, constant(body.graph, np.array([[1, 0, 2]], np.float32)), "div")
    body.graph.set_outputs([made])
    canonicalize(body.graph)
    assert [n.op for n in body.graph if n.op != "trt.constant"] == ["trt.elementwise"]


# -- padding ---------------------------------------------------------------------------------------------------------


def padded(body: Body, x: Value, before: Sequence[int], after: Sequence[int], at_run_time: bool) -> Value:
    """Zeros around ``x``, with the size known or computed at run time."""
    start = [-n for n in before]
    total = [a + z for a, z in zip(before, after, strict=True)]
    if not at_run_time:
        return body.b.slice(x, start, [d + t for d, t in zip(x.shape.static(), total, strict=True)], mode="fill")
    batch = body.b.slice(body.b.shape(x), (0,), (1,))
    rest = [(d or 0) + t for d, t in zip(x.shape.known()[1:], total[1:], strict=True)]
    return body.b.slice(
        x, start, body.b.concatenation([batch, constant(body.graph, np.array(rest, np.int64))], 0), mode="fill"
    )


@pytest.mark.parametrize("batch", [None, 2])
def test_padding_goes_into_a_convolution(batch: int | None) -> None:
    body = Body(batch, 3, 6, 7)
    x = padded(body, body.x, (0, 0, 1, 0), (0, 0, 2, 1), batch is None)
    assert body.checked(body.conv(x, 4, pads=Pads("explicit", (1, 1), (0, 0)))) == {"convolution": 1}
    conv = next(n for n in body.graph if n.op == "trt.convolution")
    assert (conv.attrs["pre"], conv.attrs["post"]) == ((2, 1), (2, 1))


def test_padded_channels_and_other_fills_stay() -> None:
    body = Body(2, 3, 6, 6)
    channels = body.conv(padded(body, body.x, (0, 1, 1, 1), (0, 0, 1, 1), False), 2)
    filled = body.b.slice(
        body.x, (0, 0, -1, -1), (2, 3, 8, 8), mode="fill", fill=constant(body.graph, np.array(1, np.float32))
    )
    assert body.checked(channels, body.conv(filled, 2))["slice"] == 2


@pytest.mark.parametrize(("activated", "left"), [(True, 0), (False, 1)])
def test_zeros_before_a_maximum_go_when_nothing_is_negative(activated: bool, left: int) -> None:
    body = Body(None, 3, 6, 6)
    x = body.b.activation(body.x, "relu") if activated else body.x
    x = padded(body, x, (0, 0, 1, 1), (0, 0, 1, 1), True)
    made = body.checked(body.b.pooling(x, "max", window=(3, 3), stride=(2, 2), pads=PLAIN))
    assert made["slice"] == left + (0 if activated else 1)  # the size of the padding is computed with a slice


def test_padding_counts_in_an_average() -> None:
    body = Body(2, 3, 6, 6)
    x = padded(body, body.x, (0, 0, 1, 1), (0, 0, 1, 1), False)
    made = body.checked(body.b.pooling(x, "average", window=(3, 3), stride=(1, 1), pads=PLAIN))
    assert made == {"pooling": 1}


# -- shuffles, casts, constants, equal layers ------------------------------------------------------------------------


def test_reshapes_and_transposes_in_a_row() -> None:
    body = Body(None, 4, 6)
    x = body.b.transpose(body.b.transpose(body.x, (0, 2, 1)), (0, 2, 1))
    x = body.b.reshape(body.b.reshape(x, (-1, 2, 2, 6)), (0, 4, 6))
    assert body.checked(body.b.activation(body.b.squeeze(body.b.unsqueeze(x, (1, 2)), (1, 2)), "relu")) == {
        "activation": 1
    }


def test_a_squeezed_reduction_keeps_its_axes() -> None:
    body = Body(None, 4, 6, 6)
    pooled = body.b.reduce(body.x, "avg", (2, 3), keep_dims=False)
    spread = body.b.transpose(body.b.reshape(pooled, (-1, 1, 1, 4)), (0, 3, 1, 2))
    assert body.checked(body.conv(spread, 2, size=1)) == {"reduce": 1, "convolution": 1}
    assert next(n for n in body.graph if n.op == "trt.reduce").attrs["keep_dims"] is True


@pytest.mark.parametrize(
    ("types", "left"),
    [((DType.FLOAT,), 0), ((DType.HALF, DType.FLOAT), 2), ((DType.INT32, DType.INT64, DType.INT32), 1)],
    ids=["same", "narrowing", "widening"],
)
def test_casts(types: Sequence[DType], left: int) -> None:
    body = Body(None, 4)
    x = body.b.activation(body.x, "relu")
    for dtype in types:
        x = body.b.layer("trt.cast", [x], {"to": dtype})[0]
    assert body.checked(x, tolerance=0)["cast"] == left


def test_layers_of_constants_and_known_sizes_are_computed() -> None:
    body = Body(None, 4, 6)
    c = body.b.unary(body.b.elementwise(body.weights(1, 4, 1), body.weights(1, 1, 6), "sum"), "exp")
    sizes = body.b.slice(body.b.shape(body.x), (1,), (2,))
    rate = body.b.reshape(body.b.cast(body.b.reduce(sizes, "prod", (0,), True), DType.FLOAT), (1, 1, 1))
    scaled = body.b.elementwise(body.x, rate, "prod")
    made = body.checked(body.b.elementwise(scaled, c, "max"))
    assert made == {"elementwise": 2}


def test_equal_layers_are_one() -> None:
    body = Body(None, 4)
    doubled = [
        body.b.elementwise(body.x, constant(body.graph, np.full((1, 4), 2, np.float32)), "prod") for _ in range(2)
    ]
    one, two = (body.b.activation(x, "relu") for x in doubled)
    made = body.checked(body.b.elementwise(one, two, "sum"))
    assert made == {"elementwise": 2, "activation": 1}
