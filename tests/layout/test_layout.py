"""The pass: numbers stay, permuted bytes never rise, a second run changes nothing, and what should vanish vanishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from trt_layers.harness import emitted, plan_size

from layout import laws
from layout.drawing import Array, constant, drawings
from tfgraphopt.ir import DType, Graph, Shape, TensorType, Value
from tfgraphopt.ir.text import print_graph
from tfgraphopt.ir.verify import verify_graph
from tfgraphopt_layout.layout import lay_out
from tfgraphopt_layout.problem import LAYER_BITS, Problem, permuted_bytes
from tfgraphopt_layout.rewriting import rewrite
from tfgraphopt_layout.shipped import rule_map
from tfgraphopt_layout.solving import solve
from tfgraphopt_trt.builder import LayerBuilder, Pads
from tfgraphopt_trt.layers import layer_table
from tfgraphopt_trt.meaning import evaluate

RULES = rule_map()
PLAIN = Pads("explicit", (0, 0), (0, 0))


def check_numbers(graph: Graph, feeds: Sequence[Array], wanted: Sequence[Array]) -> None:
    """``graph`` computes ``wanted``."""
    for have, want in zip(evaluate(graph, laws.LAYERS, feeds), wanted, strict=True):
        laws.compare(have, want)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawings())
def test_permuted_bytes_never_rise(drawn: tuple[Graph, list[Array]]) -> None:
    """What every pass promises besides is in tests/laws."""
    graph, _ = drawn
    before = permuted_bytes(graph)
    lay_out(graph, RULES)
    assert permuted_bytes(graph) <= before


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawings())
def test_the_search_counts_what_the_graph_permutes(drawn: tuple[Graph, list[Array]]) -> None:
    """The cost that the search minimises is what the transposes of the rewritten graph move."""
    graph, _ = drawn
    problem = Problem.of(graph, RULES, 8)
    solve(problem)
    total = sum(problem.cost(r) for r in problem.roots.values())
    rewrite(problem)
    assert permuted_bytes(graph) == total >> LAYER_BITS
    assert sum(n.op == "trt.transpose" for n in graph) == total % (1 << LAYER_BITS)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawings(dynamic=False))
def test_tensorrt_builds_random_graphs(drawn: tuple[Graph, list[Array]]) -> None:
    graph, _ = drawn
    lay_out(graph, RULES)
    assert plan_size(graph) > 0


# -- what must vanish ------------------------------------------------------------------------------------------------


class Net:
    """A channels-last network as the converters write it: every window layer between two transposes."""

    def __init__(self, batch: int | None = None, size: int = 8) -> None:
        self.graph = Graph("net", layer_table(), dialect="trt")
        self.b = LayerBuilder(self.graph, name="net")
        self.x = self.graph.add_input("image", TensorType(DType.FLOAT, Shape([batch, size, size, 3])))
        self.random = np.random.default_rng(7)
        self.size = size

    def weights(self, *dims: int) -> Value:
        """A constant."""
        scale = 1 / np.sqrt(np.prod(dims[1:]))
        return constant(self.graph, self.random.normal(scale=scale, size=dims).astype(np.float32))

    def conv(self, x: Value, maps: int, groups: int = 1) -> Value:
        """A 1x1 convolution and a bias."""
        first = self.b.transpose(x, (0, 3, 1, 2))
        channels = first.shape[1] or 0
        kernel = self.weights(maps, channels // groups, 1, 1)
        made = self.b.convolution(first, kernel, stride=(1, 1), pads=PLAIN, dilation=(1, 1), groups=groups)
        return self.b.elementwise(self.b.transpose(made, (0, 2, 3, 1)), self.weights(1, 1, 1, maps), "sum")

    def optimised(self, *outputs: Value) -> dict[str, int]:
        """Lay out, check the numbers, and count the layers."""
        self.graph.set_outputs(outputs)
        feeds = [self.random.normal(size=(2, self.size, self.size, 3)).astype(np.float32)]
        wanted = evaluate(self.graph, laws.LAYERS, feeds)
        lay_out(self.graph, RULES)
        verify_graph(self.graph)
        check_numbers(self.graph, feeds, wanted)
        return dict(Counter(n.op.removeprefix("trt.") for n in self.graph))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("batch", [None, 2])
def test_dense_layers_between_convolutions_are_convolutions(batch: int | None, turned: bool) -> None:
    """Blocks as ConvNeXt has them: a depthwise convolution, then two dense layers over the channels."""
    net = Net(batch)
    x = net.conv(net.x, 4)
    for _ in range(2):
        wide = net.weights(1, 1, 12, 4) if turned else net.weights(1, 1, 4, 12)
        h = net.b.matrix_multiply(net.conv(x, 4, groups=4), wide, transpose_b=turned)
        h = net.b.activation(net.b.elementwise(h, net.weights(1, 1, 1, 12), "sum"), "gelu_erf")
        x = net.b.elementwise(x, net.b.matrix_multiply(h, net.weights(1, 1, 12, 4)), "sum")
    made = net.optimised(net.b.reduce(x, "avg", (1, 2), keep_dims=False))
    assert made["transpose"] == 1
    assert "matrix_multiply" not in made
    assert plan_size(net.graph) > 0 if batch else emitted(net.graph)


@pytest.mark.parametrize("batch", [None, 2])
def test_residual_network_keeps_the_input_transpose_only(batch: int | None) -> None:
    net = Net(batch)
    x = net.b.activation(net.conv(net.x, 4), "relu")
    for _ in range(3):
        x = net.b.activation(net.b.elementwise(x, net.conv(net.b.activation(net.conv(x, 6), "relu"), 4), "sum"), "relu")
    pooled = net.b.reduce(x, "avg", (1, 2), keep_dims=False)
    made = net.optimised(net.b.softmax(net.b.matrix_multiply(pooled, net.weights(4, 5)), 1))
    assert made["transpose"] == 1
    assert permuted_bytes(net.graph) == 4 * 8 * 8 * 3 * (batch or 8)


def test_squeeze_excitation_block() -> None:
    net = Net()
    x = net.conv(net.x, 4)
    squeezed = net.b.reshape(net.b.reduce(x, "avg", (1, 2), keep_dims=False), (-1, 1, 1, 4))
    gate = net.b.activation(net.conv(net.b.activation(net.conv(squeezed, 2), "relu"), 4), "sigmoid")
    made = net.optimised(net.b.reduce(net.conv(net.b.elementwise(x, gate, "prod"), 4), "avg", (1, 2), keep_dims=False))
    assert made["transpose"] == 1, "not even transposes that only move axes of size one"


def test_channel_shuffle_needs_its_own_transpose_only() -> None:
    net = Net(2)
    x = net.conv(net.x, 6)
    split = net.b.transpose(net.b.reshape(x, (2, 8, 8, 2, 3)), (0, 1, 2, 4, 3))
    made = net.optimised(net.b.reduce(net.conv(net.b.reshape(split, (2, 8, 8, 6)), 4), "max", (1, 2), keep_dims=False))
    assert made["transpose"] == 2


def test_pixel_shuffle_needs_its_own_transpose_only() -> None:
    net = Net(2)
    x = net.conv(net.x, 12)
    blocks = net.b.transpose(net.b.reshape(x, (2, 8, 8, 2, 2, 3)), (0, 1, 3, 2, 4, 5))
    made = net.optimised(
        net.b.reduce(net.conv(net.b.reshape(blocks, (2, 16, 16, 3)), 2), "sum", (1, 2), keep_dims=False)
    )
    assert made["transpose"] == 2


def test_resize_concatenation_and_pooling() -> None:
    net = Net(2)
    x = net.conv(net.x, 4)
    first = net.b.transpose(x, (0, 3, 1, 2))
    pooled = net.b.pooling(first, "max", window=(2, 2), stride=(2, 2), pads=PLAIN)
    small = net.conv(net.b.transpose(pooled, (0, 2, 3, 1)), 4)
    large = net.b.resize(small, (2, 8, 8, 4), "nearest", "half_pixel", rounding="half_down")
    made = net.optimised(net.b.reduce(net.conv(net.b.concatenation([x, large], 3), 2), "avg", (1, 2), keep_dims=True))
    assert made["transpose"] <= 2
    moved = [n.inputs[0].shape for n in net.graph if n.op == "trt.transpose"]
    assert Shape([2, 8, 8, 3]) in moved


def test_flattening_before_a_dense_layer_permutes_the_weights() -> None:
    net = Net()
    flat = net.b.reshape(net.b.activation(net.conv(net.x, 4), "relu"), (-1, 8 * 8 * 4))
    made = net.optimised(net.b.matrix_multiply(flat, net.weights(8 * 8 * 4, 5)))
    assert made["transpose"] == 1


def test_flattening_that_somebody_else_reads_keeps_its_order() -> None:
    net = Net()
    flat = net.b.reshape(net.b.activation(net.conv(net.x, 4), "relu"), (-1, 8 * 8 * 4))
    made = net.optimised(net.b.matrix_multiply(flat, net.weights(8 * 8 * 4, 5)), net.b.softmax(flat, 1))
    assert made["transpose"] == 2


def test_the_smaller_tensor_is_permuted() -> None:
    """Between a channels-last input and a convolution, padding and repeating come after the transpose, a sum before it."""
    net = Net(2)
    padded = net.b.slice(net.x, (0, -2, -2, 0), (2, 12, 12, 3), mode="fill")
    net.optimised(net.b.reduce(net.conv(padded, 4), "sum", (1, 2), keep_dims=True))
    (moved,) = [n for n in net.graph if n.op == "trt.transpose" and 8 in n.inputs[0].shape.known()]
    assert moved.inputs[0] is net.x


def test_opaque_layers_keep_the_order_of_their_operands() -> None:
    graph = Graph("opaque", layer_table(), dialect="trt")
    b = LayerBuilder(graph, name="opaque")
    x = graph.add_input("x", TensorType(DType.FLOAT, Shape([2, 4, 5, 3])))
    grid = graph.add_input("grid", TensorType(DType.FLOAT, Shape([2, 4, 5, 2])))
    sampled = b.grid_sample(b.transpose(x, (0, 3, 1, 2)), grid)
    graph.set_outputs([b.transpose(sampled, (0, 2, 3, 1))])
    text = print_graph(graph)
    lay_out(graph, RULES)
    assert print_graph(graph) == text


def test_layers_named_as_before_and_origins_stay() -> None:
    net = Net()
    made = net.conv(net.x, 4)
    names = {n.name for n in net.graph if n.op != "trt.transpose" and n.op != "trt.constant"}
    net.optimised(made)
    assert names <= {n.name for n in net.graph}


def test_run_time_shapes_follow() -> None:
    """Padding with an unknown batch computes its size at run time; the pass reorders those numbers."""
    net = Net()
    x = net.conv(net.x, 4)
    more = constant(net.graph, np.array([0, 2, 2, 0], np.int64))
    padded = net.b.slice(x, (0, -1, -1, 0), net.b.elementwise(net.b.shape(x), more, "sum"), mode="fill")
    made = net.optimised(net.b.reduce(net.conv(padded, 2), "sum", (1, 2), keep_dims=False))
    assert made["transpose"] == 1
    assert emitted(net.graph).network.num_layers > 0


def test_time_is_near_linear() -> None:
    """Ten times the layers take about ten times as long, and ten thousand take seconds."""
    import time

    def seconds(blocks: int) -> tuple[int, float]:
        net = Net()
        x = net.conv(net.x, 4)
        for _ in range(blocks):
            x = net.b.activation(net.b.elementwise(x, net.conv(x, 4), "sum"), "relu")
        net.graph.set_outputs([net.b.reduce(x, "avg", (1, 2), keep_dims=False)])
        count, started = len(net.graph), time.process_time()
        lay_out(net.graph, RULES)
        assert sum(n.op == "trt.transpose" for n in net.graph) == 1
        return count, time.process_time() - started

    (few, short), (many, long) = seconds(100), seconds(1000)
    assert many > 8000
    assert long / many < 4 * short / few + 1e-4
    assert long < 20
